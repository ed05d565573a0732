//! Positions on the globe, kept as scores of sorted sets: GEOADD, GEOPOS, GEODIST, GEOHASH, and the searches GEOSEARCH,
//! GEOSEARCHSTORE, GEORADIUS and GEORADIUSBYMEMBER with their read-only forms.
//!
//! The arithmetic is in `base::geo`, the options of searches in `options`, the sorted sets in `sorted_sets`.

mod options;

use super::arguments::is_word;
use super::context::Context;
use super::elements::reply_element;
use super::error::CommandError;
use super::sorted_sets::{self, add, limits};
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::geo::{Position, Shape};
use crate::base::number::format_i64;
use crate::keyspace::listpack::Element;
use crate::keyspace::sorted_set::{AddRules, ScoreRange, SortedSet};
use crate::resp::{Args, Reply, RespVersion};

use options::{Order, Search, Variant, position, unit};

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...].
fn geoadd(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (mut rules, mut changed, mut first) = (AddRules::default(), false, 2);
    while let Some(option) = args.get(first) {
        match () {
            _ if is_word(option, "NX") => rules.nx = true,
            _ if is_word(option, "XX") => rules.xx = true,
            _ if is_word(option, "CH") => changed = true,
            _ => break,
        }
        first += 1;
    }
    let count = args.len() - first;
    if count == 0 || !count.is_multiple_of(3) || (rules.nx && rules.xx) {
        return Err(CommandError::Syntax);
    }
    let mut scores = Vec::with_capacity(count / 3);
    for index in (first..args.len()).step_by(3) {
        scores.push(position(&args[index], &args[index + 1])?.score());
    }
    let scored = scores.iter().enumerate().map(|(index, score)| (*score, &args[first + index * 3 + 2]));
    let done = add::apply(cx, &args[1], rules, scored)?;
    cx.reply.integer(if changed { done.new + done.updated } else { done.new } as i64);
    if done.new + done.updated > 0 && cx.journals() {
        journal_added(cx, args, first, &scores);
    }
    Ok(())
}

/// Positions are recorded as the scores that they were rounded to.
#[cold]
fn journal_added(cx: &mut Context<'_>, args: &Args<'_>, first: usize, scores: &[f64]) {
    // Scores are whole numbers of 52 bits.
    let scores: Vec<Vec<u8>> = scores.iter().map(|score| Element::Integer(*score as i64).to_vec()).collect();
    let mut words: Vec<&[u8]> = args.iter().take(first).collect();
    words[0] = b"zadd";
    for (score, member) in scores.iter().zip(args.iter().skip(first + 2).step_by(3)) {
        words.extend([score.as_slice(), member]);
    }
    cx.journal_as(&words);
}

/// GEOPOS key [member ...].
fn geopos(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    for_each_position(cx, args, |reply, position| match position {
        Some(position) => reply_position(reply, position),
        None => reply.null_array(),
    })
}

/// GEOHASH key [member ...].
fn geohash(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    for_each_position(cx, args, |reply, position| match position {
        Some(position) => reply.bulk(&position.geohash()),
        None => reply.null(),
    })
}

/// Replies an array with something about each member's position.
fn for_each_position(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    write: impl Fn(&mut Reply<'_>, Option<Position>),
) -> CommandResult {
    let (key, db) = (cx.key(&args[1]), cx.db());
    let set = cx.core.keyspace.read_as::<SortedSet>(db, key)?;
    cx.reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        write(&mut cx.reply, set.and_then(|set| position_of(set, member)));
    }
    Ok(())
}

fn position_of(set: &SortedSet, member: &[u8]) -> Option<Position> {
    set.score(member).map(Position::of_score)
}

/// GEODIST key member1 member2 [M | KM | FT | MI].
fn geodist(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let unit_m = match args.get(4) {
        _ if args.len() > 5 => return Err(CommandError::Syntax),
        None => 1.0,
        Some(name) => unit(name)?,
    };
    let (key, db) = (cx.key(&args[1]), cx.db());
    let set = cx.core.keyspace.read_as::<SortedSet>(db, key)?;
    let positions = set.and_then(|set| Some((position_of(set, &args[2])?, position_of(set, &args[3])?)));
    match positions {
        Some((one, other)) => reply_distance(&mut cx.reply, one.distance_m(other) / unit_m),
        None => cx.reply.null(),
    }
    Ok(())
}

/// A member that a search has found.
struct Found<'a> {
    member: Element<'a>,
    score: f64,
    position: Position,
    distance_m: f64,
}

/// The members within a shape; no more than `limit` of them.
fn find<'a>(set: &'a SortedSet, shape: &Shape, limit: usize) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for (min, max) in shape.score_ranges() {
        let range = ScoreRange { min, max, min_exclusive: false, max_exclusive: true };
        for (member, score) in set.walk(set.ranks_by_score(&range), false) {
            let position = Position::of_score(score);
            if let Some(distance_m) = shape.distance_m(position) {
                found.push(Found { member, score, position, distance_m });
            }
            // Redis looks at the limit after each member, so that it finds one even when none is wanted.
            if !found.is_empty() && found.len() >= limit {
                return found;
            }
        }
    }
    found
}

fn search(cx: &mut Context<'_>, args: &Args<'_>, variant: Variant) -> CommandResult {
    let (key, db, limits) = (cx.key(&args[variant.source_at()]), cx.db(), limits(cx));
    let set = cx.core.keyspace.read_as::<SortedSet>(db, key)?;
    let position_of = |member: &[u8]| set.and_then(|set| position_of(set, member));
    let search = Search::parse(args, variant, set.is_some().then_some(&position_of))?;
    let unit_m = search.shape.unit_m;
    let mut found = match set {
        Some(set) => find(set, &search.shape, if search.any { search.count } else { usize::MAX }),
        None => Vec::new(),
    };
    let count = found.len().min(search.count);
    match search.order {
        Order::None => {}
        Order::Ascending => found.sort_by(|one, other| one.distance_m.total_cmp(&other.distance_m)),
        Order::Descending => found.sort_by(|one, other| other.distance_m.total_cmp(&one.distance_m)),
    }
    found.truncate(count);
    if let Some(destination) = search.destination {
        let score = |found: &Found<'_>| if search.store_distance { found.distance_m / unit_m } else { found.score };
        let entries = found.iter().map(|found| (score(found), found.member.to_vec())).collect();
        let result = SortedSet::from_entries(entries, limits);
        sorted_sets::store(cx, destination, result, variant.store_event(), count as u64);
        return Ok(());
    }
    let with = search.with;
    let details = usize::from(with.distance) + usize::from(with.hash) + usize::from(with.position);
    cx.reply.array(count);
    for found in found {
        if details > 0 {
            cx.reply.array(1 + details);
        }
        reply_element(&mut cx.reply, found.member);
        if with.distance {
            reply_distance(&mut cx.reply, found.distance_m / unit_m);
        }
        if with.hash {
            cx.reply.integer(found.score as i64);
        }
        if with.position {
            reply_position(&mut cx.reply, found.position);
        }
    }
    Ok(())
}

/// A distance with four decimals; a bulk string in either version.
fn reply_distance(reply: &mut Reply<'_>, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even() as i64;
    let mut text = Vec::with_capacity(24);
    format_i64(scaled / 10_000, &mut text);
    text.push(b'.');
    let decimals = scaled % 10_000;
    [1000, 100, 10, 1].iter().for_each(|place| text.push(b'0' + (decimals / place % 10).unsigned_abs() as u8));
    reply.bulk(&text);
}

fn reply_position(reply: &mut Reply<'_>, position: Position) {
    reply.array(2);
    for degrees in [position.longitude, position.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let text = if text == "-0" { "0" } else { text };
        match reply.version() {
            RespVersion::V2 => reply.bulk(text.as_bytes()),
            RespVersion::V3 => reply.raw(format!(",{text}\r\n").as_bytes()),
        }
    }
}

/// GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius unit | BYBOX width height unit>
/// ...
fn geosearch(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    search(cx, args, Variant::Search)
}

/// GEOSEARCHSTORE destination source, and the arguments of GEOSEARCH, with STOREDIST.
fn geosearchstore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    search(cx, args, Variant::SearchStore)
}

/// GEORADIUS key longitude latitude radius unit ...
fn georadius(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    search(cx, args, Variant::Radius { by_member: false, may_store: true })
}

/// GEORADIUS_RO: GEORADIUS without STORE and STOREDIST.
fn georadius_ro(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    search(cx, args, Variant::Radius { by_member: false, may_store: false })
}

/// GEORADIUSBYMEMBER key member radius unit ...
fn georadiusbymember(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    search(cx, args, Variant::Radius { by_member: true, may_store: true })
}

/// GEORADIUSBYMEMBER_RO: GEORADIUSBYMEMBER without STORE and STOREDIST.
fn georadiusbymember_ro(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    search(cx, args, Variant::Radius { by_member: true, may_store: false })
}

const SEARCH: &str = "O(N+log(M)), N being the number of members in the squares around the shape and M those within it";

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "geoadd",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Geo,
        since: "3.2.0",
        summary: "Adds members with their positions to a sorted set, or changes their positions.",
        complexity: "O(log(N)) for each member, N being the size of the sorted set",
        syntax: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        run: Run::OnOwner(geoadd),
    },
    CommandSpec {
        name: "geopos",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Geo,
        since: "3.2.0",
        summary: "Returns the positions of members.",
        complexity: "O(1) for each member asked for",
        syntax: "key [member [member ...]]",
        run: Run::OnOwner(geopos),
    },
    CommandSpec {
        name: "geodist",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Geo,
        since: "3.2.0",
        summary: "Returns the distance between two members.",
        complexity: "O(1)",
        syntax: "key member1 member2 [M | KM | FT | MI]",
        run: Run::OnOwner(geodist),
    },
    CommandSpec {
        name: "geohash",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Geo,
        since: "3.2.0",
        summary: "Returns the positions of members as geohashes.",
        complexity: "O(1) for each member asked for",
        syntax: "key [member [member ...]]",
        run: Run::OnOwner(geohash),
    },
    CommandSpec {
        name: "geosearch",
        arity: Arity::AtLeast(7),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Geo,
        since: "6.2.0",
        summary: "Returns the members within a circle or a box.",
        complexity: SEARCH,
        syntax: "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        run: Run::OnOwner(geosearch),
    },
    CommandSpec {
        name: "geosearchstore",
        arity: Arity::AtLeast(8),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Pair(1, Access::WRITE, Access::READ),
        group: Group::Geo,
        since: "6.2.0",
        summary: "Stores the members within a circle or a box under another key.",
        complexity: SEARCH,
        syntax: "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        run: Run::OnOwner(geosearchstore),
    },
    CommandSpec {
        name: "georadius",
        arity: Arity::AtLeast(6),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::AndStore { from: 6 },
        group: Group::Geo,
        since: "3.2.0",
        summary: "Returns or stores the members within a circle around a position.",
        complexity: SEARCH,
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE storekey | STOREDIST storedistkey]",
        run: Run::OnOwner(georadius),
    },
    CommandSpec {
        name: "georadius_ro",
        arity: Arity::AtLeast(6),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Geo,
        since: "3.2.10",
        summary: "Returns the members within a circle around a position.",
        complexity: SEARCH,
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        run: Run::OnOwner(georadius_ro),
    },
    CommandSpec {
        name: "georadiusbymember",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::AndStore { from: 5 },
        group: Group::Geo,
        since: "3.2.0",
        summary: "Returns or stores the members within a circle around one of them.",
        complexity: SEARCH,
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE storekey | STOREDIST storedistkey]",
        run: Run::OnOwner(georadiusbymember),
    },
    CommandSpec {
        name: "georadiusbymember_ro",
        arity: Arity::AtLeast(5),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Geo,
        since: "3.2.10",
        summary: "Returns the members within a circle around one of them.",
        complexity: SEARCH,
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        run: Run::OnOwner(georadiusbymember_ro),
    },
];
