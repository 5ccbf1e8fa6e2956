//! The devices a tenant may use: an allow-list, beside what Slurm's own GRES programs allow.

use serde::{Deserialize, Serialize};

/// One entry of a tenant's allow-list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Character or block device.
    pub kind: DeviceKind,
    /// Its major number; `None` for any.
    pub major: Option<u32>,
    /// Its minor number; `None` for any.
    pub minor: Option<u32>,
    /// What is allowed.
    pub access: DeviceAccess,
}

/// The kernel's two kinds of device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// `b`.
    Block,
    /// `c`.
    Char,
}

/// The kernel's `r`, `w` and `m`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccess {
    /// `r`: open it for reading.
    pub read: bool,
    /// `w`: open it for writing.
    pub write: bool,
    /// `m`: make a node for it.
    pub mknod: bool,
}
