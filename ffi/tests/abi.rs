//! `sys.rs` against the headers of real Slurm releases.
//!
//! `TENANTRY_SLURM_HEADERS` lists directories, separated by colons, that each hold `slurm/slurm.h` and
//! `slurm/spank.h`. Without it, /usr/include is tried: there Debian's libslurm-dev and
//! slurm-wlm-basic-plugins-dev put them. Needs `cc`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where something is not as it should be"
)]

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use spank::Version;
use spank::sys::{self, SpankOption};

static SAID: Once = Once::new();

/// The directories to test, or none, and then says so where a harness can count it.
fn headers() -> Vec<PathBuf> {
    if let Some(list) = env::var_os("TENANTRY_SLURM_HEADERS").filter(|list| !list.is_empty()) {
        let list: Vec<PathBuf> = env::split_paths(&list).collect();
        for folder in &list {
            let header = folder.join("slurm/spank.h");
            assert!(header.is_file(), "TENANTRY_SLURM_HEADERS: there is no {}", header.display());
        }
        return list;
    }
    let debian = PathBuf::from("/usr/include");
    if debian.join("slurm/spank.h").is_file() {
        return vec![debian];
    }
    SAID.call_once(|| {
        // Straight to the file descriptor: the test harness swallows what a passing test prints.
        let line = "TENANTRY-SKIP abi: no Slurm headers; set TENANTRY_SLURM_HEADERS\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    });
    Vec::new()
}

/// Signatures as `sys.rs` has them; the compiler compares them with the header's.
const SIGNATURES: &str = r"
static spank_err_t (*get_item)(spank_t, spank_item_t, ...) = spank_get_item;
static spank_context_t (*context)(void) = spank_context;
static spank_err_t (*get)(spank_t, const char *, char *, int) = spank_getenv;
static spank_err_t (*set)(spank_t, const char *, const char *, int) = spank_setenv;
static spank_err_t (*unset)(spank_t, const char *) = spank_unsetenv;
static spank_err_t (*control_get)(spank_t, const char *, char *, int) = spank_job_control_getenv;
static spank_err_t (*control_set)(spank_t, const char *, const char *, int) = spank_job_control_setenv;
static spank_err_t (*control_unset)(spank_t, const char *) = spank_job_control_unsetenv;
static spank_err_t (*reg)(spank_t, struct spank_option *) = spank_option_register;
static spank_err_t (*getopt_)(spank_t, struct spank_option *, char **) = spank_option_getopt;
static void (*log_error)(const char *, ...) = slurm_error;
static void (*log_info)(const char *, ...) = slurm_info;
static void (*log_verbose)(const char *, ...) = slurm_verbose;
static void (*log_debug)(const char *, ...) = slurm_debug;
static void (*log_user)(const char *, ...) = slurm_spank_log;
static int (*hook)(spank_t, int, char **) = (spank_f *) 0;
static int (*callback)(int, const char *, int) = (spank_opt_cb_f) 0;
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 11, 0)
static spank_err_t (*prepend)(spank_t, int, const char **) = spank_prepend_task_argv;
#endif
";

/// What `sys.rs` claims, as name and value.
fn claims(release: Version) -> BTreeMap<String, u64> {
    let unsigned = |number: i32| u64::try_from(number).unwrap();
    let mut claims = BTreeMap::new();
    claims.extend(sys::ITEMS.iter().map(|(name, id, _)| ((*name).to_owned(), unsigned(*id))));
    claims.extend(sys::CONTEXTS.iter().map(|(name, id)| ((*name).to_owned(), unsigned(*id))));
    claims.extend(sys::CODES.iter().map(|(name, id)| ((*name).to_owned(), unsigned(*id))));
    claims.extend(sys::SPECIAL.iter().map(|(name, id)| ((*name).to_owned(), u64::from(*id))));
    if (release.major, release.minor) >= (25, 5) {
        claims.extend(sys::INIT_FAILURE_MODES.iter().map(|(name, id)| ((*name).to_owned(), unsigned(*id))));
    }
    let mut size = |text: &str, bytes: usize| claims.insert(text.to_owned(), u64::try_from(bytes).unwrap());
    size("sizeof(spank_err_t)", size_of::<i32>());
    size("sizeof(spank_item_t)", size_of::<i32>());
    size("sizeof(spank_context_t)", size_of::<i32>());
    size("sizeof(spank_t)", size_of::<*mut sys::SpankHandle>());
    size("sizeof(struct spank_option)", size_of::<SpankOption>());
    size("offsetof(struct spank_option, name)", offset_of!(SpankOption, name));
    size("offsetof(struct spank_option, arginfo)", offset_of!(SpankOption, arginfo));
    size("offsetof(struct spank_option, usage)", offset_of!(SpankOption, usage));
    size("offsetof(struct spank_option, has_arg)", offset_of!(SpankOption, has_arg));
    size("offsetof(struct spank_option, val)", offset_of!(SpankOption, val));
    size("offsetof(struct spank_option, cb)", offset_of!(SpankOption, cb));
    size("SPANK_OPTION_MAXLEN", sys::SPANK_OPTION_MAXLEN);
    for version in [release, spank::SLURM_VERSION] {
        let Version { major, minor, micro } = version;
        claims.insert(format!("SLURM_VERSION_NUM({major}, {minor}, {micro})"), u64::from(version.number()));
    }
    claims
}

/// The release, from the one number in `slurm_version.h`.
fn release(folder: &Path) -> Version {
    let text = fs::read_to_string(folder.join("slurm/slurm_version.h")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("#define SLURM_VERSION_NUMBER 0x")).unwrap();
    let [_, major, minor, micro] = u32::from_str_radix(line.trim(), 16).unwrap().to_be_bytes();
    Version { major, minor, micro }
}

fn ask_the_compiler(folder: &Path, names: &[&String]) -> BTreeMap<String, u64> {
    let work = tempfile::tempdir().unwrap();
    let mut program =
        "#include <stddef.h>\n#include <stdio.h>\n#include <slurm/slurm.h>\n#include <slurm/spank.h>\n"
            .to_owned();
    program.push_str(SIGNATURES);
    program.push_str("int main(void)\n{\n");
    for name in names {
        writeln!(program, "\tprintf(\"%s=%llu\\n\", \"{name}\", (unsigned long long) ({name}));").unwrap();
    }
    program.push_str("\treturn 0;\n}\n");
    let source = work.path().join("abi.c");
    fs::write(&source, program).unwrap();
    let binary = work.path().join("abi");
    let cc = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(cc);
    // The functions are compared, not called: no libslurm is there to link.
    command.args(["-std=gnu11", "-O1", "-w", "-Werror=incompatible-pointer-types", "-I"]).arg(folder);
    command.args(["-Wl,--unresolved-symbols=ignore-all", "-o"]).arg(&binary).arg(&source);
    let compiled = command.output().expect("this test needs a C compiler");
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{}: {said}", folder.display());
    let output = Command::new(binary).output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    let pairs = output.lines().map(|line| line.rsplit_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

#[test]
fn constants_layouts_and_signatures_are_those_of_slurms_headers() {
    for folder in headers() {
        let release = release(&folder);
        let claims = claims(release);
        let found = ask_the_compiler(&folder, &claims.keys().collect::<Vec<_>>());
        assert_eq!(found, claims, "Slurm {release}, {}", folder.display());
    }
}

/// What Slurm stores for an item stands nowhere but in the comment beside it.
#[test]
fn items_have_the_types_that_slurms_header_documents() {
    for folder in headers() {
        let release = release(&folder);
        let text = fs::read_to_string(folder.join("slurm/spank.h")).unwrap();
        let (_, list) = text.split_once("enum spank_item {").unwrap();
        let (list, _) = list.split_once("};").unwrap();
        for (name, _, rust) in sys::ITEMS {
            let (_, comment) = list.split_once(&format!(" {name},")).unwrap();
            let (comment, _) = comment.split_once("*/").unwrap();
            let c = match *rust {
                "uid_t" => "uid_t *)",
                "gid_t" => "(gid_t *)",
                "pid_t" => "(pid_t *)",
                "u16" => "uint16_t *)",
                "u32" => "uint32_t *)",
                "u64" => "uint64_t *)",
                "c_int" => "(int *)",
                "*const c_char" => "(char **)",
                other => panic!("{name}: no C type is known for {other}"),
            };
            assert!(comment.contains(c), "Slurm {release}: {name} is {rust} here, there {comment}");
        }
    }
}
