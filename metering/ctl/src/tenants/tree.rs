//! `tenantry tenants tree`.

use std::collections::BTreeSet;
use std::io::Write;

use serde::Serialize;
use tenantry_cgroup::{GroupPath, GroupReader, tenant};
use tenantry_model::catalogue::Metric;
use tenantry_model::{Bytes, JobId, TenantPath, Usec};

use super::{Format, Here, write};
use crate::error::Error;
use crate::table::{aligned, duration};

#[derive(Serialize)]
struct Tree {
    scopes: Vec<Scope>,
}

#[derive(Serialize)]
struct Scope {
    scope: String,
    tenants: Vec<Branch>,
}

/// One tenant in one scope.
#[derive(Serialize)]
struct Branch {
    tenant: TenantPath,
    /// Whether the file has it; one that it no longer has stays until its last jobs end.
    in_file: bool,
    /// `None` where it has no group now.
    running: Option<Running>,
}

/// What a group has in it and uses, with all tenants in it. What the kernel does not say is absent.
#[derive(Serialize)]
struct Running {
    /// Directly in it, not in a tenant in it.
    jobs: Vec<JobId>,
    processes: Option<u64>,
    memory_bytes: Option<Bytes>,
    cpu_usage_usec: Option<Usec>,
}

pub fn run(here: &Here<'_>, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let scopes = here.scopes.iter().map(|scope| of_scope(here, scope)).collect::<Result<_, Error>>()?;
    write(&Tree { scopes }, table, format, out)
}

fn of_scope(here: &Here<'_>, scope: &GroupPath) -> Result<Scope, Error> {
    let present: BTreeSet<_> = tenant::present(here.root, scope)?.into_iter().collect();
    let file: BTreeSet<_> = here.limits.iter().map(|(tenant, _)| tenant.clone()).collect();
    // By segment, so that what stands in a tenant follows it: "a/b" comes before "a-b".
    let mut names: Vec<_> = present.union(&file).cloned().collect();
    names.sort_by(|a, b| a.segments().cmp(b.segments()));
    let branch = |tenant: TenantPath| {
        let running = present.contains(&tenant).then(|| running(here, scope, &tenant)).transpose()?;
        Ok(Branch { in_file: file.contains(&tenant), running, tenant })
    };
    Ok(Scope {
        scope: scope.to_string(),
        tenants: names.into_iter().map(branch).collect::<Result<_, Error>>()?,
    })
}

fn running(here: &Here<'_>, scope: &GroupPath, tenant: &TenantPath) -> Result<Running, Error> {
    let group = tenant::group(scope, tenant)?;
    let job = |group: GroupPath| group.name().to_str()?.strip_prefix("job_")?.parse().ok();
    let mut jobs: Vec<JobId> = here.root.children(&group)?.into_iter().filter_map(job).collect();
    jobs.sort_unstable();
    let reading = GroupReader::open(here.root, &group)?.read(here.clock)?;
    Ok(Running {
        jobs,
        processes: reading.get(Metric::PIDS_CURRENT),
        memory_bytes: reading.bytes(Metric::MEMORY_CURRENT),
        cpu_usage_usec: reading.cpu_usage(),
    })
}

fn table(tree: &Tree) -> String {
    let of_scope = |Scope { scope, tenants }: &Scope| {
        let header = ["TENANT", "JOBS", "PROCESSES", "MEMORY", "CPU-TIME[D-HH:MM:SS]"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(header).chain(tenants.iter().map(row)).collect();
        format!("{scope}\n{}", aligned(&rows, 2))
    };
    tree.scopes.iter().map(of_scope).collect::<Vec<_>>().concat()
}

fn row(branch: &Branch) -> [String; 5] {
    let depth = branch.tenant.segments().count().saturating_sub(1);
    let name = branch.tenant.segments().last().unwrap_or_default();
    let note = if branch.in_file { "" } else { " (not in the file)" };
    let name = format!("{}{name}{note}", "  ".repeat(depth));
    let absent = || "-".to_owned();
    let Some(running) = &branch.running else { return [name, absent(), absent(), absent(), absent()] };
    let jobs: Vec<_> = running.jobs.iter().map(ToString::to_string).collect();
    [
        name,
        if jobs.is_empty() { absent() } else { jobs.join(",") },
        running.processes.map_or_else(absent, |count| count.to_string()),
        running.memory_bytes.map_or_else(absent, Bytes::human),
        running.cpu_usage_usec.map_or_else(absent, |usage| duration(u128::from(usage.0))),
    ]
}
