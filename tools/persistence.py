"""What keeping data costs: `tools/bench --only fsync,save,load`.

fsync   GETs on one connection while eight write under `appendfsync always`, beside the same with `no`; and the SETs that fifty
        connections get through under each policy.
save    BGSAVE and BGREWRITEAOF of many keys while clients write: how long it takes, how much resident memory grows (children
        included), and what GETs wait beside what they wait when nothing is saved. Who sends the GETs does nothing else; who
        looks at memory and progress does so in both halves; short saves are repeated until there are as many GETs.
load    The start with the file of that BGSAVE: from the start of the process until the keys are there.

Every server gets the same in each round, one after the other; ratios are taken within a round.
"""

import csv
import io
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import time

from scaling import Connection, request

READS_S = 4
WRITERS = 8
SET_CLIENTS = 50
PACE_S = 0.002
BURST = 50
VALUE = "v" * 16
AOF = "--appendonly yes --appendfsync"
SAVE_LIMIT_S = 300
LOOK_S = 0.02
MEMORY_LOOK_S = 0.25


def benchmark(port, *words):
    """The row that redis-benchmark prints."""
    command = ["redis-benchmark", "-p", str(port), "--csv", "-d", "16", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    if done.returncode != 0 or len(rows) != 1:
        raise ValueError(f"redis-benchmark: {done.stdout}{done.stderr}")
    return rows[0]


def ask(connection, *words):
    """A short reply."""
    connection.sendall(request(*words))
    return connection.recv(1 << 16)


def info(port, section):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        reply = b""
        connection.sendall(request("INFO", section))
        while b"\r\n" not in reply or len(reply) < int(reply[1 : reply.index(b"\r\n")]):
            reply += connection.recv(1 << 16)
    lines = (line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
    return dict(lines)


def timed_gets(port, seconds, until=None):
    """(when it was due, latency in ms) of GETs, one every PACE_S, for so long or `until` says so; what came late counts from
    its turn."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    payload, taken = request("GET", "key:000000000001"), []
    start = due = time.perf_counter()
    while time.perf_counter() - start < seconds and not (until and until()):
        wait = due - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
            due = time.perf_counter()
        connection.sendall(payload)
        if connection.recv(4096)[:1] != b"$":
            raise ValueError("a GET was not answered")
        taken.append((due, (time.perf_counter() - due) * 1000))
        due += PACE_S
    return taken


def gets(port, seconds, until=None):
    """The latencies of these GETs in ms, sorted."""
    return sorted(latency for _, latency in timed_gets(port, seconds, until))


def at(latencies, share):
    return latencies[min(len(latencies) - 1, int(len(latencies) * share))]


class Load:
    """Another process that writes until it is ended."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def fsync(start, servers, rounds):
    """The table of reads beside writes, and of writes, by policy."""
    reads, writes = {}, {}
    for number in range(rounds):
        for name, template, cluster in servers if number % 2 == 0 else servers[::-1]:
            for policy in ("no", "always"):
                with start(name, f"{template} {AOF} {policy}", cluster) as server:
                    load = ("redis-benchmark", "-p", str(server.port), "-t", "set", "-c", str(WRITERS), "-r", "100000", "-l", "-q")
                    with Load(*load):
                        time.sleep(0.3)
                        reads.setdefault((name, policy), []).append(at(gets(server.port, READS_S), 0.99))
            for policy in ("off", "everysec", "always"):
                words = "" if policy == "off" else f"{AOF} {policy}"
                with start(name, f"{template} {words}", cluster) as server:
                    count = 30_000 if policy == "always" else 150_000
                    row = benchmark(server.port, "-t", "set", "-c", SET_CLIENTS, "-r", 100_000, "-n", count)
                    writes.setdefault((name, policy), []).append(float(row["rps"]))
            print(f"fsync: round {number + 1}, {name} measured", flush=True)
    names = [name for name, _, _ in servers]
    table, rows = [("GET p99 beside 8 writers", "no, ms", "always, ms", "ratio", "limit")], []
    for name in names:
        ratio = statistics.median(b / a for a, b in zip(reads[name, "no"], reads[name, "always"]))
        no, always = (statistics.median(reads[name, policy]) for policy in ("no", "always"))
        promised = "" if name == names[0] else "<= 1.20x " + ("ok" if ratio <= 1.2 else "OVER")
        table.append((name, f"{no:.3f}", f"{always:.3f}", f"{ratio:.2f}x", promised))
        rows.append({"test": "fsync reads", "server": name, "no": no, "always": always, "ratio": ratio})
    table.append(("SET, 50 connections", "off/s", "everysec/s", "always/s", "limit"))
    for name in names:
        off, every, always = (statistics.median(writes[name, policy]) for policy in ("off", "everysec", "always"))
        cost = statistics.median(b / a for a, b in zip(writes[name, "off"], writes[name, "everysec"]))
        beside = statistics.median(b / a for a, b in zip(writes[names[0], "always"], writes[name, "always"]))
        promised = ""
        if name != names[0]:
            promised = f"everysec {cost:.2f}x of off (>= 0.90x) {'ok' if cost >= 0.9 else 'OVER'}, "
            promised += f"always {beside:.2f}x of {names[0]} (>= 1.00x) {'ok' if beside >= 1 else 'OVER'}"
        table.append((name, f"{off:,.0f}", f"{every:,.0f}", f"{always:,.0f}", promised))
        rows.append({"test": "fsync writes", "server": name, "off": off, "everysec": every, "always": always})
    return table, rows


def resident_bytes(pid):
    """Resident memory of a process and its children; what they share counts once."""
    total = 0
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = file.read().split()
    for one in [str(pid), *children]:
        try:
            with open(f"/proc/{one}/smaps_rollup") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):
            pass
    return total


class Reader:
    """Another process that sends GETs until it is asked for what they took."""

    def __init__(self, port):
        (self.answer, answer), (stopped, self.stop) = os.pipe(), os.pipe()
        self.process = os.fork()
        if self.process == 0:
            try:
                os.close(self.stop)
                taken = timed_gets(port, SAVE_LIMIT_S, lambda: select.select([stopped], [], [], 0)[0])
                with open(answer, "w") as file:
                    json.dump(taken, file)
            finally:
                os._exit(0)
        os.close(answer)
        os.close(stopped)

    def taken(self):
        os.close(self.stop)
        with open(self.answer) as file:
            taken = json.load(file)
        os.waitpid(self.process, 0)
        return taken


def write_steadily(port, keys):
    """In a process of its own: about 5,000 SETs a second over all keys."""
    connection = Connection(port)
    number = 1
    while True:
        names = [(number + step * 7919) % keys for step in range(BURST)]
        number = (number + BURST * 7919 + 1) % keys
        connection.exchange(b"".join(request("SET", f"key:{name:012d}", VALUE) for name in names))
        time.sleep(0.01)


def saved(server, keys, word, is_done):
    """Time, growth of memory, and GET p99.9 while the server saves; GET p99.9 beside the same writes when it does not."""
    port, pid = server.port, server.process.pid
    child = os.fork()
    if child == 0:
        try:
            write_steadily(port, keys)
        finally:
            os._exit(0)
    most = looked = 0

    def is_saving():
        """Looks every LOOK_S, at memory less often: it costs the kernel milliseconds."""
        nonlocal looked, most
        time.sleep(LOOK_S)
        if time.perf_counter() - looked > MEMORY_LOOK_S:
            looked = time.perf_counter()
            most = max(most, resident_bytes(pid))
        return not is_done(info(port, "persistence"))

    try:
        reader, begun = Reader(port), time.perf_counter()
        while time.perf_counter() - begun < READS_S:
            is_saving()
        quiet = sorted(latency for _, latency in reader.taken())
        before, most = most, 0
        reader, times = Reader(port), []
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            while sum(end - begun for begun, end in times) < READS_S:
                begun = time.perf_counter()
                if ask(connection, word)[:1] != b"+":
                    raise ValueError(f"{server.name} refused {word}")
                while is_saving():
                    if time.perf_counter() - begun > SAVE_LIMIT_S:
                        raise ValueError(f"{server.name} does not come to an end with {word}")
                times.append((begun, time.perf_counter()))
        taken = reader.taken()
        during = sorted(latency for due, latency in taken if any(begun <= due < end for begun, end in times))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    took = statistics.median(end - begun for begun, end in times)
    return {"took": took, "growth": most / before - 1, "quiet": at(quiet, 0.999), "during": at(during, 0.999)}


def save(start, servers, rounds, keys):
    """The table of snapshots and rewrites under writes."""
    kinds = (
        ("BGSAVE", "", lambda facts: facts["rdb_bgsave_in_progress"] == "0"),
        ("BGREWRITEAOF", f"{AOF} everysec --auto-aof-rewrite-percentage 0", lambda facts: facts["aof_rewrite_in_progress"] == "0" and facts["aof_rewrite_scheduled"] == "0"),
    )
    measured = {}
    for number in range(rounds):
        for name, template, cluster in servers if number % 2 == 0 else servers[::-1]:
            for word, words, is_done in kinds:
                with start(name, f"{template} {words}", cluster) as server:
                    server.load(keys)
                    measured.setdefault((word, name), []).append(saved(server, keys, word, is_done))
                    print(f"save: round {number + 1}, {name} {word} {measured[word, name][-1]}", flush=True)
    names = [name for name, _, _ in servers]
    table, rows = [(f"{keys:,} keys, under writes", "server", "time s", "memory grows", "GET p99.9 ms", "quiet ms", "limits")], []
    for word, _, _ in kinds:
        for name in names:
            middle = {what: statistics.median(one[what] for one in measured[word, name]) for what in ("took", "growth", "quiet", "during")}
            beside = statistics.median(a["took"] / b["took"] for a, b in zip(measured[word, name], measured[word, names[0]]))
            waits = statistics.median(one["during"] / one["quiet"] for one in measured[word, name])
            promised = ""
            if name != names[0]:
                verdicts = [("time <= 1x", beside <= 1), ("memory <= 10 %", middle["growth"] <= 0.1), ("p99.9 <= 2x", waits <= 2)]
                promised = ", ".join(f"{what} {'ok' if held else 'OVER'}" for what, held in verdicts)
            table.append((word, name, f"{middle['took']:.2f} ({beside:.2f}x)", f"{middle['growth']:.1%}", f"{middle['during']:.2f} ({waits:.1f}x)", f"{middle['quiet']:.2f}", promised))
            rows.append({"test": word, "server": name, "keys": keys, "beside": beside, "waits": waits, **middle})
    return table, rows


def load(start, servers, rounds, keys):
    """The table of starts with data: RDB, and an append-only file that was never rewritten."""
    measured = {}
    for number in range(rounds):
        for name, template, cluster in servers if number % 2 == 0 else servers[::-1]:
            for kind, words in (("RDB", ""), ("AOF", f"{AOF} no --auto-aof-rewrite-percentage 0")):
                with start(name, f"{template} {words}", cluster) as server:
                    server.load(keys)
                    with socket.create_connection(("127.0.0.1", server.port), timeout=SAVE_LIMIT_S) as connection:
                        if kind == "RDB" and ask(connection, "SAVE")[:1] != b"+":
                            raise ValueError(f"{name} refused SAVE")
                    begun = time.perf_counter()
                    server.again()
                    while info(server.port, "persistence")["loading"] != "0":
                        time.sleep(0.005)
                    measured.setdefault((kind, name), []).append(time.perf_counter() - begun)
                    found = info(server.port, "keyspace").get("db0", "nothing")
                    if f"keys={keys}" not in found:
                        raise ValueError(f"{name} loaded {found} of {keys} keys")
                    print(f"load: round {number + 1}, {name} {kind} {measured[kind, name][-1]:.2f} s", flush=True)
    names = [name for name, _, _ in servers]
    table, rows = [(f"start with {keys:,} keys", "server", "time s", "speed", "limit")], []
    for kind in ("RDB", "AOF"):
        for name in names:
            took = statistics.median(measured[kind, name])
            speed = statistics.median(b / a for a, b in zip(measured[kind, name], measured[kind, names[0]]))
            promised = f">= 1.50x {'ok' if speed >= 1.5 else 'OVER'}" if kind == "RDB" and name.endswith("-2") else ""
            table.append((kind, name, f"{took:.2f}", f"{speed:.2f}x", promised))
            rows.append({"test": f"load {kind}", "server": name, "keys": keys, "took": took, "speed": speed})
    return table, rows
