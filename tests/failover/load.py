"""The drill's load, and what its senders hold acknowledged, block by block against the ledger."""

import collections
import json
import pathlib
import signal
import subprocess
import time

from network import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/tenantry-load"
# An hour of blocks that are over when they are sent: none is of the future.
SPAN_S = 3600


class Load:
    """Nodes that send while something is broken."""

    def __init__(self, place, name, prefix, sockets, rate, limit_s):
        self.name, self.prefix = name, prefix
        self.acknowledged = place / f"{name}.acknowledged"
        corpus = place / f"{name}.blocks"
        minutes = SPAN_S // 60
        nodes = max(1, rate * limit_s // minutes)
        shape = ["--nodes", nodes, "--minutes", minutes, "--jobs", 3, "--prefix", self.prefix, "--start", int(time.time()) - SPAN_S - 120]
        subprocess.run([str(word) for word in [PROGRAM, "prepare", corpus, *shape]], check=True, stdout=subprocess.DEVNULL)
        command = [PROGRAM, "send", corpus, "--acknowledged", self.acknowledged, "--rate", rate, "--senders", 32, "--patience-ms", 4000]
        for socket in sockets:
            command += ["--socket", socket]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        self.corpus = corpus

    def cut_short(self):
        """Ends it, whatever it does."""
        self.process.kill()
        self.process.wait()

    def count(self):
        """How many are acknowledged, as far as the file has it."""
        return self.acknowledged.read_bytes().count(b"\n") if self.acknowledged.exists() else 0

    def wait_for_more(self, blocks, limit_s=60.0):
        """Until so many more are acknowledged than now; the load must outlast it."""
        before = self.count()
        wait_for(f"{blocks} more blocks acknowledged after {before}", lambda: self.count() >= before + blocks, limit_s)
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name}: the load ended before its time: {self.process.stdout.read()}")

    def finish(self):
        """Stops; returns the senders' figures and {block's name: hash} of what they hold acknowledged."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=60)
        self.corpus.unlink()
        if self.process.returncode:
            raise RuntimeError(f"{self.name}: the load ended with exit code {self.process.returncode}")
        held = dict(line.split()[2:4] for line in self.acknowledged.read_text().splitlines())
        return json.loads(said), held


def compare(held, rows):
    """(lost, duplicated): acknowledged blocks that the ledger has not, or has otherwise; blocks that it has more than once.

    held: {name: hash}; rows: (name, hash of the stored bytes), as the database computes it."""
    there = collections.defaultdict(list)
    for name, digest in rows:
        there[name].append(digest)
    lost = sum(1 for name, digest in held.items() if digest not in there.get(name, ()))
    duplicated = sum(len(digests) - 1 for digests in there.values())
    return lost, duplicated
