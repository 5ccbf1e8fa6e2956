"""Every attempt, by theme."""

from . import cgroup, devices, files, identity, memory, network, process, residue, sockets

THEMES = {module.TITLE: module.ATTEMPTS for module in
          (cgroup, process, identity, files, sockets, memory, devices, network, residue)}
ALL = [one for attempts in THEMES.values() for one in attempts]
assert len({one.name for one in ALL}) == len(ALL), "two attempts of one name"
