"""Checks with names, counted; and verdict files."""

import json
import pathlib
import sys

VERDICTS = pathlib.Path(__file__).resolve().parents[2] / "target/verdicts"


class Checks:
    """Prints a line for each check and remembers how many failed."""

    def __init__(self, title):
        self.title, self.passed, self.failed = title, 0, []

    def check(self, name, ok, detail=""):
        if ok:
            self.passed += 1
            print(f"ok      {self.title}: {name}", flush=True)
        else:
            self.failed.append(name)
            print(f"FAILED  {self.title}: {name}", flush=True)
            for line in str(detail).splitlines()[-40:]:
                print(f"        {line}", flush=True)
        return ok

    def equal(self, name, actual, expected):
        return self.check(name, actual == expected, f"expected {expected}\nactual   {actual}")

    def phase(self, function, *args):
        """Runs a phase; an error in it is a failed check, and the next phase runs."""
        try:
            return function(self, *args)
        except Exception as error:  # the phase's own failure, whatever it is, is what we report
            self.check(f"{function.__name__} runs to its end", False, f"{type(error).__name__}: {error}")
            return None

    def finish(self):
        print(f"{self.title}: {self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed else 0


def verdict(name, **figures):
    """Writes target/verdicts/NAME.json: flat keys, units in their names."""
    VERDICTS.mkdir(parents=True, exist_ok=True)
    (VERDICTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


def progress(text):
    """For a person who watches."""
    print(f"--      {text}", file=sys.stderr, flush=True)
