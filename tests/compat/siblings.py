"""placement = "siblings": no mounts; what a tenant may use is shared out over its jobs on the node."""

import json
import re

import work
from trial import SCOPE, Trial, begin, billed, tenants_file

JOBS = "/run/tenantry/jobs/n1_slurmstepd.scope"

SIBLINGS = """
[policy]
placement = "siblings"

[tenants.acme]
accounts = ["acme"]
cpu_weight = 200
cpu_max = "1 cores"
pids_max = 200
io_weight = 60
io_max = { "/dev/ubda" = { wbps = "8MiB" } }

[tenants."acme/physics"]
accounts = ["acme-physics"]
pids_max = 60
"""

WAIT = "cat /proc/self/cgroup; while [ ! -e ~/go ]; do sleep 0.05; done; cat /proc/self/cgroup"
# Busy for long, then more processes than it may have.
GREEDY = "cat /proc/self/cgroup; timeout 20 sh -c 'while [ ! -e ~/go ]; do :; done'; bash -c 'for i in $(seq 90); do sleep 2 & done; wait'; srun cat /proc/self/cgroup"


def group(g, job):
    """A job's group, as it is registered."""
    placement = json.loads(g.sh(f"cat {JOBS}/{job}/registration.json"))["placement"]
    return f"/sys/fs/cgroup/{placement['leaf']}"


def part(g, job):
    """What a job's group has: CPU weight, quota, pids, IO weight, bytes written a second."""
    text = g.sh(f"cd {group(g, job)} && cat cpu.weight cpu.max pids.max && grep default io.weight && cat io.max")
    weight, quota, pids, io_weight, io = (text.splitlines() + [""] * 5)[:5]
    return int(weight), quota, int(pids), int(io_weight.split()[1]), re.findall(r"wbps=(\d+)", io)


def said(g, job, what):
    return int(g.sh(f"journalctl -u tenantry-warden -o cat | grep -c 'job {job}:.*{what}'; true"))


def start(g, user, program):
    g.sh("rm -f ~/go", user)
    return begin(g, user, "-n1", program, says="0::")


def finish(c, g, user, job, at_least):
    where = group(g, job).removeprefix("/sys/fs/cgroup")
    g.sh("touch ~/go", user)
    g.until(f"job {job} is over", lambda: work.state(g, job) == "COMPLETED")
    groups = [line[3:] for line in g.sh(f"cat /home/{user}/out.{job}").splitlines() if line.startswith("0::")]
    c.check(f"siblings: every task of {user}'s job ran in its group", len(groups) >= at_least and all(one.startswith(where + "/") for one in groups),
            f"{where}\n{groups}")
    c.equal(f"siblings: {user}'s job is billed exactly", [row["quality"] for row in billed(g, job)], ["exact"])


def shared_out(c, g):
    g.sh(f"find {SCOPE} -depth -name 'tenant_*' -exec rmdir {{}} +")
    with tenants_file(g, SIBLINGS):
        first = start(g, "alice", WAIT)
        whole = (200, "100000 100000", 200, 60, [str(8 << 20)])
        c.equal("siblings: a tenant's only job has all", part(g, first), whole)
        second = start(g, "bob", GREEDY)
        c.equal("siblings: beside another it has half", part(g, first), (100, "50000 100000", 100, 30, [str(4 << 20)]))
        c.equal("siblings: the other has the other half, and its own tenant's limit", part(g, second), (100, "50000 100000", 60, 30, [str(4 << 20)]))
        c.equal("siblings: nothing is mounted, and no tenant has a group",
                g.sh(f"grep slurmstepd.scope /proc/self/mountinfo; ls -d {SCOPE}/tenant_*; true"), "")
        used = int(g.sh(f"cd {group(g, second)}; a=$(sed -n 's/^usage_usec //p' cpu.stat); sleep 3; b=$(sed -n 's/^usage_usec //p' cpu.stat);"
                        " echo $((b - a))"))
        c.check("siblings: half of a core is no more than that (CPU time in 3 s)", 900_000 < used < 1_700_000, used)
        g.sh("touch ~/go", "bob")
        g.until("the second is at its limit of processes", lambda: not g.sh(f"cat {group(g, second)}/pids.events").startswith("max 0"))
        peak = int(g.sh(f"cat {group(g, second)}/pids.peak"))
        c.check("siblings: more processes than its limit there were not", peak <= 60, peak)
        finish(c, g, "bob", second, 2)
        g.until("the first has all again", lambda: part(g, first) == whole, 15)
        g.sh(f"rm -r {JOBS}/{first}")
        g.until("it is registered again", lambda: g.run(f"test -e {JOBS}/{first}/registration.json").returncode == 0, 15)
        c.equal("siblings: how often the warden said that its record was lost", said(g, first, "its registration was lost"), 1)
        finish(c, g, "alice", first, 2)
        for step in ("sibling: Leaf", "sibling: Sentinel"):
            half_made(c, g, step)


def half_made(c, g, step):
    """The prolog dies when the group is there: it goes, whatever Slurm calls it, and the job runs at last."""
    g.use_plugin("fault")
    g.write("/run/tenantry-die-at", step)
    g.sh("touch ~/go", "alice")
    job = work.sbatch(g, "alice", "--requeue --open-mode=append", WAIT)
    g.until("the prolog died", lambda: "drain" in " ".join(g.node_states()))
    g.sh("rm /run/tenantry-die-at")
    g.until("the warden has removed what it left", lambda: not work.leftovers(g), 30)
    c.equal(f"siblings: death at \"{step}\": how often the warden said so", said(g, job, "was cut off half-way"), 1)
    g.use_plugin()
    g.sh("scontrol update nodename=n1 state=resume")
    g.run(f"scontrol release {job}; scontrol update jobid={job} starttime=now")
    g.until("the job has run", lambda: work.state(g, job) == "COMPLETED")
    c.equal(f"siblings: death at \"{step}\": the job's next run is billed", [row["quality"] for row in billed(g, job)], ["exact"])


ALL = [Trial("placement = \"siblings\"", shared_out)]
