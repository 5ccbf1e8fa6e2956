//! Loading programs, and putting them where they belong.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::hook::{Hook, Program};
use super::insn::Insn;
use super::sys::{self, ProgramInfo};
use crate::{Error, GroupPath, Result, Root};

/// The verifier's words, at most.
const LOG_SIZE: usize = 64 * 1024;

/// A program in the kernel.
#[derive(Debug)]
pub struct Loaded {
    pub fd: OwnedFd,
    pub info: ProgramInfo,
}

impl Loaded {
    /// Loads a program.
    ///
    /// # Errors
    /// [`Error::Unenforceable`] where the kernel refuses it.
    pub fn new(program: &Program) -> Result<Self> {
        let spec = program.hook.spec();
        let fd = load(program.hook, &program.code)
            .map_err(|reason| Error::Unenforceable { part: spec.part, reason })?;
        Self::from_fd(fd).map_err(|source| failed("examine", spec.name.to_owned(), source))
    }

    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let info = sys::program_info(fd.as_fd())?;
        Ok(Self { fd, info })
    }
}

/// Loads a program, or says why the kernel does not take it.
pub fn load(hook: Hook, code: &[Insn]) -> std::result::Result<OwnedFd, String> {
    /// The kernel gives up while a signal waits; as often as libbpf.
    const TRIES: u32 = 5;
    let spec = hook.spec();
    let load = |log| sys::load(spec.name, spec.program_type, spec.attach_type, code, log);
    let mut refused = None;
    for _ in 0..TRIES {
        match load(None) {
            Ok(fd) => return Ok(fd),
            Err(error) => {
                let again = error.kind() == io::ErrorKind::WouldBlock;
                refused = Some(error);
                if !again {
                    break;
                }
            }
        }
    }
    let mut log = vec![0; LOG_SIZE];
    // Once more, for the verifier's words.
    match load(Some(&mut log)) {
        Ok(fd) => Ok(fd),
        Err(error) => Err(explain(refused.as_ref().unwrap_or(&error), &log)),
    }
}

/// What an answer of `bpf(2)` means for who runs the node.
pub fn explain(error: &io::Error, log: &[u8]) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::ENOSYS) => "; it is built without CONFIG_BPF_SYSCALL",
        Some(libc::EPERM) => {
            "; CAP_BPF and CAP_NET_ADMIN are needed, and lockdown and containers may forbid it to root too"
        }
        Some(libc::EINVAL) => "; it knows no such program or map, which need CONFIG_CGROUP_BPF",
        Some(libc::E2BIG) => "; the program is too long, make its list shorter",
        _ => "",
    };
    let log = String::from_utf8_lossy(log);
    let words = log.trim_end_matches('\0').trim().lines().rev().find(|line| !line.starts_with("processed "));
    let words = words.map(|line| format!(" (verifier: {line})")).unwrap_or_default();
    format!("bpf(2) answers {error}{hint}{words}")
}

/// A group that programs are attached to.
#[derive(Debug)]
pub struct Target {
    dir: OwnedFd,
    path: PathBuf,
}

impl Target {
    pub fn open(root: &Root, group: &GroupPath) -> Result<Self> {
        Ok(Self { dir: root.open_dir(group)?, path: group.as_path().to_owned() })
    }

    /// Our programs at a hook, in the order in which they run.
    pub fn ours(&self, hook: Hook) -> Result<Vec<Loaded>> {
        let spec = hook.spec();
        let refused = |source| self.failed("look for", hook, source);
        let ids = match sys::query(self.dir.as_fd(), spec.attach_type) {
            Ok(ids) => ids,
            // A kernel that does not know the hook has nothing attached there.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(refused(error)),
        };
        let mut ours = Vec::new();
        for id in ids {
            match sys::open_program(id).and_then(Loaded::from_fd) {
                Ok(program) if program.info.name == spec.name.as_bytes() => ours.push(program),
                Ok(_) => {}
                // It was detached since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(ours)
    }

    /// Leaves one program of ours at a hook: one that is there already and that `same` finds
    /// equal, or else `program`, in one step in the place of an older one.
    pub fn put(&self, hook: Hook, program: &Loaded, same: impl Fn(&Loaded) -> bool) -> Result<()> {
        /// Somebody else of ours may be at it at the same time, and take the older one away first.
        const TRIES: u32 = 3;
        let mut ours = self.ours(hook)?;
        for tries in 1.. {
            if let Some(at) = ours.iter().position(&same) {
                ours.remove(at);
                break;
            }
            let old = ours.pop();
            match self.attach(hook, program.fd.as_fd(), old.as_ref().map(|old| old.fd.as_fd())) {
                Err(Error::Bpf { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && tries < TRIES =>
                {
                    ours = self.ours(hook)?;
                }
                Ok(()) => break,
                Err(error) => return Err(error),
            }
        }
        self.detach(hook, &ours)
    }

    /// Leaves no program of ours at a hook.
    pub fn clear(&self, hook: Hook) -> Result<()> {
        self.detach(hook, &self.ours(hook)?)
    }

    fn attach(&self, hook: Hook, program: BorrowedFd<'_>, old: Option<BorrowedFd<'_>>) -> Result<()> {
        let spec = hook.spec();
        sys::attach(self.dir.as_fd(), spec.attach_type, program, old).map_err(|error| {
            match error.raw_os_error() {
                // The kernel's answer where such a program is in the way, and to who may not.
                Some(libc::EPERM) => Error::Unenforceable {
                    part: spec.part,
                    reason: format!(
                        "bpf(2) does not let {} be attached to {}: CAP_NET_ADMIN is missing, or a program that was \
                         attached without BPF_F_ALLOW_MULTI is there or above; see: bpftool cgroup tree",
                        spec.name,
                        self.path.display()
                    ),
                },
                Some(libc::EINVAL | libc::ENOSYS) => {
                    Error::Unenforceable { part: spec.part, reason: explain(&error, &[]) }
                }
                _ => self.failed("attach", hook, error),
            }
        })
    }

    fn detach(&self, hook: Hook, programs: &[Loaded]) -> Result<()> {
        for program in programs {
            match sys::detach(self.dir.as_fd(), hook.spec().attach_type, program.fd.as_fd()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.failed("detach", hook, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn failed(&self, operation: &'static str, hook: Hook, source: io::Error) -> Error {
        failed(operation, format!("{} at {}", hook.spec().name, self.path.display()), source)
    }
}

pub fn failed(operation: &'static str, what: String, source: io::Error) -> Error {
    Error::Bpf { operation, what, source }
}
