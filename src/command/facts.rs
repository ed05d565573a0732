//! What Redis tells of a command beside its row: hints for cluster clients and proxies, and what has gone out of use.
//!
//! Read by `introspection`. Each table names rows; those it does not name have nothing to tell.

/// Hints as COMMAND INFO lists them, and the commands that have them.
type Tips = (&'static [&'static str], &'static [&'static str]);

const ALL_NODES: &str = "request_policy:all_nodes";
const ALL_SHARDS: &str = "request_policy:all_shards";
const MULTI_SHARD: &str = "request_policy:multi_shard";
const ALL_SUCCEEDED: &str = "response_policy:all_succeeded";
const SUM: &str = "response_policy:agg_sum";
const SPECIAL: &str = "response_policy:special";
const RANDOM: &str = "nondeterministic_output";
const RANDOM_ORDER: &str = "nondeterministic_output_order";

const TIPS: &[Tips] = &[
    (
        &[ALL_NODES, ALL_SUCCEEDED],
        &["client|setinfo", "client|setname", "config|resetstat", "config|rewrite", "config|set", "slowlog|reset"],
    ),
    (
        &[RANDOM],
        &[
            "client|info",
            "client|list",
            "cluster|bumpepoch",
            "cluster|count-failure-reports",
            "cluster|getkeysinslot",
            "cluster|info",
            "cluster|links",
            "cluster|myshardid",
            "cluster|nodes",
            "cluster|replicas",
            "cluster|shards",
            "cluster|slaves",
            "cluster|slots",
            "dump",
            "hrandfield",
            "hscan",
            "lastsave",
            "migrate",
            "object|encoding",
            "object|freq",
            "object|idletime",
            "object|refcount",
            "pttl",
            "spop",
            "srandmember",
            "sscan",
            "time",
            "ttl",
            "xadd",
            "xautoclaim",
            "xclaim",
            "xinfo|consumers",
            "xpending",
            "xtrim",
        ],
    ),
    (
        &[RANDOM_ORDER],
        &[
            "command",
            "command|docs",
            "command|info",
            "command|list",
            "hgetall",
            "hkeys",
            "hvals",
            "sdiff",
            "sinter",
            "smembers",
            "sunion",
        ],
    ),
    (&[ALL_SHARDS, SUM], &["dbsize"]),
    (&[MULTI_SHARD, SUM], &["del", "exists", "touch", "unlink"]),
    (&[ALL_SHARDS, ALL_SUCCEEDED], &["flushall", "flushdb", "memory|purge", "ping"]),
    (&[RANDOM, ALL_SHARDS, SPECIAL], &["info", "memory|doctor", "memory|malloc-stats", "memory|stats"]),
    (&[ALL_SHARDS, RANDOM_ORDER], &["keys"]),
    (
        &[RANDOM, ALL_NODES, SPECIAL],
        &["latency|doctor", "latency|graph", "latency|histogram", "latency|history", "latency|latest"],
    ),
    (&[ALL_NODES, SUM], &["latency|reset"]),
    (&[MULTI_SHARD], &["mget"]),
    (&[MULTI_SHARD, ALL_SUCCEEDED], &["mset"]),
    (&[ALL_SHARDS, SPECIAL, RANDOM], &["randomkey"]),
    (&[RANDOM, "request_policy:special", SPECIAL], &["scan"]),
    (&[ALL_NODES, RANDOM], &["slowlog|get"]),
    (&[ALL_NODES, SUM, RANDOM], &["slowlog|len"]),
];

/// What has gone out of use: the command, since when, and what to use instead.
const DEPRECATED: &[(&str, &str, &str)] = &[
    ("brpoplpush", "6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    ("cluster|slaves", "5.0.0", "`CLUSTER REPLICAS`"),
    ("cluster|slots", "7.0.0", "`CLUSTER SHARDS`"),
    ("getset", "6.2.0", "`SET` with `GET`"),
    ("hmset", "4.0.0", "`HSET` with multiple field-value pairs"),
    ("psetex", "2.6.12", "`SET` with `PX`"),
    ("quit", "7.2.0", "closing the connection"),
    ("rpoplpush", "6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    ("setex", "2.6.12", "`SET` with `EX`"),
    ("setnx", "2.6.12", "`SET` with `NX`"),
    ("substr", "2.0.0", "`GETRANGE`"),
];

/// Commands for the system itself and for tests.
const SYSTEM: &[&str] = &["debug", "pfdebug", "pfselftest", "restore-asking"];

/// Arguments whose type their name does not tell: the command and the argument.
const DOUBLES: &[(&str, &str)] = &[
    ("blmove", "timeout"),
    ("blmpop", "timeout"),
    ("blpop", "timeout"),
    ("brpop", "timeout"),
    ("brpoplpush", "timeout"),
    ("hincrbyfloat", "increment"),
    ("incrbyfloat", "increment"),
];

/// Is this argument of the command a double, though others of its name are not?
pub fn is_double(command: &str, argument: &str) -> bool {
    DOUBLES.contains(&(command, argument))
}

/// Arguments of other types than their names tell elsewhere: the command, the argument, the type.
const TYPES: &[(&str, &str, &str)] = &[
    ("xautoclaim", "start", "string"),
    ("xclaim", "ms", "integer"),
    ("xgroup|create", "entries-read", "integer"),
    ("xgroup|setid", "entries-read", "integer"),
    ("xpending", "end", "string"),
    ("xpending", "min-idle-time", "integer"),
    ("xpending", "start", "string"),
    ("xrange", "end", "string"),
    ("xrange", "start", "string"),
    ("xrevrange", "end", "string"),
    ("xrevrange", "start", "string"),
    ("xsetid", "entries-added", "integer"),
];

/// The type of an argument whose name does not tell it.
pub fn argument_type(command: &str, argument: &str) -> Option<&'static str> {
    TYPES.iter().find(|(name, of, _)| *name == command && *of == argument).map(|(_, _, kind)| *kind)
}

/// The command's hints.
pub fn tips(name: &str) -> &'static [&'static str] {
    TIPS.iter().find(|(_, names)| names.contains(&name)).map_or(&[], |(tips, _)| *tips)
}

/// Since when the command is out of use, and what takes its place.
pub fn deprecation(name: &str) -> Option<(&'static str, &'static str)> {
    DEPRECATED.iter().find(|(command, ..)| *command == name).map(|(_, since, instead)| (*since, *instead))
}

/// Is the command not meant for clients?
pub fn is_system(name: &str) -> bool {
    SYSTEM.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_its_hints_once() {
        let mut names: Vec<&str> = TIPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(tips("mset"), ["request_policy:multi_shard", "response_policy:all_succeeded"]);
        assert!(tips("get").is_empty());
    }
}
