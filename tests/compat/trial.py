"""One trial: what it needs, what must be true after it, and the few things trials do alike."""

import contextlib
import shlex
import time

import work

# Runs until told to go on, and says where it is before and after.
WAIT = "cat /proc/self/cgroup; while [ ! -e /tmp/go ]; do sleep 0.05; done; cat /proc/self/cgroup"

SCOPE = "/sys/fs/cgroup/system.slice/n1_slurmstepd.scope"


class Trial:
    """`since`: the first Slurm that has it. `witnessed`: whether Slurm runs SPANK epilogs in it, the witness's too."""

    def __init__(self, name, function, since="", lacks="", witnessed=True):
        self.name, self.function, self.since, self.lacks, self.witnessed = name, function, since, lacks, witnessed

    def run(self, c, g):
        fresh_ledger(g)
        before = work.tenant_counters(g)
        self.function(c, g)
        work.settle(g)
        c.equal(f"{self.name}: nothing is left", work.wait_clean(g, 20 if self.witnessed else 60), [])
        if self.witnessed:
            _, differences = work.compare(g, before)
            c.equal(f"{self.name}: bill, witness and tenants differ by",
                    (differences["cpu"], differences["memory"], differences["unmatched"]), (0, 0, []))
        else:
            # The last of it may be on its way to the ledger.
            for _ in range(20):
                billed_usec, grown_usec = billed_and_grown(g, before)
                if billed_usec == grown_usec:
                    break
                time.sleep(1)
            c.equal(f"{self.name}: the bill's CPU time is the tenants' own growth", billed_usec, grown_usec)


def fresh_ledger(g):
    """The bill and the witness begin anew: each trial is compared by itself."""
    g.sh("rm -f /tmp/go; truncate -s 0 /var/log/oracle/*; systemctl stop tenantry-server; rm -f /var/lib/tenantry-server/*;"
         " systemctl start tenantry-server")


def billed_and_grown(g, before):
    """CPU time by tenant: as billed, and as the tenants' groups have grown."""
    grown = {name: usec - before.get((scope, name), 0) for (scope, name), usec in work.tenant_counters(g).items()}
    billed = dict.fromkeys(grown, 0)
    for row in g.usage():
        for name in billed:
            if row["tenant"] is not None and (row["tenant"] == name or row["tenant"].startswith(name + "/")):
                billed[name] += row["cpu_usage_usec"] or 0
    return billed, grown


def leaf(job, tenant="acme"):
    return f"{SCOPE}/tenant_{tenant.replace('/', '/tenant_')}/job_{job}"


def begin(g, user="alice", options="", program=WAIT, says="tenant_"):
    """A job that runs and has said something."""
    g.sh("rm -f /tmp/go")
    job = work.sbatch(g, user, options, program)
    g.until(f"job {job} runs", lambda: g.run(f"grep -q '{says}' /home/{user}/out.{job}").returncode == 0)
    return job


def end(g, job, user="alice"):
    """Lets it go on to its end; what it has said."""
    g.sh("touch /tmp/go")
    work.settle(g)
    return g.sh(f"cat /home/{user}/out.{job}")


def ran(g, job, user="alice"):
    work.settle(g)
    return g.sh(f"cat /home/{user}/out.{job}")


def billed(g, job):
    """A job's records once they are closed."""
    def closed():
        rows = g.usage("--job", str(job))
        return rows if rows and all(row["state"] == "final" for row in rows) else None
    return g.until(f"job {job} is billed", closed, 60)


def all_within(c, what, groups, tenant="acme", at_least=1):
    """Each of these lines of /proc/self/cgroup is in the tenant's group of a job."""
    found = [line for line in groups.split() if line.startswith("0::/")]
    inside = f"/n1_slurmstepd.scope/tenant_{tenant.replace('/', '/tenant_')}/job_"
    c.check(what, len(found) >= at_least and all(inside in one for one in found), groups)


def told_and_refused(c, g, what, job, why, user="alice"):
    """The job's program did not run, its user knows why, and no node is drained."""
    output = ran(g, job, user)
    c.check(f"{what}: the job is refused and told why", "this job may not run here" in output and why in output
            and "ran" not in output.split(), output)
    c.equal(f"{what}: the job's state, the nodes", (work.state(g, job), set(g.node_states())), ("FAILED", {"idle"}))


@contextlib.contextmanager
def configured(g, file="/etc/slurm/slurm.conf", anew="systemctl restart slurmctld slurmd", **settings):
    """Slurm with these settings of a file in place of its own; None takes one out."""
    g.sh(f"cp -p {file} {file}.kept")
    for key, value in settings.items():
        g.sh(f"sed -i '/^{key}=/d' {file}")
        if value is not None:
            g.sh(f"printf '%s\\n' {shlex.quote(f'{key}={value}')} >> {file}")
    try:
        restarted(g, anew)
        yield
    finally:
        g.run("scancel --user=alice,bob,carol; touch /tmp/go")
        g.sh(f"mv {file}.kept {file}; {anew}")
        # What drained a node was reported by who saw it.
        g.until("Slurm answers again", lambda: g.run("scontrol update nodename=n1 state=resume; sinfo -h -N -o %T").stdout.split() == ["idle"], 60)


def restarted(g, anew):
    g.sh(anew)
    g.until("Slurm answers", lambda: set(g.run("sinfo -h -N -o %T").stdout.split()) == {"idle"}, 60)


@contextlib.contextmanager
def tenants_file(g, text):
    """A tenants file for a while."""
    kept = g.sh("cat /etc/tenantry/tenants.toml")
    g.write("/etc/tenantry/tenants.toml", text)
    try:
        yield
    finally:
        g.write("/etc/tenantry/tenants.toml", kept)

