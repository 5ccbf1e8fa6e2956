//! A recorded machine out of `tests/doctor/NAME`, with what git does not keep: modes, sockets, a plugin.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tenantry_model::tenants::Tenants;

/// A machine in a directory of its own.
pub struct Site {
    dir: TempDir,
}

impl Site {
    /// The one called `name`, its plugin built for Slurm 24.11.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor").join(name), dir.path());
        let site = Self { dir };
        // The owner in the tree is whoever runs the test: so must the server's user be.
        let uid = fs::metadata(site.root()).map(|root| std::os::unix::fs::MetadataExt::uid(&root)).unwrap();
        site.write("etc/passwd", &format!("tenantry:x:{uid}:{uid}::/:/bin/false\n"));
        site.socket("run/tenantry-server/ingest.sock", 0o660);
        site.socket("run/tenantry-server/api.sock", 0o666);
        site.mode("run/tenantry", 0o700);
        site.mode("var/lib/tenantry", 0o700);
        if let Ok(tenants) = Tenants::load(&site.at("etc/tenantry")) {
            let text = serde_json::to_string(&tenants).unwrap();
            site.write("var/lib/tenantry/tenants.last-good.json", &text);
        }
        site.plugin("0x180b05");
        site
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
    }

    pub fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn socket(&self, path: &str, mode: u32) {
        drop(UnixListener::bind(self.at(path)).unwrap());
        self.mode(path, mode);
    }

    /// A shared object with Slurm's number of a version in it.
    fn plugin(&self, number: &str) {
        let (source, library) = (self.at("plugin.c"), self.at("usr/lib/tenantry/spank_tenantry.so"));
        fs::write(&source, format!("const unsigned int plugin_version = {number};\n")).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(built.unwrap().success());
        self.mode("usr/lib/tenantry/spank_tenantry.so", 0o755);
    }
}

/// Copies a tree; its modes are those of a careful administrator, whatever the umask.
fn copy(from: &Path, to: &Path) {
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}
