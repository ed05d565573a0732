"""Slots that change their core: `tools/bench --only slot-handover`.

One node with two cores; a slot with one key, and one with `HANDOVER_KEYS` keys (1,000,000 by default), hop from core to core while a
client reads a key of theirs over and over. Told is the longest of its reads around each hop, in the median of `HANDOVER_HOPS` hops
and at most, beside the longest of as many reads where nothing hops. A redis-server has no such thing.
"""

import os
import select
import socket
import time

from scaling import request

KEYS = int(os.environ.get("HANDOVER_KEYS", "1000000"))
HOPS = int(os.environ.get("HANDOVER_HOPS", "50"))
READS = 5


def read(link, key):
    begun = time.perf_counter()
    link.sendall(request("GET", key))
    if not link.recv(1 << 16).startswith(b"$"):
        raise ValueError(f"GET {key} fails")
    return time.perf_counter() - begun


def hop(control, link, key, slot, to):
    """The longest read from the order to its answer, and of the two that follow."""
    control.sendall(request("DEBUG", "SLOT-CORE", slot, to))
    longest = 0.0
    while not select.select([control], [], [], 0)[0]:
        longest = max(longest, read(link, key))
    if (answer := control.recv(1 << 16)) != b"+OK\r\n":
        raise ValueError(f"the slot does not change its core: {answer!r}")
    return max(longest, read(link, key), read(link, key))


def measure(server, keys):
    """Milliseconds: the median and the longest around a hop, and where nothing hops."""
    prefix = f"{{slot{keys}}}"
    server.ask("DEBUG", "POPULATE", keys, prefix)
    slot = int(server.ask("CLUSTER", "KEYSLOT", prefix)[1:])
    address, key = ("127.0.0.1", server.port), f"{prefix}:0"
    with socket.create_connection(address, timeout=60) as control, socket.create_connection(address, timeout=60) as link:
        at = int(server.ask("DEBUG", "SLOT-CORE", slot)[1:])
        hops, quiet = [], []
        for number in range(HOPS):
            hops.append(hop(control, link, key, slot, (at + number + 1) % 2) * 1000)
            quiet.append(max(read(link, key) for _ in range(READS)) * 1000)
    return [figure for times in (sorted(hops), sorted(quiet)) for figure in (times[len(times) // 2], times[-1])]


def slot_handover(start, servers):
    """The table, and its rows for --json."""
    table, rows = [], []
    for name, template, cluster in servers:
        if not cluster or not name.startswith("slotcore"):
            continue
        with start(name, f"{template} --enable-debug-command yes", cluster) as server:
            for keys in (1, KEYS):
                figures = measure(server, keys)
                rows.append({"test": "slot-handover", "server": name, "keys": keys, "ms": figures})
                shown = [f"{figure:.3f}" for figure in figures]
                table.append((f"{keys:,} keys", name, " / ".join(shown[:2]), " / ".join(shown[2:])))
    return [("slot-handover", "server", "longest read ms, p50 / max", "quiet"), *table], rows
