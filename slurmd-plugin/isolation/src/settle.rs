//! The last reading of a group that nobody is in any more.

use std::thread;
use std::time::Duration;

use tenantry_cgroup::{GroupReader, Result};
use tenantry_model::Clock;
use tenantry_model::reading::Reading;

/// Reads until the CPU time stands still: a task's last moment may be charged just after it has left the group.
pub fn last_reading(reader: &GroupReader, clock: &dyn Clock) -> Result<Reading> {
    const PAUSE: Duration = Duration::from_millis(1);
    const READINGS: usize = 20;
    let mut last = reader.read(clock)?;
    for _ in 0..READINGS {
        thread::sleep(PAUSE);
        let next = reader.read(clock)?;
        let settled = next.cpu_usage() == last.cpu_usage();
        last = next;
        if settled {
            break;
        }
    }
    Ok(last)
}
