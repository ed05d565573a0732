//! The cases of the journal, by family. `PXAT 1` makes a key whose time has passed: it goes when somebody meets it.

use super::{Case, case, draws, unlike};

pub const STRINGS: &[Case] = &[
    case("SET", "SET k v; set k v2; SET k v NX; SET k v3 XX; SET other v XX; SET k v4 KEEPTTL"),
    case("SET with a time", "SET k v EX 100; set k v px 100000; SET k v NX EX 10; SET n v NX EX 10"),
    case("SET with a moment in seconds", "SET k v EXAT 33177117420; SET k v EXAT 33177117420 XX GET"),
    unlike(
        "SET with a moment",
        "set k v pxat 33177117420000; SET k v PXAT 33177117420000 XX GET",
        "set k v pxat 33177117420000; SET k v PXAT 33177117420000 XX GET",
        "7.0 writes it anew though nothing in it depends on the time",
    ),
    case("SET with GET", "SET k v GET; SET k v2 get XX; SET k v3 GET NX; SET k v GET EX 100; SET k v GET KEEPTTL GET"),
    case("SET that is refused", "SET k v EX 0; SET k v XY; SET k"),
    case("SETNX and MSET", "SETNX k v; SETNX k v2; MSET a 1 b 2; MSETNX a 1 c 2; MSETNX c 1 d 2"),
    case("SETEX", "SETEX k 100 v; PSETEX k 100000 v; SETEX k 0 v"),
    case(
        "GETEX",
        "SET k v; GETEX k; GETEX k EX 100; GETEX k PERSIST; GETEX k PERSIST; GETEX k PX 100000; \
         GETEX none EX 5",
    ),
    case(
        "GETEX with a moment",
        "SET k v; GETEX k EXAT 33177117420; GETEX k PXAT 33177117420000; GETEX k PXAT 33177117420000",
    ),
    case("GETEX of the past", "SET k v; GETEX k PXAT 1; GETEX k PXAT 1; SET k v; GETEX k EXAT 1"),
    case("GETEX of the past, lazily", "CONFIG SET lazyfree-lazy-expire yes; SET k v; GETEX k PXAT 1"),
    case("GETDEL and GETSET", "SET k v; GETDEL k; GETDEL k; GETSET k v; getset k v2; LPUSH l a; GETSET l x; GETDEL l"),
    case("numbers", "INCR n; DECR n; INCRBY n 5; DECRBY n 2; INCRBY n x; SET s x; INCR s"),
    case("INCRBYFLOAT", "INCRBYFLOAT n 1.5; incrbyfloat n 3; SET n 5 EX 100; INCRBYFLOAT n 0.1; INCRBYFLOAT n x"),
    case("ranges", "APPEND k a; APPEND k b; SETRANGE k 3 c; SETRANGE k 1 \"\"; GETRANGE k 0 -1; SETRANGE n 0 \"\""),
    case(
        "bits",
        "SETBIT b 7 1; SETBIT b 100 0; BITFIELD b SET u8 0 5; BITFIELD b GET u8 0; BITOP NOT d b; \
         BITOP AND e x y; BITOP AND d x y",
    ),
    unlike(
        "SETBIT that changes nothing",
        "SETBIT b 7 1; SETBIT b 7 1; BITFIELD b SET u1 7 1",
        "SETBIT b 7 1",
        "7.0 counts a bit that is set to what it was as a change",
    ),
    case(
        "HyperLogLogs",
        "PFADD h a b; PFADD h a b; PFADD h; PFADD i; PFCOUNT h; PFCOUNT h; PFADD h c; PFCOUNT h i; \
         PFMERGE m h i; PFCOUNT none",
    ),
    case("LCS, GET, MGET, STRLEN", "MSET a 1 b 2; LCS a b; GET a; MGET a b; STRLEN a; GET none"),
    case(
        "expiries",
        "SET k v; EXPIRE k 100; PEXPIRE k 100000; EXPIREAT k 33177117420; PEXPIREAT k 33177117420000; \
         pexpireat k 33177117420001 GT; PERSIST k; PERSIST k",
    ),
    case(
        "conditions of expiries",
        "SET k v; EXPIRE k 100 NX; EXPIRE k 100 NX; expire k 200 gt; PEXPIRE k 100 GT; EXPIRE k 50 XX LT; \
         EXPIRE none 5; EXPIRE k x",
    ),
    case(
        "expiries in the past",
        "MSET a 1 b 1 c 1 d 1; EXPIRE a -1; PEXPIRE b 0; EXPIREAT c 1; PEXPIREAT d 1; PEXPIREAT d 1",
    ),
    case("expiries in the past, lazily", "CONFIG SET lazyfree-lazy-expire yes; SET a 1; EXPIRE a -1"),
];

pub const KEYS: &[Case] = &[
    case("DEL and UNLINK", "MSET a 1 b 2 c 3; DEL a none; DEL a; unlink b c; UNLINK b"),
    case("RENAME", "SET a 1 EX 100; RENAME a b; RENAMENX b a; SET b 2; RENAMENX b a; RENAME b b; RENAME none x"),
    case("COPY", "SET a 1; COPY a b; COPY a b; COPY a b REPLACE; COPY a b DB 3; COPY none x"),
    case("MOVE", "SET a 1; MOVE a 1; SET a 1; MOVE a 1; SELECT 1; MOVE a 2; SELECT 2; DEL a"),
    case("SWAPDB", "SET a 1; SWAPDB 0 3; SWAPDB 1 1; SWAPDB 0 99; SELECT 3; GET a; SET b 1"),
    case("databases", "SELECT 1; SET a 1; SELECT 0; SET a 1; SET b 1; SELECT 2; GET a; SELECT 0; SET c 1"),
    case(
        "flushes",
        "SET a 1; FLUSHDB; FLUSHALL; flushall async; FLUSHDB SYNC; SELECT 4; FLUSHDB; SET a 1; \
         FLUSHALL x",
    ),
    case(
        "reads",
        "SET a 1; EXISTS a; TYPE a; TTL a; TOUCH a; SCAN 0; KEYS *; RANDOMKEY; DBSIZE; OBJECT ENCODING a; \
         DEBUG SLEEP 0",
    ),
    case(
        "SORT",
        "RPUSH l 3 1 2; SORT l; SORT l STORE d; SORT none STORE d; SORT none STORE d; SADD s b a; \
         SORT s ALPHA STORE d",
    ),
    case("DEBUG", "DEBUG POPULATE 3 p 10; SET a 1"),
    case("PUBLISH", "PUBLISH c m; SPUBLISH c m; SET a 1"),
];

pub const GOING: &[Case] = &[
    case("a key that a read meets", "SET k v PXAT 1; GET k; GET k"),
    case("a key that a write meets", "SET k v PXAT 1; SET k v2; SET k v PXAT 1; APPEND k x; SET k v PXAT 1; INCR k"),
    case(
        "a key that a write finds nothing of",
        "SET k v PXAT 1; LREM k 0 x; SET k v PXAT 1; SET k v XX; SET k v PXAT 1; DEL k",
    ),
    case("several keys", "SET a 1 PXAT 1; SET b 1 PXAT 1; MGET a b; SET a 1 PXAT 1; SET b 1 PXAT 1; DEL a b"),
    case("lazily", "CONFIG SET lazyfree-lazy-expire yes; SET k v PXAT 1; GET k"),
    case("a command that is refused", "SET k v PXAT 1; LPUSH l a; RENAME k x; SET k 1 PXAT 1; RENAME l k"),
    case("in another database", "SET a 1; SELECT 1; SET a 1 PXAT 1; SELECT 0; COPY a a DB 1; SET a 2"),
    case("what another meets", "SELECT 2; SET a 1 PXAT 1; SELECT 0; SET b 1; SELECT 2; EXISTS a; SET c 1"),
    draws("active expiry", "SET a 1 PXAT 1; SET b 1 PXAT 1; DEBUG SET-ACTIVE-EXPIRE 1; ?; SET c 1"),
    draws(
        "active expiry, lazily",
        "CONFIG SET lazyfree-lazy-expire yes; SET a 1 PXAT 1; DEBUG SET-ACTIVE-EXPIRE 1; ?; SET c 1",
    ),
    draws(
        "eviction, lazily",
        "CONFIG SET lazyfree-lazy-eviction yes; DEL case; SET a 1; CONFIG SET maxmemory-policy allkeys-lru; \
         CONFIG SET maxmemory 1; GET a; CONFIG SET maxmemory 0; CONFIG SET maxmemory-policy noeviction; SET c 1",
    ),
    draws("SCAN", "SET a 1 PXAT 1; SET b 1 PXAT 1; SCAN 0 COUNT 100"),
    case(
        "TOUCH and TYPE",
        "SET a 1 PXAT 1; TYPE a; SET a 1 PXAT 1; TOUCH a; SET a 1 PXAT 1; TTL a; SET a 1 PXAT 1; \
         OBJECT ENCODING a",
    ),
    case(
        "a source",
        "SADD s a b; PEXPIREAT s 33177117420000; SET t x PXAT 1; SUNIONSTORE d s t; SET d x PXAT 1; \
         SUNIONSTORE d s t",
    ),
    unlike(
        "a destination that stays empty",
        "SET d x PXAT 1; SINTERSTORE d s t",
        "SET d x PXAT 1; DEL d",
        "Redis removes what has expired as if it were there, and says SINTERSTORE: the same in the end",
    ),
    draws("KEYS", "SET a 1 PXAT 1; SET b 1 PXAT 1; KEYS *"),
    draws(
        "eviction",
        "SET a 1; SET b 2; CONFIG SET maxmemory-policy allkeys-lru; CONFIG SET maxmemory 1; GET a; \
         CONFIG SET maxmemory 0; CONFIG SET maxmemory-policy noeviction; FLUSHALL; SET c 1",
    ),
];

pub const LISTS: &[Case] = &[
    case(
        "pushes and pops",
        "RPUSH l a b c d e; LPUSH l z; LPUSHX l y; RPUSHX none y; LPOP l; RPOP l 2; LPOP l 0; LPOP none; \
         lpop l 100",
    ),
    case(
        "changes",
        "RPUSH l a b c d e; LSET l 0 x; LINSERT l BEFORE b y; LINSERT l AFTER none y; LREM l 0 c; \
         LREM l 0 none; LTRIM l 0 -1; LTRIM l 1 2; LTRIM l 5 9",
    ),
    case(
        "LMOVE",
        "RPUSH l a b c; LMOVE l m LEFT RIGHT; lmove l l left right; RPOPLPUSH l m; \
         LMOVE none m LEFT LEFT; RPOPLPUSH l l",
    ),
    case(
        "LMPOP",
        "RPUSH l a b c d; LMPOP 2 none l LEFT; LMPOP 1 l RIGHT COUNT 2; LMPOP 1 l RIGHT COUNT 20; \
         LMPOP 1 l LEFT",
    ),
    case(
        "BLPOP that finds something",
        "RPUSH l a b c d; BLPOP none l 0; BRPOP l 0; BLMPOP 0 1 l LEFT COUNT 10; BLPOP l 0.01",
    ),
    case(
        "BLMOVE that finds something",
        "RPUSH l a b c; BLMOVE l m left right 0; BRPOPLPUSH l m 0; BLMOVE l l LEFT LEFT 0",
    ),
    case("a client that waits", "@1 BLPOP k l 0; RPUSH l a b; @1"),
    case("two clients that wait", "@1 BLPOP l 0; @2 BRPOP l 0; RPUSH l a b c; @1; @2"),
    case("BLMPOP that waits", "@1 BLMPOP 0 2 k l RIGHT COUNT 5; RPUSH l a b c; @1"),
    unlike(
        "BLMOVE that waits",
        "@1 BLMOVE l m Left LEFT 0; RPUSH l x; @1; @1 BRPOPLPUSH l m 0; RPUSH l x; @1",
        "RPUSH l x; LMOVE l m Left LEFT; RPUSH l x; RPOPLPUSH l m",
        "7.0 has words of its own for the ends where the client had to wait",
    ),
    case("one waits for the other", "@1 BRPOPLPUSH a b 0; @2 BLPOP b 0; RPUSH a x; @1; @2"),
    case("a transaction serves", "@1 BLPOP l 0; MULTI; RPUSH l a b; SET k v; EXEC; @1"),
    case(
        "a client in another database waits",
        "SELECT 1; RPUSH l x; DEL l; SELECT 0; @1 BLPOP l 0; SELECT 1; RPUSH l x; SELECT 0; RPUSH l y; \
         @1; SET a 1",
    ),
    case("a wait whose time is over", "BLPOP none 0.01; SET a 1"),
];

pub const COLLECTIONS: &[Case] = &[
    case(
        "hashes",
        "HSET h a 1 b 2; HSET h a 1; HMSET h c 3; HSETNX h a 2; HSETNX h d 2; HINCRBY h a 5; \
         HDEL h a none; HDEL h none; HGETALL h; HRANDFIELD h; HDEL h b c d",
    ),
    case("HINCRBYFLOAT", "HINCRBYFLOAT h f 1.5; hincrbyfloat h f 3; HINCRBYFLOAT h f x"),
    case(
        "sets",
        "SADD s a b c; SADD s a; SREM s a none; SREM s none; SMOVE s t b; SMOVE s t none; SMOVE s s c; \
         SRANDMEMBER s; SMEMBERS s",
    ),
    draws("SPOP of one", "SADD s a b c d e f g; SPOP s; spop s; SPOP s 0; SPOP none 3; SPOP none"),
    Case {
        name: "SPOP of several",
        steps: "SADD s a b c d e f g h i j k l m n o p; SPOP s 3; SPOP s 10; SADD n 1 2 3 4 5 6; SPOP n 4",
        unlike: Some((
            "SADD s a b c d e f g h i j k l m n o p; SREM s a b c; SREM s a b c d e f g h i j; \
         SADD n 1 2 3 4 5 6; SREM n 1 2 3 4",
            "7.0 removes them one by one",
        )),
        draws: true,
    },
    case("SPOP of all", "SADD s a b; SPOP s 10; SADD s a; SPOP s"),
    unlike(
        "SPOP of all, lazily",
        "CONFIG SET lazyfree-lazy-server-del yes; SADD s a b; SPOP s 2",
        "SADD s a b; UNLINK s",
        "7.0 frees it at once",
    ),
    case(
        "stored sets",
        "SADD a 1 2; SADD b 2 3; SUNIONSTORE d a b; SINTERSTORE d a b; SDIFFSTORE d a b; \
         SINTERSTORE d a none; SINTERSTORE d a none",
    ),
    case(
        "sorted sets",
        "ZADD z 1 a 2 b 3 c; ZADD z 1 a; ZADD z XX 5 none; ZADD z GT CH 9 a; ZADD z INCR 1.5 a; \
         ZINCRBY z 2 b; ZREM z c none; ZREM z none; ZRANGE z 0 -1",
    ),
    case(
        "ranges of sorted sets",
        "ZADD z 1 a 2 b 3 c 4 d 5 e; ZREMRANGEBYRANK z 0 0; ZREMRANGEBYSCORE z 2 2; \
         ZREMRANGEBYLEX z [c [c; ZREMRANGEBYSCORE z 100 200; ZRANGESTORE d z 0 -1; \
         ZRANGESTORE d none 0 -1",
    ),
    case(
        "stored sorted sets",
        "ZADD a 1 x 2 y; ZADD b 1 y 2 z; ZUNIONSTORE d 2 a b; ZINTERSTORE d 2 a b WEIGHTS 2 3; \
         ZDIFFSTORE d 2 a b; ZINTERSTORE d 2 a none; ZINTERSTORE d 2 a none",
    ),
    case(
        "ZPOPMIN and ZMPOP",
        "ZADD z 1 a 2 b 3 c 4 d 5 e; ZPOPMIN z; ZPOPMAX z 2; ZPOPMIN z 0; ZMPOP 2 none z MIN; \
         ZMPOP 1 z MAX COUNT 9; ZMPOP 1 z MAX; ZPOPMIN none",
    ),
    case(
        "BZPOPMIN",
        "ZADD z 1 a 2 b 3 c 4 d 5 e; BZPOPMIN none z 0; BZPOPMAX z 0; BZMPOP 0 1 z MIN COUNT 2; \
         BZMPOP 0 1 z MAX COUNT 20; BZPOPMIN z 0.01",
    ),
    case(
        "clients that wait for sorted sets",
        "@1 BZPOPMIN y z 0; ZADD z 1 a 2 b; @1; @1 BZMPOP 0 1 y MAX COUNT 5; ZADD y 1 a 2 b; @1",
    ),
    case(
        "positions",
        "GEOADD g 13.361389 38.115556 p 15.087269 37.502669 c; geoadd g NX CH 1 1 p 2 2 x; \
         GEOADD g XX 1 1 none; GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km; \
         GEORADIUS g 15 37 200 km STORE d; GEORADIUS g 15 37 1 m STOREDIST d; GEOPOS g p",
    ),
];

pub const STREAMS: &[Case] = &[
    case(
        "XADD",
        "XADD s 1-1 a b; XADD s * a b; xadd s 9999999999999-* a b; XADD s 1-1 a b; \
         XADD s 9999999999999-7 a b; XADD n NOMKSTREAM * a b; XADD s NOMKSTREAM 9999999999999-8 a b",
    ),
    case(
        "XADD that trims",
        "XADD s MAXLEN 2 1-1 a b; XADD s MAXLEN = 2 2-1 a b; XADD s MAXLEN 2 3-1 a b; \
         XADD s MINID 3 4-1 a b; XADD s MAXLEN 1 * a b",
    ),
    case(
        "XADD that trims whole nodes",
        "XADD s 1-1 a b; XADD s 2-1 a b; XADD s 3-1 a b; XADD s 4-1 a b; XADD s MAXLEN ~ 2 5-1 a b; \
         XADD s MAXLEN ~ 4 LIMIT 10 6-1 a b; XADD s MINID ~ 3-1 7-1 a b; xadd s maxlen ~ 100 8-1 a b; \
         XADD s MINID ~ 100 LIMIT 5 9-1 a b",
    ),
    case(
        "XTRIM",
        "XADD s 1-1 a b; XADD s 2-1 a b; XADD s 3-1 a b; XADD s 4-1 a b; XADD s 5-1 a b; \
         XTRIM s MAXLEN ~ 1; XTRIM s MAXLEN ~ 100; XTRIM s MAXLEN 10; XTRIM s MAXLEN 1; XADD s 6-1 a b; \
         XTRIM s MINID ~ 100 LIMIT 100; XTRIM s MINID 6; XTRIM s MAXLEN 0",
    ),
    case(
        "XDEL and XSETID",
        "XADD s 1-1 a b; XADD s 2-1 a b; XDEL s 1-1 9-9; XDEL s 9-9; XSETID s 5-5; \
         XSETID s 6-6 ENTRIESADDED 10 MAXDELETEDID 2-2; XSETID s 0-1",
    ),
    case(
        "XGROUP",
        "XADD s 1-1 a b; XGROUP CREATE s g $; XGROUP CREATE s g $; XGROUP CREATE n g 0 MKSTREAM; \
         XGROUP SETID s g 0; XGROUP SETID s g 1-1 ENTRIESREAD 3; XGROUP CREATECONSUMER s g c; \
         XGROUP CREATECONSUMER s g c; XGROUP DELCONSUMER s g c; XGROUP DELCONSUMER s g c; \
         XGROUP DESTROY s g; XGROUP DESTROY s g",
    ),
    case(
        "XREADGROUP",
        "XADD s 1-1 a b; XADD s 2-1 a b; XADD s 3-1 a b; XGROUP CREATE s g 0; \
         XREADGROUP GROUP g c COUNT 1 STREAMS s >; XREADGROUP GROUP g d STREAMS s >; \
         XREADGROUP GROUP g d STREAMS s >; XREADGROUP GROUP g d STREAMS s 0; XACK s g 1-1 2-1 9-9; \
         XACK s g 9-9",
    ),
    case(
        "XREADGROUP of a new consumer that gets nothing",
        "XADD s 1-1 a b; XGROUP CREATE s g $; XREADGROUP GROUP g c STREAMS s >; \
         XREADGROUP GROUP g d STREAMS s 0; SET a 1",
    ),
    case(
        "XREADGROUP without acknowledging",
        "XADD s 1-1 a b; XADD s 2-1 a b; XADD t 1-1 a b; XGROUP CREATE s g 0; XGROUP CREATE t g 0; \
         XREADGROUP GROUP g c NOACK STREAMS s t > >; XREADGROUP GROUP g c NOACK STREAMS s t > >; \
         XADD s 3-1 a b; XREADGROUP GROUP g c NOACK STREAMS s t > >",
    ),
    case(
        "clients that wait for entries",
        "XGROUP CREATE s g 0 MKSTREAM; @1 XREADGROUP GROUP g c BLOCK 0 STREAMS s >; \
         @2 XREAD BLOCK 0 STREAMS s $; XADD s 1-1 a b; @1; @2; XADD s 2-1 a b",
    ),
    case(
        "XCLAIM",
        "XADD s 1-1 a b; XADD s 2-1 a b; XADD s 3-1 a b; XGROUP CREATE s g 0; \
         XREADGROUP GROUP g c STREAMS s >; XCLAIM s g d 0 1; XCLAIM s g d 0 2-1 3-1 JUSTID; \
         XCLAIM s g d 0 1-1 RETRYCOUNT 7 TIME 1234567890123; XCLAIM s g e 100000 1-1 2-1; \
         XCLAIM s g d 0 9-9 FORCE; XCLAIM s g d 0 9-9 LASTID 8-8; XCLAIM s g d 0 1-1 LASTID 9-9",
    ),
    case(
        "XCLAIM of what is gone",
        "XADD s 1-1 a b; XADD s 2-1 a b; XGROUP CREATE s g 0; XREADGROUP GROUP g c STREAMS s >; \
         XDEL s 1-1; XCLAIM s g d 0 1-1 2-1; XCLAIM s g d 0 1-1",
    ),
    case(
        "XAUTOCLAIM",
        "XADD s 1-1 a b; XADD s 2-1 a b; XADD s 3-1 a b; XGROUP CREATE s g 0; \
         XREADGROUP GROUP g c STREAMS s >; XDEL s 2-1; XAUTOCLAIM s g d 0 0 COUNT 2; \
         XAUTOCLAIM s g d 0 0 JUSTID; XAUTOCLAIM s g d 100000 0",
    ),
];

pub const TRANSACTIONS: &[Case] = &[
    case("nothing written", "SET k v; MULTI; GET k; EXEC; MULTI; EXEC; SET a 1"),
    case("one write", "MULTI; SET k v; GET k; EXEC"),
    case("several writes", "MULTI; SET k v; INCR n; INCR k; EXEC; SET a 1"),
    unlike(
        "in databases",
        "MULTI; SELECT 1; SET k v; SELECT 2; SET k v; EXEC; SELECT 0; SET a 1",
        "MULTI; SELECT 1; SET k v; SELECT 2; SET k v; EXEC; SELECT 0; SET a 1",
        "7.0 selects the first database before MULTI",
    ),
    case("in one database", "SELECT 1; SET a 1; MULTI; SET k v; SELECT 0; SET k v; EXEC; SET a 1"),
    case(
        "with a key whose time has passed",
        "SET k v PXAT 1; MULTI; GET k; EXEC; SET k v PXAT 1; MULTI; GET k; SET a 1; EXEC",
    ),
    case(
        "that is given up",
        "MULTI; SET k v; DISCARD; MULTI; SET k; EXEC; WATCH w; SET w 1; MULTI; SET k v; EXEC; WATCH w; \
         MULTI; SET k v; EXEC",
    ),
    case(
        "with rewritten commands",
        "SADD s a; MULTI; SET k v EX 100; SPOP s; BLPOP l 0; XADD x * a b; EXPIRE k 50; EXEC",
    ),
    case("with flushes", "SET a 1; MULTI; FLUSHDB; SET b 1; FLUSHALL; EXEC; MULTI; FLUSHALL; EXEC"),
    case(
        "with what groups read",
        "XADD s 1-1 a b; XADD s 2-1 a b; XGROUP CREATE s g 0; MULTI; \
         XREADGROUP GROUP g c COUNT 1 STREAMS s >; XREADGROUP GROUP g c STREAMS s >; EXEC",
    ),
    draws("with a walk", "SET a 1 PXAT 1; SET b 1 PXAT 1; MULTI; SCAN 0 COUNT 100; EXEC"),
    draws(
        "without memory",
        "MULTI; INCR x; CONFIG SET maxmemory-policy allkeys-lru; CONFIG SET maxmemory 1; INCR x; EXEC; \
         EXISTS x; CONFIG SET maxmemory 0; CONFIG SET maxmemory-policy noeviction; FLUSHALL; SET y 1",
    ),
];
