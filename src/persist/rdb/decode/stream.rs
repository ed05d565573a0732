//! Streams out of their bytes: the nodes as they are, ids and counters, and the groups with what waits in them.

use std::collections::BTreeMap;

use super::super::cursor::Cursor;
use super::super::error::RdbError;
use super::super::types::{ENTRIES_READ_UNKNOWN, STREAM, STREAM_3};
use crate::keyspace::listpack::Listpack;
use crate::keyspace::stream::{Group, Groups, Log, Pending, Stream, StreamId};

/// Bytes of an id where it is stored as such: milliseconds and sequence, big-endian, in the order of the ids.
const ID_BYTES: usize = 16;

/// What waits to be acknowledged in a group: when it was delivered, how often, and whether its consumer is known by now.
type Waiting = BTreeMap<StreamId, (i64, i64, bool)>;

/// A stream of any of the three types. One without entries is a value all the same.
pub(super) fn stream(kind: u8, cursor: &mut Cursor<'_>) -> Result<Stream, RdbError> {
    let start = cursor.clone();
    let count = cursor.count(2)?;
    let nodes = (0..count).map(|_| node(cursor)).collect::<Result<Vec<_>, _>>()?;
    let last_node = nodes.iter().map(|(id, _)| *id).max().unwrap_or_default();
    let log = Log::from_nodes(nodes).map_err(|_| start.error(NODE_DAMAGED))?;
    let mut stream = Stream { log: Box::new(log), groups: Groups::default() };
    tail(kind, cursor, &mut stream, last_node)?;
    Ok(stream)
}

pub(super) const NODE_DAMAGED: &str = "a node of a stream is damaged or there twice";

/// What stands behind the nodes: counters and groups. `last_node`: the greatest id of a node.
pub(super) fn tail(
    kind: u8,
    cursor: &mut Cursor<'_>,
    stream: &mut Stream,
    last_node: StreamId,
) -> Result<(), RdbError> {
    counters(kind, cursor, &mut stream.log, last_node)?;
    for _ in 0..cursor.count(4)? {
        let start = cursor.clone();
        let (name, group) = (cursor.string()?, group(kind, cursor, &stream.log)?);
        if !stream.groups.create(&name, group) {
            return Err(start.error("a consumer group is there twice"));
        }
    }
    Ok(())
}

pub(super) fn node(cursor: &mut Cursor<'_>) -> Result<(StreamId, Listpack), RdbError> {
    let start = cursor.clone();
    let id = cursor.string()?;
    let id = <&[u8; ID_BYTES]>::try_from(&*id).map_err(|_| start.error("the id of a node does not have 16 bytes"))?;
    let id = id_of(id);
    let start = cursor.clone();
    let listpack = Listpack::from_bytes(cursor.string()?.into_owned());
    Ok((id, listpack.map_err(|_| start.error("a listpack is damaged"))?))
}

fn id_of(bytes: &[u8; ID_BYTES]) -> StreamId {
    let both = u128::from_be_bytes(*bytes);
    StreamId::new((both >> 64) as u64, both as u64)
}

fn id(cursor: &mut Cursor<'_>) -> Result<StreamId, RdbError> {
    Ok(StreamId::new(cursor.length()?, cursor.length()?))
}

/// Length, last id and what else is known of the entries.
fn counters(kind: u8, cursor: &mut Cursor<'_>, log: &mut Log, last_node: StreamId) -> Result<(), RdbError> {
    let start = cursor.clone();
    let length = cursor.length()?;
    if length != log.len() {
        return Err(start.error("the length of a stream is not that of its nodes"));
    }
    let last_id = id(cursor)?;
    if last_node > last_id || log.last_live_id().is_some_and(|last| last > last_id) {
        return Err(start.error("a stream has entries behind its last one"));
    }
    if kind == STREAM {
        log.set_ids(last_id, Some(length), Some(StreamId::MIN));
        return Ok(());
    }
    // The first id follows from the nodes.
    let _first_id = id(cursor)?;
    let max_deleted_id = id(cursor)?;
    log.set_ids(last_id, Some(cursor.length()?), Some(max_deleted_id));
    Ok(())
}

fn group(kind: u8, cursor: &mut Cursor<'_>, log: &Log) -> Result<Group, RdbError> {
    let last_id = id(cursor)?;
    let entries_read = match kind {
        STREAM => log.entries_added_up_to(last_id),
        _ => Some(cursor.length()?).filter(|read| *read != ENTRIES_READ_UNKNOWN).map(u64::cast_signed),
    };
    let mut group = Group::new(last_id, entries_read);
    let start = cursor.clone();
    let mut waiting = Waiting::new();
    for _ in 0..cursor.count(ID_BYTES + 9)? {
        let id = id_of(&cursor.array()?);
        let (delivered_ms, deliveries) = (cursor.millis()?, cursor.length()?.cast_signed());
        if waiting.insert(id, (delivered_ms, deliveries, false)).is_some() {
            return Err(start.error("an entry waits twice in a group"));
        }
    }
    for _ in 0..cursor.count(10)? {
        consumer(kind, cursor, &mut group, &mut waiting)?;
    }
    if group.pending().len() != waiting.len() {
        return Err(start.error("an entry waits in a group for no consumer"));
    }
    Ok(group)
}

fn consumer(kind: u8, cursor: &mut Cursor<'_>, group: &mut Group, waiting: &mut Waiting) -> Result<(), RdbError> {
    let start = cursor.clone();
    let name = cursor.string()?;
    let seen_ms = cursor.millis()?;
    let (consumer, is_new) = group.consumer_or_new(&name, seen_ms);
    if !is_new {
        return Err(start.error("a consumer is there twice"));
    }
    // Before there was such a time, the time seen is the best guess.
    group.consumer_mut(consumer).active_ms = if kind == STREAM_3 { cursor.millis()? } else { seen_ms };
    for _ in 0..cursor.count(ID_BYTES)? {
        let id = id_of(&cursor.array()?);
        match waiting.get_mut(&id) {
            Some((delivered_ms, deliveries, known @ false)) => {
                *known = true;
                group.assign(id, Pending { delivered_ms: *delivered_ms, deliveries: *deliveries, consumer });
            }
            _ => return Err(start.error("an entry waits for a consumer and not in its group, or for two")),
        }
    }
    Ok(())
}
