"""The steps of an admin, in order; each is a phase of checks."""

import json
import time

import work
from guest import Failed

APT = ("DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dir::Etc::sourcelist=/root/tenantry.list"
       " -o Dir::Etc::sourceparts=- -o Acquire::Languages=none -o APT::Sandbox::User=root")
TENANTS = '[tenants.acme]\naccounts = ["acme", "acme-*"]\nmemory_max = "1GiB"\n\n[tenants.globex]\naccounts = ["globex"]\n'
JOBS_LOST = 0


def apt(guest, command, source=None):
    """apt's result, with the folder as its only source."""
    if source:
        guest.sh(f"echo 'deb [trusted=yes] file:/host/{source} ./' > /root/tenantry.list && {APT} update")
    return guest.run(f"{APT} {command}")


def status(guest):
    return json.loads(guest.sh("tenantry plugin status --format json"))


def restart_slurmd(guest):
    guest.restart_slurmd()
    return status(guest)


def job(guest, user="alice", program="true"):
    return work.sbatch(guest, user, "", program)


def ended(guest, ids, seconds=120):
    """How each job ended; what did not end well is lost."""
    global JOBS_LOST
    work.settle(guest, seconds)
    states = {ident: guest.sh(f"sacct -nXP -j {ident} -o state,exitcode").strip() for ident in ids}
    JOBS_LOST += sum(state != "COMPLETED|0:0" for state in states.values())
    return states


def all_well(c, name, guest, ids):
    states = ended(guest, ids)
    c.check(name, all(state == "COMPLETED|0:0" for state in states.values()), states)


def runs(c, name, guest):
    all_well(c, name, guest, [job(guest), job(guest, "carol")])


def running(guest, program="sleep 8", user="alice"):
    ident = job(guest, user, program)
    guest.until(f"job {ident} runs", lambda: work.state(guest, ident) == "RUNNING")
    return ident


def installs_beside_running_jobs(c, guest):
    """the packages are installed while a job runs; nothing is asked, and no job notices"""
    before = running(guest, "srun true; sleep 10; srun true")
    done = apt(guest, "install tenantry-node tenantry-server tenantry", "packages")
    c.check("apt installs the packages without network", done.returncode == 0, done.stdout + done.stderr)
    c.check("the plugin is off, and the install says what is missing", "has no tenant" in done.stdout, done.stdout)
    c.equal("the daemons run", guest.sh("systemctl is-active tenantryd tenantry-warden tenantry-server").split(), ["active"] * 3)
    runs(c, "jobs start right after the install", guest)
    all_well(c, "the job that ran meanwhile ends well, its next steps too", guest, [before])
    c.check("without a tenant in the file it stays off when slurmd is restarted", not restart_slurmd(guest)["on"])
    runs(c, "jobs run with slurmd restarted and no tenant in the file", guest)
    guest.sh("mv /etc/tenantry/tenants.toml /root/")
    state = restart_slurmd(guest)
    c.check("without a tenants file it stays off, and says what to do", not state["on"] and "check-config" in state["reason"], state)
    runs(c, "jobs run without a tenants file", guest)
    guest.sh("mv /root/tenants.toml /etc/tenantry/")


def first_usage(c, guest):
    """one file is edited, slurmd restarted on an empty node; a job's usage is what the kernel says"""
    guest.write("/etc/tenantry/tenants.toml", TENANTS)
    guest.write("/etc/tenantry/tenantryd.toml", "sample_interval_ms = 1000\nblock_interval_ms = 2000\n")
    guest.sh("systemctl restart tenantryd")
    before = running(guest, "sleep 12; srun true")
    state = restart_slurmd(guest)
    c.check("it does not come on over jobs that began without a tenant", not state["on"] and "drain" in state["reason"], state)
    all_well(c, "the job that ran ends well, its next step too", guest, [before])
    stage = guest.share() / "oracle"
    for folder in ("usr/lib/tenantry", "etc/slurm/plugstack.conf.d"):
        (stage / folder).mkdir(parents=True, exist_ok=True)
    guest.build_oracle(stage)
    guest.sh("cp -a --no-preserve=ownership /host/oracle/. / && mkdir -p /var/log/oracle"
             " && touch /var/log/oracle/tasks /var/log/oracle/epilog /var/log/oracle/steps && chmod 666 /var/log/oracle/*")
    state = restart_slurmd(guest)
    c.check("on an empty node it comes on: the build for this Slurm",
            state == {"on": True, "file": f"/usr/lib/tenantry/spank_tenantry-{guest.slurm}.so"}, state)
    ids = [job(guest, "alice", work.BURN.format(1) + "; true"), job(guest, "carol")]
    all_well(c, "jobs run in their tenants", guest, ids)
    billed_exactly(c, guest, ids)


def billed_exactly(c, guest, ids):
    """Each job is billed once, as the kernel says."""
    def rows():
        found = {row["job_id"]: row for row in guest.usage() if row["job_id"] in ids and row.get("quality") == "exact"}
        return found if len(found) == len(ids) else None
    try:
        found = guest.until("every job is billed", rows, 60)
    except Failed as error:
        c.check("every job is billed", False, f"{error}\n{guest.sh('tenantry usage')}")
        return
    kernel = [json.loads(line) for line in guest.sh("cat /var/log/oracle/epilog").splitlines()]
    kernel = {row["job"]: row["usage_usec"] for row in kernel}
    c.equal("what is billed is what the kernel says", {i: found[i]["cpu_usage_usec"] for i in ids}, {i: kernel.get(i) for i in ids})


def upgrade_beside_jobs(c, guest):
    """the packages are upgraded while jobs run; every one is billed exactly"""
    burn = work.BURN.format(1)
    ids = [running(guest, f"srun {burn}; sleep 10; srun {burn}; true"), running(guest, f"{burn}; sleep 12; {burn}; true", "carol")]
    guest.sh("echo '# the site' >> /etc/tenantry/tenants.toml")
    pids = guest.sh("systemctl show -P MainPID tenantryd tenantry-warden slurmd").split()
    done = apt(guest, "upgrade", "newer")
    c.check("apt upgrades", done.returncode == 0 and "99.0.0" in guest.sh("dpkg-query -W tenantry-node"), done.stdout + done.stderr)
    now = guest.sh("systemctl show -P MainPID tenantryd tenantry-warden slurmd").split()
    c.check("the daemons are new, and slurmd is as it was", now[0] != pids[0] and now[1] != pids[1] and now[2] == pids[2], f"{pids} {now}")
    c.check("the site's file is kept", "# the site" in guest.sh("cat /etc/tenantry/tenants.toml"))
    c.check("the plugin stays on", status(guest)["on"])
    ids += [job(guest), job(guest, "carol")]
    all_well(c, "jobs from before and after the upgrade end well", guest, ids)
    billed_exactly(c, guest, ids)


def stands_aside(c, guest):
    """Slurm is of a version without a build, or a build is of another: jobs run, the message says what to do"""
    build = f"/usr/lib/tenantry/spank_tenantry-{guest.slurm}.so"
    other = next(v for v in ("22.05", "24.11", "26.05") if v != guest.slurm)
    for name, harm, says in (
            ("no build for this Slurm", f"rm {build}", "no build for Slurm"),
            ("a build for another Slurm under its name", f"cp /usr/lib/tenantry/spank_tenantry-{other}.so {build}.new && mv {build}.new {build}",
             f"built for Slurm {other}"),
            ("a file that is no plugin", f"rm {build}; echo > {build}", "no plugin of Slurm's"),
            ("a build that is cut off", f"head -c 2600000 /root/build.so > {build}.new && mv {build}.new {build}", build)):
        guest.sh(f"cp -a {build} /root/build.so; {harm}")
        state = restart_slurmd(guest)
        c.check(f"{name}: it stands aside and says so", not state["on"] and says in state["reason"], state)
        runs(c, f"{name}: jobs run", guest)
        guest.sh(f"cp -a /root/build.so {build}.new && mv {build}.new {build}")
        c.check(f"{name}: mended, it is on again", restart_slurmd(guest)["on"])
    trigger = guest.run("rm -f /root/t; dpkg-trigger --by-package=slurmd /usr/sbin/slurmd-wlm && dpkg --triggers-only -a")
    c.check("another slurmd calls the selector by dpkg's trigger", "on: Slurm loads" in trigger.stdout, trigger.stdout + trigger.stderr)


def removed(c, guest):
    """a removal waits for jobs; then Slurm is as before, and records stay until a purge"""
    ident = running(guest, "sleep 8")
    done = apt(guest, "remove tenantry-node")
    c.check("while a job runs in a tenant the removal is refused, and says what to do",
            done.returncode != 0 and "drain" in done.stdout + done.stderr, done.stdout + done.stderr)
    c.check("refused, it stays on", status(guest)["on"])
    all_well(c, "the job ends well", guest, [ident])
    billed_exactly(c, guest, [ident])
    done = apt(guest, "remove tenantry-node tenantry-server")
    c.check("apt removes the packages", done.returncode == 0, done.stdout + done.stderr)
    guest.sh("rm /etc/slurm/plugstack.conf.d/00-oracle.conf /usr/lib/tenantry/oracle.so")
    runs(c, "jobs run with slurmd as it is", guest)
    guest.restart_slurmd()
    runs(c, "jobs run with slurmd restarted", guest)
    c.equal("no group and no mount of ours is left", guest.sh("find /sys/fs/cgroup -type d -name 'tenant_*'; grep -c /tenant_ /proc/mounts || true").strip(), "0")
    c.equal("records stay", guest.sh("ls /var/lib/tenantry/spool.sqlite /var/lib/tenantry-server/ledger.sqlite | wc -l").strip(), "2")


def purged(c, guest):
    """a purge leaves nothing"""
    done = apt(guest, "purge tenantry-node tenantry-server tenantry")
    c.check("apt purges the packages", done.returncode == 0, done.stdout + done.stderr)
    left = guest.sh("find / -xdev -path /proc -prune -o -name '*tenantry*' -print | grep -vE '^/(host|root|tmp|var/lib/dpkg|var/lib/apt|var/cache)' || true")
    c.check("nothing of it is left", not left.replace("/etc/tenantry\n", "").strip(), left)
    guest.restart_slurmd()
    runs(c, "jobs run", guest)


def bad_days(c, guest):
    """installed on a full disk, and where a daemon gets no memory: jobs start, and it says what to do"""
    guest.sh("fallocate -l $(($(df --output=avail -B1 / | tail -n 1) - 8000000)) /full 2>/dev/null || dd if=/dev/zero of=/full bs=1M 2>/dev/null || true")
    done = apt(guest, "install tenantry-node tenantry-server tenantry", "packages")
    c.check("on a full disk the install stops, and says why", done.returncode != 0 and "space" in (done.stdout + done.stderr), done.stdout + done.stderr)
    guest.sh("rm /full")
    runs(c, "jobs run after it", guest)
    guest.sh("mkdir -p /etc/systemd/system/tenantryd.service.d; printf '[Service]\\nMemoryMax=500K\\nMemorySwapMax=0\\n' > /etc/systemd/system/tenantryd.service.d/small.conf; systemctl daemon-reload")
    guest.sh("dpkg --configure -a")
    done = apt(guest, "-f install tenantry-node tenantry-server tenantry")
    c.check("with a daemon that is killed for memory the packages are installed", done.returncode == 0, done.stdout + done.stderr)
    c.check("the install says that it does not run, and what to look at", "journalctl -u tenantryd" in done.stderr + done.stdout, done.stdout + done.stderr)
    runs(c, "jobs run beside it", guest)
    guest.sh("rm -r /etc/systemd/system/tenantryd.service.d; systemctl daemon-reload; systemctl restart tenantryd")
    time.sleep(1)
    c.equal("with memory it runs", guest.sh("systemctl is-active tenantryd").strip(), "active")


ALL = (installs_beside_running_jobs, first_usage, upgrade_beside_jobs, stands_aside, removed, purged, bad_days)
