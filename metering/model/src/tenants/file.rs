//! Text to [`Tenants`], with the place of every mistake.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::raw::RawTenant;
use super::source::Source;
use super::{AccountPattern, Policy, Tenant, Tenants, TenantsError, Unclaimed};
use crate::durable;
use crate::ids::{AccountName, TenantPath};
use crate::job::Paths;
use crate::units::{Amount, Share};

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    policy: Option<Spanned<Policy>>,
    #[serde(default)]
    tenants: BTreeMap<Spanned<String>, RawTenant>,
}

impl Source<'_> {
    fn parse(&self) -> Result<RawFile, TenantsError> {
        toml::from_str(self.text).map_err(|error| {
            self.error(
                error.span().unwrap_or_default(),
                error.message().lines().collect::<Vec<_>>().join(" "),
                "the file takes [policy] and [tenants.\"NAME\"] tables, as docs/tenants.md describes",
            )
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
    tenants: BTreeMap<TenantPath, Entry>,
    exact: BTreeMap<String, TenantPath>,
}

struct Entry {
    tenant: Tenant,
    /// Where its table begins.
    here: TenantsError,
    /// Where its `cpus` stands.
    cpus: Option<TenantsError>,
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
        let tenant = Tenant {
            accounts,
            choosers: raw.choosers(source)?,
            limits: raw.limits(source)?,
            network: raw.network(source)?,
        };
        let place = |at| source.error(at, String::new(), String::new());
        let cpus = raw.cpus.as_ref().map(|cpus| place(cpus.span()));
        let entry = Entry { tenant, here: place(name.span()), cpus };
        if let Some(Entry { here: before, .. }) = self.tenants.insert(path.clone(), entry) {
            let problem =
                format!("the tenant {path} stands already at {}:{}", before.file.display(), before.line);
            return Err(source.error(name.span(), problem, "make one table of the two"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Tenants, TenantsError> {
        for (path, Entry { here, .. }) in &self.tenants {
            if let Some(parent) = path.parent().filter(|parent| !self.tenants.contains_key(parent)) {
                return Err(TenantsError {
                    problem: format!("the tenant {path} stands in {parent}, which is not there"),
                    fix: format!("add [tenants.\"{parent}\"]"),
                    ..here.clone()
                });
            }
        }
        self.check_shares()?;
        let tenants: BTreeMap<_, _> =
            self.tenants.into_iter().map(|(path, entry)| (path, entry.tenant)).collect();
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

    /// The shares of cores of the tenants in one tenant, or of those in none, are at most the whole.
    fn check_shares(&self) -> Result<(), TenantsError> {
        let mut given = BTreeMap::<Option<TenantPath>, u16>::new();
        for (path, entry) in &self.tenants {
            let (Some(Amount::Share(share)), Some(here)) = (&entry.tenant.limits.cpus, &entry.cpus) else {
                continue;
            };
            let sum = given.entry(path.parent()).or_default();
            *sum = sum.saturating_add(share.basis_points());
            if *sum > Share::WHOLE {
                let whole = path.parent().map_or("the node's".to_owned(), |parent| format!("{parent}'s"));
                return Err(TenantsError {
                    problem: format!(
                        "with the {share} of {path} more than 100% of {whole} cores are given out"
                    ),
                    fix: "lower one of the shares".into(),
                    ..here.clone()
                });
            }
        }
        Ok(())
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
