"""What is done to a ledger in the middle of its work: each breaks something, and ends when writes could go on again."""

import time

# How long a machine is away before somebody, or something, brings it back or takes its place.
AWAY_S = 2.0


def standby_killed(scene):
    """The standby's machine loses its power and comes back. Writes wait meanwhile: there is no second standby."""
    scene.network.kill(scene.pair.standby.name)
    time.sleep(AWAY_S)
    scene.pair.standby.start()
    scene.pair.wait_until_whole()


def servers_restarted(scene):
    """Both tenantry-servers, killed at once, and started again."""
    scene.servers.kill()
    time.sleep(AWAY_S / 2)
    scene.servers.start()


def postgres_restarted(scene):
    """Both PostgreSQLs lose their power at once, and come back."""
    scene.network.kill(scene.pair.primary.name)
    scene.network.kill(scene.pair.standby.name)
    time.sleep(AWAY_S / 2)
    scene.pair.primary.start()
    scene.pair.standby.start()
    scene.pair.wait_until_whole()


def standby_cut_off(scene):
    """The standby's network is cut, and heals. Writes wait meanwhile."""
    scene.network.cut(scene.pair.standby.name)
    time.sleep(AWAY_S)
    scene.network.heal(scene.pair.standby.name)
    scene.pair.wait_until_whole()


def primary_cut_off(scene):
    """The primary's network is cut while it runs on; the standby takes its place. When the network heals the old primary still
    thinks that it is one: it is stopped, rewound, and becomes the standby. Nothing it wrote alone was ever acknowledged."""
    old = scene.pair.primary
    scene.network.cut(old.name)
    time.sleep(AWAY_S)
    scene.pair.fail_over()
    scene.network.kill(old.name)
    scene.network.heal(old.name)
    scene.pair.rejoin()


def primary_killed(scene):
    """The primary's machine loses its power; the standby takes its place, and the old primary becomes the standby."""
    scene.network.kill(scene.pair.primary.name)
    time.sleep(AWAY_S / 4)
    scene.pair.fail_over()
    scene.pair.rejoin()


def primary_killed_while_the_standby_is_cut_off(scene):
    """The standby is a second behind when the primary dies, and takes its place. What the primary took in that second alone is gone:
    it must not have been acknowledged. The control does the same with synchronous_commit = local, and must lose."""
    scene.network.cut(scene.pair.standby.name)
    time.sleep(AWAY_S / 2)
    scene.network.kill(scene.pair.primary.name)
    scene.network.heal(scene.pair.standby.name)
    scene.pair.fail_over()
    scene.pair.rejoin()


ALL = (standby_killed, servers_restarted, postgres_restarted, standby_cut_off, primary_cut_off, primary_killed,
       primary_killed_while_the_standby_is_cut_off)
CONTROL = primary_killed_while_the_standby_is_cut_off
