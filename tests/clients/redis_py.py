"""redis-py against one node, or the cluster that a node belongs to: `redis_py.py standalone|cluster|nodes|core-ports|core-moves PORT`.

Run by tests/blackbox/clients.rs. Asserts, and prints "all passed" at the end.
"""

import sys
import time

import redis
from redis.cluster import ClusterNode, RedisCluster


def strings(client, tag):
    """Commands of the string and key families through the client's own parsers of replies."""

    def key(name):
        return f"{tag}{name}"

    assert client.set(key("k"), "v") is True
    assert client.get(key("k")) == b"v"
    assert client.set(key("k"), "w", nx=True) is None
    assert client.set(key("k"), "w", get=True) == b"v"
    assert client.set(key("k"), "x", ex=100) is True
    assert 98 <= client.ttl(key("k")) <= 100
    assert client.getex(key("k"), persist=True) == b"x"
    assert client.ttl(key("k")) == -1
    assert client.expire(key("k"), 100, nx=True) == 1
    assert client.pexpireat(key("k"), 33177117420000) == 1
    assert client.expiretime(key("k")) == 33177117420
    assert client.persist(key("k")) == 1
    binary = bytes(range(256)) * 300
    assert client.set(key("binary"), binary) is True
    assert client.get(key("binary")) == binary
    assert client.incr(key("n")) == 1
    assert client.incrby(key("n"), 41) == 42
    assert client.incrbyfloat(key("f"), 1.5) == 1.5
    assert client.append(key("a"), "hello") == 5
    assert client.getrange(key("a"), 1, 3) == b"ell"
    assert client.setrange(key("a"), 0, "J") == 5
    assert client.strlen(key("a")) == 5
    assert client.exists(key("a"), key("n"), key("missing")) == 2
    assert client.type(key("a")) == b"string"
    assert client.getdel(key("a")) == b"Jello"
    assert client.rename(key("n"), key("m")) is True
    assert client.copy(key("m"), key("o")) is True
    assert client.object("encoding", key("m")) == b"int"
    assert client.mset({key("x"): 1, key("y"): 2}) is True
    assert client.mget(key("x"), key("missing"), key("y")) == [b"1", None, b"2"]
    assert client.delete(key("x"), key("y")) == 2
    try:
        client.incr(key("k"))
    except redis.ResponseError as error:
        assert str(error) == "value is not an integer or out of range", error
    else:
        raise AssertionError("INCR of text passes")
    with client.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.set(key(f"p:{number}"), number).get(key(f"p:{number}"))
        replies = pipe.execute()
    assert replies == [reply for number in range(500) for reply in (True, str(number).encode())]
    assert len(list(client.scan_iter(match=f"{tag}p:*", count=100))) == 500
    assert client.set(key("short"), "v", px=50) is True
    time.sleep(0.1)
    assert client.get(key("short")) is None


def standalone(port, protocol):
    client = redis.Redis(port=port, protocol=protocol, client_name="tester")
    assert client.ping() is True
    client.flushall()
    strings(client, "")
    assert client.dbsize() == len(client.keys())
    assert client.client_getname() in (b"tester", "tester")
    assert any(entry["name"] == "tester" for entry in client.client_list())
    assert client.info("server")["tcp_port"] == port
    assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert client.config_set("timeout", 100) is True
    assert client.config_set("timeout", 0) is True
    assert "get" in client.command()
    assert client.echo("hi") == b"hi"
    assert client.slowlog_len() >= 0
    other = redis.Redis(port=port, db=5, protocol=protocol)
    other.set("five", 5)
    assert client.exists("five") == 0
    assert client.swapdb(0, 5) is True
    assert client.get("five") == b"5"
    client.flushall()


def cluster(port, protocol):
    node = ClusterNode("127.0.0.1", port)
    client = RedisCluster(startup_nodes=[node], protocol=protocol)
    assert client.ping() is True
    client.flushall()
    strings(client, "{tag}")
    client.flushall()
    for number in range(2000):
        client.set(f"key:{number}", number)
    assert all(client.get(f"key:{number}") == str(number).encode() for number in range(0, 2000, 7))
    assert client.dbsize() == 2000
    assert len(list(client.scan_iter(match="key:*", count=200))) == 2000
    assert client.mset_nonatomic({f"n:{number}": number for number in range(300)})
    assert client.mget_nonatomic([f"n:{number}" for number in range(300)]) == [str(n).encode() for n in range(300)]
    with client.pipeline() as pipe:
        for number in range(300):
            pipe.incr(f"key:{number}")
        assert pipe.execute() == list(range(1, 301))
    assert client.cluster_keyslot("foo") == 12182
    assert client.cluster_info()["cluster_state"] == "ok"
    assert len(client.get_nodes()) == 1
    try:
        client.execute_command("MGET", "foo", "bar", target_nodes=client.get_primaries()[0])
    except redis.exceptions.RedisClusterException as error:
        assert "slot" in str(error), error
    except redis.ResponseError as error:
        assert str(error).startswith("Keys in request don't hash") or "CROSSSLOT" in str(error), error
    client.flushall()


def nodes(port, protocol):
    """The cluster client against several nodes, whichever of them it is told first."""
    client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port)], protocol=protocol)
    for number in range(300):
        assert client.set(f"nodes:{number}", number) is True
    assert [int(client.get(f"nodes:{number}")) for number in range(300)] == list(range(300))
    with client.pipeline() as pipe:
        for number in range(300):
            pipe.incr(f"nodes:{number}")
        assert pipe.execute() == [number + 1 for number in range(300)]
    primaries, replicas = client.get_primaries(), client.get_replicas()
    assert len(primaries) == len(replicas) == 3, (primaries, replicas)
    assert client.dbsize(target_nodes=RedisCluster.PRIMARIES) >= 300
    reader = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port)], protocol=protocol, read_from_replicas=True)
    for number in range(60):
        deadline = time.monotonic() + 30
        while int(reader.get(f"nodes:{number}") or -1) != number + 1:
            assert time.monotonic() < deadline, f"nodes:{number} does not reach its replica"
    assert client.flushall(target_nodes=RedisCluster.PRIMARIES)


def core_ports(port, protocol):
    """The cluster client against nodes whose cores have ports of their own: to it each core is a node."""
    client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port)], protocol=protocol)
    for begun in range(0, 10000, 1000):
        with client.pipeline() as pipe:
            for number in range(begun, begun + 1000):
                pipe.set(f"core:{number}", number).get(f"core:{number}")
            replies = pipe.execute()
        expected = [reply for number in range(begun, begun + 1000) for reply in (True, str(number).encode())]
        assert replies == expected
    assert client.get("core:7") == b"7"
    # Each core counts, walks through and drops its own.
    assert client.dbsize(target_nodes=RedisCluster.PRIMARIES) == 10000
    assert len(list(client.scan_iter(match="core:*", count=500))) == 10000
    assert len(client.keys("core:*", target_nodes=RedisCluster.PRIMARIES)) == 10000
    assert client.flushall(target_nodes=RedisCluster.PRIMARIES)
    assert client.dbsize(target_nodes=RedisCluster.PRIMARIES) == 0


def core_moves(port, protocol):
    """Slots change their cores under the cluster client, which learns of it when it asks again."""
    client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port)], protocol=protocol)
    keys = [f"{protocol}:{number}" for number in range(40)]
    for key in keys:
        assert client.set(key, key) is True
        node, slot = client.get_node_from_key(key), client.keyslot(key)
        info = client.execute_command("INFO", "cores", target_nodes=node)
        cores = sum(name.startswith("core") for name in info)
        core = client.execute_command("DEBUG", "SLOT-CORE", slot, target_nodes=node)
        assert client.execute_command("DEBUG", "SLOT-CORE", slot, (core + 1) % cores, target_nodes=node)
        # Where the slot was, it is answered still.
        assert client.get(key) == key.encode()
        assert client.get_node_from_key(key).port == node.port
        expected = node.port - core + (core + 1) % cores
        for _ in range(1000):
            client.nodes_manager.initialize()
            if client.get_node_from_key(key).port == expected:
                break
            time.sleep(0.01)
        assert client.get_node_from_key(key).port == expected, f"{key}: {client.get_node_from_key(key)}"
        assert client.set(key, "new", get=True) == key.encode()
    assert [client.get(key) for key in keys] == [b"new"] * len(keys)
    assert client.dbsize(target_nodes=RedisCluster.PRIMARIES) == len(keys)
    assert client.flushall(target_nodes=RedisCluster.PRIMARIES)


def main():
    mode, port = sys.argv[1], int(sys.argv[2])
    for protocol in (2, 3):
        clusters = {"cluster": cluster, "nodes": nodes, "core-ports": core_ports, "core-moves": core_moves}
        {"standalone": standalone, **clusters}[mode](port, protocol)
    print("all passed")


if __name__ == "__main__":
    main()
