//! The example plugin in a process that calls it as Slurm does (`fake_host.c`). Needs `cc` and `readelf`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is not as it should be"
)]

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The example, which `cargo test -p spank` builds; not one from before the last change.
static PLUGIN: LazyLock<PathBuf> = LazyLock::new(|| {
    let build = env::current_exe().unwrap();
    let build = build.parent().unwrap().parent().unwrap();
    let plugin = build.join("examples/libprobe_plugin.so");
    let built = modified(&plugin);
    for folder in ["src", "examples"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let source = entry.unwrap().path();
            assert!(
                built.is_some() && modified(&source) <= built,
                "{} is missing or older than {}: run the whole of `cargo test -p spank`, which builds examples",
                plugin.display(),
                source.display(),
            );
        }
    }
    plugin
});

static FULL: LazyLock<PathBuf> = LazyLock::new(|| compile("full", &[]));
static OLD: LazyLock<PathBuf> = LazyLock::new(|| compile("old", &["-DOLD"]));
static BARE: LazyLock<PathBuf> = LazyLock::new(|| compile("bare", &["-DBARE"]));

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

fn compile(name: &str, flags: &[&str]) -> PathBuf {
    let host = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fake_host_{name}"));
    let source = Path::new(ROOT).join("tests/fake_host.c");
    let cc = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(cc);
    command.args(["-std=gnu11", "-O1", "-Wall", "-Wno-unused", "-rdynamic", "-o"]).arg(&host).args(flags);
    let status = command.arg(source).arg("-ldl").status().expect("these tests need a C compiler");
    assert!(status.success(), "the fake host does not compile");
    host
}

/// What one run of the host printed, and that it ended well.
struct Run {
    lines: Vec<String>,
    stderr: String,
    ended: bool,
}

impl Run {
    fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|l| l == line)
    }

    #[track_caller]
    fn expect(&self, line: &str) -> &Self {
        assert!(self.has(line), "no line {line:?} in {:#?}\nstderr: {}", self.lines, self.stderr);
        self
    }

    #[track_caller]
    fn quiet(&self) -> &Self {
        assert_eq!(self.stderr, "", "the plugin wrote to the host's stderr");
        assert!(self.ended, "the host did not end well: {:#?}", self.lines);
        self
    }

    /// The one error line.
    #[track_caller]
    fn error(&self) -> &str {
        let errors: Vec<_> = self.lines.iter().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "not one error line in {:#?}", self.lines);
        errors[0]
    }
}

fn run_in(host: &Path, words: &[&str], variables: &[(&str, &OsStr)]) -> Run {
    let mut command = Command::new(host);
    command.arg(PLUGIN.as_path()).args(words).env_clear().envs(variables.iter().copied());
    let output = command.output().expect("the fake host starts");
    let lines: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim_end().to_owned()).collect();
    Run {
        ended: output.status.success() && lines.iter().any(|line| line == "end"),
        lines,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn run(words: &[&str]) -> Run {
    run_in(&FULL, words, &[])
}

fn run_with(words: &[&str], variables: &[(&str, &str)]) -> Run {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, OsStr::new(value))).collect();
    run_in(&FULL, words, &variables)
}

#[test]
fn slurm_finds_name_type_version_and_failure_mode() {
    let run = run(&["remote", "task_init"]);
    run.quiet().expect(&format!("plugin probe spank {:#08x} 3012", spank::SLURM_VERSION.number()));
    run.expect("task_init = 0").expect("debug: in task_init");
    assert!(!run.has("exports init or fini"), "Slurm would call them");
}

#[test]
fn a_step_reads_every_item_at_its_width() {
    run(&["remote", "init"]).quiet().expect("init = 0").expect(
        "info: job=4000000007 step=5 uid=1001 gid=1002 nnodes=3 node=2 local=4 total=12 ncpus=65535 \
         per_task=16 mem=Some(8589934592) step_mem=None cores=Some(\"0-3\") step_cores=None \
         array=Some((77, 8))",
    );
}

#[test]
fn special_steps_are_named_and_senseless_ones_refused() {
    for (raw, name) in [("0xfffffffb", "batch"), ("0xfffffffc", "extern"), ("0xfffffffa", "interactive")] {
        let run = run_with(&["remote", "task_init_privileged"], &[("FAKE_STEP", raw)]);
        run.quiet().expect(&format!("info: step={name} task=1 global=9")).expect("task_init_privileged = 0");
    }
    let run = run_with(&["remote", "task_init_privileged"], &[("FAKE_STEP", "0xfffffffd")]);
    assert_eq!(
        run.quiet().expect("task_init_privileged = -1").error(),
        "error: probe: task_init_privileged: spank_get_item(S_JOB_STEPID): Slurm gave an impossible value"
    );
}

#[test]
fn one_init_serves_three_contexts() {
    run(&["slurmd", "init", "slurmd_exit"])
        .quiet()
        .expect("info: slurmd_init under Slurm 24.11.5")
        .expect("debug: in slurmd_init")
        .expect("debug: in slurmd_exit");
    for context in ["local", "allocator"] {
        run(&[context, "init", "init_post_opt", "exit"])
            .quiet()
            .expect("info: wish=Some(\"tea\")")
            .expect("info: wish=None")
            .expect("debug: in submit_init")
            .expect("debug: in submit_init_post_opt")
            .expect("debug: in submit_exit");
    }
    run(&["remote", "init", "init_post_opt", "exit"])
        .quiet()
        .expect("debug: in step_init")
        .expect("debug: in step_init_post_opt")
        .expect("debug: in step_exit");
    run(&["local", "local_user_init"]).quiet().expect("info: job=4000000007 step=5");
}

#[test]
fn a_context_without_a_hook_is_no_failure() {
    for (context, symbol) in [("error", "init"), ("slurmd", "init_post_opt"), ("job_script", "exit")] {
        let run = run(&[context, symbol, "--", "step_init=panic"]);
        run.quiet().expect(&format!("{symbol} = 0")).expect(&format!(
            "verbose: probe: slurm_spank_{symbol} called in a context that has no hook for it; ignored"
        ));
    }
}

#[test]
fn the_prolog_reads_its_own_environment_and_options() {
    let variables =
        [("SLURM_JOB_ACCOUNT", "physics"), ("FAKE_OPTION_greet", "Ada"), ("FAKE_OPTION_loud", "")];
    run_with(&["job_script", "job_prolog"], &variables).quiet().expect("job_prolog = 0").expect(
        "info: job=4000000007 uid=1001 gid=1002 account=Some(\"physics\") greet=Some(\"Ada\") loud=Some(\"\")",
    );
    run(&["job_script", "job_prolog"])
        .quiet()
        .expect("info: job=4000000007 uid=1001 gid=1002 account=None greet=None loud=None");
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    let account = OsStr::from_bytes(b"\xffx");
    run_in(&FULL, &["job_script", "job_prolog"], &[("SLURM_JOB_ACCOUNT", account)])
        .quiet()
        .expect("info: job=4000000007 uid=1001 gid=1002 account=Some(\"\\xFFx\") greet=None loud=None");
}

#[test]
fn variables_of_any_length_are_read_whole() {
    let long = "x".repeat(100_000);
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    let variables = [("JOB_SHORT", OsStr::new("1")), ("JOB_LONG", OsStr::new(&long)), ("JOB_BYTES", bytes)];
    run_in(&FULL, &["remote", "init_post_opt"], &variables)
        .quiet()
        .expect("info: SHORT: Some(1) bytes")
        .expect("info: LONG: Some(100000) bytes")
        .expect("setenv LONG_AGAIN 100000 bytes")
        .expect("info: UNSET: None bytes")
        .expect("setenv BYTES_AGAIN 2 bytes")
        .expect("unsetenv SHORT")
        .expect("init_post_opt = 0");
    for length in [255, 256, 4095, 4096] {
        let run = run_with(&["remote", "init_post_opt"], &[("JOB_LONG", &"x".repeat(length))]);
        run.quiet().expect(&format!("setenv LONG_AGAIN {length} bytes"));
    }
}

#[test]
fn tasks_are_numbered_and_end() {
    run(&["remote", "task_post_fork", "task_exit", "--", "task_exit=fail"])
        .quiet()
        .expect("info: task=Ok(1) pid=Ok(4242)")
        .expect("info: task=1 pid=4242 exit status: 3");
}

#[test]
fn an_item_that_is_not_there_is_an_error_with_its_name() {
    run_with(&["remote", "task_post_fork"], &[("FAKE_NO_TASK", "1")])
        .quiet()
        .expect("task_post_fork = 0")
        .expect(
            "info: task=Err(Slurm { call: \"spank_get_item\", what: \"S_TASK_ID\", code: NotTask }) \
         pid=Err(Slurm { call: \"spank_get_item\", what: \"S_TASK_PID\", code: NotTask })",
        );
    // The numbers since 21.08, those before, and one of nobody's.
    for (code, reason) in [
        ("3009", "not available to this hook (ESPANK_NOT_AVAIL)"),
        ("10", "not available to this hook (ESPANK_NOT_AVAIL)"),
        ("4711", "Slurm answers 4711, which spank.h does not list"),
    ] {
        let run = run_with(&["job_script", "job_prolog"], &[("FAKE_REFUSE", code)]);
        assert_eq!(
            run.quiet().expect("job_prolog = -1").error(),
            format!("error: probe: job_prolog: spank_get_item(S_JOB_ID): {reason}")
        );
    }
}

/// In the child of the fork Slurm has -1, in the extern step 0: kill(2) takes both for something else.
#[test]
fn a_number_that_names_no_process_is_refused() {
    for pid in ["-1", "0"] {
        let run = run_with(&["remote", "task_post_fork"], &[("FAKE_PID", pid)]);
        run.quiet().expect("info: task=Ok(1) pid=Err(Value { item: \"S_TASK_PID\" })");
    }
}

#[test]
fn a_failure_is_negative_and_one_line_of_log() {
    let run_once = run(&["job_script", "job_epilog", "--", "job_epilog=fail"]);
    assert_eq!(
        run_once.quiet().expect("job_epilog = -1").error(),
        r"error: probe: job_epilog: told to fail: 100%s %n\nerror: forged line"
    );
    let run_once = run(&["remote", "task_init", "--", "task_init=chain"]);
    assert_eq!(
        run_once.quiet().expect("task_init = -1").error(),
        "error: probe: task_init: told to chain: the cause"
    );
}

#[test]
fn a_panic_becomes_what_the_plugin_chose_for_the_hook() {
    for (context, symbol, hook, rc, told) in [
        ("job_script", "job_prolog", "job_prolog", 0, "success"),
        ("job_script", "job_epilog", "job_epilog", 0, "success"),
        ("remote", "task_init_privileged", "task_init_privileged", -1, "failure"),
        ("remote", "task_init", "task_init", -1, "failure"),
        ("remote", "task_post_fork", "task_post_fork", -1, "failure"),
        ("remote", "user_init", "user_init", -1, "failure"),
        ("remote", "init", "step_init", -1, "failure"),
        ("remote", "init_post_opt", "step_init_post_opt", -1, "failure"),
        ("remote", "exit", "step_exit", -1, "failure"),
        ("slurmd", "init", "slurmd_init", -1, "failure"),
        ("slurmd", "slurmd_exit", "slurmd_exit", -1, "failure"),
        ("local", "init", "submit_init", -1, "failure"),
        ("local", "local_user_init", "local_user_init", -1, "failure"),
        ("allocator", "init_post_opt", "submit_init_post_opt", -1, "failure"),
        ("allocator", "exit", "submit_exit", -1, "failure"),
    ] {
        let run = run(&[context, symbol, "--", &format!("{hook}=panic")]);
        let error = run.quiet().expect(&format!("{symbol} = {rc}")).error();
        let start = format!("error: probe: {hook}: panic: told to panic 100%s, at ");
        assert!(error.starts_with(&start) && error.contains("examples/probe_plugin.rs:"), "{error}");
        assert!(error.contains(&format!("; Slurm is told: {told}.")), "{error}");
    }
}

#[test]
fn every_kind_of_panic_is_caught() {
    for (action, text) in [
        ("panic_str", "panic: told to panic by a fixed text, at "),
        ("panic_any", "panic: (not a text), at "),
        ("panic_silent", "panic: without a message; "),
    ] {
        let run = run(&["remote", "task_init", "--", &format!("task_init={action}")]);
        let error = run.quiet().expect("task_init = -1").error();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_panic_in_on_panic_is_a_failure() {
    let run = run(&["remote", "task_exit", "--", "task_exit=panic"]);
    let error = run.quiet().expect("task_exit = -1").error();
    assert!(error.contains("Slurm is told: failure, because on_panic panicked too"), "{error}");
}

#[test]
fn a_hook_works_after_one_that_panicked() {
    let run = run(&["remote", "task_init", "task_exit", "--", "task_init=panic"]);
    run.quiet().expect("task_init = -1").expect("task_exit = 0");
}

/// By then glibc has run the destructors of the thread's locals.
#[test]
fn a_hook_works_and_may_panic_while_the_process_exits() {
    let run_once = run(&["allocator", "init", "atexit:exit"]);
    run_once.quiet().expect("debug: in submit_exit").expect("atexit:exit = 0");
    let run_once = run(&["allocator", "init", "atexit:exit", "--", "submit_exit=panic"]);
    let error = run_once.quiet().expect("atexit:exit = -1").error();
    assert!(error.starts_with("error: probe: submit_exit: panic: told to panic 100%s, at "), "{error}");
}

/// Rust aborts here, which nothing can prevent: the log must say why before.
#[test]
fn a_panic_while_a_panic_unwinds_is_logged_before_the_abort() {
    let run = run(&["remote", "task_init", "--", "task_init=panic_twice"]);
    assert!(!run.ended);
    let start = "error: SPANK plugin: panic while another one unwinds (the first of two, at ";
    let line =
        run.lines.iter().find(|line| line.starts_with(start)).expect("a line that names the first panic");
    assert!(line.contains("): dropped, at ") && line.contains("probe_plugin.rs"), "{line}");
}

#[test]
fn options_are_registered_in_init_of_every_context_that_takes_them() {
    for context in ["remote", "local", "allocator"] {
        run(&[context, "init"])
            .quiet()
            .expect("register --greet=WHOM (Say hello to WHOM) has_arg=1")
            .expect("register --loud= (Say it loud) has_arg=0");
    }
    let run = run(&["slurmd", "init"]);
    assert!(!run.quiet().lines.iter().any(|line| line.starts_with("register")), "{:?}", run.lines);
}

#[test]
fn a_refused_option_is_logged_and_the_hook_runs() {
    let run = run_with(&["remote", "init"], &[("FAKE_NO_OPTIONS", "1")]);
    run.quiet()
        .expect("error: probe: option left out: spank_option_register(greet): the value is too long (ESPANK_NOSPACE)")
        .expect("debug: in step_init")
        .expect("init = 0");
}

#[test]
fn an_options_callback_gets_its_argument_and_its_side() {
    run(&["local", "init", "option:greet:Ada", "option:loud"])
        .quiet()
        .expect("info: option greet=Some(\"Ada\") on Submit")
        .expect("info: option loud=None on Submit")
        .expect("option:greet:Ada = 0");
    run(&["remote", "init", "option:greet:Ada"]).quiet().expect("info: option greet=Some(\"Ada\") on Step");
    run_with(&["remote", "user_init"], &[("FAKE_OPTION_greet", "Ada")])
        .quiet()
        .expect("info: greet=Some(\"Ada\")");
}

#[test]
fn an_options_callback_may_refuse_and_may_panic() {
    let refused = run(&["local", "init", "option:greet:refuse"]);
    assert_eq!(
        refused.quiet().expect("option:greet:refuse = -1").error(),
        "error: probe: option callback (submit): --greet: nobody of that name"
    );
    let panicked = run(&["remote", "init", "option:greet:panic", "task_init"]);
    let error = panicked.quiet().expect("option:greet:panic = -1").expect("task_init = 0").error();
    assert!(error.starts_with("error: probe: option callback (step): panic: cannot greet, at "), "{error}");
}

#[test]
fn an_option_number_of_nobodys_is_a_failure() {
    for number in ["2", "-1"] {
        let call = format!("option#{number}");
        let run = run(&["remote", "init", &call]);
        let error = run.quiet().expect(&format!("{call} = -1")).error();
        assert!(error.ends_with(&format!("Slurm names option {number}, which is not one")), "{error}");
    }
}

#[test]
fn logged_text_is_never_a_format() {
    let run = run(&["remote", "task_init", "--", "task_init=log"]);
    for level in ["error", "info", "verbose", "debug"] {
        run.quiet().expect(&format!("{level}: to the log: 100%s %n"));
    }
    run.expect("user: to the user: 100%s %n");
}

#[test]
fn an_older_slurm_lacks_only_what_it_lacks() {
    let run = run_in(&OLD, &["remote", "task_init", "--", "task_init=log"], &[]);
    run.quiet().expect("task_init = 0").expect("error: to the user: 100%s %n");
    let run = run_in(&OLD, &["remote", "task_init_privileged"], &[]);
    assert_eq!(
        run.quiet().expect("info: step=5 task=1 global=9").expect("task_init_privileged = -1").error(),
        "error: probe: task_init_privileged: spank_prepend_task_argv: this process has no such function; it is \
         not Slurm, or a release without it"
    );
    run_with(&["remote", "task_init_privileged"], &[]).quiet().expect("argv nice -n5");
}

#[test]
fn a_process_that_is_not_slurm_can_load_and_call_the_plugin() {
    for binding in [&[][..], &[("FAKE_NOW", OsStr::new("1"))][..]] {
        let run = run_in(&BARE, &["job_script", "init", "job_prolog", "task_init"], binding);
        run.quiet().expect("init = 0").expect("job_prolog = -1").expect("task_init = 0");
    }
}

#[test]
fn a_null_handle_is_a_failure() {
    let run = run_with(&["remote", "task_init"], &[("FAKE_NO_HANDLE", "1")]);
    assert_eq!(
        run.quiet().expect("task_init = -1").error(),
        "error: probe: task_init: Slurm passed no handle"
    );
}

fn readelf(flags: &[&str]) -> String {
    let output =
        Command::new("readelf").args(flags).arg(PLUGIN.as_path()).output().expect("this test needs readelf");
    assert!(output.status.success(), "readelf failed");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_plugin_stays_mapped_and_exports_what_slurm_knows_only() {
    assert!(readelf(&["-dW"]).contains("NODELETE"), "the link argument of build.rs is gone");
    let symbols = readelf(&["--dyn-syms", "-W"]);
    let mut exported = Vec::new();
    for line in symbols.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, _, "GLOBAL" | "WEAK", _, section, name, ..] = fields[..] else { continue };
        if section == "UND" {
            assert!(
                !name.starts_with("slurm") && !name.starts_with("spank"),
                "{name} is linked, not looked up"
            );
        } else {
            exported.push(name);
        }
    }
    exported.sort_unstable();
    assert_eq!(
        exported,
        [
            "plugin_name",
            "plugin_type",
            "plugin_version",
            "slurm_spank_exit",
            "slurm_spank_init",
            "slurm_spank_init_failure_mode",
            "slurm_spank_init_post_opt",
            "slurm_spank_job_epilog",
            "slurm_spank_job_prolog",
            "slurm_spank_local_user_init",
            "slurm_spank_slurmd_exit",
            "slurm_spank_task_exit",
            "slurm_spank_task_init",
            "slurm_spank_task_init_privileged",
            "slurm_spank_task_post_fork",
            "slurm_spank_user_init",
        ]
    );
}
