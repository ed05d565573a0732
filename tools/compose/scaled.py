"""conf/compose/scale.yml and nat.yml: nodes that find one another, in any number, with or without their own addresses."""

import pathlib
import tempfile
import time

import clients
from cluster import must, wait_for_order
from engine import Compose, Missing, address_of, docker, inspect, wait_for
from workload import Load, missing_of

# Long enough for a new container to have the address of a removed one before anyone has missed that.
TIMEOUT_MS = 5000
# Three looks at the name, and what the nodes tell each other.
FORM_MAX_S = 60
# The node timeout, the time for which a node must be gone before it is forgotten, and a new replica.
REPLACE_MAX_S = 90
PASSWORD = "scaled password"


class Scaled:
    """A project of one service, `node`."""

    def __init__(self, file, project, variables, password=PASSWORD):
        file = pathlib.Path(file)
        settings = {"SLOTCORE_CLUSTER_NODE_TIMEOUT": str(TIMEOUT_MS), "SLOTCORE_CORES": "1"}
        # docker-compose looks for the seccomp profile from where it is called, docker compose from where the file is.
        self.compose = Compose(project, [file.name], file.parent, {**variables, **settings})
        self.password = password

    def up(self, count, *words):
        self.compose("up", "-d", *words, "--scale", f"node={count}")

    def containers(self):
        return self.compose.containers("node")

    def addresses(self):
        """The containers' own, of those that run."""
        found = []
        for container in self.containers():
            address = address_of(container)
            if address:
                found.append((address, 6379))
        return sorted(found)

    def settled(self, nodes, limit_s, replicas_each=1):
        """Waits until all is in order and every address is that of a container; returns the views and the seconds."""
        begun = time.monotonic()
        views = wait_for_order(limit_s, self.addresses, self.password, nodes, replicas_each)
        return views, time.monotonic() - begun

    def container_of(self, view_address):
        host = view_address.split(":")[0]
        return next(id for id in self.containers() if address_of(id) == host)


def roles(views):
    primaries = [view for view in views if view.myself.is_primary and view.myself.slots]
    idle = [view for view in views if view.myself.is_primary and not view.myself.slots]
    return len(primaries), len(views) - len(primaries) - len(idle), len(idle)


def kept(world, work, say):
    """The lines of `work`; what `world` made is taken away afterwards, and its logs are kept when something fails."""
    try:
        yield from work
    except BaseException:
        say(f"what the containers logged is in {world.compose.keep_logs()}")
        raise
    finally:
        world.compose.down()


def check_scale(root, prefix, base, variables, say, is_short):
    """Without a password, which is what `up` without any settings gives; then, unless it must be short, with one and with more nodes."""
    file = f"{root}/conf/compose/scale.yml"
    world = Scaled(file, f"{prefix}-open", variables, password=None)
    yield from kept(world, scale(world, base, 6), say)
    if is_short:
        return
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write(PASSWORD + "\n")
        secret.flush()
        pathlib.Path(secret.name).chmod(0o644)
        world = Scaled(file, f"{prefix}-scale", {**variables, "SLOTCORE_PASSWORD_FILE": secret.name})
        yield from kept(world, scale(world, base, 9, with_replica=True, more=12), say)


def scale(world, base, nodes, with_replica=False, more=None):
    """Forms with so many nodes, replaces a primary, perhaps a replica, too, and grows to `more`."""
    world.up(nodes, "--build")
    views, seconds = world.settled(nodes, FORM_MAX_S)
    secret = "with" if world.password else "without"
    yield (f"up --scale node={nodes} {secret} a password: in order {seconds:.1f} s later, primaries, replicas, without a task: {roles(views)}; "
           f"{up_again(world, nodes)}")
    entry = world.addresses()[0]
    yield clients.from_here(entry, world.password)
    yield clients.from_container(entry, world.password, world.compose.network(), base)
    with Load("scale", world.addresses, world.password, []) as load:
        time.sleep(2)
        lost = [next(view for view in views if view.myself.is_primary and view.myself.slots)]
        if with_replica:
            lost.append(next(view for view in views if not view.myself.is_primary))
        for view in lost:
            docker("rm", "-f", "-v", world.container_of(view.myself.address))
            world.up(nodes, "--no-recreate", "--no-build")
            known, seconds = world.settled(nodes, REPLACE_MAX_S)
            must(view.myself.id not in {line.id for line in known[0].lines}, f"{view.myself.id} is still known")
            role = "primary" if view.myself.is_primary else "replica"
            yield f"a removed {role} is replaced: in order with {nodes} nodes {seconds:.1f} s later, the old one forgotten: {roles(known)}"
    yield account(load, world)
    if more:
        world.up(more, "--no-recreate", "--no-build")
        views, seconds = world.settled(more, REPLACE_MAX_S)
        yield f"up --scale node={more}: in order {seconds:.1f} s later: {roles(views)}"


def up_again(world, nodes):
    """`up` as before, when all is up already."""
    before = state_of(world, nodes)
    world.up(nodes, "--build")
    after = state_of(world, nodes)
    must(before == after, f"a second 'up' changed {before} to {after}")
    return "a second 'up' changes nothing"


def state_of(world, nodes):
    """All that a needless restart or change of roles would change."""
    views, _ = world.settled(nodes, FORM_MAX_S)
    lines = sorted((line.id, line.address, line.primary, tuple(line.slots)) for line in views[0].lines)
    begun = sorted((id, inspect(id)["State"]["StartedAt"]) for id in world.containers())
    return lines, views[0].info["cluster_current_epoch"], begun


def account(load, world):
    waited = load.waited()
    missing = missing_of(waited, world.addresses(), world.password)
    must(not missing, f"{len(missing)} writes that a replica had acknowledged are missing: {missing[:5]}")
    must(not load.wrong_reads(), f"wrong values were read: {load.wrong_reads()[:3]}")
    must(len(waited) > 50, f"only {len(waited)} writes were waited for")
    lost = missing_of(load.acknowledged(), world.addresses(), world.password)
    return f"writes meanwhile: {len(load.acknowledged())} acknowledged, {len(lost)} lost; {len(waited)} with WAIT 1, none lost"


def check_nat(root, prefix, base, variables, socket, say, is_short):
    settings = {"SLOTCORE_PASSWORD": PASSWORD, "SLOTCORE_DOCKER_SOCKET": socket}
    world = Scaled(f"{root}/conf/compose/nat.yml", f"{prefix}-nat", {**variables, **settings})
    yield from kept(world, nat(world, base, 1 if is_short else 2), say)


def published(container):
    """The two ports of this machine, for clients and for the bus."""
    ports = inspect(container)["NetworkSettings"]["Ports"]
    must(ports.get("6379/tcp") and ports.get("16379/tcp"), f"{container} has no ports: it does not run")
    return [int(next(port["HostPort"] for port in ports[name] if ":" not in port["HostIp"])) for name in ("6379/tcp", "16379/tcp")]


def announced(world, gateway):
    """Waits until every node is known everywhere at just the ports that lead to it."""
    wanted = {(f"{gateway}:{client}", bus) for client, bus in map(published, world.containers())}

    def look():
        views = wait_for_order(FORM_MAX_S, world.addresses, world.password)
        for view in views:
            found = {(line.address, line.bus_port) for line in view.lines}
            if found != wanted:
                return Missing(f"{view.myself.address} has {sorted(found - wanted)}, not {sorted(wanted - found)}")
        return wanted

    return wait_for(REPLACE_MAX_S, "the nodes are not announced", look)


def nat(world, base, restarts):
    begun = time.monotonic()
    world.up(6, "--build")
    network = inspect(world.containers()[0])["NetworkSettings"]["Networks"]
    gateway = next(iter(network.values()))["Gateway"]
    wanted = announced(world, gateway)
    yield f"up: in order at {gateway}, each at its own two ports, {time.monotonic() - begun:.1f} s after 'up -d'; {up_again(world, 6)}"
    host, port = sorted(wanted)[0][0].split(":")
    yield clients.from_here((host, int(port)), world.password)
    yield clients.from_container((host, int(port)), world.password, world.compose.network(), base)
    places = lambda: [(gateway, published(container)[0]) for container in world.containers()
                      if inspect(container)["State"]["Running"]]
    with Load("nat", places, world.password, []) as load:
        time.sleep(2)
        for container in world.containers()[:restarts]:
            before = published(container)
            docker("restart", "-t", "10", container)
            must(published(container) != before, "the restart has kept the ports: nothing was tested")
            begun = time.monotonic()
            announced(world, gateway)
            yield f"a node restarted, ports {before} now {published(container)}: known everywhere {time.monotonic() - begun:.1f} s later"
        time.sleep(1)
    waited = load.waited()
    missing = missing_of(waited, places(), world.password)
    must(not missing and len(waited) > 50, f"{len(missing)} of {len(waited)} writes with WAIT 1 are missing")
    yield f"writes meanwhile, through the ports: {len(load.acknowledged())} acknowledged, {len(waited)} with WAIT 1, none of these lost"
