"""The load: jobs handed over at once, a tenants file that changes under them, and what the logs say afterwards."""

import re

import work
from guest import TENANTS

# A 0.2 s burner, and nothing at all.
PROGRAMS = {"burn": work.BURN.format(0.2) + "; true", "none": "true"}

# Of each round: (user, options, program). 50 jobs.
ROUND = [
    *((user, "--array=1-10", "none") for user in ("alice", "bob", "carol")),
    *((user, "--array=1-5", "burn") for user in ("alice", "bob", "carol")),
    ("alice", "", "none"), ("bob", "", "burn"), ("carol", "", "none"), ("bob", "", "none"), ("carol", "", "burn"),
]
JOBS_OF_ROUND = 50

# Limits that change what the kernel has while jobs run, and stop none of them.
OTHER_TENANTS = TENANTS.replace("cpu_weight = 200", "cpu_weight = 300").replace("pids_max = 500", "pids_max = 400")

# What may stand in the logs all the same. Nothing so far; an entry wants its reason beside it.
ALLOWED = []

# Of slurmd's errors those that are the plugin's; Slurm's own, for which this load is hard too, are not judged here.
OURS = re.compile(r"error: (job \d+: |tenant |user \d+|ipcrm |the (epilog|prolog|tenants file)|cannot )|spank|tenantry|panic")


def prepare(g):
    """Slurm as fast as this guest takes it: it looks for jobs at once, runs eight together, and gives none an extern
    step, which takes half of the processor time of a job this short."""
    g.sh("sed -i 's/^DefMemPerCPU=.*/DefMemPerCPU=50/; s/^PartitionName=main .*/& OverSubscribe=FORCE:4/; s/^PrologFlags=.*/PrologFlags=Alloc/;"
         " s/^SchedulerParameters=.*/SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0/;"
         " s/^JobAcctGatherFrequency=.*/JobAcctGatherFrequency=task=0/; s/^SlurmdDebug=.*/SlurmdDebug=info/' /etc/slurm/slurm.conf")
    g.sh("systemctl restart slurmctld slurmd && lab-wait-slurm 120")
    for name, program in PROGRAMS.items():
        g.write(f"/tmp/{name}.sh", f"#!/bin/sh\n{program}\n")


def submit(g, rounds):
    """Hands everything over at once, from within the guest; job ids that Slurm gave, an array's first only."""
    lines = [f"lab-as {user} 'sbatch --parsable -o /dev/null {options} /tmp/{program}.sh' || exit" for user, options, program in ROUND]
    return g.sh(f"for round in $(seq {rounds}); do\n" + "\n".join(lines) + "\ndone").split()


def drain(g, seconds):
    """Waits until every job is through. It looks rarely: a look takes as long as a tenth of a job."""
    g.until("the queue is empty", lambda: not g.sh("squeue -h | head -n 1").strip(), seconds, pause=2)
    work.settle(g)


def change_tenants(g, stop, said):
    """Applies one tenants file and the other in turn until it is told to stop, and the first at last; how often.
    What an `apply` that failed said goes to `said`."""
    files, changes = (OTHER_TENANTS, TENANTS), 0
    while not stop.is_set() or changes % 2:
        # In one step, as an editor does: a prolog that reads the first half of a file has a whole one of fewer tenants.
        g.write("/etc/tenantry/tenants.new", files[changes % 2])
        g.sh("mv /etc/tenantry/tenants.new /etc/tenantry/tenants.toml")
        done = g.run("tenantry tenants apply")
        if done.returncode:
            said.append(done.stdout + done.stderr)
        changes += 1
        stop.wait(5)
    return changes


def complaints(g):
    """What the plugin, the daemons and systemd about them complained of, without what is allowed."""
    lines = [line for line in g.slurmd_log().splitlines() if "error:" in line and OURS.search(line)]
    lines += g.sh("journalctl -u 'tenantry*' -o short-precise --no-pager | grep -E ' (WARN|ERROR) |panicked|Failed with|exited'; true").splitlines()
    return [line for line in lines if not any(re.search(allowed, line) for allowed in ALLOWED)]


def processes(g):
    """Processes of the jobs' users, and slurmstepds of jobs."""
    return g.sh("pgrep -l -u alice,bob,carol; pgrep -af 'slurmstepd: \\['; true").splitlines()


def billed_counts(usage):
    """{job id: its records}"""
    counts = {}
    for row in usage:
        counts[row["job_id"]] = counts.get(row["job_id"], 0) + 1
    return counts


def finished(g, jobs):
    """What Slurm's database has, once it has that many: it comes there a little later."""
    def complete():
        rows = work.sacct(g)
        return rows if len(rows) >= jobs else None
    return g.until(f"{jobs} jobs are in sacct", complete, 60, pause=2)
