//! What `TENANTRY_SLURM_VERSION` does, with the build script compiled and run as cargo would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where something is not as it should be"
)]

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

static SCRIPT: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("spank_build_script");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let mut command = Command::new(rustc);
    let status =
        command.args(["--edition", "2024", "-o"]).arg(&script).arg(source).status().expect("rustc runs");
    assert!(status.success(), "the build script does not compile");
    script
});

fn build(version: Option<&OsStr>) -> (Output, String) {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(SCRIPT.as_path());
    command.env_remove("TENANTRY_SLURM_VERSION").env("OUT_DIR", out.path());
    if let Some(version) = version {
        command.env("TENANTRY_SLURM_VERSION", version);
    }
    let output = command.output().unwrap();
    let written = fs::read_to_string(out.path().join("slurm_version.rs")).unwrap_or_default();
    (output, written)
}

#[test]
fn each_release_is_its_own_build_and_24_11_the_default() {
    for (version, fields) in [
        (None, "major: 24, minor: 11, micro: 0"),
        (Some("22.05"), "major: 22, minor: 5, micro: 0"),
        (Some("26.05.5"), "major: 26, minor: 5, micro: 5"),
    ] {
        let (output, written) = build(version.map(OsStr::new));
        assert!(output.status.success(), "{version:?}");
        assert!(
            written.contains(&format!("SLURM_VERSION: Version = Version {{ {fields} }};")),
            "{version:?}: {written}"
        );
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains("cargo::rerun-if-env-changed=TENANTRY_SLURM_VERSION\n"), "{told}");
    }
}

#[test]
fn a_malformed_version_stops_the_build_and_says_what_to_write() {
    for version in ["", "24.5", "24.11-rc1", "latest"] {
        let (output, written) = build(Some(OsStr::new(version)));
        assert!(!output.status.success() && written.is_empty(), "{version:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(
            told.contains(&format!(
                "cargo::error=TENANTRY_SLURM_VERSION={version:?}: not a Slurm version; write YY.MM"
            )),
            "{told}"
        );
    }
    let (output, _) = build(Some(OsStr::from_bytes(b"\xff")));
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("is not text; write e.g. 24.11"));
}
