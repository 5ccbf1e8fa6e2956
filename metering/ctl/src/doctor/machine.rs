//! The machine that is examined: its files, and the commands it answers.
//!
//! A recorded machine is a directory with the files at their paths, and in `commands/` what each
//! command printed: `scontrol`, `systemctl`, `slurmd`, `sacctmgr`; `uid` is who asks (absent: root),
//! `statvfs` has lines of `PATH FREE-BYTES ALL-BYTES`, and `bpf` what the kernel offers of BPF, as
//! [`bpf::Support`] writes it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::geteuid;
use tenantry_cgroup::Root;
use tenantry_cgroup::bpf::{self, Part};
use tokio::process::Command;

/// How long a command may take: the doctor must answer where slurmctld or systemd does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found where something was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is this.
    Is(T),
    /// It is not there.
    Absent,
    /// It could not be seen, and why.
    Unseen(String),
}

impl<T> Seen<T> {
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::Is(value) => Seen::Is(f(value)),
            Self::Absent => Seen::Absent,
            Self::Unseen(reason) => Seen::Unseen(reason),
        }
    }

    pub fn as_ref(&self) -> Seen<&T> {
        match self {
            Self::Is(value) => Seen::Is(value),
            Self::Absent => Seen::Absent,
            Self::Unseen(reason) => Seen::Unseen(reason.clone()),
        }
    }

    pub fn is(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Unseen(_) => None,
        }
    }

    fn from_io(path: &Path, result: io::Result<T>) -> Self {
        match result {
            Ok(value) => Self::Is(value),
            // A kernel that was built with PSI and runs without it answers EOPNOTSUPP.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::Unsupported
                ) =>
            {
                Self::Absent
            }
            Err(error) => Self::Unseen(format!("{}: {error}", path.display())),
        }
    }
}

/// A file's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Permission bits, as in 0o755.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// Whether it is a socket.
    pub is_socket: bool,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
}

impl FileFacts {
    /// Why others than `owner` may write it, if they may.
    pub fn open_to_others(&self, owner: u32) -> Option<String> {
        if self.uid != owner {
            return Some(format!("belongs to uid {}", self.uid));
        }
        (self.mode & 0o022 != 0).then(|| format!("has mode {:o}", self.mode))
    }
}

/// A file system's room, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free to root.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
    recorded: bool,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        Self { root: "/".into(), recorded: false }
    }

    /// One recorded in a directory.
    pub fn recorded(root: PathBuf) -> Self {
        Self { root, recorded: true }
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path on the examined machine of one on ours.
    pub fn named(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).map_or_else(|_| path.to_owned(), |inner| Path::new("/").join(inner))
    }

    /// Where a directory of the examined machine is on ours.
    pub fn real(&self, path: &str) -> PathBuf {
        self.at(Path::new(path))
    }

    /// A command's recorded output, or another recorded fact.
    fn record(&self, name: &str) -> Seen<String> {
        self.read(&Path::new("/commands").join(name))
    }

    /// Who asks.
    pub fn uid(&self) -> u32 {
        if !self.recorded {
            return geteuid().as_raw();
        }
        self.record("uid").is().and_then(|uid| uid.trim().parse().ok()).unwrap_or(0)
    }

    /// `SLURM_CONF` of whoever asks.
    pub fn slurm_conf_of_environment(&self) -> Option<PathBuf> {
        if self.recorded { None } else { std::env::var_os("SLURM_CONF").map(PathBuf::from) }
    }

    /// Who root is: in a recorded tree its owner.
    pub fn admin(&self) -> u32 {
        if self.recorded { fs::metadata(&self.root).map_or(0, |root| root.uid()) } else { 0 }
    }

    /// A file's text; what is no UTF-8 is replaced.
    pub fn read(&self, path: &Path) -> Seen<String> {
        Seen::from_io(path, fs::read(self.at(path))).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file's bytes.
    pub fn bytes(&self, path: &Path) -> Seen<Vec<u8>> {
        Seen::from_io(path, fs::read(self.at(path)))
    }

    /// The entries of a directory, in order.
    pub fn list(&self, dir: &Path) -> Seen<Vec<PathBuf>> {
        let names = fs::read_dir(self.at(dir)).and_then(|entries| {
            entries.map(|entry| Ok(dir.join(entry?.file_name()))).collect::<io::Result<Vec<_>>>()
        });
        Seen::from_io(dir, names).map(|mut paths| {
            paths.sort();
            paths
        })
    }

    /// The files a pattern matches, in order, as glob(3) does.
    pub fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let root = glob::Pattern::escape(&self.root.to_string_lossy());
        let pattern = pattern.to_string_lossy();
        let Ok(paths) =
            glob::glob(&format!("{}/{}", root.trim_end_matches('/'), pattern.trim_start_matches('/')))
        else {
            return Vec::new();
        };
        paths.filter_map(Result::ok).map(|path| self.named(&path)).collect()
    }

    /// A file's metadata, links followed.
    pub fn stat(&self, path: &Path) -> Seen<FileFacts> {
        Seen::from_io(path, fs::metadata(self.at(path))).map(|metadata| FileFacts {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            is_socket: metadata.file_type().is_socket(),
            size: metadata.len(),
            modified: metadata.mtime(),
        })
    }

    /// The room where `path` is.
    pub fn space(&self, path: &Path) -> Seen<Space> {
        if self.recorded {
            let text = self.record("statvfs");
            let line = text.is().and_then(|text| {
                text.lines().find_map(|line| line.strip_prefix(path.to_str()?)?.strip_prefix(' '))
            });
            let mut numbers = line.unwrap_or_default().split(' ').filter_map(|word| word.parse().ok());
            return match (numbers.next(), numbers.next()) {
                (Some(free), Some(total)) => Seen::Is(Space { free, total }),
                _ => Seen::Absent,
            };
        }
        let space = nix::sys::statvfs::statvfs(path).map_err(io::Error::from);
        Seen::from_io(path, space).map(|fs| Space {
            free: fs.blocks_free().saturating_mul(fs.fragment_size()),
            total: fs.blocks().saturating_mul(fs.fragment_size()),
        })
    }

    /// What the kernel offers of BPF, or why not: asked by loading programs, which only root may.
    pub fn bpf(&self, cgroups: &Path) -> Seen<Vec<(Part, Option<String>)>> {
        if self.uid() != 0 {
            return Seen::Unseen("the kernel tells it root alone".to_owned());
        }
        if self.recorded {
            return self.record("bpf").map(|text| {
                let recorded = |part: &Part| {
                    let answer = text.lines().find_map(|line| line.strip_prefix(&format!("{part}: ")))?;
                    Some((*part, answer.strip_prefix("no: ").map(str::to_owned)))
                };
                Part::ALL.iter().filter_map(recorded).collect()
            });
        }
        match Root::open(cgroups) {
            Ok(root) => Seen::Is(
                bpf::support(&root, Path::new(bpf::PINS))
                    .iter()
                    .map(|(part, reason)| (part, reason.map(str::to_owned)))
                    .collect(),
            ),
            Err(error) => Seen::Unseen(error.to_string()),
        }
    }

    /// What a command prints.
    pub async fn run(&self, program: &str, args: &[&str], env: &[(&str, &Path)]) -> Seen<String> {
        if self.recorded {
            return self.record(program);
        }
        let mut command = Command::new(program);
        command
            .args(args)
            .envs(env.iter().copied())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Err(_) => Seen::Unseen(format!("{program} gave no answer in {} s", PATIENCE.as_secs())),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Seen::Absent,
            Ok(Err(error)) => Seen::Unseen(format!("{program}: {error}")),
            Ok(Ok(done)) if done.status.success() => {
                Seen::Is(String::from_utf8_lossy(&done.stdout).into_owned())
            }
            Ok(Ok(done)) => {
                let said = String::from_utf8_lossy(&done.stderr);
                let line = said.lines().next().unwrap_or("it said nothing");
                Seen::Unseen(format!("{program} failed: {line}"))
            }
        }
    }
}
