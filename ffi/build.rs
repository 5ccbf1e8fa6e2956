//! Fixes the Slurm version that the plugin is for, and how the example plugin is linked.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

#[path = "src/version.rs"]
#[allow(dead_code, reason = "the library uses the rest of the file")]
mod version;

use version::Version;

const VARIABLE: &str = "TENANTRY_SLURM_VERSION";
const DEFAULT: &str = "24.11";

fn main() -> ExitCode {
    let mut cargo = io::stdout().lock();
    match run(&mut cargo) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // If cargo has closed the pipe, the exit status still says it.
            let _ = writeln!(cargo, "cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn run(cargo: &mut impl io::Write) -> Result<(), String> {
    let said = |e: io::Error| format!("could not talk to cargo: {e}");
    writeln!(cargo, "cargo::rerun-if-changed=build.rs").map_err(said)?;
    writeln!(cargo, "cargo::rerun-if-changed=src/version.rs").map_err(said)?;
    writeln!(cargo, "cargo::rerun-if-env-changed={VARIABLE}").map_err(said)?;
    // A plugin stays mapped: it has a panic hook and thread-locals that must not outlive its code. For every
    // target of this package, because neither -cdylib- nor -examples- reaches an example that is a cdylib.
    writeln!(cargo, "cargo::rustc-link-arg=-Wl,-z,nodelete").map_err(said)?;

    let wanted = match env::var(VARIABLE) {
        Ok(text) => text,
        Err(env::VarError::NotPresent) => DEFAULT.to_owned(),
        Err(env::VarError::NotUnicode(_)) => return Err(format!("{VARIABLE} is not text; write e.g. 24.11")),
    };
    let Version { major, minor, micro } =
        Version::parse(&wanted).map_err(|e| format!("{VARIABLE}={wanted:?}: {e}"))?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    let file = out.join("slurm_version.rs");
    let text = format!(
        "/// The Slurm release that this build is for: Slurm loads a plugin only where major and minor \
         match its own.\npub const SLURM_VERSION: Version = Version {{ major: {major}, minor: {minor}, \
         micro: {micro} }};\n"
    );
    fs::write(&file, text).map_err(|e| format!("could not write {}: {e}", file.display()))
}
