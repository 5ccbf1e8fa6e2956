"""The faults: what is done to a running job, and what must have become of it."""

import subprocess

import work
from guest import LAB

# Runs until told to go on, then looks again, and starts a step: all say where they are.
WAIT = "cat /proc/self/cgroup; while [ ! -e /tmp/go ]; do sleep 0.05; done; cat /proc/self/cgroup"
PROGRAM = WAIT + "; srun cat /proc/self/cgroup"

LOST_MOUNT = "its mount was lost"
LOST_RECORD = "its registration was lost"
CUT_OFF = "was cut off half-way"
NO_EPILOG = "had no epilog here"


class Fault:
    """One fault: `strike` is done while the job runs; `says` is what the warden must log, once."""

    def __init__(self, name, strike, outcome="COMPLETED", says=None, program=PROGRAM, runs=1):
        self.name, self.strike, self.outcome, self.says = name, strike, outcome, says
        self.program, self.runs = program, runs

    def run(self, c, g):
        """Starts from an empty bill and an empty witness, so that no fault's figures are another's."""
        g.sh("systemctl stop tenantry-server; rm -f /var/lib/tenantry-server/*; truncate -s 0 /var/log/oracle/*; systemctl start tenantry-server")
        self.before = work.tenant_counters(g)
        self.go(c, g)

    def go(self, c, g):
        job = begin(g, self.program)
        self.strike(g, job)
        g.sh("touch /tmp/go")
        self.finish(c, g, job)

    def finish(self, c, g, job):
        work.settle(g)
        left = work.wait_clean(g)
        c.equal(f"{self.name}: nothing is left", left, [])
        rows = closed(g, job, self.runs)
        c.equal(f"{self.name}: each run is billed once, exactly",
                [(row["tenant"], row["quality"]) for row in rows], [("acme", "exact")] * self.runs)
        groups = [line for line in g.sh(f"cat /home/alice/out.{job}").splitlines() if line.startswith("0::")]
        at_least = self.program.count("cgroup") if self.outcome == "COMPLETED" else 1
        c.check(f"{self.name}: every task ran in the tenant",
                len(groups) >= at_least and all(f"/tenant_acme/job_{job}/" in one for one in groups), groups)
        c.equal(f"{self.name}: the job's state", work.state(g, job), self.outcome)
        said = g.sh(f"journalctl -u tenantry-warden -o cat | grep -c 'job {job}:.*{self.says or '.'}'; true").strip()
        c.equal(f"{self.name}: how often the warden said something of it", said, "1" if self.says else "0")
        self.settle_bill(c, g)

    def settle_bill(self, c, g):
        _, differences = work.compare(g, self.before)
        c.equal(f"{self.name}: bill, witness and tenants differ by", (differences["cpu"], differences["memory"], differences["unmatched"]),
                (0, 0, []))


class Orphans(Fault):
    """A fault after which processes run on without Slurm: the witness reads before the plugin kills them, the tenant's
    own group counts them to the end."""

    def settle_bill(self, c, g):
        _, differences = work.compare(g, self.before)
        c.equal(f"{self.name}: bill and the tenants' own growth differ by",
                [(bill, grown) for bill, grown in differences["tenants"].values() if bill != grown], [])


class CutOff(Fault):
    """A prolog or epilog that dies at a step, as by a power cut that spares the rest of the node."""

    def __init__(self, step, says=CUT_OFF, runs=1):
        super().__init__(f"death at \"{step}\"", None, says=says, runs=runs)
        self.step = step

    def go(self, c, g):
        g.use_plugin("fault")
        g.write("/run/tenantry-die-at", self.step)
        g.sh("rm -f /tmp/go")
        job = work.sbatch(g, "alice", "--requeue --open-mode=append", PROGRAM)
        # Slurm drains a node whose prolog or epilog died, and holds the job: that is Slurm's to decide.
        if self.step.startswith("close"):
            g.sh("touch /tmp/go")
        g.until("the hook died", lambda: "drain" in " ".join(g.node_states()))
        g.sh("rm /run/tenantry-die-at")
        g.until("the warden has mended it", lambda: not work.leftovers(g), 60)
        g.use_plugin()
        g.sh("scontrol update nodename=n1 state=resume")
        g.run(f"scontrol release {job}; scontrol update jobid={job} starttime=now")
        g.sh("touch /tmp/go")
        g.until("the job has run", lambda: work.state(g, job) == "COMPLETED")
        self.finish(c, g, job)

    def settle_bill(self, c, g):
        # Slurm calls the epilog of a prolog that died, too, and the witness is there before the warden or after: a group
        # in which nothing ever ran is no end, unless it was registered.
        if self.runs == 1:
            g.sh("sed -i '/\"usage_usec\": *0[,}]/d' /var/log/oracle/epilog")
        super().settle_bill(c, g)


class Reboot(Fault):
    """Nothing but the disk survives: the job's next run is billed exactly, the one that was cut off by its last reading that is
    on the disk, with how much may be missing."""

    def finish(self, c, g, job):
        work.settle(g)
        c.equal(f"{self.name}: nothing is left", work.wait_clean(g), [])
        def ended():
            rows = [row for row in g.usage("--job", str(job)) if row["state"] == "final"]
            return rows if any(row["quality"] == "exact" for row in rows) else None
        rows = g.until("the run after it is billed", ended, 60)
        cut_off = [row for row in rows if row["quality"] != "exact"]
        c.equal(f"{self.name}: the run after it is billed once, exactly", [row["tenant"] for row in rows if row not in cut_off], ["acme"])
        c.check(f"{self.name}: the run that was cut off is billed once at most, estimated, with the time that may be missing",
                len(cut_off) <= 1 and all(row["quality"] == "estimated" and row["unmeasured_usec"] is not None for row in cut_off), cut_off)
        groups = [line for line in g.sh(f"cat /home/alice/out.{job}").splitlines() if line.startswith("0::")]
        c.check(f"{self.name}: every task ran in the tenant", all(f"/tenant_acme/job_{job}/" in one for one in groups), groups)
        c.equal(f"{self.name}: tenantryd, the warden and the server are back",
                g.sh("systemctl is-active tenantryd tenantry-warden tenantry-server").split(), ["active"] * 3)


def begin(g, program=PROGRAM):
    """A job of alice's that runs and waits."""
    g.sh("rm -f /tmp/go")
    job = work.sbatch(g, "alice", "--requeue --open-mode=append", program)
    g.until("the job runs", lambda: g.run(f"grep -q tenant_ /home/alice/out.{job}").returncode == 0)
    return job


def closed(g, job, runs):
    def complete():
        rows = g.usage("--job", str(job))
        return rows if len(rows) >= runs and all(row["state"] == "final" for row in rows) else None
    return g.until(f"job {job} is billed", complete, 60)


def leaf(job):
    return f"/sys/fs/cgroup/system.slice/n1_slurmstepd.scope/tenant_acme/job_{job}"


def point(job):
    return f"/sys/fs/cgroup/system.slice/n1_slurmstepd.scope/job_{job}"


def restart(*units):
    def strike(g, _):
        g.sh(f"systemctl restart {' '.join(units)}")
        g.until("the node answers", lambda: "*" not in g.sh("sinfo -h -N -o %T"), 30)
    return strike


def kill(unit):
    def strike(g, _):
        g.sh(f"systemctl kill -s KILL --kill-whom=main {unit}")
        # Debian's slurmd unit has no Restart=.
        g.run(f"sleep 1.5; systemctl is-active -q {unit} || systemctl start {unit}")
        g.until(f"{unit} is back", lambda: g.run(f"systemctl is-active -q {unit}").returncode == 0)
    return strike


def upgrade(g, _):
    """The daemon's file is replaced under it, as a package does."""
    for program in ("tenantryd", "tenantry-warden"):
        g.sh(f"cp /usr/sbin/{program} /usr/sbin/.new && mv /usr/sbin/.new /usr/sbin/{program}")
    g.sh("systemctl daemon-reload; systemctl restart tenantryd tenantry-warden")


def kill_stepds(g, job):
    """Slurm sees it when slurmd registers anew, BatchStartTimeout after the start, and starts the job once more."""
    g.sh(f"pkill -KILL -f 'slurmstepd: \\[{job}[.]'")

    def is_requeued():
        g.sh("systemctl restart slurmd")
        return work.state(g, job) == "PENDING"
    g.until("Slurm has requeued the job", is_requeued, 120, pause=4)
    g.sh("touch /tmp/go")
    g.until("its first run has left the node", lambda: not work.leftovers(g), 30)
    g.until("the job may start", lambda: g.run(f"scontrol update jobid={job} starttime=now").returncode == 0)
    g.until("the job is over", lambda: work.state(g, job) == "COMPLETED")


def unmount(g, job):
    g.sh(f"umount {point(job)}")
    g.until("it is mounted again", lambda: g.run(f"grep -q {point(job)} /proc/self/mountinfo").returncode == 0)


def unmount_with_step(g, job):
    """While nobody looks the mount goes, and a step starts: it is refused. Then the warden looks."""
    g.sh("systemctl stop tenantry-warden")
    g.sh(f"umount {point(job)}")
    g.run(f"srun --jobid={job} --overlap sh -c 'echo ran > /tmp/outside'", "alice")
    if g.run("test -e /tmp/outside").returncode == 0:
        raise AssertionError("a step ran outside its tenant")
    g.sh("systemctl start tenantry-warden")
    g.until("it is mounted again", lambda: g.run(f"grep -q {point(job)} /proc/self/mountinfo").returncode == 0)


def lose_record(g, job):
    g.sh(f"rm -r /run/tenantry/jobs/n1_slurmstepd.scope/{job}")
    g.until("it is registered again", lambda: g.run(f"test -e /run/tenantry/jobs/n1_slurmstepd.scope/{job}/registration.json").returncode == 0)


def power_cut(g, job):
    """The guest's root has no journal, and what Slurm has there is not ours to mend: it is frozen, and so whole, when the
    power goes. What is ours has a disk with a journal (`reconcile/run`), and is cut wherever it is."""
    g.sh("fsfreeze -f /")
    subprocess.run([LAB, "reset", g.name], check=True, stdout=subprocess.DEVNULL)
    g.until("Slurm answers", lambda: g.run("scontrol ping | grep -q UP").returncode == 0 and "*" not in g.sh("sinfo -h -N -o %T"), 60)

    def has_begun_anew():
        """What slurmctld knew of the job when it last wrote it down: that it waits, or that it runs."""
        if g.run(f"pgrep -f 'slurmstepd: \\[{job}[.]batch'").returncode == 0:
            return True
        # It runs, and does not: Slurm sees that when slurmd registers anew.
        g.run("systemctl restart slurmd" if work.state(g, job) == "RUNNING" else
              f"scontrol update nodename=n1 state=resume; scontrol release {job}; scontrol update jobid={job} starttime=now")
        return False
    g.until("Slurm has started the job again", has_begun_anew, 120, pause=4)


class PluginGone(Fault):
    """The epilog does not come: the plugin is taken out while the job runs, and a process stays."""

    def go(self, c, g):
        job = begin(g)
        # A daemon that Slurm's own kill does not find: in the job's group, not in a task's.
        g.sh(f"setsid sleep 1000 >/dev/null 2>&1 & echo $! > {leaf(job)}/tenantry/cgroup.procs")
        g.sh("mv /etc/slurm/plugstack.conf.d/tenantry.conf /root/; touch /tmp/go")
        self.restart_without(g)
        g.until("the job is over", lambda: work.state(g, job) in ("COMPLETED", "FAILED"))
        g.until("the warden has closed it", lambda: not work.leftovers(g), 60)
        g.sh("mv /root/tenantry.conf /etc/slurm/plugstack.conf.d/; systemctl restart slurmd")
        self.finish(c, g, job)

    @staticmethod
    def restart_without(g):
        g.sh("systemctl restart slurmd")

    def settle_bill(self, c, g):
        # The witness was there, our epilog was not: the warden has killed what the witness still saw running.
        pass


class PrologAgain(Fault):
    """Without PrologFlags a slurmd that was killed runs the prolog again, with the next step of a job that runs."""

    def go(self, c, g):
        flags = g.sh("grep ^PrologFlags /etc/slurm/slurm.conf").strip()
        g.sh("sed -i 's/^PrologFlags/#&/' /etc/slurm/slurm.conf; systemctl restart slurmctld slurmd")
        g.until("Slurm answers", lambda: "idle" in g.run("sinfo -h -o %T").stdout)
        super().go(c, g)
        c.check(f"{self.name}: slurmd did so, and the plugin knew the job", "its prolog is called again" in g.slurmd_log())
        g.sh(f"sed -i 's/^#{flags}/{flags}/' /etc/slurm/slurm.conf; systemctl restart slurmctld slurmd")
        g.until("Slurm answers", lambda: "idle" in g.run("sinfo -h -o %T").stdout)


class PrivateMounts(Fault):
    """slurmd gets a mount namespace of its own while the job runs; what comes after has not one."""

    DROP_IN = "/etc/systemd/system/slurmd.service.d/private.conf"

    def go(self, c, g):
        super().go(c, g)
        g.sh(f"rm {self.DROP_IN}; systemctl daemon-reload")
        restart("slurmd")(g, None)

    @classmethod
    def strike_with(cls, g, job):
        g.sh(f"mkdir -p $(dirname {cls.DROP_IN}); printf '[Service]\\nPrivateTmp=yes\\n' > {cls.DROP_IN}; systemctl daemon-reload")
        restart("slurmd")(g, job)


class LeakedGraft(Fault):
    """A group and a mount that nobody has a record of."""

    def go(self, c, g):
        job = 999_999
        g.sh(f"mkdir -p {leaf(job)}/tenantry {point(job)} && mount --bind {leaf(job)} {point(job)}")
        g.until("the warden has removed it", lambda: not work.leftovers(g), 30)
        c.equal(f"{self.name}: nothing is left", work.leftovers(g), [])
        said = g.sh(f"journalctl -u tenantry-warden -o cat | grep -c 'job {job}:.*{CUT_OFF}'; true").strip()
        c.equal(f"{self.name}: how often the warden said so", said, "1")


ALL = [
    Fault("slurmd restarted", restart("slurmd")),
    # A slurmd that was killed forgets which prologs it ran, and by itself refuses the next step of the job.
    Fault("slurmd killed", kill("slurmd"), program=WAIT),
    PrologAgain("slurmd killed, and its prolog runs again", kill("slurmd")),
    Fault("systemd reloaded, slurmd restarted", lambda g, job: (g.sh("systemctl daemon-reload"), restart("slurmd")(g, job))),
    Fault("tenantryd killed", kill("tenantryd")),
    Fault("the warden killed", kill("tenantry-warden")),
    Fault("the server killed", kill("tenantry-server")),
    Fault("daemons upgraded", upgrade),
    Orphans("slurmstepd killed", kill_stepds, runs=2),
    Fault("mount lost", unmount, says=LOST_MOUNT),
    Fault("mount lost, and a step started meanwhile", unmount_with_step, says=LOST_MOUNT),
    Fault("registration lost", lose_record, says=LOST_RECORD),
    LeakedGraft("leaked graft", None),
    PluginGone("no epilog, and an orphan process", None, says=NO_EPILOG),
    *(CutOff(step) for step in ("prolog: locked", "prolog: tenant made", "graft: Leaf", "graft: Sentinel", "graft: MountPoint", "graft: Bound")),
    # Registered, the job has an epilog, and Slurm calls it.
    CutOff("prolog: registered", says=None, runs=2),
    *(CutOff(step, says=NO_EPILOG) for step in ("close: killed", "close: kept", "close: undone")),
    CutOff("close: a record removed", says=NO_EPILOG),
    PrivateMounts("slurmd gets mounts of its own", PrivateMounts.strike_with),
    Reboot("power cut", power_cut),
]
