"""What an attempt is, and how it is written down for the guest and for people."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One thing a hostile tenant tries. Scripts are bash; `guest/` has the functions they use.

    `program` runs as `user` in a job of his; `judge` as root outside every job, which must exit with 0 where the world is
    whole and call `breach` where it is not. Beside each judge's own question the arena compares the whole world (`world`
    in guest/arena): groups and their settings, mounts, daemons, files of ours, the victim, and where each user's processes are.

    `control` shows that the attempt can fail. "root": the same program as root, outside Tenantry, must be judged a success.
    Any other text: a script of root's that brings about what the attempt wants, which must be judged so too. A `None` is
    explained in `uncontrolled`."""

    name: str
    tries: str
    stopped_by: str
    program: str
    judge: str = ""
    prepare: str = ""
    control: str | None = None
    uncontrolled: str = ""
    # Takes back what the control did; runs whether or not it worked.
    undo: str = ""
    user: str = "mallory"
    # Options of sbatch: a job of its own, judged after its end. None: within the user's long job, judged while what it started runs.
    job: str | None = None
    # Root's, while the attempt's own job runs.
    during: str = ""
    # Its own job runs beside no other job of its user's, and is judged before the next one begins.
    alone: bool = False
    # A feature of the tenants file (arena.FEATURES) without which there is nothing to try.
    needs: str = ""
    # A line of the kernel's configuration without which there is nothing to try.
    kernel: str = ""
    # The state Slurm must give the attempt's own job.
    state: str = ""

    def __post_init__(self):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name), self.name
        assert bool(self.control) != bool(self.uncontrolled), f"{self.name}: a control, or why there is none"
        assert not self.during or self.job is not None, self.name

    def scripts(self):
        """{file name: text} for the guest."""
        texts = {"program": self.program, "judge": self.judge, "prepare": self.prepare, "undo": self.undo,
                 "during": self.during, "options": self.job or "", "alone": "yes" if self.alone else "", "state": self.state}
        if self.control:
            texts["control"] = self.program if self.control == "root" else self.control
        return {name: text.strip("\n") + "\n" for name, text in texts.items()}


def table(themes):
    """docs/threat-model.md's table: themes is {title: [Attempt, ...]}."""
    lines = ["| attempt | a job of a tenant | what stops it |", "|---|---|---|"]
    for title, attempts in themes.items():
        lines.append(f"| **{title}** | | |")
        lines += [f"| `{one.name}` | {one.tries} | {one.stopped_by} |" for one in attempts]
    return "\n".join(lines) + "\n"
