"""redis-cli -c and redis-py against a cluster: from this machine, and from a container on the cluster's network.

The container runs the programs of this machine, which are mounted into it: no image with clients is needed. The network is the
container's own.
"""

import os
import sys

from cluster import must
from engine import docker, run

KEYS = 40

# Writes and reads keys of many slots, and asks each primary by itself.
PYTHON = """
import sys
from redis.cluster import RedisCluster
host, port, password, tag = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
client = RedisCluster(host=host, port=port, password=password or None, decode_responses=True, socket_connect_timeout=3)
for number in range(%d):
    assert client.set(f"{tag}:{number}", number)
assert [client.get(f"{tag}:{number}") for number in range(%d)] == [str(number) for number in range(%d)]
places = {node.name for node in client.get_primaries()}
assert all(client.ping(target_nodes=node) for node in client.get_nodes())
print(f"{len(client.get_nodes())} nodes, {len(places)} primaries")
""" % (KEYS, KEYS, KEYS)


def use(name, entry, password, prefix):
    """Runs both clients with these words before them."""
    host, port = entry
    secret = {**os.environ, **({"REDISCLI_AUTH": password} if password else {})}
    tag, said = name.replace(" ", "-"), []
    for number in range(KEYS):
        key = f"cli:{tag}:{number}"
        said.append(f"SET {key} {number}")
        said.append(f"GET {key}")
    cli = run(*prefix(password), "redis-cli", "-c", "-h", host, "-p", str(port), told="\n".join(said) + "\n", env=secret)
    replies = [line for line in cli.splitlines() if line and not line.startswith("->")]
    wanted = [word for number in range(KEYS) for word in ("OK", str(number))]
    must(replies == wanted, f"redis-cli -c {name}: {cli[:300]}")
    python = run(*prefix(password), sys.executable, "-c", PYTHON, host, str(port), password or "", f"py:{tag}")
    return f"{name}: redis-cli -c and redis-py at {host}:{port} ({python})"


def from_here(entry, password):
    return use("from this machine", entry, password, lambda _: ())


def from_container(entry, password, network, base):
    def prefix(password):
        secret = ("-e", f"REDISCLI_AUTH={password}") if password else ()
        return ("docker", "run", "--rm", "-i", "--network", network, "-v", "/:/host:ro", *secret, "--entrypoint", "chroot", base, "/host")

    return use("from a container", entry, password, prefix)
