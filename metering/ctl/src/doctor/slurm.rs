//! What Slurm's settings are: the file's, with their place, or slurmctld's where the file says nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::conf::Conf;
use super::elf::SlurmVersion;
use super::finding::{Place, Verdict, unseen};
use super::machine::{FileFacts, Seen};
use super::plugstack::Plugstack;

/// Slurm as it is configured here.
#[derive(Debug, Clone)]
pub struct Slurm {
    /// slurm.conf, where it was looked for.
    pub conf_path: PathBuf,
    /// slurm.conf.
    pub conf: Seen<Conf>,
    /// cgroup.conf, beside it.
    pub cgroup_conf: Seen<Conf>,
    /// `job_container.conf`, beside it.
    pub container_conf: Seen<Conf>,
    /// plugstack.conf, where it was looked for.
    pub plugstack_path: PathBuf,
    /// plugstack.conf.
    pub plugstack: Seen<Plugstack>,
    /// The files of Tenantry's lines in it.
    pub plugin_files: Vec<PluginFile>,
    /// `scontrol show config`, keys in lower case.
    pub live: Seen<BTreeMap<String, String>>,
    /// `slurmd -V`; slurmctld's own where there is no slurmd.
    pub version: Seen<SlurmVersion>,
}

/// The file that a line of plugstack.conf names for Tenantry's plugin.
#[derive(Debug, Clone)]
pub struct PluginFile {
    /// The file, where Slurm finds it.
    pub path: PathBuf,
    /// The file's metadata, links followed.
    pub file: Seen<FileFacts>,
    /// Its directory's.
    pub dir: Seen<FileFacts>,
    /// What it was built for; `None`: it is no plugin of Slurm's.
    pub version: Seen<Option<SlurmVersion>>,
}

/// Which file a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    Slurm,
    Cgroup,
}

/// A key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `None`: nobody set it.
    pub value: Option<String>,
    /// Where it stands, or where to write it.
    pub place: Place,
    /// It in words.
    pub text: String,
}

impl Slurm {
    /// cgroup.conf's path, or another beside slurm.conf.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.conf_path.parent().unwrap_or(Path::new("/etc/slurm")).join(name)
    }

    /// The file's value of a key, else slurmctld's.
    pub fn setting(&self, file: File, key: &str) -> Seen<Setting> {
        let (conf, path) = match file {
            File::Slurm => (&self.conf, self.conf_path.clone()),
            File::Cgroup => (&self.cgroup_conf, self.beside("cgroup.conf")),
        };
        if let Some(entry) = conf.is().and_then(|conf| conf.last(key)) {
            return Seen::Is(Setting {
                value: Some(entry.value.clone()),
                place: entry.place.clone(),
                text: format!("{}={}", entry.key, entry.value),
            });
        }
        let place = Place::file(&path);
        let live = self.live.as_ref().map(|live| live.get(&key.to_lowercase()).cloned());
        match (conf, live) {
            (_, Seen::Is(Some(value))) => {
                let text = format!("{key} is not set in the file; slurmctld has {value}");
                Seen::Is(Setting { value: Some(value), place, text })
            }
            // No cgroup.conf means the defaults; no slurm.conf means that we look in the wrong place.
            (Seen::Is(_), _) | (_, Seen::Is(None)) => {
                Seen::Is(Setting { value: None, place, text: format!("{key} is not set") })
            }
            (Seen::Absent, _) if file == File::Cgroup && self.conf.is().is_some() => {
                Seen::Is(Setting { value: None, place, text: format!("{key} is not set") })
            }
            (Seen::Unseen(reason), _) => Seen::Unseen(format!("{key}: {reason}")),
            (Seen::Absent, _) => {
                Seen::Unseen(format!("{key}: no {} and no answer from slurmctld", path.display()))
            }
        }
    }

    /// One verdict about a key. The judge's `found` is put behind the setting in words.
    pub fn judge(
        &self,
        uid: u32,
        file: File,
        key: &str,
        judge: impl FnOnce(Option<&str>) -> Verdict,
    ) -> Vec<Verdict> {
        vec![match self.setting(file, key) {
            Seen::Is(setting) => {
                let verdict = judge(setting.value.as_deref());
                let found = if verdict.found.is_empty() {
                    setting.text
                } else {
                    format!("{}: {}", setting.text, verdict.found)
                };
                Verdict { found, ..verdict }.at(setting.place)
            }
            Seen::Absent => unseen(uid, key),
            Seen::Unseen(reason) => unseen(uid, &reason),
        }]
    }

    /// The Prolog of that file name. There may be several, each in a line of its own: slurmctld then
    /// numbers them (`Prolog[0]`).
    pub fn prolog_named(&self, name: &str) -> Option<String> {
        let file = self.conf.is().into_iter().flat_map(|conf| &conf.entries);
        let file = file.filter(|entry| entry.of.is_none()).map(|entry| (&entry.key, &entry.value));
        let all = file.chain(self.live.is().into_iter().flatten());
        let is_prolog = |key: &str| {
            let key = key.to_lowercase();
            key == "prolog" || key.starts_with("prolog[")
        };
        let mut paths = all.filter(|(key, _)| is_prolog(key)).flat_map(|(_, value)| value.split([',', ' ']));
        paths.find(|path| Path::new(path).file_name().is_some_and(|file| file == name)).map(str::to_owned)
    }

    /// A key's value, if anybody knows it.
    pub fn value(&self, file: File, key: &str) -> Option<String> {
        self.setting(file, key).is().and_then(|setting| setting.value.clone())
    }
}

/// Whether a comma-separated list has an item, in whatever case; `item=value` counts as `item`.
pub fn has(list: Option<&str>, item: &str) -> bool {
    items(list.unwrap_or_default()).any(|word| word.split('=').next() == Some(item))
}

/// The items of a list, in lower case.
pub fn items(list: &str) -> impl Iterator<Item = String> {
    list.split([',', ';']).map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty())
}

/// Slurm's words for yes.
pub fn yes(value: Option<&str>) -> bool {
    value.is_some_and(|value| matches!(value.to_lowercase().as_str(), "yes" | "true" | "up" | "1"))
}

/// The plugin of `type/plugin`, in lower case.
pub fn plugin(value: &str) -> String {
    value.rsplit('/').next().unwrap_or(value).trim().to_lowercase()
}

/// The leading whole number of `60 sec` or `60`.
pub fn seconds(value: &str) -> Option<u64> {
    value.split_whitespace().next()?.parse().ok()
}

/// Whether the file's value and slurmctld's mean the same. slurmctld adds what a word implies
/// (`Contain` brings `Alloc`), so each item of the file must be in its list, no more.
pub fn agree(file: &str, live: &str) -> bool {
    if normal(file) == normal(live) || (no(file) && no(live)) || (yes(Some(file)) && yes(Some(live))) {
        return true;
    }
    if normal(file).is_empty() {
        return true;
    }
    let live: Vec<_> = items(live).map(|item| plugin(&item)).collect();
    let mut file = items(file).map(|item| plugin(&item)).peekable();
    file.peek().is_some() && file.all(|item| live.contains(&item))
}

/// Slurm's words for no.
pub fn no(value: &str) -> bool {
    matches!(value.to_lowercase().as_str(), "no" | "false" | "down" | "0" | "none" | "")
}

fn normal(value: &str) -> String {
    let value = value.to_lowercase();
    let value = value.split(" sec").next().unwrap_or_default().trim();
    let value = value.strip_suffix('%').map_or(value, |value| value.trim_end_matches(".0"));
    // `root(0)`: the uid is slurmctld's addition.
    let value = value.split('(').next().unwrap_or_default();
    plugin(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slurmctld_says_in_other_words_agrees() {
        for (file, live) in [
            ("Contain", "Alloc,Contain"),
            ("contain,alloc", "Alloc,Contain"),
            ("associations,limits", "associations,limits"),
            ("safe", "associations,limits,safe"),
            ("60", "60 sec"),
            ("1", "yes"),
            ("NO", "0"),
            ("root", "root(0)"),
            ("100", "100.0%"),
            ("CR_Core_Memory", "CR_CORE_MEMORY"),
            ("cgroup", "proctrack/cgroup"),
            ("task/affinity,task/cgroup", "task/cgroup,task/affinity"),
        ] {
            assert!(agree(file, live), "{file} {live}");
        }
        for (file, live) in [
            ("proctrack/cgroup", "proctrack/linuxproc"),
            ("Alloc,Contain", "Alloc"),
            ("30", "60 sec"),
            ("yes", "no"),
            ("associations", "none"),
        ] {
            assert!(!agree(file, live), "{file} {live}");
        }
    }

    #[test]
    fn an_item_of_a_list_is_found_whatever_follows_it() {
        assert!(has(Some("Alloc, Contain"), "contain"));
        assert!(has(Some("use_interactive_step;mpir=1"), "mpir"));
        assert!(!has(Some("NoContain"), "contain") && !has(None, "contain"));
    }
}
