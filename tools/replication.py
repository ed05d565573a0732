"""What replicas cost: `tools/bench --only replica,sync`.

replica  SETs that fifty connections get through with one replica beside none. The replica that is judged only reads and
         acknowledges, so that on a small machine the primary's own cost shows; one of the server's own kind stands beside it.
sync     The full synchronisation of many keys to a replica of the same kind while clients write: how long until the link is up,
         how much resident memory of the primary grows (children included), and what GETs wait beside a quiet time.

Standalone nodes, because a cluster node takes no REPLICAOF. Ratios are taken within a round.
"""

import os
import signal
import socket
import statistics
import time

from persistence import LOOK_S, MEMORY_LOOK_S, READS_S, SET_CLIENTS, Reader, ask, at, benchmark, info, resident_bytes, write_steadily
from scaling import request

PROMPT = "--repl-diskless-sync yes --repl-diskless-sync-delay 0"
BACKLOG_BYTES = 1 << 20
SYNC_LIMIT_S = 600
LINK_LIMIT_S = 30
PIPELINES = {1: 100_000, 16: 800_000}
ACKNOWLEDGEMENT = request("REPLCONF", "ACK", "0")


def wait_for(port, holds, limit_s, what):
    deadline = time.monotonic() + limit_s
    while not holds(info(port, "replication")):
        if time.monotonic() > deadline:
            raise ValueError(f"no {what} within {limit_s} s")
        time.sleep(0.02)


class Sink:
    """A replica in a process of its own that reads all and keeps nothing."""

    def __init__(self, port):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.read(port)
            finally:
                os._exit(0)

    @staticmethod
    def read(port):
        link = socket.create_connection(("127.0.0.1", port), timeout=60)
        link.sendall(request("REPLCONF", "listening-port", 1, "capa", "eof", "capa", "psync2"))
        link.recv(64)
        link.sendall(request("PSYNC", "?", "-1"))
        said, room = 0.0, bytearray(1 << 20)
        while link.recv_into(room):
            # Said often at first: the stream begins with an acknowledgement that follows the file.
            if time.monotonic() - said > 0.2:
                said = time.monotonic()
                link.sendall(ACKNOWLEDGEMENT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def is_online(facts):
    return "state=online" in facts.get("slave0", "")


def sets(server, pipeline):
    row = benchmark(server.port, "-t", "set", "-c", SET_CLIENTS, "-P", pipeline, "-r", 100_000, "-n", PIPELINES[pipeline])
    return float(row["rps"])


def steady(server):
    """`sets` with the replica that is attached; none may have come or gone meanwhile."""
    wait_for(server.port, is_online, LINK_LIMIT_S, "replica")
    speeds = {pipeline: sets(server, pipeline) for pipeline in PIPELINES}
    if not is_online(info(server.port, "replication")) or info(server.port, "stats")["sync_full"] != "1":
        raise ValueError(f"{server.name} has lost its replica")
    return speeds


def replica(start, servers, rounds):
    """The table of writes with and without a replica."""
    measured = {}
    for number in range(rounds):
        for name, template, _ in servers if number % 2 == 0 else servers[::-1]:
            template = f"{template} {PROMPT}"
            with start(name, template, False) as server:
                alone = {pipeline: sets(server, pipeline) for pipeline in PIPELINES}
            with start(name, template, False) as server, Sink(server.port):
                reading = steady(server)
            with start(name, template, False) as server, start(name, template, False) as other:
                ask_once(other.port, "REPLICAOF", "127.0.0.1", server.port)
                copying = steady(server)
            for pipeline in PIPELINES:
                found = (alone[pipeline], reading[pipeline], copying[pipeline])
                measured.setdefault((pipeline, name), []).append(found)
                print(f"replica: round {number + 1}, {name} P={pipeline} {found}", flush=True)
    table, rows = [(f"SET, {SET_CLIENTS} connections", "server", "alone/s", "one that reads/s", "one that copies/s", "limit")], []
    for pipeline in PIPELINES:
        for name, _, _ in servers:
            found = measured[pipeline, name]
            alone, reading, copying = (statistics.median(one[what] for one in found) for what in range(3))
            reads, copies = (statistics.median(one[what] / one[0] for one in found) for what in (1, 2))
            promised = "" if name == servers[0][0] else f"reads >= 0.85x {'ok' if reads >= 0.85 else 'OVER'}"
            table.append((f"P={pipeline}", name, f"{alone:,.0f}", f"{reading:,.0f} ({reads:.2f}x)", f"{copying:,.0f} ({copies:.2f}x)", promised))
            rows.append({"test": f"replica P={pipeline}", "server": name, "alone": alone, "reading": reading, "copying": copying, "reads": reads, "copies": copies})
    return table, rows


def ask_once(port, *words):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        reply = ask(connection, *words)
        if reply[:1] == b"-":
            raise ValueError(f"{words}: {reply}")


def synchronised(server, other, keys):
    """Time, growth of memory, and GET p99.9 while `other` takes everything; GET p99.9 before."""
    child = os.fork()
    if child == 0:
        try:
            write_steadily(server.port, keys)
        finally:
            os._exit(0)
    most = looked = 0

    def is_up():
        """Looks every LOOK_S, at memory less often: it costs the kernel milliseconds."""
        nonlocal looked, most
        time.sleep(LOOK_S)
        if time.perf_counter() - looked > MEMORY_LOOK_S:
            looked = time.perf_counter()
            most = max(most, resident_bytes(server.process.pid))
        return info(other.port, "replication")["role"] == "slave" and info(other.port, "replication")["master_link_status"] == "up"

    # GETs come from a process of their own: what the looks take would count as time that a GET waits.
    try:
        reader, begun = Reader(server.port), time.perf_counter()
        while time.perf_counter() - begun < READS_S:
            is_up()
        quiet = at(sorted(latency for _, latency in reader.taken()), 0.999)
        before, most = most, 0
        reader, begun = Reader(server.port), time.perf_counter()
        ask_once(other.port, "REPLICAOF", "127.0.0.1", server.port)
        while not is_up():
            if time.perf_counter() - begun > SYNC_LIMIT_S:
                raise ValueError(f"{server.name}: no link within {SYNC_LIMIT_S} s")
        took = time.perf_counter() - begun
        during = at(sorted(latency for due, latency in reader.taken() if due < begun + took), 0.999)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    found = info(other.port, "keyspace").get("db0", "nothing")
    if f"keys={keys}" not in found:
        raise ValueError(f"{server.name}: the replica has {found} of {keys} keys")
    grown = max(0, most - before - BACKLOG_BYTES) / before
    return {"took": took, "growth": grown, "quiet": quiet, "during": during}


def sync(start, servers, rounds, keys):
    """The table of full synchronisations under writes."""
    measured = {}
    for number in range(rounds):
        for name, template, _ in servers if number % 2 == 0 else servers[::-1]:
            template = f"{template} {PROMPT} --repl-backlog-size {BACKLOG_BYTES}"
            with start(name, template, False) as server, start(name, template, False) as other:
                server.load(keys)
                measured.setdefault(name, []).append(synchronised(server, other, keys))
                print(f"sync: round {number + 1}, {name} {measured[name][-1]}", flush=True)
    names = [name for name, _, _ in servers]
    table, rows = [(f"full synchronisation of {keys:,} keys, under writes", "time s", "memory grows", "GET p99.9 ms", "quiet ms", "limits")], []
    for name in names:
        middle = {what: statistics.median(one[what] for one in measured[name]) for what in ("took", "growth", "quiet", "during")}
        beside = statistics.median(a["took"] / b["took"] for a, b in zip(measured[name], measured[names[0]]))
        waits = statistics.median(one["during"] / one["quiet"] for one in measured[name])
        promised = ""
        if name != names[0]:
            verdicts = [("time <= 1x", beside <= 1), ("memory <= 10 %", middle["growth"] <= 0.1), ("p99.9 <= 2x", waits <= 2)]
            promised = ", ".join(f"{what} {'ok' if held else 'OVER'}" for what, held in verdicts)
        table.append((name, f"{middle['took']:.2f} ({beside:.2f}x)", f"{middle['growth']:.1%}", f"{middle['during']:.2f} ({waits:.1f}x)", f"{middle['quiet']:.2f}", promised))
        rows.append({"test": "sync", "server": name, "keys": keys, "beside": beside, "waits": waits, **middle})
    return table, rows
