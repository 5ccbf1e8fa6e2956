"""The guest that the attempts are made in: four users, three of them with a long job, and root who looks on."""

import pathlib
import re
import shutil
import subprocess
import time

from guest import Guest

HERE = pathlib.Path(__file__).resolve().parent
ACCOUNTS = {"alice": "acme", "bob": "acme-physics", "carol": "globex", "mallory": "initech"}
LONG_JOBS = ("carol", "alice", "mallory")
# So many attempts a call: a call costs more than an attempt's own work, and what it says is told at its end.
CHUNK = 8

# bob's tenant is the one that is bombed from, mallory's the one that restrictions are tried on.
TENANTS = """
[tenants.acme]
accounts = ["acme"]

[tenants."acme/physics"]
accounts = ["acme-physics"]
pids_max = 150
memory_max = "160MiB"
cpu_max = "0.5 cores"

[tenants.globex]
accounts = ["globex"]

[tenants.initech]
accounts = ["initech"]
"""

# {feature: what the tenants file says for it}. `check-config` refuses what this build does not know.
FEATURES = {
    "descendants": '[tenants.initech]\ndescendants_max = 200\n',
    "devices": '[tenants.initech]\ndevices = ["c 1:3 rwm", "c 1:5 r", "c 1:7 rw", "c 1:8 rw", "c 1:9 rw", "c 5:0 rw", "c 5:2 rw", "c 136:* rw"]\n',
    "network": """[tenants.initech.network]
interfaces = ["lo", "ten0"]
mark = 17
acl = ["deny connect 10.77.0.1/32 port 7001-7999", "deny send 10.77.0.1/32 port 7001-7999", "deny bind 0.0.0.0/0 port 8000-8999",
       "deny bind ::/0 port 8000-8999", "deny connect fd77::1/128 port 7001-7999", "deny send fd77::1/128 port 7001-7999",
       "deny connect 10.99.0.0/24", "deny send 10.99.0.0/24"]
""",
    "residue": '[policy]\nshared_memory = "remove"\ntmp = "remove"\n',
    "choice": '[tenants."acme/physics"]\nusers = ["alice"]\n',
}


class Arena(Guest):
    """A guest with Tenantry, the attempts' files and programs, and the long jobs."""

    def add_accounts(self):
        lines = [f"sacctmgr -iQ add account {account}; sacctmgr -iQ add user {user} account={account}" for user, account in ACCOUNTS.items()]
        self.sh("\n".join(lines))

    def prepare(self, attempts):
        """Everything but the attempts; the features this build has."""
        self.install()
        known = self.write_tenants()
        self.sh("""
            # More jobs than processors: the suite is about what they may do, not how fast they are.
            scontrol update PartitionName=main OverSubscribe=FORCE:8
            ip link add ten0 type dummy && ip addr add 10.88.0.1/24 dev ten0 && ip link set ten0 up
            ip link add oth0 type dummy && ip addr add 10.99.0.1/24 dev oth0 && ip link set oth0 up
            ip -6 addr add fd77::1/64 dev lo nodad && ip -6 addr add fd99::1/64 dev oth0 nodad
            mkdir -p /root/escape && head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \\n' > /root/escape/secret
            install -m 0400 -o carol /root/escape/secret /home/carol/secret""")
        self.put(attempts)
        self.sh("echo 'true' > /tmp/warm.sh; sed -i '1i #!/bin/sh' /tmp/warm.sh; lab-as bob 'sbatch --mem=60M -o /dev/null /tmp/warm.sh'")
        for user in LONG_JOBS:
            victim = "/host/escape/bin/victim /home/carol/secret /home/carol/heartbeat >/home/carol/victim.facts &" if user == "carol" else ""
            self.sh(f"install -d -o {user} -g {user} /home/{user}/arena /home/{user}/arena/{{queue,run,out,desk}}")
            self.write("/tmp/long.sh", f"#!/bin/bash\n{victim}\nexec bash /host/escape/worker.sh\n")
            self.sh(f"sbatch --parsable --mem=200M -J {user}-long -o long.out /tmp/long.sh", user)
        self.until("the long jobs run", lambda: self.run(
            " && ".join(f"[ -e /home/{user}/arena/ready ]" for user in LONG_JOBS) + " && [ -s /home/carol/heartbeat ]").returncode == 0)
        self.until("bob's job is over", lambda: "bob" not in self.sh("squeue -h -o %u"))
        self.sh("/host/escape/arena facts; . /host/escape/judges.sh; quiet")
        return known

    def write_tenants(self):
        """The tenants file with every feature that this build knows."""
        text, known = TENANTS, set()
        for feature, addition in FEATURES.items():
            candidate = merged(text, addition)
            self.write("/etc/tenantry/tenants.toml", candidate)
            if self.run("tenantry tenants check").returncode == 0:
                text = candidate
                known.add(feature)
        self.write("/etc/tenantry/tenants.toml", text)
        return known

    def put(self, attempts):
        """Attempts, programs and the arena's own scripts into the share."""
        target = self.share() / "escape"
        shutil.copytree(HERE / "guest", target)
        build_programs(target / "bin")
        for one in attempts:
            folder = target / "attempts" / one.name
            folder.mkdir(parents=True)
            for name, text in one.scripts().items():
                (folder / name).write_text(text)

    def kernel_has(self, line):
        return self.run(f"zgrep -qx '{line}' /proc/config.gz").returncode == 0

    def made(self, verb, attempts):
        """Makes attempts, all in one call; the verdict of each."""
        said = self.run(f"/host/escape/arena {verb} " + " ".join(f"{one.user}:{one.name}" for one in attempts)).stdout
        parts = re.split(r"^(?=(?:attempt|control) (\S+): )", said, flags=re.M)
        texts = {}
        for name, part in zip(parts[1::2], parts[2::2], strict=True):
            texts[name] = texts.get(name, "") + part
        return [Verdict(one, texts.get(one.name, f"attempt {one.name}: broken\n  the arena said nothing: {said[-500:]}")) for one in attempts]


def merged(text, addition):
    """The tenants file with an addition in the table that it begins with."""
    header, body = addition.split("\n", 1)
    if header + "\n" in text:
        return text.replace(header + "\n", header + "\n" + body)
    return text + "\n" + addition if header != "[policy]" else addition + text


def build_programs(target):
    target.mkdir()
    for source in sorted((HERE / "programs").glob("*.c")):
        how = ["-shared", "-fPIC", "-o", target / "evil.so"] if source.stem == "evil" else ["-static", "-o", target / source.stem]
        subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result", *how, source], check=True)


class Verdict:
    """What the arena said of one attempt."""

    def __init__(self, one, text):
        self.attempt, self.text = one, text
        said = re.search(r"^attempt \S+: (\w+)", text, re.M)
        self.outcome = said.group(1) if said else "broken"
        control = re.search(r"^control \S+: (\w+)", text, re.M)
        self.control = control.group(1) if control else ("none" if not one.control else "missing")

    @property
    def held(self):
        return self.outcome == "refused" and self.control in ("works", "none")


def run_all(arena, attempts, known, told):
    """Makes every attempt; `told` hears each verdict, or the reason why there is none."""
    own, long = [], []
    for one in attempts:
        if one.needs and one.needs not in known:
            told(one, None, f"this build's tenants file does not know {one.needs}")
        elif one.kernel and not arena.kernel_has(one.kernel):
            told(one, None, f"the guest's kernel has no {one.kernel}")
        else:
            (long if one.job is None else own).append(one)
    for verb, group in [*(("long", long[first:first + CHUNK]) for first in range(0, len(long), CHUNK)), ("own", own)]:
        start = time.monotonic()
        for judged in arena.made(verb, group) if group else []:
            told(judged.attempt, judged, f"(with {len(group) - 1} others in {time.monotonic() - start:.1f} s)")
