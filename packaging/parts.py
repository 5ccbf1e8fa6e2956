"""The crates that end up in a binary, by Cargo.lock alone: no network, the same answer each time."""

import functools
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]


@functools.cache
def metadata():
    host = next(line.split()[1] for line in subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True)
                .stdout.splitlines() if line.startswith("host:"))
    done = subprocess.run(["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={host}"],
                          cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def needs(ident):
    """What a crate is linked with: its normal dependencies, not those of its build and its tests."""
    nodes = {node["id"]: node for node in metadata()["resolve"]["nodes"]}
    return [dep["pkg"] for dep in nodes[ident]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]


def linked(roots):
    """The packages of the binaries of `roots`, names of our own crates, in order."""
    packages = {package["id"]: package for package in metadata()["packages"]}
    todo = [ident for ident in metadata()["workspace_members"] if packages[ident]["name"] in roots]
    seen = set()
    while todo:
        ident = todo.pop()
        if ident not in seen:
            seen.add(ident)
            todo += needs(ident)
    return sorted((packages[ident] for ident in seen), key=lambda package: (package["name"], package["version"]))
