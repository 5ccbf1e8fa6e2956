"""What may happen, one function each. Each runs jobs through it and ends with everything started again; it answers for
which reasons the record must have gaps."""

import time

import work

USERS = ("alice", "bob", "carol")
BURN = work.BURN.format(0.3) + "; true"
SPOOL = "/var/lib/tenantry/spool.sqlite"

# The steps between which tenantryd dies, in the order in which a job's end passes them.
STEPS = ("spool: block written", "spool: tip written", "spool: taken noted", "spool: committed", "outbox: moved",
         "spool: acknowledged", "outbox: removed")


def prepare(g):
    """The daemon that dies on demand, and Slurm that takes short jobs fast."""
    from guest import ROOT  # pylint: disable=import-outside-toplevel
    g.sh("mkdir -p /usr/lib/tenantry")
    (g.share() / "tenantryd").write_bytes((ROOT / "target/fault/tenantryd").read_bytes())
    g.sh("sed -i 's/^DefMemPerCPU=.*/DefMemPerCPU=50/; s/^PartitionName=main .*/& OverSubscribe=FORCE:4/' /etc/slurm/slurm.conf")
    g.sh("systemctl restart slurmctld slurmd && lab-wait-slurm 120")


def restore(g):
    """Both daemons run, with their own settings, whatever a trial has left."""
    g.sh("rm -f /run/tenantry-die-at /var/lib/tenantry/small/filler; [ ! -e /root/tenantryd.toml ] || mv /root/tenantryd.toml /etc/tenantry/;"
         " systemctl restart tenantryd; systemctl start tenantry-server")
    back(g)
    back(g, "tenantry-server")


def load(g, rounds=1):
    """Hands over three jobs a round: the shortest there are, and some that use their CPU."""
    for user in USERS[:3]:
        work.sbatch(g, user, f"--array=1-{rounds}", BURN if user != "carol" else "true")


def back(g, unit="tenantryd"):
    """Waits until a daemon is up."""
    g.until(f"{unit} is back", lambda: g.run(f"systemctl is-active -q {unit}").returncode == 0)


def kills_at_random(minutes):
    """The trial of so many minutes."""
    def trial(_, g, rng):
        """kill -9 of tenantryd, and now and then of the server, at random while jobs run."""
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            load(g)
            for _ in range(rng.randint(1, 4)):
                unit = "tenantry-server" if rng.random() < 0.2 else "tenantryd"
                g.sh(f"systemctl kill -s KILL {unit}")
                time.sleep(rng.uniform(0.2, 4))
        back(g)
        back(g, "tenantry-server")
        return {"down"}
    return trial


def dies_at_each_step(c, g, _):
    """tenantryd dies between any two steps of a spool write and of the outbox."""
    g.sh("cp /usr/sbin/tenantryd /root/tenantryd.whole && systemctl stop tenantryd && cp /host/tenantryd /usr/sbin/tenantryd"
         " && systemctl start tenantryd")
    for step in STEPS:
        before = int(g.sh("systemctl show -P NRestarts tenantryd"))
        g.write("/run/tenantry-die-at", step)
        load(g)
        died = g.until(f"it dies at {step!r}", lambda before=before: int(g.sh("systemctl show -P NRestarts tenantryd")) > before)
        g.sh("rm /run/tenantry-die-at")
        c.check(f"tenantryd dies at {step!r}", died)
        back(g)
    g.sh("systemctl stop tenantryd && cp /root/tenantryd.whole /usr/sbin/tenantryd && systemctl start tenantryd")
    return {"down"}


def full_disk(c, g, _):
    """The spool's disk is full while jobs end, and has room again later."""
    small = "/var/lib/tenantry/small"
    g.sh(f"systemctl stop tenantryd; mkdir -p {small}; mount -t tmpfs -o size=2M tmpfs {small}")
    g.sh(f"cp /etc/tenantry/tenantryd.toml /root/; echo 'spool = \"{small}/spool.sqlite\"' >> /etc/tenantry/tenantryd.toml")
    g.sh("systemctl start tenantryd")
    load(g)
    g.sh(f"dd if=/dev/zero of={small}/filler bs=4k 2>/dev/null; true")
    load(g, 3)
    work.settle(g)
    log = g.sh("journalctl -u tenantryd --no-pager | tail -n 200")
    c.check("the log says that the spool takes nothing, and that it is tried again", "the spool cannot" in log, log)
    waits = g.sh("find /var/lib/tenantry/outbox -name '*.json' | wc -l").strip()
    c.check("ends wait in the outbox", int(waits) > 0, waits)
    g.sh(f"rm {small}/filler")
    g.until("the outbox is taken", lambda: not g.sh("find /var/lib/tenantry/outbox -name '*.json'").strip(), 60)
    return set()


def with_ends_in_the_spool(g, damage):
    """Ends are in the spool, and not in the ledger yet; then something happens to the spool."""
    g.sh("systemctl stop tenantry-server")
    load(g, 2)
    work.settle(g)
    g.until("the ends are in the spool", lambda: not g.sh("find /var/lib/tenantry/outbox -name '*.json'").strip())
    g.sh("systemctl stop tenantryd")
    g.sh(damage)
    g.sh("systemctl start tenantryd tenantry-server")


def spool_cut_off(_, g, rng):
    """The spool's file is cut off somewhere."""
    with_ends_in_the_spool(g, f"truncate -s $(( $(stat -c %s {SPOOL}) * {rng.randint(20, 95)} / 100 )) {SPOOL}; rm -f {SPOOL}-wal {SPOOL}-shm")
    return {"spool_lost"}


def spool_garbled(_, g, rng):
    """Pages of the spool's file are overwritten."""
    pages = " ".join(str(rng.randint(2, 12)) for _ in range(4))
    with_ends_in_the_spool(g, f"for page in {pages}; do dd if=/dev/urandom of={SPOOL} bs=4096 count=1 seek=$page conv=notrunc status=none; done;"
                              f" rm -f {SPOOL}-wal {SPOOL}-shm")
    return {"spool_lost"}


def spool_replaced(_, g, __):
    """An older copy stands in the spool's place."""
    g.sh(f"systemctl stop tenantryd; cp {SPOOL} /root/older.sqlite; systemctl start tenantryd")
    load(g)
    work.settle(g)
    with_ends_in_the_spool(g, f"rm -f {SPOOL}-wal {SPOOL}-shm; cp /root/older.sqlite {SPOOL}")
    return {"down"}


def spool_removed(_, g, __):
    """The spool's file is gone."""
    with_ends_in_the_spool(g, f"rm -f {SPOOL} {SPOOL}-wal {SPOOL}-shm")
    return {"down"}


def outbox_half_written(c, g, _):
    """Half a file, and one that is no end, stand in the outbox."""
    outbox = "/var/lib/tenantry/outbox"
    g.sh(f"printf '{{\"registration\": {{' > {outbox}/1-x-1.json; printf '{{' > {outbox}/2-x-2.json.unfinished; printf '\\377' > {outbox}/3-x-3.json")
    load(g)
    g.until("what is no end is put aside", lambda: len(g.sh(f"ls {outbox}/*.rejected").split()) == 2)
    work.settle(g)
    c.check("half a file is left alone", g.run(f"test -e {outbox}/2-x-2.json.unfinished").returncode == 0)
    g.sh(f"rm -f {outbox}/*.rejected {outbox}/*.unfinished")
    return set()


def clock_set(_, g, rng):
    """The wall clock is set back and forth while jobs run."""
    for _ in range(6):
        load(g)
        g.sh(f"date -s @$(( $(date +%s) + {rng.choice([-80, -7, 5, 60])} )) > /dev/null")
        time.sleep(rng.uniform(1, 3))
    return set()


def server_gone(_, g, __):
    """No server for the whole time."""
    g.sh("systemctl stop tenantry-server")
    load(g, 4)
    work.settle(g)
    g.sh("systemctl start tenantry-server")
    return set()


def all_of(minutes):
    """(name, trial), the longest last."""
    return [
        ("each step", dies_at_each_step),
        ("full disk", full_disk),
        ("spool cut off", spool_cut_off),
        ("spool garbled", spool_garbled),
        ("spool replaced", spool_replaced),
        ("spool removed", spool_removed),
        ("outbox half-written", outbox_half_written),
        ("clock set", clock_set),
        ("server gone", server_gone),
        ("kills at random", kills_at_random(minutes)),
    ]
