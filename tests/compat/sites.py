"""What sites set in Slurm's configuration."""

import json
import re

import work
from guest import TENANTS
from trial import WAIT, Trial, all_within, begin, billed, configured, end, leaf, ran, restarted, tenants_file, told_and_refused

INSIDE = "cat /proc/self/cgroup"
NAMESPACE = "/var/nsjobs"


def private_directories(g, **settings):
    """Slurm with a private /tmp and /dev/shm for each job, under the name that this Slurm has for it."""
    g.sh(f"printf 'AutoBasePath=true\\nBasePath={NAMESPACE}\\n' > /etc/slurm/job_container.conf")
    kind = {"NamespaceType": "namespace/tmpfs"} if g.slurm >= "26.05" else {"JobContainerType": "job_container/tmpfs"}
    return configured(g, **kind, **settings)


def in_private_directories(c, g, what):
    """Jobs there are placed, have a /tmp and a /dev/shm of their own, and leave neither."""
    # Not in /tmp, of which the job has its own.
    wait = "while [ ! -e ~/go ]; do sleep 0.05; done"
    g.sh("rm -f /home/alice/go")
    job = begin(g, program=f"{INSIDE}; echo mine > /dev/shm/mine; echo mine > /tmp/mine; srun sh -c '{INSIDE}; cat /dev/shm/mine /tmp/mine';"
                           f" {wait}")
    g.until("its step has run", lambda: g.sh(f"cat /home/alice/out.{job}").split().count("mine") == 2)
    c.equal(f"{what}: what it writes to /tmp and /dev/shm is its own", g.run("ls /tmp/mine /dev/shm/mine").stdout, "")
    g.sh("touch go", "alice")
    all_within(c, f"{what}: its tasks", ran(g, job), at_least=2)
    all_within(c, f"{what}: srun", g.sh(f"srun {INSIDE}", "alice"))
    work.settle(g)
    left = g.sh(f"grep -E '{NAMESPACE}/.*[0-9]+/' /proc/self/mountinfo /proc/$(pgrep -xo slurmd)/mountinfo; find {NAMESPACE} -name mine; true")
    c.equal(f"{what}: Slurm's own directories of it are gone", left, "")


def namespaces(c, g):
    with private_directories(g):
        in_private_directories(c, g, "private /tmp and /dev/shm")


def contained_spank(c, g):
    with private_directories(g, SlurmdParameters="config_overrides,contain_spank"):
        in_private_directories(c, g, "contain_spank")


def step_in_namespace(c, g):
    """slurmstepd itself in the job's namespace."""
    with private_directories(g):
        g.sh(f"printf 'AutoBasePath=true\\nBasePath={NAMESPACE} EntireStepInNS=true\\n' > /etc/slurm/job_container.conf")
        restarted(g, "systemctl restart slurmd")
        in_private_directories(c, g, "EntireStepInNS")


def run_in_job(c, g):
    """The prolog runs inside the job: what runs already is moved into the tenant, and all later steps start there."""
    with configured(g, PrologFlags="RunInJob", Prolog="/usr/lib/tenantry/tenantry-prolog"):
        job = begin(g, options="--mem=300M")
        # A slurmstepd, and in older Slurms a process that sleeps.
        moved = g.sh(f"cat $(find {leaf(job)}/step_extern -name cgroup.procs) | xargs -r ps -o args= -p").splitlines()
        c.check("RunInJob: the extern step was moved into the tenant", f"slurmstepd: [{job}.extern]" in moved, moved)
        c.equal("RunInJob: its limit came with it", g.sh(f"cat {leaf(job)}/memory.max").strip(), str(300 << 20))
        all_within(c, "RunInJob: a step from outside", g.sh(f"timeout 60 srun --overlap --jobid={job} {INSIDE}", "alice"))
        # A daemon that Slurm's own kill does not find: in the job's group, not in a task's.
        g.sh(f"setsid sleep 999 >/dev/null 2>&1 & echo $! > {leaf(job)}/tenantry/cgroup.procs")
        all_within(c, "RunInJob: the batch step", end(g, job), at_least=2)
        c.equal("RunInJob: the job's state, the nodes", (work.state(g, job), set(g.node_states())), ("COMPLETED", {"idle"}))
        row = billed(g, job)[0]
        said = g.sh(f"journalctl -u tenantry-warden -o cat | grep 'job {job}:'; true").splitlines()
        c.check("RunInJob: the warden closes it, and calls that regular", len(said) == 1 and "ERROR" not in said[0] and "as no epilog would" in said[0],
                said)
        c.equal("RunInJob: what was left of it is gone", g.sh("pgrep -xf 'sleep 999'; true"), "")
        c.equal("RunInJob: who pays, how exactly", (row["tenant"], row["account"], row["quality"]), ("acme", "acme", "exact"))
        all_within(c, "RunInJob: srun", g.sh("srun -n2 sh -c 'cat /proc/self/cgroup; timeout 0.3 sh -c \"while :; do :; done\"; true'", "bob"),
                   "acme/physics", at_least=2)
        done = g.run("for i in $(seq 10); do srun -n1 -Q cat /proc/self/cgroup & done; wait", "alice")
        all_within(c, "RunInJob: ten at once", done.stdout, at_least=10)
        with tenants_file(g, TENANTS.replace('accounts = ["globex"]', 'accounts = ["other"]')):
            job = work.sbatch(g, "carol", "", "echo ran")
            told_and_refused(c, g, "RunInJob: no tenant", job, "globex", "carol")


def without_cgroups(c, g):
    """proctrack/linuxproc: Slurm puts no step into its job's group, so each is found outside its tenant: refused, or a gap."""
    no_groups = {"ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/affinity", "JobAcctGatherType": "jobacct_gather/linux"}
    with configured(g, PrologFlags="Alloc", **no_groups):
        refused = work.sbatch(g, "alice", "", "echo ran")
        told_and_refused(c, g, "linuxproc", refused, "outside")
        with tenants_file(g, '[policy]\nisolation_failure = "run-unisolated"\n' + TENANTS):
            free = work.sbatch(g, "alice", "", "echo ran; srun echo ran")
            c.equal("linuxproc, run-unisolated: the job and its step run", ran(g, free).split(), ["ran"] * 2)
            c.equal("linuxproc, run-unisolated: its state, the nodes", (work.state(g, free), set(g.node_states())), ("COMPLETED", {"idle"}))
            c.equal("linuxproc, run-unisolated: billed to its tenant as a gap",
                    [(row["tenant"], row["quality"], row["cpu_usage_usec"]) for row in billed(g, free)], [("acme", "gap", None)])
            c.check("linuxproc, run-unisolated: slurmd's log says so", f"job {free}: Slurm starts its steps in" in g.slurmd_log())
            g.write("/etc/tenantry/tenants.toml", '[policy]\nisolation_failure = "run-unisolated"\n' + TENANTS.replace('["acme"]', '["other"]'))
            told_and_refused(c, g, "linuxproc, run-unisolated: a job of no tenant", work.sbatch(g, "alice", "", "echo ran"), "no tenant")
        c.equal("linuxproc: CPU time billed for what did not run", [row["cpu_usage_usec"] for row in billed(g, refused)], [0])


def no_prolog_flags(c, g):
    """Without Alloc and Contain the prolog runs with the first step."""
    with configured(g, PrologFlags=None):
        job = begin(g)
        all_within(c, "no PrologFlags: batch", end(g, job), at_least=2)
        all_within(c, "no PrologFlags: srun", g.sh(f"srun -n2 {INSIDE}", "alice"), at_least=2)
        all_within(c, "no PrologFlags: salloc", g.sh(f"timeout 60 salloc srun {INSIDE}", "alice"))
        work.settle(g)
        before = len(g.usage())
        g.sh("timeout 60 salloc true", "alice")
        work.settle(g)
        c.equal("no PrologFlags: an allocation without a step is not seen", len(g.usage()), before)


def configless(c, g):
    """slurmd has its configuration from slurmctld."""
    drop_in = "/etc/systemd/system/slurmd.service.d/configless.conf"
    with configured(g, SlurmctldParameters="enable_configless"):
        # The plugin's file is what slurmctld sends: includes by pattern are not sent.
        g.sh("cp -p /etc/slurm/plugstack.conf /root/plugstack.conf; cat /etc/slurm/plugstack.conf.d/*.conf > /etc/slurm/plugstack.conf")
        g.sh("systemctl restart slurmctld")
        started = g.sh("sed -n 's/^ExecStart=//p' /lib/systemd/system/slurmd.service").strip()
        g.write(drop_in, f"[Service]\nExecStart=\nExecStart={started} --conf-server n1:6817\n")
        try:
            g.sh("systemctl daemon-reload")
            restarted(g, "systemctl restart slurmd")
            c.check("configless: slurmd reads what slurmctld sent", g.run("test -e /run/slurm/conf/plugstack.conf").returncode == 0)
            all_within(c, "configless: batch", end(g, begin(g)), at_least=2)
            all_within(c, "configless: srun", g.sh(f"srun {INSIDE}", "alice"))
        finally:
            g.sh(f"mv /root/plugstack.conf /etc/slurm/plugstack.conf; rm {drop_in}; systemctl daemon-reload")


def gpus(c, g):
    """GRES that slurmd constrains: the plugin's devices and Slurm's own hold together, and who has which is in the record."""
    # No driver stands behind them: what may be opened has no device, what may not be is not permitted.
    g.sh("for n in 0 1 2 3; do mknod -m 666 /dev/lab$n c 240 $n; done; cp -p /etc/slurm/nodes.conf /root/nodes.conf")
    g.sh("sed -i '/^NodeName=/s/$/ Gres=gpu:4/' /etc/slurm/nodes.conf; echo 'NodeName=n1 Name=gpu File=/dev/lab[0-3]' > /etc/slurm/gres.conf")
    look = "for n in 0 1 2 3; do dd if=/dev/lab$n of=/dev/null 2>&1 | grep -o 'not permitted\\|No such device'; done"
    try:
        with configured(g, GresTypes="gpu"):
            first = begin(g, options="--gres=gpu:1 --mem=100M")
            second = work.sbatch(g, "alice", "--gres=gpu:2 --mem=100M", f"{look} > /tmp/looked; {WAIT}")
            g.until("the second runs", lambda: g.run("test -s /tmp/looked").returncode == 0)
            allotted = [places(g, job) for job in (first, second)]
            c.equal("GPUs: Slurm's word for which are whose, and the registration's",
                    [registered(g, job) for job in (first, second)], allotted)
            c.equal("GPUs: a job opens its own only", [n for n, said in enumerate(g.sh("cat /tmp/looked").splitlines()) if "such" in said],
                    allotted[1])
            g.sh("touch /tmp/go")
            work.settle(g)
            rows = [billed(g, job)[0] for job in (first, second)]
            c.equal("GPUs: billed as allocated", [row["allocated_gpus"] for row in rows], [1, 2])
            c.equal("GPUs: their time is that of the job (µs)", [row["allocated_gpu_usec"] for row in rows],
                    [row["elapsed_usec"] * row["allocated_gpus"] for row in rows])
    finally:
        g.sh("rm -f /etc/slurm/gres.conf /dev/lab? /tmp/looked; mv /root/nodes.conf /etc/slurm/nodes.conf")
        restarted(g, "systemctl restart slurmctld slurmd")


def places(g, job):
    """The places of a job's GPUs in the node's GRES, as slurmctld says them: `GRES=gpu:2(IDX:1-2)`."""
    index = re.search(r"IDX:([0-9,-]+)", g.sh(f"scontrol -d show job {job}"))[1]
    ends = [part.split("-") for part in index.split(",")]
    return [place for part in ends for place in range(int(part[0]), int(part[-1]) + 1)]


def registered(g, job):
    return json.loads(g.sh(f"cat /run/tenantry/jobs/n1_slurmstepd.scope/{job}/registration.json"))["allocated_gpus"]


def other_slice(c, g):
    """Slurm's scope in a slice of the site's."""
    # As Slurm's manual wants it: slurmd in the slice too, and the old scope stopped.
    drop_in = "/etc/systemd/system/slurmd.service.d/slice.conf"
    move = "systemctl stop slurmd n1_slurmstepd.scope; systemctl daemon-reload; systemctl start slurmd"
    g.write(drop_in, "[Service]\nSlice=slurm.slice\n")
    with configured(g, "/etc/slurm/cgroup.conf", move, CgroupSlice="slurm.slice"):
        g.sh(f"rm {drop_in}")
        job = begin(g)
        output = end(g, job)
        c.check("CgroupSlice: the tasks are in the tenant there", "/slurm.slice/n1_slurmstepd.scope/tenant_acme/job_" in output, output)
        c.equal("CgroupSlice: billed exactly", [row["quality"] for row in billed(g, job)], ["exact"])
        c.equal("CgroupSlice: nothing is left", g.sh("grep slurm.slice /proc/self/mountinfo; ls -d /sys/fs/cgroup/slurm.slice/*.scope/tenant_*/job_*;"
                                                     " true").strip(), "")


ALL = [
    Trial("PrologFlags=RunInJob", run_in_job, since="24.05", lacks="PrologFlags=RunInJob came with 24.05", witnessed=False),
    Trial("job_container/tmpfs, namespace/tmpfs", namespaces),
    Trial("EntireStepInNS", step_in_namespace, since="23.11", lacks="EntireStepInNS came with 23.11"),
    Trial("contain_spank", contained_spank, since="24.11", lacks="SlurmdParameters=contain_spank came with 24.11"),
    Trial("proctrack/linuxproc", without_cgroups, witnessed=False),
    Trial("without PrologFlags", no_prolog_flags),
    Trial("configless", configless),
    Trial("gres/gpu", gpus),
    Trial("CgroupSlice", other_slice, since="25.11", lacks="CgroupSlice came with 25.11", witnessed=False),
]
