//! Every row of the table of commands beside redis-server's: what COMMAND INFO says of commands and their sub-commands.
//!
//! What differs on purpose stands in three tables, each entry with its reason; an entry that is no longer needed fails
//! the test. With a 7.2 server as the peer (`SLOTCORE_PEER`) only `LEFT_OUT` applies.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Client, Server, Value, on_both};

/// Commands of Redis that slotcore does not have (a container: with all its sub-commands), and why.
const LEFT_OUT: &[(&str, &str)] = &[("acl", NO_USERS), ("module", NO_MODULES)];

const NO_USERS: &str = "there is one user, `default`, with one password";
const NO_MODULES: &str = "modules are shared libraries for another server's interface";

/// What 7.2 has and 7.0 has not.
const NEW_IN_72: &[&str] = &["client|no-touch", "client|setinfo", "cluster|myshardid", "waitaof"];

/// What is of Valkey 8 and 9, and no Redis has.
const OF_VALKEY: &[&str] = &[
    "cluster|cancelslotmigrations",
    "cluster|getslotmigrations",
    "cluster|migrateslots",
    "cluster|slot-stats",
    "cluster|syncslots",
];

/// One fact that 7.2 states otherwise than 7.0: of which command, which fact, what 7.0 says, why.
const OTHERWISE_IN_70: &[(&str, &str, &str, &str)] = &[
    ("blmove", "flags", "blocking denyoom noscript write", SCRIPTS),
    ("blpop", "flags", "blocking noscript write", SCRIPTS),
    ("brpop", "flags", "blocking noscript write", SCRIPTS),
    ("brpoplpush", "flags", "blocking denyoom noscript write", SCRIPTS),
    ("bzpopmax", "flags", "blocking fast noscript write", SCRIPTS),
    ("bzpopmin", "flags", "blocking fast noscript write", SCRIPTS),
    ("cluster|shards", "flags", "stale", LOADING),
    ("cluster|slots", "flags", "stale", LOADING),
    ("command|getkeys", "arity", ":-4", NO_ARGS),
    ("command|getkeysandflags", "arity", ":-4", NO_ARGS),
    ("wait", "categories", "@connection @slow", SCRIPTS),
    ("wait", "flags", "noscript", SCRIPTS),
    ("zrank", "arity", ":3", SCORE),
    ("zrevrank", "arity", ":3", SCORE),
];

const SCRIPTS: &str = "since 7.2 scripts may call what waits: it does not wait there";
const LOADING: &str = "since 7.2 clients may ask for the slots while the data are loaded";
const NO_ARGS: &str = "since 7.2 a command without arguments may be asked about";
const SCORE: &str = "since 7.2 WITHSCORE may follow";

/// What COMMAND INFO says of one command, each fact as a text in which the order of sets does not show.
type Facts = BTreeMap<&'static str, String>;

#[test]
fn command_table_is_that_of_redis() {
    let (ours, theirs) = (Server::slotcore(&[]), Server::redis(&[]));
    let (mut ours, mut theirs) = (ours.connect(), theirs.connect());
    let is_70 = theirs.info("redis_version").expect("a version").starts_with("7.0.");
    let (ours, theirs) = (all_facts(&mut ours), all_facts(&mut theirs));
    let mut findings = missing_and_extra(&ours, &theirs, is_70);
    findings.extend(different(&ours, &theirs, is_70));
    assert!(findings.is_empty(), "{} findings\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn list_and_count_agree_with_the_table() {
    on_both(|server| {
        let client = &mut server.connect();
        let facts = all_facts(client);
        let listed: BTreeSet<String> = client.must("COMMAND LIST").items().iter().map(Value::text).collect();
        assert_eq!(listed, facts.keys().cloned().collect());
        let top_level = facts.keys().filter(|name| !name.contains('|')).count();
        assert_eq!(client.must("COMMAND COUNT").integer(), i64::try_from(top_level).expect("a count"));
    });
}

fn missing_and_extra(ours: &BTreeMap<String, Facts>, theirs: &BTreeMap<String, Facts>, is_70: bool) -> Vec<String> {
    let is_left_out = |name: &str| LEFT_OUT.iter().any(|(entry, _)| covers(entry, name));
    let is_in_redis = |name: &str| theirs.contains_key(name) || is_70 && NEW_IN_72.contains(&name);
    let missing = theirs.keys().filter(|name| !ours.contains_key(*name) && !is_left_out(name));
    let extra = ours.keys().filter(|name| !is_in_redis(name) && !OF_VALKEY.contains(&name.as_str()));
    let mut findings: Vec<String> = missing.map(|name| format!("missing: {name}")).collect();
    findings.extend(extra.map(|name| format!("not in redis: {name}")));
    for (entry, _) in LEFT_OUT {
        if ours.keys().any(|name| covers(entry, name)) {
            findings.push(format!("left out, but it is there: {entry}"));
        }
        if !is_in_redis(entry) {
            findings.push(format!("left out, but redis does not have it: {entry}"));
        }
    }
    if is_70 {
        let old = NEW_IN_72.iter().filter(|name| theirs.contains_key(**name));
        findings.extend(old.map(|name| format!("not new in 7.2: {name}")));
    }
    findings
}

fn different(ours: &BTreeMap<String, Facts>, theirs: &BTreeMap<String, Facts>, is_70: bool) -> Vec<String> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for (name, ours) in ours {
        let Some(theirs) = theirs.get(name) else { continue };
        for (fact, our) in ours {
            let their = &theirs[fact];
            if our == their {
                continue;
            }
            let entry = OTHERWISE_IN_70.iter().position(|(command, of, old, _)| {
                is_70 && *command == name.as_str() && of == fact && *old == their.as_str()
            });
            match entry {
                Some(at) => drop(used.insert(at)),
                None => findings.push(format!("{name}: {fact}\n  slotcore: {our}\n  redis:    {their}")),
            }
        }
    }
    if is_70 {
        let unused = OTHERWISE_IN_70.iter().enumerate().filter(|(at, _)| !used.contains(at));
        findings.extend(unused.map(|(_, (name, fact, ..))| format!("no longer otherwise: {name}: {fact}")));
    }
    findings
}

/// Is it the command itself or one of its sub-commands?
fn covers(entry: &str, name: &str) -> bool {
    name.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
}

/// Every command and sub-command, by its full name.
fn all_facts(client: &mut Client) -> BTreeMap<String, Facts> {
    let mut facts = BTreeMap::new();
    let mut left = vec![client.must("COMMAND")];
    while let Some(commands) = left.pop() {
        for command in commands.items() {
            let items = command.items();
            assert_eq!(items.len(), 10, "{command}");
            let keys: Vec<String> = items[3..6].iter().map(Value::to_string).collect();
            let of_one: Facts = [
                ("arity", items[1].to_string()),
                ("flags", words(&items[2])),
                ("first, last, step", keys.join(" ")),
                ("categories", words(&items[6])),
                ("key specifications", items[8].items().iter().map(key_specification).collect::<Vec<_>>().join("; ")),
            ]
            .into();
            let name = items[0].text();
            assert!(facts.insert(name.clone(), of_one).is_none(), "{name} is there twice");
            left.push(items[9].clone());
        }
    }
    facts
}

/// A set of words as one text.
fn words(value: &Value) -> String {
    let mut words: Vec<String> = value.items().iter().map(Value::text).collect();
    words.sort();
    words.join(" ")
}

fn key_specification(value: &Value) -> String {
    let part = |name: &str| value.field(name).unwrap_or_else(|| panic!("{value} has no {name}"));
    format!("{} from {} by {}", words(part("flags")), part("begin_search"), part("find_keys"))
}
