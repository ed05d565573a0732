"""What moving slots costs: `tools/bench --only reshard` (--save-keys N for the number of keys, --rounds for rounds).

Two primaries of one kind on loopback. The first serves all slots and has N keys of 1 KB (2 million for the full number) and a
few collections of 100,000 elements; half of its slots go to the second while a client reads and writes, one request at
a time, and follows redirections. Measured: keys per second, the latency of that client's requests meanwhile beside what it was
before, and how much the source's resident memory grew. With redis-cli for every server, and with `slotcore cluster reshard`
where a slotcore is there to run it. Servers take turns within a round.
"""

import contextlib
import os
import pathlib
import random
import socket
import statistics
import subprocess
import threading
import time

from persistence import ask, resident_bytes
from scaling import request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLOTS, MOVED_SLOTS = 16384, 8192
VALUE = "v" * 1000
BIG_ELEMENTS, BIG_KEYS = 100_000, 4
QUIET_S = 3
LIMIT_S = 60
MOVE_LIMIT_S = 3600
BATCH = 500


class Pair:
    """Two primaries; the first serves everything."""

    def __init__(self, start, name, template, stack):
        words = f"{template} --cluster-enabled yes --cluster-node-timeout 15000"
        self.source, self.target = (stack.enter_context(start(name, words, False)) for _ in range(2))
        self.source.ask("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        for number, node in enumerate((self.source, self.target)):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self.target.ask("CLUSTER", "MEET", "127.0.0.1", self.source.port)
        deadline = time.monotonic() + LIMIT_S
        while not all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in (self.source, self.target)):
            if time.monotonic() > deadline:
                raise ValueError(f"{name}: the nodes do not agree within {LIMIT_S} s")
            time.sleep(0.05)

    def ids(self):
        return [node.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode() for node in (self.source, self.target)]

    def fill(self, keys):
        with socket.create_connection(("127.0.0.1", self.source.port), timeout=LIMIT_S) as connection:
            for first in range(0, keys, BATCH):
                count = min(BATCH, keys - first)
                connection.sendall(b"".join(request("SET", f"key:{first + number}", VALUE) for number in range(count)))
                drain(connection, count)
            for number in range(BIG_KEYS):
                for first in range(0, BIG_ELEMENTS, BATCH):
                    pairs = [word for field in range(first, first + BATCH) for word in (f"field:{field}", f"value:{field}")]
                    connection.sendall(request("HSET", f"big:{number}", *pairs))
                    drain(connection, 1)


def drain(connection, replies):
    got = b""
    while got.count(b"\r\n") < replies:
        got += connection.recv(1 << 16)


class Client(threading.Thread):
    """Reads and writes one key after the other, and keeps how long each took, redirections included."""

    def __init__(self, ports, keys):
        super().__init__(daemon=True)
        self.links = {port: socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) for port in ports}
        for link in self.links.values():
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.first, self.keys, self.stopped, self.times = ports[0], keys, threading.Event(), []

    def run(self):
        rng = random.Random(1)
        places = {}
        while not self.stopped.is_set():
            number = rng.randrange(self.keys)
            words = ("GET", f"key:{number}") if rng.random() < 0.8 else ("SET", f"key:{number}", VALUE)
            begun = time.perf_counter()
            port = places.get(number, self.first)
            reply = ask(self.links[port], *words)
            while reply.startswith((b"-MOVED", b"-ASK", b"-TRYAGAIN", b"-CLUSTERDOWN")):
                if reply.startswith(b"-MOVED"):
                    port = places[number] = int(reply.rsplit(b":", 1)[1])
                    reply = ask(self.links[port], *words)
                elif reply.startswith(b"-ASK"):
                    link = self.links[int(reply.rsplit(b":", 1)[1])]
                    ask(link, "ASKING")
                    reply = ask(link, *words)
                else:
                    reply = ask(self.links[port], *words)
            if reply.startswith(b"-"):
                raise ValueError(reply.decode())
            self.times.append((time.perf_counter() - begun) * 1000)
            while reply.startswith(b"$") and len(reply) < int(reply[1 : reply.index(b"\r\n")]):
                reply += self.links[port].recv(1 << 16)

    def stop(self):
        self.stopped.set()
        self.join()
        return sorted(self.times)


def quantile(times, share):
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def moved(pair, tool, options, keys):
    """Moves the slots; keys per second, latencies before and meanwhile, growth of the source."""
    ports = [pair.source.port, pair.target.port]
    client = Client(ports, keys)
    client.start()
    time.sleep(QUIET_S)
    quiet = client.stop()
    resident = peak = resident_bytes(pair.source.process.pid)
    client = Client(ports, keys)
    client.start()
    from_id, to_id = pair.ids()
    words = ["--cluster-from", from_id, "--cluster-to", to_id, "--cluster-slots", str(MOVED_SLOTS), "--cluster-yes", *options]
    begun = time.perf_counter()
    process = subprocess.Popen([*tool, "reshard", f"127.0.0.1:{ports[0]}", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and time.perf_counter() - begun < MOVE_LIMIT_S:
        peak = max(peak, resident_bytes(pair.source.process.pid))
        time.sleep(0.02)
    took = time.perf_counter() - begun
    busy = client.stop()
    if process.returncode != 0:
        process.kill()
        raise ValueError(f"reshard: {process.stderr.read().decode()}")
    there = int(pair.target.ask("DBSIZE")[1:].split(b"\r\n")[0])
    return {
        "seconds": took,
        "keys_per_s": there / took,
        "quiet_p999_ms": quantile(quiet, 0.999),
        "p50_ms": quantile(busy, 0.5),
        "p999_ms": quantile(busy, 0.999),
        "most_ms": busy[-1] if busy else 0.0,
        "grew": (peak - resident) / resident,
    }


def tools_for(name):
    """How slots of this server are moved: a name, the tool, and what it is told besides."""
    ways = [("redis-cli", ["redis-cli", "--cluster"], [])]
    program = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "slotcore"
    if name.startswith("slotcore") and program.exists():
        ways.append(("slotcore cluster, key by key", [str(program), "cluster"], ["--cluster-key-by-key"]))
        ways.append(("slotcore cluster", [str(program), "cluster"], []))
    return ways


def reshard(start, servers, rounds, keys):
    """The table of moves, medians over the rounds."""
    found, contestants = {}, [(name, template) for name, template, cluster in servers if not cluster]
    for number in range(rounds):
        for name, template in contestants if number % 2 == 0 else contestants[::-1]:
            for way, tool, options in tools_for(name):
                with contextlib.ExitStack() as stack:
                    pair = Pair(start, name, template, stack)
                    pair.fill(keys)
                    result = moved(pair, tool, options, keys)
                found.setdefault((name, way), []).append(result)
                print(f"reshard: round {number + 1}, {name} with {way}: {result}", flush=True)
    head = (f"half of {keys:,} keys of 1 KB and {BIG_KEYS} of {BIG_ELEMENTS:,} elements", "with", "keys/s", "p99.9 ms quiet", "p99.9 ms", "most ms", "memory")
    table, rows = [head], []
    baseline = statistics.median(result["keys_per_s"] for result in found[(servers[0][0], "redis-cli")])
    for (name, way), results in found.items():
        middle = {what: statistics.median(result[what] for result in results) for what in results[0]}
        beside = middle["keys_per_s"] / baseline
        table.append(
            (
                name,
                way,
                f"{middle['keys_per_s']:,.0f} ({beside:.2f}x)",
                f"{middle['quiet_p999_ms']:.2f}",
                f"{middle['p999_ms']:.2f}",
                f"{middle['most_ms']:.1f}",
                f"{middle['grew']:+.1%}",
            )
        )
        rows.append({"test": "reshard", "server": name, "way": way, "rounds": results, "beside": beside, **middle})
    return table, rows
