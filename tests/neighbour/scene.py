"""The scene: a guest whose jobs are in each other's way, the job that is watched, and its neighbours."""

import pathlib
import subprocess

import work

HERE = pathlib.Path(__file__).resolve().parent
WAYS = ("plain", "tenantry")
VICTIM, ATTACKER = "alice", "carol"
ATTACKERS = 3

# The guest's disk is a file of the host, as fast as the host has time. As this one it is as fast as this, always, and
# slow enough that any host keeps up; half of it is each tenant's.
DISK, DISK_MIB = "/dev/ubda", 16
# Of the guest's 2 GiB its system uses a quarter of one. The neighbour may have this much, so that the file that the
# watched job reads again and again (200 MiB) always has a place.
NEIGHBOURS_MEMORY = "1400MiB"
FILE, FILE_MIB, ENDLESS = "/srv/neighbour/file", 200, "/srv/neighbour/endless"

TENANTS = f"""
[tenants.acme]
accounts = ["acme"]
cpu_weight = 100
io_max = {{ "{DISK}" = {{ rbps = "{DISK_MIB // 2}MiB" }} }}

[tenants.globex]
accounts = ["globex"]
cpu_weight = 100
memory_max = "{NEIGHBOURS_MEMORY}"
io_max = {{ "{DISK}" = {{ rbps = "{DISK_MIB // 2}MiB" }} }}
"""

SCOPE = "n1_slurmstepd.scope"
CGROUP = f"/sys/fs/cgroup/system.slice/{SCOPE}"
STACK, OFF = "/etc/slurm/plugstack.conf.d", "/root/plugstack.off"
UNITS = "tenantry-server tenantryd tenantry-warden"
RUN = "/run/neighbour"


class Resource:
    """What is fought for: each job's workers, how long the fight takes to be in full swing, how long it is watched, and how
    much of its share the watched job kept, from (units, of, seconds) of it and the units of its neighbours."""

    def __init__(self, name, victim, attacker, settle, seconds, kept):
        self.name, self.victim, self.attacker, self.kept = name, victim, attacker, kept
        self.settle, self.seconds = settle, seconds


def kept_cpu(done, _of, _seconds, theirs):
    # Half of the time that there was, whatever the host left of it; alone, all that it takes.
    return done / (done + theirs) / 0.5 if done + theirs else 0.0


def kept_memory(done, of, _seconds, _theirs):
    # Pages found in memory, of those it came to read. None read at all is none kept.
    return done / of if of else 0.0


def kept_io(done, _of, seconds, _theirs):
    return done / seconds / (DISK_MIB / 2 * (1 << 20))


RESOURCES = [
    # Four for two processors: the kernel spreads two less evenly than its weights would have it. It moves whole processes
    # between processors, so that a weight holds over many seconds only.
    Resource("cpu", ["cpu"] * 4, ["cpu"] * 4, 4, 24, kept_cpu),
    Resource("memory", [f"cached {FILE}"], ["hog 400", f"stream {ENDLESS}", f"stream {ENDLESS}"], 6, 6, kept_memory),
    # Two, as each of its neighbours: one alone asks for nothing while it waits, and a limit gives no time back that was
    # not asked for.
    Resource("io", [f"disk {FILE}"] * 2, [f"disk {FILE}"] * 2, 2, 6, kept_io),
]


def prepare(g):
    """Slurm as many sites have it: it gives out processors and memory, and does not hold jobs to them. So jobs meet."""
    g.add_accounts()
    g.sh("sed -i 's/^ConstrainCores=.*/ConstrainCores=no/; s/^ConstrainRAMSpace=.*/ConstrainRAMSpace=no/' /etc/slurm/cgroup.conf")
    g.sh("sed -i 's/^TaskPlugin=.*/TaskPlugin=task\\/cgroup/; s/^DefMemPerCPU=.*/DefMemPerCPU=100/; s/^PrologFlags=.*/PrologFlags=Alloc/;"
         " s/^PartitionName=main .*/& OverSubscribe=FORCE:4/' /etc/slurm/slurm.conf")
    g.sh("systemctl restart slurmctld slurmd && lab-wait-slurm 120")
    subprocess.run(["cc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", g.share() / "worker", HERE / "worker.c"], check=True)
    # The kernel tells nobody but a file's owner which of its pages are in memory; to others it says all of them.
    g.sh(f"install -m 755 /host/worker /usr/local/bin/; mkdir -p {pathlib.Path(FILE).parent}; mkdir -m 1777 {RUN};"
         f" dd if=/dev/urandom of={FILE} bs=1M count={FILE_MIB} status=none; chown {VICTIM} {FILE}; truncate -s 2G {ENDLESS}; sync")
    g.sh(f"systemctl set-property --runtime {SCOPE} 'IOReadBandwidthMax={DISK} {DISK_MIB * (1 << 20)}'")
    g.install()
    g.write("/etc/tenantry/tenants.toml", TENANTS)


def switch(g, way):
    """Makes the node one without anything of Tenantry's, or one with all of it; and sees that it is."""
    g.sh(f"mkdir -p {OFF}; mv {STACK}/*.conf {OFF}/ 2>/dev/null; true")
    if way == "tenantry":
        g.sh(f"cp {OFF}/tenantry.conf {STACK}/; systemctl start {UNITS}")
    else:
        # The controllers too: Slurm turns on those that it uses with its next job.
        g.sh(f"systemctl stop {UNITS}; cd {CGROUP} && find . -depth -name 'tenant_*' -exec rmdir {{}} + &&"
             " sed 's/[a-z]*/-&/g' cgroup.subtree_control > /root/controllers && cat /root/controllers > cgroup.subtree_control")
    g.restart_slurmd()
    group = g.sh("srun cat /proc/self/cgroup", VICTIM)
    if ("/tenant_acme/" in group) != (way == "tenantry"):
        raise AssertionError(f"as {way} a job runs in {group}")


def start(g, user, role, workers, jobs):
    """Jobs that run until they are told to stop; returns when all of their workers are at work."""
    lines = "".join(f"worker {role} {worker} &\n" for worker in workers)
    work.sbatch(g, user, f"--array=1-{jobs} --open-mode=append", lines + "wait")
    g.until(f"the {role}'s workers are at work",
            lambda: int(g.sh(f"find {RUN} -name '{role}.*' | wc -l")) == jobs * len(workers), 120, pause=1)


def window(g, resource):
    """What the watched job kept of its share during one window."""
    units = {"attacker": (0, 0, 0)}
    for line in g.sh(f"worker window {resource.seconds}").splitlines():
        role, done, of, usec = line.split()
        units[role] = int(done), int(of), int(usec) / 1e6
    return resource.kept(*units["victim"], units["attacker"][0])


def play(g, resource, also_alone):
    """What the watched job kept alone, where that is asked for, and beside its neighbours."""
    g.sh(f"rm -f {RUN}/*; echo 3 > /proc/sys/vm/drop_caches")
    try:
        start(g, VICTIM, "victim", resource.victim, 1)
        alone = window(g, resource) if also_alone else None
        start(g, ATTACKER, "attacker", resource.attacker, ATTACKERS)
        g.sh(f"sleep {resource.settle}")
        beside = window(g, resource)
    finally:
        g.sh(f"touch {RUN}/stop")
        work.settle(g)
    return alone, beside
