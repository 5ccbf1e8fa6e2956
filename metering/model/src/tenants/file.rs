//! Text to [`Tenants`], with the place of every mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::{AccountPattern, Limits, Policy, Tenant, Tenants, TenantsError, Unclaimed};
use crate::durable;
use crate::ids::{AccountName, TenantPath};
use crate::job::Paths;
use crate::units::Limit;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    policy: Option<Spanned<Policy>>,
    #[serde(default)]
    tenants: BTreeMap<Spanned<String>, RawTenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTenant {
    #[serde(default)]
    accounts: Vec<Spanned<String>>,
    #[serde(default)]
    users: BTreeSet<String>,
    #[serde(default)]
    groups: BTreeSet<String>,
    cpu_weight: Option<Spanned<i64>>,
    cpu_max: Option<Spanned<String>>,
    memory_low: Option<Spanned<String>>,
    memory_high: Option<Spanned<String>>,
    memory_max: Option<Spanned<String>>,
    memory_swap_max: Option<Spanned<String>>,
    pids_max: Option<Spanned<toml::Value>>,
}

/// One file's text, to name a place in it.
struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, at: Range<usize>, problem: impl Into<String>, fix: impl Into<String>) -> TenantsError {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        TenantsError {
            file: self.file.to_owned(),
            line: before.matches('\n').count().saturating_add(1),
            column: before.get(line_start..).map_or(0, |line| line.chars().count()).saturating_add(1),
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    fn parse(&self) -> Result<RawFile, TenantsError> {
        toml::from_str(self.text).map_err(|error| {
            self.error(
                error.span().unwrap_or_default(),
                error.message().lines().collect::<Vec<_>>().join(" "),
                "the file takes [policy] and [tenants.\"NAME\"] tables, as packaging/config/tenants.toml shows",
            )
        })
    }

    fn limit<T: FromStr>(&self, raw: Option<&Spanned<String>>) -> Result<Option<Limit<T>>, TenantsError>
    where
        T::Err: ToString,
    {
        raw.map(|raw| match raw.get_ref().as_str() {
            "max" => Ok(Limit::Max),
            text => text.parse().map(Limit::At).map_err(|error: T::Err| {
                self.error(raw.span(), error.to_string(), "or \"max\" for no limit")
            }),
        })
        .transpose()
    }

    fn limits(&self, raw: &RawTenant) -> Result<Limits, TenantsError> {
        let cpu_weight = match &raw.cpu_weight {
            None => None,
            Some(weight) if (1..=10_000).contains(weight.get_ref()) => Some(weight.get_ref().unsigned_abs()),
            Some(weight) => {
                let problem = format!("cpu_weight = {} is out of range", weight.get_ref());
                return Err(self.error(
                    weight.span(),
                    problem,
                    "write 1 to 10000; 100 is the kernel's default",
                ));
            }
        };
        let pids_max = match raw.pids_max.as_ref().map(|raw| (raw, raw.get_ref())) {
            None => None,
            Some((_, toml::Value::String(text))) if text == "max" => Some(Limit::Max),
            Some((_, toml::Value::Integer(value @ 1..))) => Some(Limit::At(value.unsigned_abs())),
            Some((raw, value)) => {
                let problem = format!("pids_max = {value} is no number of processes");
                return Err(self.error(raw.span(), problem, "write a whole number from 1, or \"max\""));
            }
        };
        Ok(Limits {
            cpu_weight,
            cpu_max: self.limit(raw.cpu_max.as_ref())?,
            memory_low: self.limit(raw.memory_low.as_ref())?,
            memory_high: self.limit(raw.memory_high.as_ref())?,
            memory_max: self.limit(raw.memory_max.as_ref())?,
            memory_swap_max: self.limit(raw.memory_swap_max.as_ref())?,
            pids_max,
        })
    }

    fn pattern(&self, raw: &Spanned<String>) -> Result<AccountPattern, TenantsError> {
        // What a glob fixes must itself be possible in a name.
        match raw.get_ref().replace(['*', '?'], "x").parse::<AccountName>() {
            Ok(_) => Ok(AccountPattern(raw.get_ref().clone())),
            Err(error) => Err(self.error(
                raw.span(),
                error.to_string(),
                "write a Slurm account as `sacctmgr show account` prints it, or a glob with * and ?",
            )),
        }
    }
}

/// Collects files one after the other, then checks what only the whole can show.
#[derive(Default)]
struct Collector {
    policy: Option<(Policy, TenantsError)>,
    tenants: BTreeMap<TenantPath, (Tenant, TenantsError)>,
    exact: BTreeMap<String, TenantPath>,
}

impl Collector {
    fn add(&mut self, source: &Source<'_>) -> Result<(), TenantsError> {
        let raw = source.parse()?;
        if let Some(policy) = raw.policy {
            let here = source.error(policy.span(), String::new(), String::new());
            if let Some((_, before)) = &self.policy {
                let problem =
                    format!("a second [policy]; the first is at {}:{}", before.file.display(), before.line);
                return Err(source.error(policy.span(), problem, "keep one of them"));
            }
            self.policy = Some((policy.into_inner(), here));
        }
        for (name, raw_tenant) in raw.tenants {
            self.add_tenant(source, &name, &raw_tenant)?;
        }
        Ok(())
    }

    fn add_tenant(
        &mut self,
        source: &Source<'_>,
        name: &Spanned<String>,
        raw: &RawTenant,
    ) -> Result<(), TenantsError> {
        let path: TenantPath = name.get_ref().parse().map_err(|error: crate::ids::InvalidId| {
            source.error(name.span(), error.to_string(), "rename it, like [tenants.\"acme/physics\"]")
        })?;
        let mut accounts = Vec::with_capacity(raw.accounts.len());
        for raw_pattern in &raw.accounts {
            let pattern = source.pattern(raw_pattern)?;
            if !pattern.is_glob()
                && let Some(other) = self.exact.insert(pattern.0.clone(), path.clone())
            {
                let problem =
                    format!("the account {:?} is claimed by {other} and again by {path}", pattern.0);
                return Err(source.error(raw_pattern.span(), problem, "name it in one of them"));
            }
            accounts.push(pattern);
        }
        let (users, groups) = (raw.users.clone(), raw.groups.clone());
        let tenant = Tenant { accounts, users, groups, limits: source.limits(raw)? };
        let here = source.error(name.span(), String::new(), String::new());
        if let Some((_, before)) = self.tenants.insert(path.clone(), (tenant, here)) {
            let problem =
                format!("the tenant {path} stands already at {}:{}", before.file.display(), before.line);
            return Err(source.error(name.span(), problem, "make one table of the two"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Tenants, TenantsError> {
        for (path, (_, here)) in &self.tenants {
            if let Some(parent) = path.parent().filter(|parent| !self.tenants.contains_key(parent)) {
                return Err(TenantsError {
                    problem: format!("the tenant {path} stands in {parent}, which is not there"),
                    fix: format!("add [tenants.\"{parent}\"]"),
                    ..here.clone()
                });
            }
        }
        let tenants: BTreeMap<_, _> =
            self.tenants.into_iter().map(|(path, (tenant, _))| (path, tenant)).collect();
        let (policy, here) = self.policy.unzip();
        let policy = policy.unwrap_or_default();
        if let Some(here) = here
            && policy.unclaimed_accounts == Unclaimed::Default
            && !tenants.keys().any(|path| path.as_str() == Tenants::DEFAULT)
        {
            return Err(TenantsError {
                problem: "unclaimed_accounts = \"default\", but there is no tenant of that name".into(),
                fix: "add [tenants.default], or write unclaimed_accounts = \"refuse\"".into(),
                ..here
            });
        }
        Ok(Tenants { policy, tenants })
    }
}

impl Tenants {
    /// One file's text.
    ///
    /// # Errors
    /// The first mistake, with its place and what to write instead.
    pub fn parse(file: &Path, text: &str) -> Result<Self, TenantsError> {
        let mut collector = Collector::default();
        collector.add(&Source { file, text })?;
        collector.finish()
    }

    /// `tenants.toml` in `dir`, and `tenants.d/*.toml` beside it in the order of their names.
    ///
    /// # Errors
    /// The first mistake, with its place and what to write instead. A missing or unreadable
    /// file counts as one, in line 1.
    pub fn load(dir: &Path) -> Result<Self, TenantsError> {
        let mut files = vec![dir.join("tenants.toml")];
        let drop_ins = dir.join("tenants.d");
        files.extend(toml_files(&drop_ins).map_err(|error| unreadable(&drop_ins, &error))?);
        let mut collector = Collector::default();
        for file in &files {
            let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
            collector.add(&Source { file, text: &text })?;
        }
        collector.finish()
    }
}

/// The tenants in force on a node, and what is wrong with the file where they are the last good
/// ones. A good file is kept aside as the last good one.
///
/// # Errors
/// What is wrong with the file, where there never was a good one.
pub fn in_force(paths: &Paths) -> Result<(Tenants, Option<TenantsError>), TenantsError> {
    let last_good = || durable::read_json::<Tenants>(&paths.last_good_tenants()).ok().flatten();
    match Tenants::load(&paths.etc) {
        Ok(tenants) => {
            if last_good().as_ref() != Some(&tenants) {
                // Without the copy a later mistake finds no good file; jobs go on either way.
                let _ = fs::create_dir_all(&paths.state)
                    .and_then(|()| durable::write_json(&paths.last_good_tenants(), &tenants));
            }
            Ok((tenants, None))
        }
        Err(error) => last_good().map(|tenants| (tenants, Some(error.clone()))).ok_or(error),
    }
}

fn toml_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}

fn unreadable(file: &Path, error: &io::Error) -> TenantsError {
    let fix = match error.kind() {
        io::ErrorKind::NotFound => "write it: packaging/config/tenants.toml is a commented example",
        io::ErrorKind::PermissionDenied => "run as root, or make it readable to you",
        _ => "make it a readable UTF-8 text",
    };
    TenantsError { file: file.to_owned(), line: 1, column: 1, problem: error.to_string(), fix: fix.into() }
}
