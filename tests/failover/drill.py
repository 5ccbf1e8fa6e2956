"""What the drills share: a scenario under load, the comparison after it, and the verdict."""

import json
import os
import pathlib
import shutil
import tempfile
import time

from ledger import ledger_blocks, usage_rows
from load import Load, compare
from postgres import binaries

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERDICT = ROOT / "target/verdicts/failover.json"
CONTROL = "control"


def missing(*commands):
    """What a drill needs and is not here; None: nothing."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if not binaries():
        return "PostgreSQL is not installed: tests/failover/packages installs it"
    absent = [command for command in ("ip", "runuser", *commands) if not shutil.which(command)]
    return f"{', '.join(absent)} cannot be found: tests/failover/packages patroni etcd installs them" if absent else None


def new_place():
    """A directory for a drill's files, which the users postgres and root may enter; on a real disk, for fsync counts."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="tenantry-failover-", dir="/var/tmp"))
    place.chmod(0o755)
    return place


class Drill:
    """Scenarios one after the other over one ledger, each with nodes of its own."""

    def __init__(self, place, servers, primary, rate, limit_s=60):
        """primary() is the PostgreSQL that has the ledger now; no scenario takes longer than the limit."""
        self.place, self.servers, self.primary, self.rate, self.limit_s = place, servers, primary, rate, limit_s
        self.seen, self.failed = {}, False

    def try_out(self, name, scenario, must_lose=False):
        """One scenario under load, then the comparison."""
        load = Load(self.place, name, f"drill{len(self.seen)}-", self.servers.sockets, self.rate, self.limit_s)
        try:
            load.wait_for_more(self.rate)
            broken = time.monotonic()
            scenario()
            mended = time.monotonic() - broken
            load.wait_for_more(self.rate)
            said, held = load.finish()
        finally:
            load.cut_short()
        lost, duplicated = compare(held, ledger_blocks(self.primary(), load.prefix))
        blocks, rows, runs = usage_rows(self.primary(), load.prefix)
        seen = {"acknowledged": len(held), "lost": lost, "duplicated": duplicated + rows - runs, "uncounted": blocks - runs,
                "write_gap_ms": round(said["longest_gap_ms"]), "mended_after_ms": round(mended * 1000),
                "attempts_failed": said["attempts_failed"]}
        whole = not (seen["duplicated"] or seen["uncounted"])
        good = held and whole and (lost > 0 if must_lose else lost == 0)
        self.seen[name] = seen
        self.failed |= not good
        print(f"{'ok     ' if good else 'NOT OK '} failover: {name}{': it must lose' if must_lose else ''}: {len(held)} acknowledged, {lost} lost, "
              f"{seen['duplicated']} twice; no write for {seen['write_gap_ms']} ms, mended after {seen['mended_after_ms']} ms", flush=True)

    def write_verdict(self):
        """Its figures beside those of the other drill, if that has run."""
        known = json.loads(VERDICT.read_text()) if VERDICT.exists() else {}
        control = self.seen.pop(CONTROL, None) or known.get(CONTROL)
        scenarios = known.get("scenarios", {}) | self.seen
        figures = {key: sum(seen[key] for seen in scenarios.values()) for key in ("acknowledged", "lost", "duplicated")}
        figures |= {"control_lost": control and control["lost"], "scenarios": scenarios, CONTROL: control}
        VERDICT.parent.mkdir(parents=True, exist_ok=True)
        VERDICT.write_text(json.dumps(figures, indent=2) + "\n")
