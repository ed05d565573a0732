"""A client that finds its primary through sentinels: writes without end, through failovers. Run by tests/blackbox/replication.

Arguments: the group's name, the sentinels' ports. Each line on standard input is answered by "ok" or by what is wrong:

progress    within a minute a write to the primary is acknowledged, and read from a replica
end         the same, and the client ends
"""

import sys
import threading
import time

import redis
import redis.sentinel

PATIENCE_S = 60
GAP_S = 0.01

name, ports = sys.argv[1], [int(port) for port in sys.argv[2:]]
sentinel = redis.sentinel.Sentinel([("127.0.0.1", port) for port in ports], socket_timeout=2)
primary = sentinel.master_for(name, socket_timeout=2)
replica = sentinel.slave_for(name, socket_timeout=2)
acknowledged = 0
ends = False


def write():
    """Counts up; what fails in the middle of a failover is tried again."""
    global acknowledged
    number = 0
    while not ends:
        number += 1
        try:
            primary.set("sentinel:counter", number)
            acknowledged = number
        except redis.RedisError:
            time.sleep(0.1)
        time.sleep(GAP_S)


def progress():
    """Waits for a new write, and until a replica has one as new."""
    start, before, read = time.monotonic(), acknowledged, None
    while time.monotonic() - start < PATIENCE_S:
        try:
            if acknowledged > before + 1:
                read = int(replica.get("sentinel:counter") or 0)
                if read > before:
                    return "ok"
        except redis.RedisError as error:
            read = error
        time.sleep(0.05)
    return f"from {before} to {acknowledged} in {PATIENCE_S} s, a replica says {read}"


threading.Thread(target=write, daemon=True).start()
for line in sys.stdin:
    print(progress(), flush=True)
    if line.strip() == "end":
        ends = True
        break
