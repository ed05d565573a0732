"""What a cluster of six nodes does: `tools/bench --only failover,handover,idle`.

failover  kill -9 of a primary until a write to its slots is accepted again, at node timeouts of 1000 and 5000 ms.
handover  CLUSTER FAILOVER while a client writes: the longest time in which that client gets no write through.
idle      CPU time and resident memory of nodes that nobody uses.

Three primaries with a replica each, all of one kind, on loopback. The killed node comes back and is its successor's replica
before the next round. Rounds of the servers alternate.
"""

import contextlib
import os
import signal
import socket
import statistics
import threading
import time

from persistence import ask, info, resident_bytes
from scaling import request

NODES, PRIMARIES, SLOTS = 6, 3, 16384
TIMEOUTS_MS = (1000, 5000)
# The hash tag's slot is 0.
KEY = "{06S}"
LIMIT_S = 60
IDLE_S = 20
TICKS = os.sysconf("SC_CLK_TCK")


class Cluster:
    """Six nodes of one kind."""

    def __init__(self, start, name, template, timeout_ms, stack):
        words = f"{template} --cluster-enabled yes --cluster-node-timeout {timeout_ms} --repl-diskless-sync-delay 0"
        self.nodes = [stack.enter_context(start(name, words, False)) for _ in range(NODES)]
        self.form()

    def form(self):
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < PRIMARIES:
                share = [SLOTS * edge // PRIMARIES for edge in (number, number + 1)]
                node.ask("CLUSTER", "ADDSLOTSRANGE", share[0], share[1] - 1)
            if number:
                node.ask("CLUSTER", "MEET", "127.0.0.1", first.port)
        self.wait("all nodes known", lambda node: field(node, "cluster_known_nodes") == str(NODES))
        ids = [node.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode() for node in self.nodes]
        for number in range(PRIMARIES, NODES):
            node = self.nodes[number]
            while not node.ask("CLUSTER", "REPLICATE", ids[number - PRIMARIES]).startswith(b"+OK"):
                time.sleep(0.05)
        self.settle()

    def wait(self, what, holds):
        deadline = time.monotonic() + LIMIT_S
        while not all(holds(node) for node in self.nodes):
            if time.monotonic() > deadline:
                raise ValueError(f"{self.nodes[0].name}: no {what} within {LIMIT_S} s")
            time.sleep(0.05)

    def settle(self):
        """All is well in everybody's eyes, and every replica is linked."""

        def is_well(node):
            lines = node.ask("CLUSTER", "NODES").decode()
            facts = info(node.port, "replication")
            linked = facts["role"] == "master" or facts["master_link_status"] == "up"
            return linked and "fail" not in lines and lines.count("slave") == NODES - PRIMARIES and field(node, "cluster_state") == "ok"

        self.wait("agreement", is_well)

    def roles(self):
        """The node that serves slot 0, and its replica."""
        replicas = {info(node.port, "replication").get("master_port"): node for node in self.nodes}
        for node in self.nodes:
            if node.ask("SET", KEY, "v").startswith(b"+OK"):
                return node, replicas[str(node.port)]
        raise ValueError("nobody serves slot 0")


def field(node, name):
    for line in node.ask("CLUSTER", "INFO").decode().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1]
    return None


def killed(cluster):
    """Milliseconds from kill -9 of a primary to the first write that its replica takes; None when it takes none."""
    primary, replica = cluster.roles()
    # Anywhere between two pings.
    time.sleep(0.3 + (time.monotonic_ns() % 1000) / 1000)
    with socket.create_connection(("127.0.0.1", replica.port), timeout=LIMIT_S) as connection:
        os.kill(primary.process.pid, signal.SIGKILL)
        begun = time.perf_counter()
        took = None
        while time.perf_counter() - begun < LIMIT_S / 2:
            if ask(connection, "SET", KEY, "v").startswith(b"+OK"):
                took = (time.perf_counter() - begun) * 1000
                break
            time.sleep(0.002)
    primary.process.wait()
    primary.launch()
    primary.wait()
    cluster.settle()
    return took


def handed_over(cluster):
    """The longest time without a write, in milliseconds, of a client that writes all the time."""
    primary, replica = cluster.roles()
    longest, stop = 0.0, threading.Event()

    def write():
        nonlocal longest
        ports, last = [primary.port], time.perf_counter()
        links = {node.port: socket.create_connection(("127.0.0.1", node.port), timeout=LIMIT_S) for node in (primary, replica)}
        while not stop.is_set():
            reply = ask(links[ports[-1]], "SET", KEY, "v")
            if reply.startswith(b"-MOVED"):
                ports.append(int(reply.rsplit(b":", 1)[1]))
                continue
            if reply.startswith(b"+OK"):
                now = time.perf_counter()
                longest, last = max(longest, now - last), now

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.5)
    replica.ask("CLUSTER", "FAILOVER")
    deadline = time.monotonic() + LIMIT_S
    while info(replica.port, "replication")["role"] != "master" and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.5)
    stop.set()
    writer.join()
    cluster.settle()
    return longest * 1000


def spent_s(node):
    with open(f"/proc/{node.process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def plain(servers):
    return [(name, template) for name, template, cluster in servers if not cluster]


def failover(start, servers, rounds):
    """The table of failovers after kill -9."""
    table = [(f"kill -9 of a primary, {rounds} rounds", "server", "median ms", "least", "most", "limits")]
    rows = []
    for timeout_ms in TIMEOUTS_MS:
        times = {}
        with contextlib.ExitStack() as stack:
            clusters = [(name, Cluster(start, name, template, timeout_ms, stack)) for name, template in plain(servers)]
            for number in range(rounds):
                for name, cluster in clusters if number % 2 == 0 else clusters[::-1]:
                    times.setdefault(name, []).append(killed(cluster))
                    print(f"failover: timeout {timeout_ms}, round {number + 1}, {name} {times[name][-1]} ms", flush=True)
        baseline = servers[0][0]
        for name, _ in plain(servers):
            done = [took for took in times[name] if took is not None]
            middle = statistics.median(done)
            beside = middle / statistics.median(took for took in times[baseline] if took is not None)
            promised = ""
            if name != baseline:
                verdicts = [("<= 0.8x", beside <= 0.8), ("<= timeout + 700", middle <= timeout_ms + 700), ("all", len(done) == rounds)]
                promised = ", ".join(f"{what} {'ok' if held else 'OVER'}" for what, held in verdicts)
            table.append((f"node timeout {timeout_ms}", name, f"{middle:,.0f} ({beside:.2f}x)", f"{min(done):,.0f}", f"{max(done):,.0f}", promised))
            rows.append({"test": "failover", "timeout_ms": timeout_ms, "server": name, "times_ms": times[name], "beside": beside})
    return table, rows


def handover(start, servers, rounds):
    """The table of ordered failovers under writes."""
    gaps = {}
    with contextlib.ExitStack() as stack:
        clusters = [(name, Cluster(start, name, template, 5000, stack)) for name, template in plain(servers)]
        for number in range(rounds):
            for name, cluster in clusters if number % 2 == 0 else clusters[::-1]:
                gaps.setdefault(name, []).append(handed_over(cluster))
                print(f"handover: round {number + 1}, {name} {gaps[name][-1]:.1f} ms", flush=True)
    table, rows = [(f"CLUSTER FAILOVER under writes, {rounds} rounds", "without a write, median ms", "most", "limit")], []
    for name, found in gaps.items():
        promised = "" if name == servers[0][0] else f"most <= 100 {'ok' if max(found) <= 100 else 'OVER'}"
        table.append((name, f"{statistics.median(found):.1f}", f"{max(found):.1f}", promised))
        rows.append({"test": "handover", "server": name, "gaps_ms": found})
    return table, rows


def idle(start, servers):
    """The table of nodes at rest."""
    table, rows = [("six idle nodes", "CPU of one, most", "resident MB of one, most", "limits")], []
    for name, template in plain(servers):
        with contextlib.ExitStack() as stack:
            cluster = Cluster(start, name, template, 5000, stack)
            time.sleep(1)
            before = [spent_s(node) for node in cluster.nodes]
            time.sleep(IDLE_S)
            cpu = max((spent_s(node) - spent) / IDLE_S for node, spent in zip(cluster.nodes, before))
            memory = max(resident_bytes(node.process.pid) for node in cluster.nodes) / 1e6
        verdicts = [("<= 1 %", cpu <= 0.01), ("<= 40 MB", memory <= 40)]
        promised = "" if name == servers[0][0] else ", ".join(f"{what} {'ok' if held else 'OVER'}" for what, held in verdicts)
        table.append((name, f"{cpu:.2%}", f"{memory:.1f}", promised))
        rows.append({"test": "idle", "server": name, "cpu": cpu, "resident_mb": memory})
    return table, rows
