"""Slots that move from one node to another under load: `tools/bench --only migrate-slots`.

Two nodes of a kind, the first with all keys; half of its slots, with half of the keys, go to the second while a client of each writes
and reads one key after another, and sometimes a field of a large hash. slotcore moves them by CLUSTER MIGRATESLOTS, redis-server by SETSLOT and
MIGRATE, as `redis-cli --cluster reshard` does: one slot after the other, keys in tens (`--cluster-pipeline 100` here, which is kinder to it).

Told are the seconds that it takes, keys per second, how much the source's memory grows, and the p50, p99, p99.9 and the longest of all
requests before and meanwhile. `SLOTS_KEYS` is the number of keys (20000 by default, 2000000 at full size), `SLOTS_BIG` that of collections of
100000 elements.
"""

import contextlib
import os
import socket
import threading
import time

from persistence import ask
from scaling import request

KEYS = int(os.environ.get("SLOTS_KEYS", "20000"))
BIG = int(os.environ.get("SLOTS_BIG", "1"))
VALUE = b"x" * 1024
# One request in so many is about a field of a collection.
BIG_EVERY = 32
QUIET_S = 2
LIMIT_S = 900
MOVED_SLOTS = 8192


def connect(node):
    return socket.create_connection(("127.0.0.1", node.port), timeout=60)


def text(reply):
    return reply.split(b"\r\n")[1].decode()


class Pair:
    """A node with all slots, and one with none."""

    def __init__(self, start, name, template, stack):
        words = f"{template} --cluster-enabled yes --cluster-node-timeout 15000"
        self.source, self.target = [stack.enter_context(start(name, words, False)) for _ in range(2)]
        self.source.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        self.source.ask("CLUSTER", "SET-CONFIG-EPOCH", 1)
        self.target.ask("CLUSTER", "SET-CONFIG-EPOCH", 2)
        self.source.ask("CLUSTER", "MEET", "127.0.0.1", self.target.port)
        deadline = time.monotonic() + 60
        while any(b"cluster_state:ok" not in node.ask("CLUSTER", "INFO") for node in (self.source, self.target)):
            if time.monotonic() > deadline:
                raise ValueError(f"{name}: no cluster")
            time.sleep(0.05)

    def fill(self):
        with connect(self.source) as link:
            for begin in range(0, KEYS, 200):
                batch = range(begin, min(begin + 200, KEYS))
                link.sendall(b"".join(request("SET", f"key:{number}", VALUE) for number in batch))
                read_lines(link, len(batch))
            for number in range(BIG):
                for begin in range(0, 100_000, 500):
                    words = [word for at in range(begin, begin + 500) for word in (f"field:{at}", f"value:{at}")]
                    link.sendall(request("HSET", f"big:{number}", *words))
                    read_lines(link, 1)

    def ids(self):
        return text(self.source.ask("CLUSTER", "MYID")), text(self.target.ask("CLUSTER", "MYID"))


def read_lines(link, count):
    received = b""
    while received.count(b"\r\n") < count:
        part = link.recv(1 << 16)
        if not part:
            raise ValueError("a node has gone")
        received += part
    return received


class Load(threading.Thread):
    """Writes and reads; follows MOVED and ASK; keeps the times of its requests."""

    def __init__(self, pair):
        super().__init__(daemon=True)
        self.pair, self.times, self.stops = pair, [], False

    def run(self):
        with contextlib.ExitStack() as stack:
            links = {node.port: stack.enter_context(connect(node)) for node in (self.pair.source, self.pair.target)}
            at, number = self.pair.source.port, 0
            while not self.stops:
                number += 1
                key = f"key:{number * 7919 % KEYS}"
                words = ("SET", key, VALUE) if number % 2 else ("STRLEN", key)
                if BIG and number % BIG_EVERY == 0:
                    words = ("HSET", f"big:{number // BIG_EVERY % BIG}", f"field:{number * 7919 % 100_000}", "changed")
                begun = time.perf_counter()
                asking = b""
                while True:
                    links[at].sendall(asking + request(*words))
                    reply = read_lines(links[at], 2 if asking else 1).split(b"\r\n")[1 if asking else 0]
                    asking = b""
                    if reply.startswith((b"-MOVED", b"-ASK")):
                        at = int(reply.rsplit(b":", 1)[1])
                        asking = request("ASKING") if reply.startswith(b"-ASK") else b""
                    elif not reply.startswith(b"-"):
                        break
                self.times.append((begun, time.perf_counter() - begun))


def percentiles(times):
    ordered = sorted(seconds for _, seconds in times) or [0.0]
    return tuple(ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1000 for part in (0.5, 0.99, 0.999, 1.0))


def move_at_once(pair):
    _, target = pair.ids()
    pair.source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 0, MOVED_SLOTS - 1, "NODE", target)
    deadline = time.monotonic() + LIMIT_S
    while b"success" not in (jobs := pair.source.ask("CLUSTER", "GETSLOTMIGRATIONS")):
        if b"failed" in jobs or time.monotonic() > deadline:
            raise ValueError(f"the move has failed: {jobs!r}")
        time.sleep(0.01)


def move_key_by_key(pair):
    source_id, target_id = pair.ids()
    with connect(pair.source) as source, connect(pair.target) as target:
        for slot in range(MOVED_SLOTS):
            ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100).split(b"\r\n")[2::2]:
                keys = [key.decode() for key in keys if key]
                if not keys:
                    break
                said = ask(source, "MIGRATE", "127.0.0.1", pair.target.port, "", 0, 60000, "KEYS", *keys)
                if said.startswith(b"-"):
                    raise ValueError(f"MIGRATE: {said!r}")
            for link in (target, source):
                ask(link, "CLUSTER", "SETSLOT", slot, "NODE", target_id)


def measure(start, name, template):
    """One row: seconds, keys a second, growth of memory in percent, and the percentiles before and meanwhile in milliseconds."""
    with contextlib.ExitStack() as stack:
        pair = Pair(start, name, template, stack)
        pair.fill()
        used = pair.source.info("used_memory")
        load = Load(pair)
        load.start()
        time.sleep(QUIET_S)
        begun = time.perf_counter()
        has_jobs = not pair.source.ask("CLUSTER", "GETSLOTMIGRATIONS").startswith(b"-")
        (move_at_once if has_jobs else move_key_by_key)(pair)
        ended = time.perf_counter()
        peak = pair.source.info("used_memory_peak")
        load.stops = True
        load.join(10)
        quiet = percentiles([entry for entry in load.times if entry[0] < begun])
        meanwhile = percentiles([entry for entry in load.times if begun <= entry[0] < ended])
        moved = int(pair.target.ask("DBSIZE")[1:])
        seconds = ended - begun
        return seconds, moved / seconds, (peak - used) * 100 / used, quiet, meanwhile


def migrate_slots(start, servers):
    """The table, and its rows for --json."""
    table, rows = [], []
    for name, template, _ in servers:
        seconds, rate, growth, quiet, meanwhile = measure(start, name, template)
        shown = [" / ".join(f"{value:.2f}" for value in row) for row in (quiet, meanwhile)]
        rows.append({"test": "migrate-slots", "server": name, "seconds": seconds, "rate": rate, "growth": growth})
        table.append((f"{KEYS:,} keys", name, f"{seconds:.2f}", f"{rate:,.0f}", f"{growth:.1f}", *shown))
    title = ("migrate-slots", "server", "s", "keys/s", "source +%", "quiet p50/p99/p99.9/max ms", "meanwhile")
    return [title, *table], rows
