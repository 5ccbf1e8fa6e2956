"""Slurm's major version is upgraded in place, by apt, while jobs run."""

import steps
import work

# The pair that Slurm itself upgrades, and that Debian's archive has: 22.05 is too old for either of the others.
FROM, TO = "24.11", "26.05"
BURN = work.BURN.format(1)
UNTIL_IT_IS_DONE = "until [ -e /tmp/go ]; do sleep 0.2; done"
# A step that is refused ends its job.
STEP = f'srun sh -c "{BURN}; cat /proc/self/cgroup" || exit 9'


def usage_of(guest, ids):
    found = {row["job_id"]: row for row in guest.usage() if row["job_id"] in ids and row["quality"] == "exact"}
    return found if len(found) == len(ids) else None


def billed_as_the_kernel_counts(c, name, guest, ids, before):
    """The sum of a tenant's bill is the growth of its own group, which the kernel adds up."""
    rows = guest.until("every job is billed, exactly", lambda: usage_of(guest, ids), 60)
    billed = {}
    for row in rows.values():
        billed[row["tenant"]] = billed.get(row["tenant"], 0) + row["cpu_usage_usec"]
    now = work.tenant_counters(guest)
    grown = {tenant: usec - before.get((scope, tenant), 0) for (scope, tenant), usec in now.items()}
    c.equal(name, billed, {tenant: usec for tenant, usec in grown.items() if tenant in billed})


def installed(c, guest):
    """Tenantry is installed and on, with the old Slurm"""
    done = steps.apt(guest, "install tenantry-node tenantry-server tenantry", "packages")
    c.check("apt installs the packages", done.returncode == 0, done.stdout + done.stderr)
    guest.write("/etc/tenantry/tenants.toml", steps.TENANTS)
    state = steps.restart_slurmd(guest)
    c.check(f"the build for Slurm {FROM} is loaded", state.get("file", "").endswith(f"-{FROM}.so"), state)
    guest.before = work.tenant_counters(guest)


def upgraded_beside_jobs(c, guest):
    """apt upgrades Slurm while jobs run: the plugin follows, and they end well"""
    ids = [steps.running(guest, f"{STEP}; {UNTIL_IT_IS_DONE}; {STEP}; {STEP}"), steps.running(guest, f"{BURN}; {UNTIL_IT_IS_DONE}; {BURN}; true", "carol")]
    done = steps.apt(guest, "-o Dpkg::Options::=--force-confold dist-upgrade", "slurm")
    said = done.stdout + done.stderr
    c.check("apt upgrades Slurm", done.returncode == 0 and TO in guest.sh("slurmd -V"), said)
    build = f"/usr/lib/tenantry/spank_tenantry-{TO}.so"
    state = steps.status(guest)
    c.check(f"the plugin follows: the build for Slurm {TO}, and the upgrade says so", state == {"on": True, "file": build} and build in said, f"{state}\n{said}")
    c.equal("every daemon runs", guest.sh("systemctl is-active slurmdbd slurmctld slurmd tenantryd tenantry-warden").split(), ["active"] * 5)
    # While dpkg has unpacked half of it Slurm itself neither starts a step nor ends a job well: docs/install.md.
    guest.sh("touch /tmp/go")
    ids += [steps.job(guest, "alice", STEP), steps.job(guest, "carol", BURN + "; true")]
    steps.all_well(c, "jobs that ran during the upgrade, and jobs after it, end well", guest, ids)
    places = guest.sh(f"cat /home/alice/out.{ids[0]}").splitlines()
    c.equal("steps of a job from before the upgrade stay in its group, also those that began after it",
            [place.partition("/tenant_")[2] for place in places], [f"acme/job_{ids[0]}/step_{n}/user/task_0" for n in range(3)])
    c.equal("nothing of it is left", work.wait_clean(guest), [])
    billed_as_the_kernel_counts(c, "all of them are billed as the tenants' groups count", guest, ids, guest.before)
    place = guest.sh("srun --quiet cat /proc/self/cgroup", "alice")
    c.check("a job of the new Slurm runs in its tenant", "/tenant_acme/job_" in place, place)


def stands_aside_after_an_upgrade(c, guest):
    """there is no build for the new Slurm: it stands aside, the message says what to do, and jobs run"""
    build = f"/usr/lib/tenantry/spank_tenantry-{TO}.so"
    # An epilog that finds the line, and no file, would drain the node.
    work.settle(guest)
    guest.sh(f"mv {build} /root/")
    # What dpkg does when a package has put another slurmd there.
    done = guest.run("dpkg-trigger --by-package=slurmd /usr/sbin/slurmd-wlm && dpkg --triggers-only -a")
    c.check("it stands aside, and says what to install", f"no build for Slurm {TO}" in done.stdout, done.stdout + done.stderr)
    state = steps.restart_slurmd(guest)
    c.check("so it does when the new slurmd starts", not state["on"] and f"no build for Slurm {TO}" in state["reason"], state)
    steps.runs(c, "jobs run without tenants", guest)
    guest.sh(f"mv /root/{build.rsplit('/', 1)[-1]} {build}")
    c.check("with the build there it comes on when slurmd is restarted", steps.restart_slurmd(guest)["on"])
    steps.runs(c, "jobs run", guest)


ALL = (installed, upgraded_beside_jobs, stands_aside_after_an_upgrade)
