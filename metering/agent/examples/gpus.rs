//! Reads the GPUs as tenantryd does, once for each line of its input, and prints one line of JSON each time:
//! which GPUs there are, what NVML says of them, and the moment. `tests/gpu/run` holds it against nvidia-smi.
//! Without NVML it says so, and ends with 69.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use serde_json::json;
use tenantry_model::reading::Reading;
use tenantry_model::{Clock, SystemClock};
use tenantryd::gpu::places::{GpuKind, at};
use tenantryd::gpu::{Gpus, Library};

/// `EX_UNAVAILABLE` and `EX_SOFTWARE` of sysexits.h.
const EX_UNAVAILABLE: u8 = 69;
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    if let Err(error) = Library::load() {
        let _ = writeln!(io::stderr(), "{error}");
        return ExitCode::from(EX_UNAVAILABLE);
    }
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(EX_SOFTWARE)
        }
    }
}

fn answer() -> Result<(), Box<dyn std::error::Error>> {
    let mut thread = Gpus::start().ok_or("no thread")?;
    // The first answer may come late, since the driver is loaded for it.
    for _ in 0..30 {
        if !thread.read().gpus.is_empty() {
            break;
        }
    }
    for line in io::stdin().lock().lines() {
        line?;
        let now = SystemClock.now()?;
        let found = thread.read();
        let gpu = |gpu: &tenantryd::gpu::places::Gpu| {
            let kind = match gpu.kind {
                GpuKind::Whole => "whole",
                GpuKind::Divided => "divided",
                GpuKind::Mig => "mig",
            };
            json!({ "name": gpu.name, "order": gpu.order, "minor": gpu.minor, "kind": kind })
        };
        let gpus: Vec<_> = found.gpus.iter().map(gpu).collect();
        let place = at(0, None, &found.gpus).map(ToString::to_string).map_err(|why| why.to_string());
        let reading = Reading { gpus: found.readings, ..Reading::empty(now) };
        writeln!(io::stdout(), "{}", json!({ "gpus": gpus, "first_place": place, "reading": reading }))?;
        io::stdout().flush()?;
    }
    Ok(())
}
