"""Slots that change their core by themselves: `tools/bench --only slots-rebalance`.

One node with two cores and all slots; eight connections send pipelines of 64 for keys of all slots evenly, by Zipf's law (the nth most
wanted slot gets 1/n; the hottest 16 are on core 0, the others in no order), and for one slot. Told is how busy each core is in the six
seconds behind the first `REBALANCE_SECONDS` (10 by default), with `slots-rebalance no` and then `yes`, how many slots have changed their core, and
what the node does in a second. The client takes its share of the machine too: where that has two CPUs, no core gets a whole one.
A redis-server has no such thing.
"""

import binascii
import itertools
import os
import random
import socket
import time

from scaling import request

SECONDS = int(os.environ.get("REBALANCE_SECONDS", "10"))
MEASURED_S = 6
SLOTS = 16384
HOTTEST = 16
CONNECTIONS = 8
PIPELINE = 64
BATCHES = 100
ELEMENTS = [str(number) for number in range(100)]
# What fills a key, and the words behind it in what reads it.
COMMANDS = {"GET": (("SET", ["v" * 100]), []), "LRANGE": (("RPUSH", ELEMENTS), [0, -1])}


def keys_by_slot():
    """A short key for each slot."""
    keys = {}
    for number in itertools.count():
        key = f"k{number}"
        keys.setdefault(binascii.crc_hqx(key.encode(), 0) % SLOTS, key)
        if len(keys) == SLOTS:
            return keys


def loads(own_of_first):
    """The names of loads, each with the weight of each slot."""
    order = random.Random(1)
    first = list(own_of_first)
    order.shuffle(first)
    hottest = first[:HOTTEST]
    rest = [slot for slot in range(SLOTS) if slot not in set(hottest)]
    order.shuffle(rest)
    yield "even", {slot: 1.0 for slot in range(SLOTS)}
    yield "Zipf", {slot: 1.0 / rank for rank, slot in enumerate(hottest + rest, 1)}
    yield "one slot", {hottest[0]: 1.0}


def batches(command, weights, keys):
    draw = random.Random(2)
    words = COMMANDS[command][1]
    for _ in range(BATCHES):
        slots = draw.choices(list(weights), weights=list(weights.values()), k=PIPELINE)
        yield b"".join(request(command, keys[slot], *words) for slot in slots)


def drive(links, sent, reply_bytes, seconds):
    """Requests in so many seconds."""
    count, end = 0, time.monotonic() + seconds
    turn = itertools.cycle(sent)
    while time.monotonic() < end:
        for link in links:
            link.sendall(next(turn))
        for link in links:
            waited = PIPELINE * reply_bytes
            while waited > 0:
                waited -= len(link.recv(1 << 20))
            if waited:
                raise ValueError("a reply is not what it should be")
        count += len(links) * PIPELINE
    return count / seconds


def cores(server):
    """By core: the percentage of the last second or two in which it was busy; and how many slots have changed their core."""
    info = server.ask("INFO", "cores").decode()
    fields = dict(line.split(":", 1) for line in info.split("\r\n") if ":" in line)
    busy = [float(fields[f"core{core}"].rsplit("busy=", 1)[1]) for core in (0, 1)]
    return busy, int(fields["slots_relocated"])


def measure(server, links, sent, reply_bytes):
    before = cores(server)[1]
    drive(links, sent, reply_bytes, SECONDS)
    rate, busy = 0.0, [0.0, 0.0]
    for _ in range(MEASURED_S):
        rate += drive(links, sent, reply_bytes, 1) / MEASURED_S
        busy = [sum + one / MEASURED_S for sum, one in zip(busy, cores(server)[0])]
    return {"busy": busy, "rate": rate, "moved": cores(server)[1] - before}


def slots_rebalance(start, servers):
    """The table, and its rows for --json."""
    table, rows, keys = [], [], keys_by_slot()
    for name, template, cluster in servers:
        if not cluster or not name.startswith("slotcore"):
            continue
        for command in COMMANDS:
            with start(name, f"{template} --enable-debug-command yes", cluster) as server:
                first = [slot for slot in range(SLOTS) if server.ask("DEBUG", "SLOT-CORE", slot) == b":0\r\n"]
                links = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(CONNECTIONS)]
                (writes, value), words = COMMANDS[command]
                server.send_all([request(writes, key, *value) for key in keys.values()])
                reply_bytes = len(server.ask(command, keys[0], *words))
                for load, weights in loads(first):
                    sent = list(batches(command, weights, keys))
                    for wanted in ("no", "yes"):
                        server.ask("CONFIG", "SET", "slots-rebalance", wanted)
                        row = measure(server, links, sent, reply_bytes)
                        rows.append({"test": "slots-rebalance", "server": name, "command": command, "load": load, "rebalances": wanted, **row})
                        high, low = max(row["busy"]), min(row["busy"])
                        busy = " / ".join(f"{share:.0f} %" for share in row["busy"])
                        table.append((f"{command}, {load}", name, wanted, busy, f"{100 * (1 - low / high):.0f} %", str(row["moved"]), f"{row['rate']:,.0f}"))
                for link in links:
                    link.close()
    header = ("slots-rebalance", "server", "rebalances", "busy, core 0 / 1", "apart", "slots moved", "requests/s")
    return [header, *table], rows
