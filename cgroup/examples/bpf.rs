//! Confines and counts groups from the command line, as the product does; also the hand of `tests/bpf`.
//!
//! ```text
//! bpf support  PINS
//! bpf confine  GROUP POLICY      POLICY: {"devices": [...], "network": {...}} as JSON, either absent
//! bpf compare  GROUP POLICY
//! bpf attached GROUP
//! bpf detach   GROUP
//! bpf count    PINS GROUP [GID]  from now on; members of GID may read
//! bpf traffic  PINS ID           of the group with this id
//! bpf id       GROUP
//! ```
#![allow(clippy::print_stdout, reason = "a command's answer")]

use std::error::Error;
use std::path::Path;

use serde::Deserialize;
use tenantry_cgroup::bpf::{self, Counters, Meter, Policy};
use tenantry_cgroup::{GroupPath, Root};
use tenantry_model::tenants::{DeviceRule, NetworkPolicy};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    devices: Option<Vec<DeviceRule>>,
    network: Option<NetworkPolicy>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = || Root::open("/sys/fs/cgroup".as_ref());
    match arguments[..] {
        ["support", pins] => println!("{}", bpf::support(&root()?, Path::new(pins))),
        ["confine", group, file] => {
            let file: File = serde_json::from_str(file)?;
            bpf::confine(&root()?, &GroupPath::new(group)?, &policy(&file))?;
        }
        ["compare", group, file] => {
            let file: File = serde_json::from_str(file)?;
            for (part, state) in bpf::compare(&root()?, &GroupPath::new(group)?, &policy(&file))? {
                println!("{part}: {state:?}");
            }
        }
        ["attached", group] => {
            for part in bpf::attached(&root()?, &GroupPath::new(group)?)? {
                println!("{part}");
            }
        }
        ["detach", group] => bpf::detach(&root()?, &GroupPath::new(group)?)?,
        ["count", pins, group, ref gid @ ..] => {
            let readers = gid.first().map(|gid| gid.parse()).transpose()?;
            Meter::open_or_load(pins.as_ref(), readers)?.attach(&root()?, &GroupPath::new(group)?)?;
        }
        ["traffic", pins, id] => {
            let traffic = Counters::open(pins.as_ref())?.read(id.parse()?)?;
            println!("{}", serde_json::to_string(&traffic)?);
        }
        ["id", group] => println!("{}", bpf::group_id(&root()?, &GroupPath::new(group)?)?),
        _ => return Err("see the head of cgroup/examples/bpf.rs".into()),
    }
    Ok(())
}

fn policy(file: &File) -> Policy<'_> {
    Policy { devices: file.devices.as_deref(), network: file.network.as_ref() }
}
