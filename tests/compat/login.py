"""pam_slurm_adopt: a login to the node belongs to the user's job there."""

import time

import work
from trial import Trial, all_within, begin, end, leaf

SSHD = """HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile none
"""
SSH = "timeout 120 ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=INFO -o BatchMode=yes -i ~/.ssh/key n1"


def prepare(g):
    g.write("/etc/ssh/compat.conf", SSHD)
    g.sh("[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -qt ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; mkdir -p /run/sshd;"
         " cp -p /etc/pam.d/sshd /etc/pam.d/sshd.kept; echo 'account required pam_slurm_adopt.so' >> /etc/pam.d/sshd;"
         " systemd-run -q --unit=compat-sshd /usr/sbin/sshd -D -f /etc/ssh/compat.conf")
    g.sh("mkdir -pm 700 ~/.ssh; [ -e ~/.ssh/key ] || ssh-keygen -qt ed25519 -N '' -f ~/.ssh/key; cp ~/.ssh/key.pub ~/.ssh/authorized_keys",
         "alice")
    g.until("sshd listens", lambda: g.run("ss -Hltn 'sport = :22' | grep -q .").returncode == 0, 30)


def adopt(c, g):
    prepare(g)
    try:
        done = g.run(f"{SSH} true", "alice")
        c.check("login: refused without a job", done.returncode not in (0, 124) and "no active jobs" in done.stderr, done)
        job = begin(g)
        before = int(g.sh(f"sed -n 's/^usage_usec //p' {leaf(job)}/cpu.stat"))
        output = g.sh(f"{SSH} 'cat /proc/self/cgroup; timeout 0.5 sh -c \"while :; do :; done\"; true'", "alice")
        all_within(c, "login: the shell is in the tenant", output)
        c.check("login: and in this job", f"/job_{job}/" in output, output)
        used = int(g.sh(f"sed -n 's/^usage_usec //p' {leaf(job)}/cpu.stat")) - before
        c.check("login: what it does is the job's to pay", used > 300_000, f"{used} µs")
        g.sh(f"{SSH} 'setsid sleep 999 >/dev/null 2>&1 & echo $! > daemon'; {SSH} 'echo $$ > shell; exec sleep 998' >/dev/null 2>&1 &"
             " for i in $(seq 100); do [ -s shell ] && break; sleep 0.1; done", "alice")
        time.sleep(0.5)
        c.equal("login: a daemon and a session run", len(g.sh("pgrep -xf 'sleep 99[89]'; true").split()), 2)
        all_within(c, "login: the job is where it was", end(g, job), at_least=2)
        c.equal("login: both end with the job", g.sh("pgrep -xf 'sleep 99[89]'; true").split(), [])
        done = g.run(f"{SSH} true", "alice")
        c.check("login: refused after the job", done.returncode not in (0, 124), done)
    finally:
        g.sh("systemctl stop compat-sshd; mv /etc/pam.d/sshd.kept /etc/pam.d/sshd; rm -f /home/alice/shell /home/alice/daemon")
        work.settle(g)


ALL = [Trial("pam_slurm_adopt", adopt)]
