//! What both directions know before the first reading: what times are measured from, and how much there may be.

use tenantry_model::{BootId, Moment};

/// What both directions measure times from.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub boot_id: &'a BootId,
    pub closed: Moment,
}

impl Frame<'_> {
    /// How far a moment's wall time is from its time since the boot, beyond what that is where the block was closed.
    pub fn offset(self, at: Moment) -> u64 {
        offset(at).wrapping_sub(offset(self.closed))
    }

    /// The wall time of a moment that is so long after the boot, by its offset.
    pub fn wall_usec(self, boottime_usec: u64, offset_here: u64) -> i64 {
        boottime_usec.wrapping_add(offset_here).wrapping_add(offset(self.closed)).cast_signed()
    }
}

fn offset(at: Moment) -> u64 {
    at.wall.unix_usec().cast_unsigned().wrapping_sub(at.boottime_usec.0)
}

/// What a group and a reading weigh, as bytes of what a block unpacks to: an eighth of what they take in memory.
const GROUP: usize = 48;
/// What a device or a GPU weighs for each reading of its group.
const DEVICE: usize = 16;

/// How much is in a block's readings. Nothing is made room for that was not weighed before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Groups, readings, and places of devices in readings.
    pub things: usize,
    pub weight: usize,
}

impl Load {
    /// `None`: no machine has so many.
    pub fn add_groups(&mut self, count: usize) -> Option<()> {
        self.add(count, GROUP)
    }

    pub fn add_devices(&mut self, count: usize) -> Option<()> {
        self.add(count, DEVICE)
    }

    fn add(&mut self, count: usize, each: usize) -> Option<()> {
        self.things = self.things.checked_add(count)?;
        self.weight = self.weight.checked_add(count.checked_mul(each)?)?;
        Some(())
    }

    /// Within another: what is read within what it may be.
    pub fn is_within(self, most: Self) -> bool {
        self.things <= most.things && self.weight <= most.weight
    }

    /// Of how many bytes the columns are at least: a bit for each thing, so that a few bytes are never read as
    /// gigabytes of readings that are all alike.
    pub fn least_bytes(self) -> usize {
        self.things.div_ceil(8)
    }
}
