"""Clients that write and read while things are broken, and keep account of what was promised to them.

Two kinds of writers, each with redis-py's RedisCluster: one writes as applications do (SET), one waits for a replica behind each write
(SET, WAIT 1 on the same connection) and remembers which writes a replica has acknowledged. Readers read remembered keys and
compare. A prober for each shard writes to it all the time, over connections of its own: its longest time without
success is how long the shard's slots were without service.
"""

import random
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from cluster import connect

CLIENT_TIMEOUT_S = 0.5
PROBE_TIMEOUT_S = 0.15
PROBE_PAUSE_S = 0.02
WRITE_PAUSE_S = 0.008
WAIT_MS = 300
# A cluster that is down is RedisClusterException, which is no RedisError; some releases trip over a node that goes away.
FAILURES = (redis.RedisError, RedisClusterException, OSError, KeyError, AttributeError, ValueError, IndexError)


def value_of(key):
    return f"the value of {key}"


def cluster_client(addresses, password):
    nodes = [ClusterNode(host, port) for host, port in addresses]
    random.shuffle(nodes)
    return RedisCluster(startup_nodes=nodes, password=password or None, socket_timeout=CLIENT_TIMEOUT_S,
                        socket_connect_timeout=CLIENT_TIMEOUT_S, decode_responses=True,
                        retry=Retry(NoBackoff(), 3))


class Client(threading.Thread):
    """One client until it is told to end; it makes itself a new RedisCluster after a failure, as applications do."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.number, self.ended = load, number, threading.Event()
        self.client = None
        self.errors = 0

    def run(self):
        while not self.ended.is_set():
            try:
                if self.load.is_paused.is_set():
                    self.drop()
                    time.sleep(0.05)
                    continue
                if self.client is None:
                    self.client = cluster_client(self.load.addresses(), self.load.password)
                self.work()
            except FAILURES:
                self.errors += 1
                self.drop()
                time.sleep(0.05)
            time.sleep(WRITE_PAUSE_S)
        self.drop()

    def drop(self):
        client, self.client = self.client, None
        try:
            if client is not None:
                client.close()
        except FAILURES:
            pass


class Writer(Client):
    """SET, as applications write."""

    def __init__(self, load, number):
        super().__init__(load, number)
        self.count = 0
        self.acknowledged = []

    def next_key(self):
        self.count += 1
        return f"{self.load.name}:{self.number}:{self.count}"

    def work(self):
        key = self.next_key()
        if self.client.set(key, value_of(key)):
            self.acknowledged.append(key)


class CarefulWriter(Writer):
    """SET and WAIT 1 on one connection; what a replica has acknowledged is remembered."""

    def __init__(self, load, number):
        super().__init__(load, number)
        self.waited = []
        self.connections = {}

    def work(self):
        key = self.next_key()
        node = self.client.get_node_from_key(key)
        place = (node.host, node.port)
        connection = self.connections.get(place)
        if connection is None:
            connection = self.connections[place] = connect(place, self.load.password, CLIENT_TIMEOUT_S)
        pipe = connection.pipeline(transaction=False)
        pipe.set(key, value_of(key))
        pipe.execute_command("WAIT", 1, WAIT_MS)
        try:
            stored, replicas = pipe.execute(raise_on_error=False)
        except FAILURES:
            self.connections.pop(place).close()
            raise
        if isinstance(stored, Exception):
            raise stored
        self.acknowledged.append(key)
        if isinstance(replicas, int) and replicas >= 1:
            self.waited.append(key)

    def drop(self):
        super().drop()
        for connection in self.connections.values():
            connection.close()
        self.connections = {}


class Reader(Client):
    """Reads what was remembered, and counts what is another value."""

    def __init__(self, load, number):
        super().__init__(load, number)
        self.reads, self.wrong = 0, []

    def work(self):
        writer = random.choice(self.load.careful)
        if not writer.waited:
            return
        key = random.choice(writer.waited)
        value = self.client.get(key)
        self.reads += 1
        if value != value_of(key):
            self.wrong.append(f"{key} read as {value!r}")


class Prober(threading.Thread):
    """Writes to one slot, over and over, wherever it is served."""

    def __init__(self, load, slot_key):
        super().__init__(daemon=True)
        self.load, self.key, self.ended = load, slot_key, threading.Event()
        self.place, self.connections = None, {}
        self.last_success = time.monotonic()
        self.longest_gap_s, self.successes = 0.0, 0

    def run(self):
        turn = 0
        while not self.ended.is_set():
            if self.load.is_paused.is_set():
                self.place, self.connections = None, {}
                time.sleep(0.01)
                continue
            places = self.load.addresses()
            place = self.place or places[turn % len(places)]
            turn += 1
            self.place = self.probe(place)
            if self.place is None:
                time.sleep(0.005)
            else:
                time.sleep(PROBE_PAUSE_S)
        for connection in self.connections.values():
            connection.close()

    def probe(self, place):
        """Where to ask next; None: not known."""
        try:
            connection = self.connections.get(place)
            if connection is None:
                connection = self.connections[place] = connect(place, self.load.password, PROBE_TIMEOUT_S)
            connection.set(self.key, "probe")
        except redis.exceptions.MovedError as moved:
            return (moved.host, moved.port) if moved.host else None
        except FAILURES:
            self.connections.pop(place, None)
            return None
        now = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now - self.last_success)
        self.last_success = now
        self.successes += 1
        return place

    def gap_s(self):
        """The longest time without service so far, one that lasts included."""
        return max(self.longest_gap_s, time.monotonic() - self.last_success)

    def begin(self):
        self.last_success = time.monotonic()
        self.longest_gap_s = 0.0


class Load:
    """All clients of one drill. `addresses` tells where the nodes are, also while that changes."""

    def __init__(self, name, addresses, password, slot_keys):
        self.name, self.addresses, self.password = name, addresses, password
        self.plain = [Writer(self, 0)]
        self.careful = [CarefulWriter(self, 1), CarefulWriter(self, 2)]
        self.readers = [Reader(self, 3)]
        self.probers = [Prober(self, key) for key in slot_keys]
        self.is_paused = threading.Event()

    def pause(self):
        """Nobody sends anything until `resume`, however long a request under way takes. For when the network is taken away: its
        addresses may then be somebody else's."""
        self.is_paused.set()
        time.sleep(2 * CLIENT_TIMEOUT_S)

    def resume(self):
        self.is_paused.clear()

    def __enter__(self):
        for thread in self.threads():
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads():
            thread.ended.set()
        for thread in self.threads():
            thread.join(20)

    def threads(self):
        return [*self.plain, *self.careful, *self.readers, *self.probers]

    def acknowledged(self):
        return [key for writer in (*self.plain, *self.careful) for key in writer.acknowledged]

    def waited(self):
        return [key for writer in self.careful for key in writer.waited]

    def wrong_reads(self):
        return [line for reader in self.readers for line in reader.wrong]


def missing_of(keys, addresses, password):
    """Which of these keys do not have the value that was written."""
    keys = list(keys)
    client = cluster_client(addresses, password)
    by_node, missing = {}, []
    for key in keys:
        node = client.get_node_from_key(key)
        by_node.setdefault((node.host, node.port), []).append(key)
    for place, there in by_node.items():
        with connect(place, password, 10) as connection:
            for start in range(0, len(there), 1000):
                part = there[start:start + 1000]
                pipe = connection.pipeline(transaction=False)
                for key in part:
                    pipe.get(key)
                values = pipe.execute()
                missing += [key for key, value in zip(part, values) if value != value_of(key)]
    client.close()
    return missing
