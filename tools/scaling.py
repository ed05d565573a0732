"""How commands grow with their data, and what long ones do to others: `tools/bench --only complexity,stalls`.

complexity  Every command runs against values of 1,000 and of 1,000,000 elements. The ratio of the two times stands beside
            the ratio that the documented complexity allows, and beside redis-server's own. A cheap command is timed in
            batches, so that its own work counts and not the way to the server and back.
stalls      GETs are paced on one connection while another repeats a long command on a value of 1,000,000 elements.

A request is a line of words in which {n} is the number of elements, {half} the half of it, {r} a random number below it,
{i} the number of the run (never the same twice), {p} that number within 1 to {n}, {e} a random element, {mid} one of the middle.
"""

import os
import random
import signal
import socket
import statistics
import time

SMALL, BIG = 1_000, 1_000_000
ALLOWED = {"1": 3.0, "log": 6.0, "n": 3000.0}
BATCH = 200
SAMPLES_MIN, SAMPLES_MAX = 5, 60
ROW_LIMIT_S = 0.4
MARK = b"$8\r\nthe-end!\r\n"

# (documented growth, request, what is sent before each run and not timed, what undoes the run). "few": at most half as many
# runs as there are elements.
ROWS = [
    # Lists
    ("n", "LINDEX list {half}", ()),
    ("n", "LRANGE list {half} +9", ()),
    ("n", "LSET list {half} v", ()),
    ("n", "LINSERT list BEFORE {mid} x", (), "LPOP list"),
    ("n", "LPOS list none", ()),
    ("n", "LPOS list {mid} RANK -1", ()),
    ("n", "LREM list 0 none", ()),
    ("n", "LREM list 1 {mid}", ("RPUSH list x",)),
    ("n", "LRANGE list 0 -1", ()),
    ("n", "LTRIM tmp 10 20", ("DEL tmp", "COPY list tmp")),
    ("n", "LTRIM tmp {half} -1", ("DEL tmp", "COPY list tmp")),
    ("1", "LTRIM list 0 -2", ("RPUSH list x",)),
    ("1", "LINDEX list -1", ()),
    ("1", "LLEN list", ()),
    ("1", "LPUSH list x{i}", (), "LPOP list"),
    ("1", "RPUSH list x{i}", (), "RPOP list"),
    ("1", "LPOP list", ("LPUSH list x",)),
    ("1", "RPOP list", ("RPUSH list x",)),
    ("1", "LMOVE list list LEFT RIGHT", ()),
    ("1", "LMPOP 1 list RIGHT COUNT 2", ("RPUSH list x y",)),
    # Hashes
    ("1", "HGET hash {e}", ()),
    ("1", "HSET hash {e} w{i}", ()),
    ("1", "HSET hash new{i} w", (), "HDEL hash new{i}"),
    ("1", "HDEL hash new{i}", ("HSET hash new{i} w",)),
    ("1", "HINCRBY hash number{i} 1", (), "HDEL hash number{i}"),
    ("1", "HEXISTS hash {e}", ()),
    ("1", "HSTRLEN hash {e}", ()),
    ("1", "HLEN hash", ()),
    ("1", "HMGET hash {e} {e} none", ()),
    ("1", "HRANDFIELD hash", ()),
    ("1", "HRANDFIELD hash 10 WITHVALUES", ()),
    ("1", "HRANDFIELD hash -10", ()),
    ("1", "HSCAN hash 0 COUNT 10", ()),
    ("n", "HGETALL hash", ()),
    ("n", "HKEYS hash", ()),
    ("n", "HVALS hash", ()),
    ("n", "HRANDFIELD hash {half}", ()),
    # Sets
    ("1", "SADD set {e}", ()),
    ("1", "SADD set new{i}", (), "SREM set new{i}"),
    ("1", "SREM set new{i}", ("SADD set new{i}",)),
    ("1", "SISMEMBER set {e}", ()),
    ("1", "SMISMEMBER set {e} none", ()),
    ("1", "SCARD set", ()),
    ("1", "SRANDMEMBER set", ()),
    ("1", "SRANDMEMBER set 10", ()),
    ("1", "SRANDMEMBER set -10", ()),
    ("1", "SPOP set 2", ("SADD set new{i} newer{i}",)),
    ("1", "SMOVE set sink new{i}", ("SADD set new{i}",), "SREM sink new{i}"),
    ("1", "SINTER set few", ()),
    ("n", "SINTERCARD 2 set other LIMIT 10", ()),
    ("1", "SSCAN set 0 COUNT 10", ()),
    ("1", "SISMEMBER ints {r}", ()),
    ("1", "SRANDMEMBER ints 10", ()),
    ("n", "SPOP tmp {half}", ("DEL tmp", "COPY set tmp")),
    ("n", "SRANDMEMBER set {half}", ()),
    ("n", "SMEMBERS set", ()),
    ("n", "SINTER set other", ()),
    ("n", "SINTERSTORE out set other", ()),
    ("n", "SUNION set other", ()),
    ("n", "SUNIONSTORE out set other", ()),
    ("n", "SDIFF set other", ()),
    ("n", "SDIFF set few", ()),
    ("n", "SDIFFSTORE out set other", ()),
    # Sorted sets
    ("1", "ZSCORE zset {e}", ()),
    ("1", "ZMSCORE zset {e} {e}", ()),
    ("1", "ZCARD zset", ()),
    ("log", "ZADD zset {r}.5 {e}", ()),
    ("log", "ZADD zset {r} new{i}", (), "ZREM zset new{i}"),
    ("log", "ZREM zset new{i}", ("ZADD zset {r} new{i}",)),
    ("log", "ZINCRBY zset 1 {e}", ()),
    ("log", "ZRANK zset {e}", ()),
    ("log", "ZREVRANK zset {e} WITHSCORE", ()),
    ("log", "ZCOUNT zset {r} +inf", ()),
    ("log", "ZLEXCOUNT lex [{e} +", ()),
    ("log", "ZRANGE zset {r} +9", ()),
    ("log", "ZRANGE zset {r} +9 REV", ()),
    ("log", "ZRANGE zset {r} +inf BYSCORE LIMIT 0 10", ()),
    ("log", "ZRANGE zset {r} -inf BYSCORE REV LIMIT 0 10", ()),
    ("log", "ZRANGE lex [{e} + BYLEX LIMIT 0 10", ()),
    ("log", "ZRANGE lex [{e} - BYLEX REV LIMIT 0 10", ()),
    ("n", "ZRANGE zset -inf +inf BYSCORE LIMIT {half} 10", ()),
    ("log", "ZRANGESTORE out zset {r} +9", ()),
    ("log", "ZRANGESTORE out lex [{e} + BYLEX LIMIT 0 10", ()),
    ("log", "ZREMRANGEBYRANK zset {half} {half}", ("ZADD zset {half} new{i}",)),
    ("log", "ZREMRANGEBYSCORE zset -{i} -{i}", ("ZADD zset -{i} new{i}",)),
    ("log", "ZREMRANGEBYLEX lex [new{i} [new{i}", ("ZADD lex 0 new{i}",)),
    ("log", "ZPOPMIN zset", ("ZADD zset -{i} new{i}",)),
    ("log", "ZPOPMAX zset", ("ZADD zset inf new{i}",)),
    ("log", "ZMPOP 1 zset MIN COUNT 2", ("ZADD zset -{i} new{i} -{i} newer{i}",)),
    ("log", "ZRANDMEMBER zset 10", ()),
    ("log", "ZRANDMEMBER zset -10 WITHSCORES", ()),
    ("1", "ZSCAN zset 0 COUNT 10", ()),
    ("1", "ZINTER 2 zset fewz", ()),
    # Where the two begin to overlap is what counts here.
    ("n", "ZINTERCARD 2 zset otherz LIMIT 10", ()),
    ("n", "ZRANGE zset 0 -1 WITHSCORES", ()),
    ("n", "ZRANGESTORE out zset 0 -1", ()),
    ("n", "ZREMRANGEBYRANK tmp 0 {half}", ("DEL tmp", "COPY zset tmp")),
    ("n", "ZREMRANGEBYSCORE tmp {half} +inf", ("DEL tmp", "COPY zset tmp")),
    ("n", "ZREMRANGEBYLEX tmp - [{mid}", ("DEL tmp", "COPY lex tmp")),
    ("n", "ZPOPMIN tmp {half}", ("DEL tmp", "COPY zset tmp")),
    ("n", "ZUNIONSTORE out 2 zset otherz", ()),
    ("n", "ZINTERSTORE out 2 zset otherz", ()),
    ("n", "ZDIFFSTORE out 2 zset otherz", ()),
    ("n", "ZUNION 2 zset otherz", ()),
    ("n", "ZDIFF 2 zset fewz", ()),
    # Streams: entries 1-1 to {n}-1, all of them pending in group g, none read by group fresh
    ("1", "XADD log * f v", ()),
    ("1", "XADD log MAXLEN ~ {n} * f v", ()),
    ("1", "XADD log MAXLEN {n} * f v", ()),
    ("1", "XLEN stream", ()),
    ("log", "XRANGE stream {half}-1 + COUNT 10", ()),
    ("log", "XREVRANGE stream {half}-1 - COUNT 10", ()),
    ("log", "XREAD COUNT 10 STREAMS stream {half}-1", ()),
    ("log", "XDEL log2 {p}-1", (), "few"),
    ("1", "XTRIM log MAXLEN {n}", ("XADD log * f v",)),
    ("n", "XTRIM tmp MAXLEN {half}", ("DEL tmp", "COPY stream tmp")),
    ("n", "XTRIM tmp MINID {half}-1", ("DEL tmp", "COPY stream tmp")),
    ("n", "XRANGE stream - +", ()),
    ("log", "XREADGROUP GROUP fresh c COUNT 2 STREAMS stream >", ("XGROUP SETID stream fresh {half}-1",)),
    ("log", "XREADGROUP GROUP g c COUNT 10 STREAMS stream {half}-1", ()),
    ("log", "XACK stream g {p}-1", ("XCLAIM stream g c 0 {p}-1 FORCE",)),
    ("1", "XPENDING stream g", ()),
    ("log", "XPENDING stream g {half}-1 + 10", ()),
    ("log", "XPENDING stream g {half}-1 + 10 c", ()),
    ("log", "XCLAIM stream g c 0 {r}-1", ()),
    ("log", "XCLAIM stream g d 0 {r}-1 JUSTID", ()),
    ("log", "XAUTOCLAIM stream g c 0 {half}-1 COUNT 10", ()),
    ("log", "XAUTOCLAIM stream g c 0 {half}-1 COUNT 10 JUSTID", ()),
    ("1", "XINFO STREAM stream", ()),
    ("1", "XINFO GROUPS stream", ()),
    ("1", "XINFO CONSUMERS stream g", ()),
    ("1", "XGROUP CREATE stream new{i} $", (), "XGROUP DESTROY stream new{i}"),
    ("1", "XSETID stream 9999999999999-1", ()),
    ("n", "XGROUP DELCONSUMER tmp g c", ("DEL tmp", "COPY stream tmp")),
    ("n", "XGROUP DESTROY tmp g", ("DEL tmp", "COPY stream tmp")),
    # Strings of {n} bytes
    ("1", "GETRANGE string {half} +9", ()),
    ("1", "SETRANGE string {half} x", ()),
    ("1", "APPEND bits x", ()),
    ("1", "STRLEN string", ()),
    ("1", "SETBIT bits {r} 1", ()),
    ("1", "GETBIT bits {r}", ()),
    ("1", "BITFIELD bits INCRBY u8 {r} 1", ()),
    ("n", "BITCOUNT string", ()),
    ("1", "BITCOUNT string {half} +9", ()),
    ("n", "BITPOS zeros 1", ()),
    ("n", "BITOP NOT out string", ()),
    ("n", "GET string", ()),
    ("1", "PFADD hll {e}", ()),
    ("1", "PFCOUNT hll", ("PFADD hll x{i}",)),
    ("1", "PFMERGE outhll hll", ()),
    # SORT, geo
    ("n", "SORT list ALPHA LIMIT 0 10", ()),
    ("n", "SORT ints LIMIT 0 10", ()),
    ("n", "SORT ints STORE out", ()),
    ("log", "SORT zset BY nosort LIMIT {half} 10", ()),
    ("n", "SORT list BY nosort LIMIT {half} 10", ()),
    ("n", "GEOSEARCH geo FROMLONLAT 0 0 BYRADIUS 200 km ASC COUNT 10", ()),
    ("n", "GEOSEARCHSTORE out geo FROMLONLAT 0 0 BYBOX 9000 9000 km", ()),
    ("log", "GEOADD geo 0.{r} 0.{r} new{i}", (), "ZREM geo new{i}"),
    ("1", "GEODIST geo {e} {e}", ()),
    # Whole values
    ("n", "DEL tmp", ("COPY list tmp",)),
    ("n", "DEL tmp", ("COPY hash tmp",)),
    ("n", "DEL tmp", ("COPY set tmp",)),
    ("n", "DEL tmp", ("COPY zset tmp",)),
    ("n", "DEL tmp", ("COPY stream tmp",)),
    ("1", "UNLINK tmp", ("COPY list tmp",)),
    ("1", "UNLINK tmp", ("COPY hash tmp",)),
    ("1", "UNLINK tmp", ("COPY set tmp",)),
    ("1", "UNLINK tmp", ("COPY zset tmp",)),
    ("1", "UNLINK tmp", ("COPY stream tmp",)),
    ("n", "SET tmp x", ("DEL tmp", "COPY hash tmp")),
    ("n", "COPY list tmp", ("DEL tmp",)),
    ("n", "COPY hash tmp", ("DEL tmp",)),
    ("n", "COPY set tmp", ("DEL tmp",)),
    ("n", "COPY ints tmp", ("DEL tmp",)),
    ("n", "COPY zset tmp", ("DEL tmp",)),
    ("n", "COPY stream tmp", ("DEL tmp",)),
    ("1", "RENAME hash hash2", ("RENAME hash2 hash",)),
    ("1", "MOVE hash 2", ("SELECT 2", "MOVE hash 0", "SELECT 0")),
    ("1", "MEMORY USAGE hash", ()),
    ("1", "MEMORY USAGE zset", ()),
    ("1", "MEMORY USAGE list", ()),
    ("1", "MEMORY USAGE stream", ()),
    ("1", "OBJECT ENCODING hash", ()),
    ("1", "EXPIRE hash 1000", ()),
    # The keyspace, in database 1: {n} keys k0, k1, ...
    ("1", "@GET k{r}", ()),
    ("1", "@SET k{r} v", ()),
    ("1", "@SET new{i} v", (), "@DEL new{i}"),
    ("1", "@DEL new{i}", ("@SET new{i} v",)),
    ("1", "@EXISTS k{r}", ()),
    ("1", "@EXPIRE k{r} 1000", ()),
    ("1", "@DBSIZE", ()),
    ("1", "@RANDOMKEY", ()),
    ("1", "@SCAN 0 COUNT 10", ()),
    ("n", "@KEYS none", ()),
    ("n", "@FLUSHDB SYNC", ()),
]

# (title, requests before, the request that is repeated, or several in lines that are sent at once, pause between two in seconds)
STALLS = [
    ("nothing", (), None, 0.0),
    ("HGETALL", (), "HGETALL hash", 0.0),
    ("SMEMBERS", (), "SMEMBERS set", 0.0),
    ("LRANGE", (), "LRANGE list 0 -1", 0.0),
    ("SORT", (), "SORT ints LIMIT 0 10", 0.0),
    ("SUNIONSTORE", (), "SUNIONSTORE out set other", 0.0),
    ("DEL", tuple(f"COPY hash del{number}" for number in range(8)), "DEL del{i}", 0.25),
    ("UNLINK", tuple(f"COPY hash unlink{number}" for number in range(8)), "UNLINK unlink{i}", 0.25),
    ("2000 SETs of 1 KB", (), "\n".join(f"SET loaded:{number} {'v' * 1000}" for number in range(2000)), 0.0),
    ("FLUSHALL ASYNC", (), "FLUSHALL ASYNC", 0.25),
]
STALL_S = 2.5
PACE_S = 0.001


def request(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


def element(number):
    return f"e{number:015d}"


class Connection:
    """Sends batches and waits for the reply of a last ECHO, without keeping what comes before it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.room = memoryview(bytearray(1 << 20))

    def exchange(self, payload):
        """The time until everything was answered, in seconds, and the first bytes of the replies."""
        payload += request("ECHO", "the-end!")
        start = time.perf_counter()
        self.socket.sendall(payload)
        head, tail = b"", b""
        while not tail.endswith(MARK):
            count = self.socket.recv_into(self.room)
            if not count:
                raise ConnectionError("the server closed the connection")
            part = bytes(self.room[max(0, count - len(MARK)) : count])
            head = head or bytes(self.room[: min(count, 200)])
            tail = (tail + part)[-len(MARK) :]
        return time.perf_counter() - start, head

    def must(self, payload):
        head = self.exchange(payload)[1]
        if head.startswith(b"-"):
            raise ValueError(f"refused: {payload[:100]!r}: {head!r}")


def grouped(word, name, triples):
    """Requests of 500 elements each."""
    triples = list(triples)
    return [
        request(word, name, *(part for triple in triples[first : first + 500] for part in triple))
        for first in range(0, len(triples), 500)
    ]


def values(n, names=None):
    """What makes every value of `n` elements; `names` picks some."""
    chance = random.Random(5)
    everything = {
        "list": lambda: grouped("RPUSH", "list", ((element(number),) for number in range(n))),
        "hash": lambda: grouped("HSET", "hash", ((element(number), "v" * 16) for number in range(n))),
        "set": lambda: grouped("SADD", "set", ((element(number),) for number in range(n))),
        "other": lambda: grouped("SADD", "other", ((element(number),) for number in range(n // 2, n + n // 2))),
        "few": lambda: grouped("SADD", "few", ((element(number),) for number in range(0, 400, 2))),
        "ints": lambda: grouped("SADD", "ints", ((number,) for number in range(n))),
        "zset": lambda: grouped("ZADD", "zset", ((number, element(number)) for number in range(n))),
        "otherz": lambda: grouped("ZADD", "otherz", ((number, element(number)) for number in range(n // 2, n + n // 2))),
        "fewz": lambda: grouped("ZADD", "fewz", ((number, element(number)) for number in range(0, 400, 2))),
        "lex": lambda: grouped("ZADD", "lex", ((0, element(number)) for number in range(n))),
        "geo": lambda: grouped(
            "GEOADD", "geo", ((chance.uniform(-180, 180), chance.uniform(-85, 85), element(number)) for number in range(n))
        ),
        "stream": lambda: [request("XADD", "stream", f"{number}-1", "f", "v" * 8) for number in range(1, n + 1)]
        + [request("XGROUP", "CREATE", "stream", group, "0") for group in ("g", "fresh")]
        + [request("XREADGROUP", "GROUP", "g", "c", "COUNT", "1000", "STREAMS", "stream", ">")] * (n // 1000)
        + [request("COPY", "stream", name) for name in ("log", "log2")],
        "strings": lambda: [
            request("SET", "string", "v" * n),
            request("SETBIT", "bits", n, "0"),
            request("SET", "zeros", b"\0" * n),
            request("PFADD", "hll", *(element(number) for number in range(min(n, 10_000)))),
        ],
        "keys": lambda: [request("SELECT", 1)]
        + [request("SET", f"k{number}", "v") for number in range(n)]
        + [request("SELECT", 0)],
    }
    return [(name, everything[name]()) for name in names or everything]


def fill(server, prepared):
    connection = Connection(server.port)
    for _, requests in prepared:
        for start in range(0, len(requests), 500):
            connection.must(b"".join(requests[start : start + 500]))


def title_of(line, before):
    """The line, with what it was made of where several rows share the line."""
    return line.lstrip("@") + (f" ({before[0]})" if line in ("DEL tmp", "UNLINK tmp") else "")


class Maker:
    """Requests from lines; the same seed for every server."""

    def __init__(self, n):
        self.n, self.run, self.chance = n, 0, random.Random(11)

    def make(self, line):
        words = []
        for word in line.lstrip("@").split():
            if word.startswith("+") and word[1:].isdigit():
                word = str(int(words[-1]) + int(word[1:]))
            while "{e}" in word:
                word = word.replace("{e}", element(self.chance.randrange(self.n)), 1)
            word = word.replace("{r}", str(self.chance.randrange(self.n))).replace("{i}", str(self.run))
            word = word.replace("{n}", str(self.n)).replace("{half}", str(self.n // 2))
            word = word.replace("{p}", str(self.run % self.n + 1))
            words.append(word.replace("{mid}", element(self.n // 2 + self.run % 100)))
        return request(*words)


def measure(server, n, only):
    """Seconds of each row."""
    main, keys = Connection(server.port), Connection(server.port)
    keys.must(request("SELECT", 1))
    maker, times = Maker(n), {}
    for growth, line, before, *undo in ROWS:
        title = title_of(line, before)
        if only and only.lower() not in title.lower():
            continue
        connection = keys if line.startswith("@") else main
        batch = BATCH if growth != "n" and not any("tmp" in part for part in before) and "MOVE" not in line else 1
        if line.startswith(("RENAME", "XGROUP CREATE", "PFMERGE")):
            batch = 1
        samples, start = [], time.perf_counter()
        while len(samples) < SAMPLES_MAX:
            payloads, prepare, after = [], [], []
            for _ in range(batch):
                maker.run += 1
                prepare += [maker.make(part) for part in before]
                payloads.append(maker.make(line))
                after += [maker.make(part) for part in undo if part != "few"]
            if prepare:
                connection.exchange(b"".join(prepare))
            took, head = connection.exchange(b"".join(payloads))
            if head.startswith(b"-"):
                raise ValueError(f"{server.name} refused {line}: {head!r}")
            if after:
                connection.exchange(b"".join(after))
            samples.append(took / batch)
            if undo == ["few"] and (len(samples) + 1) * batch > n // 2:
                break
            if line == "@FLUSHDB SYNC" or (len(samples) >= SAMPLES_MIN and time.perf_counter() - start > ROW_LIMIT_S):
                break
        times[title] = statistics.median(samples)
    return times


def complexity(start, servers, only=None):
    """The table of all rows: growth allowed, time at both sizes, ratio of each server."""
    times = {}
    for n in (SMALL, BIG):
        prepared = values(n)
        for server in servers:
            with start(*server) as running:
                fill(running, prepared)
                times[server[0], n] = measure(running, n, only)
                print(f"complexity: {server[0]} at {n:,} elements measured", flush=True)
    names = [name for name, _, _ in servers]
    table = [("", "documented", *(f"{name} {what}" for name in names for what in ("us small", "us big", "ratio")), "")]
    rows = []
    for title in times[names[0], BIG]:
        growth = next(growth for growth, line, before, *_ in ROWS if title_of(line, before) == title)
        ratios = {name: times[name, BIG][title] / times[name, SMALL][title] for name in names}
        cells = []
        for name in names:
            small, big = times[name, SMALL][title] * 1e6, times[name, BIG][title] * 1e6
            cells += [f"{small:,.1f}", f"{big:,.1f}", f"{ratios[name]:,.1f}x"]
        over = [name for name in names if ratios[name] > ALLOWED[growth]]
        slower = times[names[-1], BIG][title] / times[names[0], BIG][title] if len(names) > 1 else 0
        verdict = ("OVER " + ", ".join(over) if over else "ok") + (f"  {slower:.1f}x redis's time" if slower > 1.5 else "")
        table.append((title, f"O({growth})", *cells, verdict))
        rows.append({"test": "complexity", "parameter": title, "allowed": ALLOWED[growth], "ratios": ratios})
    return table, rows


def repeat(port, line, pause):
    """In a process of its own: sends the line again and again until it is ended."""
    connection, run, payload = Connection(port), 0, b""
    while True:
        if not payload or "{i}" in line:
            payload = b"".join(request(*part.split()) for part in line.replace("{i}", str(run)).splitlines())
        connection.exchange(payload)
        run += 1
        time.sleep(pause)


def paced_gets(port, seconds):
    """Latencies of GETs in ms; one that is late because the one before it waited counts from its turn."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    payload, latencies = request("GET", "probe"), []
    start = time.perf_counter()
    for number in range(int(seconds / PACE_S)):
        due = start + number * PACE_S
        # Those whose turn came while the last one waited would only repeat what it says.
        if time.perf_counter() - start > seconds:
            break
        wait = due - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
            due = time.perf_counter()
        connection.sendall(payload)
        if not connection.recv(4096).startswith(b"$"):
            raise ValueError("a GET was not answered")
        latencies.append((time.perf_counter() - due) * 1000)
    return sorted(latencies)


def stalls(start, servers):
    """The table of GET latencies while long commands run."""
    prepared = values(BIG, ("list", "hash", "set", "other", "ints")) + [("probe", [request("SET", "probe", "v" * 16)])]
    table, rows = [("GET during", "server", "p50 ms", "p99 ms", "max ms")], []
    measured = {}
    for server in servers:
        with start(*server) as running:
            fill(running, prepared)
            for title, before, line, pause in STALLS:
                connection = Connection(running.port)
                for part in before:
                    connection.must(request(*part.split()))
                child = os.fork() if line else 0
                if line and child == 0:
                    try:
                        repeat(running.port, line, pause)
                    finally:
                        os._exit(0)
                try:
                    latencies = paced_gets(running.port, STALL_S)
                finally:
                    if child:
                        os.kill(child, signal.SIGKILL)
                        os.waitpid(child, 0)
                measured[title, server[0]] = latencies
    for title, _, _, _ in STALLS:
        for name, _, _ in servers:
            latencies = measured[title, name]
            p50, p99, most = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100], latencies[-1]
            table.append((title, name, f"{p50:.3f}", f"{p99:.2f}", f"{most:.2f}"))
            rows.append({"test": "stalls", "parameter": title, "server": name, "p50": p50, "p99": p99, "max": most})
    return table, rows
