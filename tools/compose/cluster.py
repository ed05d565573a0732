"""What the nodes of a cluster say of it, and whether that is in order."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine import Failed, Missing, wait_for

SLOTS = 16384


def connect(address, password, timeout_s=1.0):
    host, port = address
    """A connection that tries nothing twice."""
    return redis.Redis(host, port, password=password or None, socket_timeout=timeout_s, socket_connect_timeout=timeout_s,
                       decode_responses=True, retry=Retry(NoBackoff(), 0))


class Line:
    """A line of CLUSTER NODES."""

    def __init__(self, text):
        words = text.split()
        self.text, self.id = text, words[0]
        address = words[1].split(",")[0]
        self.address, bus = address.split("@")
        self.bus_port = int(bus)
        self.flags = set(words[2].split(","))
        self.primary = None if words[3] == "-" else words[3]
        self.connected = words[7] == "connected"
        ranges = [part.split("-") for part in words[8:] if not part.startswith("[")]
        self.slots = [(int(part[0]), int(part[-1])) for part in ranges]
        self.is_open = any(part.startswith("[") for part in words[8:])

    @property
    def is_primary(self):
        return "master" in self.flags

    @property
    def is_myself(self):
        return "myself" in self.flags


class View:
    """What one node says."""

    def __init__(self, address, password):
        with connect(address, password) as client:
            for command in ("CLUSTER NODES", "CLUSTER INFO"):
                client.set_response_callback(command, lambda reply, **_: reply)
            nodes = client.execute_command("CLUSTER NODES")
            info = client.execute_command("CLUSTER INFO")
            self.replication = client.info("replication")
        self.lines = [Line(line) for line in nodes.splitlines() if line]
        self.info = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        self.myself = next(line for line in self.lines if line.is_myself)

    @property
    def is_ok(self):
        return self.info["cluster_state"] == "ok"

    def slot_map(self):
        return sorted((low, high, line.id) for line in self.lines for low, high in line.slots)


def views_of(addresses, password):
    """One view of each, or a Missing."""
    views = []
    for address in addresses:
        try:
            views.append(View(address, password))
        except (redis.RedisError, OSError, StopIteration) as error:
            return Missing(f"{address[0]}:{address[1]}: {error}")
    return views


def disorder(views, nodes, replicas_each):
    """What is not in order, or None. With `replicas_each`, every primary has so many at least, and they are linked."""
    for view in views:
        name = view.myself.address
        if not view.is_ok:
            return f"{name} says cluster_state:{view.info['cluster_state']}"
        if len(view.lines) != nodes:
            return f"{name} knows {len(view.lines)} nodes, not {nodes}"
        for line in view.lines:
            wrong = line.flags & {"fail", "fail?", "handshake", "noaddr"}
            if wrong or line.is_open or not (line.connected or line.is_myself):
                return f"{name} has: {line.text}"
        if view.slot_map() != views[0].slot_map():
            return f"{name} has other slots than {views[0].myself.address}"
    owners = claims(views)
    if isinstance(owners, str):
        return owners
    for view in views:
        if view.myself.is_primary and view.myself.slots:
            followers = [other for other in views if other.myself.primary == view.myself.id]
            if len(followers) < replicas_each:
                return f"{view.myself.address} has {len(followers)} replicas"
        if not view.myself.is_primary and view.replication["master_link_status"] != "up":
            return f"{view.myself.address} is not linked to its primary"
    return None


def claims(views):
    """Who serves each slot by the nodes' own account; a text when a slot has two primaries or none."""
    owners = [None] * SLOTS
    for view in views:
        if not view.myself.is_primary:
            continue
        for low, high in view.myself.slots:
            for slot in range(low, high + 1):
                if owners[slot] is not None:
                    return f"slot {slot} has two primaries, {owners[slot]} and {view.myself.address}"
                owners[slot] = view.myself.address
    free = owners.count(None)
    return owners if free == 0 else f"{free} slots have no primary"


def wait_for_order(limit_s, addresses, password, nodes=None, replicas_each=1):
    """Waits until all is in order, and returns the views."""

    def look():
        places = addresses() if callable(addresses) else addresses
        views = views_of(places, password)
        if isinstance(views, Missing):
            return views
        wrong = disorder(views, nodes or len(places), replicas_each)
        return Missing(wrong) if wrong else views

    return wait_for(limit_s, "the cluster is not in order", look)


def wait_for_state(limit_s, addresses, password, state):
    """Waits until all of these nodes say so."""

    def look():
        views = views_of(addresses, password)
        if isinstance(views, Missing):
            return views
        other = [view.myself.address for view in views if view.info["cluster_state"] != state]
        return Missing(f"{', '.join(other)} do not say cluster_state:{state}") if other else True

    wait_for(limit_s, f"cluster_state:{state}", look)


class Shard:
    """A primary with its replicas, as names of services."""

    def __init__(self, primary, replicas, slots):
        self.primary, self.replicas, self.slots = primary, replicas, slots


def shards_of(views, name_of):
    """By their first slot. `name_of` tells the service of an id."""
    found = []
    for view in views:
        line = view.myself
        if line.is_primary and line.slots:
            replicas = [name_of(other.myself.id) for other in views if other.myself.primary == line.id]
            found.append(Shard(name_of(line.id), replicas, line.slots))
    return sorted(found, key=lambda shard: shard.slots)


def must(condition, what):
    if not condition:
        raise Failed(what)
