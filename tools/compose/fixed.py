"""docker-compose.yml: brought up as a user does, used from this machine and from another container, and broken in every way that
a container can be."""

import pathlib
import threading
import time

from cluster import must, shards_of, views_of, wait_for_order, wait_for_state
from engine import PATIENCE, Compose, Failed, Missing, docker, inspect, wait_for
from workload import Load, missing_of

NODES = 6
TIMEOUT_MS = 2000
# What a primary that is gone may cost its slots: the node timeout, the vote, and what a machine without a CPU to spare adds.
FAILOVER_MAX_S = TIMEOUT_MS / 1000 + 3
# What a restart may cost them: the container ends and starts, and a primary then waits two seconds before it serves, as Redis's do, so that
# it hears of a successor first.
RESTART_MAX_S = FAILOVER_MAX_S + 3
# From the moment at which everything is back until every node says that all is in order.
ORDER_MAX_S = 30
# How long the clients work on both sides of a drill.
BEFORE_S, AFTER_S = 1.0, 1.0
NEW_HOST = 43


class World:
    """The project of docker-compose.yml."""

    def __init__(self, root, folder, prefix, network, ports, password, variables):
        self.root, self.folder = pathlib.Path(root), pathlib.Path(folder)
        self.network_prefix, self.password, self.new_hosts = network, password, -1
        self.hosts = {f"node-{number}": f"{network}.{10 + number}" for number in range(1, NODES + 1)}
        self.ports = ports
        settings = {"SLOTCORE_NETWORK": network, "SLOTCORE_PASSWORD": password, "SLOTCORE_CORES": "1",
                    "SLOTCORE_CLUSTER_NODE_TIMEOUT": str(TIMEOUT_MS),
                    **{f"SLOTCORE_PORT_{number}": str(port) for number, port in enumerate(ports, 1)}}
        self.compose = Compose(f"{prefix}-fixed", [self.root / "docker-compose.yml"], self.root, {**variables, **settings})
        self.names, self.remembered, self.load = {}, [], None

    def addresses(self, without=()):
        return [(host, 6379) for name, host in self.hosts.items() if name not in without]

    def container(self, name):
        return self.compose.container(name)

    def order(self, limit_s=ORDER_MAX_S):
        views = wait_for_order(limit_s, self.addresses, self.password)
        by_host = {host: name for name, host in self.hosts.items()}
        self.names = {view.myself.id: by_host[view.myself.address.split(":")[0]] for view in views}
        return views

    def shards(self):
        shards = shards_of(self.order(), self.names.get)
        must(len(shards) == 3, f"{len(shards)} primaries, not 3")
        return shards

    def wait_for_failover(self, gone):
        """Until those that are left say that all slots are served, and none of the lost ones counts."""
        begun = time.monotonic()
        left = self.addresses(gone)

        def look():
            views = views_of(left, self.password)
            if isinstance(views, Missing):
                return views
            served = all(view.is_ok for view in views)
            owners = {line_id for view in views for _, _, line_id in view.slot_map()}
            lost = {id for id in owners if self.names.get(id) in gone}
            return served and not lost or Missing("cluster_state:fail, or slots are still those of the lost node")

        wait_for(FAILOVER_MAX_S, "no failover", look, 0.05)
        return time.monotonic() - begun

    def connect_network(self, name):
        docker("network", "connect", "--ip", self.hosts[name], "--alias", name, self.compose.network(), self.container(name))

    def disconnect_network(self, name):
        docker("network", "disconnect", self.compose.network(), self.container(name))


# ---- drills ------------------------------------------------------------------------------------------------------------
# Each breaks something, waits for what must happen meanwhile, and mends it. It returns how long the slots of each shard may have
# been without service; None: as long as the shard was cut off.

def stop_primary(world):
    name = world.shards()[0].primary
    docker("stop", "-t", "10", world.container(name))
    world.wait_for_failover({name})
    docker("start", world.container(name))
    return FAILOVER_MAX_S


def kill_primary(world):
    name = world.shards()[1].primary
    docker("kill", world.container(name))
    world.wait_for_failover({name})
    docker("start", world.container(name))
    return FAILOVER_MAX_S


def pause_primary(world):
    name = world.shards()[2].primary
    docker("pause", world.container(name))
    world.wait_for_failover({name})
    time.sleep(1)
    docker("unpause", world.container(name))
    return FAILOVER_MAX_S


def disconnect_primary(world):
    name = world.shards()[0].primary
    world.disconnect_network(name)
    world.wait_for_failover({name})
    time.sleep(1)
    world.connect_network(name)
    return FAILOVER_MAX_S


def disconnect_shard(world):
    shard = world.shards()[1]
    gone = {shard.primary, *shard.replicas}
    for name in gone:
        world.disconnect_network(name)
    # Nobody is left that has the keys: the others stop serving rather than serve a part.
    wait_for_state(TIMEOUT_MS / 1000 * 2 + 5, world.addresses(gone), world.password, "fail")
    for name in gone:
        world.connect_network(name)
    return None


def disconnect_minority(world):
    shards = world.shards()
    gone = {shards[2].primary, shards[0].replicas[0]}
    for name in gone:
        world.disconnect_network(name)
    world.wait_for_failover(gone)
    time.sleep(1)
    for name in gone:
        world.connect_network(name)
    return FAILOVER_MAX_S


def rolling_restart(world):
    for name in list(world.hosts):
        docker("restart", "-t", "10", world.container(name))
        world.order()
    return RESTART_MAX_S


def recreate_elsewhere(world):
    name = world.shards()[0].primary
    world.new_hosts += 1
    elsewhere = f"{world.network_prefix}.{NEW_HOST + world.new_hosts}"
    before = next(id for id, service in world.names.items() if service == name)
    docker("rm", "-f", world.container(name))
    override = world.folder / f"{name}.yml"
    override.write_text(f"services: {{{name}: {{environment: {{SLOTCORE_CLUSTER_ANNOUNCE_IP: {elsewhere}}}, "
                        f"networks: {{cluster: {{ipv4_address: {elsewhere}}}}}}}}}\n")
    if override not in world.compose.files:
        world.compose.files.append(override)
    world.hosts[name] = elsewhere
    world.compose("up", "-d", "--no-deps", "--no-build", name)
    views = world.order()
    must(world.names.get(before) == name, f"{name} came back as another node: its volume was not taken over")
    lines = {line.address for view in views for line in view.lines if line.id == before}
    must(lines == {f"{elsewhere}:6379"}, f"the nodes have {lines} for {name}, not {elsewhere}")
    return RESTART_MAX_S


def two_failures(world):
    shards = world.shards()
    first, second = shards[0].primary, shards[1].primary
    docker("kill", world.container(first))
    world.wait_for_failover({first})
    docker("kill", world.container(second))
    world.wait_for_failover({first, second})
    docker("start", world.container(first))
    docker("start", world.container(second))
    return FAILOVER_MAX_S


def down_and_up(world):
    world.load.pause()
    world.compose("down", "--timeout", "10")
    failures = []

    def up():
        try:
            world.compose("up", "-d", "--no-build")
        except Failed as failure:
            failures.append(failure)

    thread = threading.Thread(target=up)
    thread.start()
    wait_for(30, "there is no network", lambda: world.compose.has_network() or failures)
    world.load.resume()
    thread.join()
    for failure in failures:
        raise failure
    return None


# Of these the short form runs what shows most: docker kill, and down and up.
SHORT_DRILLS = {2, 10}

DRILLS = [
    ("docker stop of a primary", stop_primary),
    ("docker kill of a primary", kill_primary),
    ("docker pause of a primary", pause_primary),
    ("a primary off the network", disconnect_primary),
    ("a primary and its replica off", disconnect_shard),
    ("a minority off the network", disconnect_minority),
    ("rolling restart of all six", rolling_restart),
    ("re-created at a new address", recreate_elsewhere),
    ("two failures in a row", two_failures),
    ("the whole cluster down and up", down_and_up),
]


def drill(world, number, title, action):
    """Runs one; returns its line of the report."""
    shards = world.shards()
    keys = [slot_key(shard.slots[0][0]) for shard in shards]
    with Load(f"drill-{number}", world.addresses, world.password, keys) as load:
        world.load = load
        time.sleep(BEFORE_S)
        for prober in load.probers:
            prober.begin()
        begun = time.monotonic()
        bound = action(world)
        mended = time.monotonic()
        world.order()
        ordered = time.monotonic() - mended
        time.sleep(AFTER_S)
        took = time.monotonic() - begun
        gaps = [prober.gap_s() for prober in load.probers]
    acknowledged, waited = load.acknowledged(), load.waited()
    missing = missing_of(acknowledged, world.addresses(), world.password)
    promised = missing_of(world.remembered + waited, world.addresses(), world.password)
    world.remembered += waited
    failures = []
    if load.wrong_reads():
        failures.append(f"wrong values were read: {load.wrong_reads()[:3]}")
    if promised:
        failures.append(f"{len(promised)} writes that a replica had acknowledged are missing: {promised[:5]}")
    if bound is not None and max(gaps) > bound * PATIENCE:
        failures.append(f"slots were without service for {max(gaps):.2f} s, more than {bound * PATIENCE} s")
    if len(waited) < 20 or not all(prober.successes for prober in load.probers):
        failures.append(f"the clients did too little to tell anything: {len(waited)} writes waited for")
    shown = " ".join(f"{gap:6.2f}" for gap in gaps)
    line = (f"{title:<30} {shown}  {took:5.1f} {ordered:5.1f}  {len(acknowledged):6} {len(missing):5}  {len(waited):6} {len(promised):5}")
    if failures:
        raise Failed(f"{title}: {'; '.join(failures)}\n{line}")
    return line


HEAD = (f"{'':<30} {'s without service, by shard':>20}  {'took':>5} {'order':>5}  {'acked':>6} {'lost':>5}  {'WAIT 1':>6} {'lost':>5}")


def slot_key(slot):
    """A key of this slot, found by trying."""
    from redis.crc import key_slot
    return next(key for key in (f"probe:{number}" for number in range(10**7)) if key_slot(key.encode()) == slot)


def bring_up(world):
    """`up` from nothing, `up` again; returns lines for the report."""
    begun = time.monotonic()
    world.compose("up", "-d", "--build")
    world.order(60)
    seconds = time.monotonic() - begun
    helper = world.compose.container("create")
    wait_for(30, "the helper ends", lambda: inspect(helper)["State"]["Status"] == "exited")
    must(inspect(helper)["State"]["ExitCode"] == 0, f"the helper failed: {docker('logs', helper)}")
    before = state_of(world)
    world.compose("up", "-d")
    wait_for(30, "the helper ends again", lambda: inspect(helper)["State"]["Status"] == "exited")
    must("already stands" in docker("logs", helper), f"the helper: {docker('logs', helper)}")
    after = state_of(world)
    must(before == after, f"a second 'up' changed {before} to {after}")
    yield f"up: cluster_state:ok on all nodes {seconds:.1f} s after 'up -d --build'; a second 'up' changes nothing"


def state_of(world):
    views = world.order()
    lines = sorted((line.id, line.address, line.primary, tuple(line.slots)) for line in views[0].lines)
    return lines, views[0].info["cluster_current_epoch"], [world.container(name) for name in world.hosts]


def run_drills(world, rounds, chosen, say):
    """All drills, or those with the chosen numbers, `rounds` times in a row."""
    for turn in range(1, rounds + 1):
        say(f"drills, round {turn} of {rounds}: node timeout {TIMEOUT_MS} ms; a failover may cost {FAILOVER_MAX_S:.0f} s, a restart {RESTART_MAX_S:.0f} s, and order "
            f"must be back {ORDER_MAX_S} s after everything is. Seconds, then writes.")
        say(HEAD)
        for number, (title, action) in enumerate(DRILLS, 1):
            if number in (chosen or range(1, len(DRILLS) + 1)):
                say(drill(world, f"{turn}-{number}", title, action))
