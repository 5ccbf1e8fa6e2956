//! The plugin as it is packaged: built with the release profile, without `fault-injection`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The built plugin. It has a target directory of its own, beside the one cargo uses meanwhile.
pub static PLUGIN: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("golden");
    let output = cargo()
        .args(["build", "--release", "--locked", "-p", "spank-tenantry", "--message-format=json"])
        .arg("--target-dir")
        .arg(&target)
        .output()
        .unwrap();
    let messages = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "the plugin does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let plugin = messages
        .split('"')
        .find(|word| word.ends_with("/libspank_tenantry.so"))
        .expect("cargo names the plugin it built");
    PathBuf::from(plugin)
});

/// Cargo, at the package.
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}
