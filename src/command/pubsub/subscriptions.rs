//! Who listens to what. Every core keeps the whole table, so that a message is published where its sender is, to the right
//! number of receivers, without asking anyone; subscribing tells every core.

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};

use crate::base::glob;
use crate::command::client::ClientRef;
use crate::resp::{Reply, ReplyBuffer, RespVersion};

/// The three kinds of subscriptions, each with its own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Channel,
    Pattern,
    Shard,
}

type Names = HashMap<Bytes, HashMap<u64, ClientRef>>;

/// Everything that the clients of the node have subscribed to.
#[derive(Default)]
pub struct Subscriptions {
    names: [Names; 3],
    by_client: HashMap<u64, [HashSet<Bytes>; 3]>,
}

impl Subscriptions {
    /// False when the client had subscribed to it already.
    pub fn add(&mut self, kind: Kind, name: &[u8], client: ClientRef) -> bool {
        let name = Bytes::copy_from_slice(name);
        if !self.by_client.entry(client.id).or_default()[kind as usize].insert(name.clone()) {
            return false;
        }
        self.names[kind as usize].entry(name).or_default().insert(client.id, client);
        true
    }

    /// False when the client had not subscribed to it.
    pub fn remove(&mut self, kind: Kind, name: &[u8], client_id: u64) -> bool {
        let Some(sets) = self.by_client.get_mut(&client_id) else { return false };
        if !sets[kind as usize].remove(name) {
            return false;
        }
        if sets.iter().all(HashSet::is_empty) {
            self.by_client.remove(&client_id);
        }
        if let Some(clients) = self.names[kind as usize].get_mut(name) {
            clients.remove(&client_id);
            if clients.is_empty() {
                self.names[kind as usize].remove(name);
            }
        }
        true
    }

    /// Ends all subscriptions to a name; whose they were.
    pub fn remove_name(&mut self, kind: Kind, name: &[u8]) -> Vec<ClientRef> {
        let clients: Vec<ClientRef> =
            self.names[kind as usize].get(name).map_or(Vec::new(), |clients| clients.values().copied().collect());
        clients.iter().for_each(|client| _ = self.remove(kind, name, client.id));
        clients
    }

    /// The client has gone.
    pub fn remove_client(&mut self, client_id: u64) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            for name in self.names_of(kind, client_id) {
                self.remove(kind, &name, client_id);
            }
        }
    }

    /// What a client has subscribed to.
    pub fn names_of(&self, kind: Kind, client_id: u64) -> Vec<Bytes> {
        self.by_client.get(&client_id).map_or(Vec::new(), |sets| sets[kind as usize].iter().cloned().collect())
    }

    /// Channels, patterns and shard channels of a client.
    pub fn counts_of(&self, client_id: u64) -> [usize; 3] {
        self.by_client.get(&client_id).map_or([0; 3], |sets| [sets[0].len(), sets[1].len(), sets[2].len()])
    }

    /// Channels of one kind that somebody has subscribed to.
    pub fn names(&self, kind: Kind) -> impl ExactSizeIterator<Item = &Bytes> {
        self.names[kind as usize].keys()
    }

    /// Subscribers of one name.
    pub fn subscribers_count(&self, kind: Kind, name: &[u8]) -> usize {
        self.names[kind as usize].get(name).map_or(0, HashMap::len)
    }

    /// Whether anyone at all listens to channels or patterns.
    #[inline]
    pub fn is_anyone_listening(&self) -> bool {
        !self.names[Kind::Channel as usize].is_empty() || !self.names[Kind::Pattern as usize].is_empty()
    }

    /// The deliveries of a message to a channel: one for its subscribers, one for each pattern that fits.
    pub fn deliveries(&self, channel: &[u8], payload: &[u8]) -> Vec<(Vec<ClientRef>, Delivery)> {
        let mut deliveries = Vec::new();
        let message = |pattern| Delivery::Message {
            pattern,
            channel: Bytes::copy_from_slice(channel),
            payload: Bytes::copy_from_slice(payload),
        };
        if let Some(clients) = self.names[Kind::Channel as usize].get(channel) {
            deliveries.push((clients.values().copied().collect(), message(None)));
        }
        for (pattern, clients) in &self.names[Kind::Pattern as usize] {
            if glob::matches(pattern, channel, false) {
                deliveries.push((clients.values().copied().collect(), message(Some(pattern.clone()))));
            }
        }
        deliveries
    }

    /// The delivery of a message to a shard channel, if anyone listens.
    pub fn shard_delivery(&self, channel: &[u8], payload: &[u8]) -> Option<(Vec<ClientRef>, Delivery)> {
        let clients = self.names[Kind::Shard as usize].get(channel)?;
        let (channel, payload) = (Bytes::copy_from_slice(channel), Bytes::copy_from_slice(payload));
        Some((clients.values().copied().collect(), Delivery::ShardMessage { channel, payload }))
    }
}

/// What is delivered to many clients, in whichever version of the protocol each speaks.
#[derive(Clone, Debug)]
pub enum Delivery {
    Message {
        pattern: Option<Bytes>,
        channel: Bytes,
        payload: Bytes,
    },
    ShardMessage {
        channel: Bytes,
        payload: Bytes,
    },
    /// Keys that have changed, each with the client that did it, for clients that keep copies (see `tracking`).
    Invalidate {
        keys: Vec<(Bytes, u64)>,
        bcast: bool,
    },
    /// All keys have gone.
    InvalidateAll,
    /// Keys that have changed (None: all) for a client to which another, `from`, has what it is told redirected.
    Redirected {
        keys: Option<Vec<Bytes>>,
        version: RespVersion,
        from: ClientRef,
    },
    /// The client that was told in the receiver's place has gone.
    RedirectBroken {
        to: u64,
    },
}

impl Delivery {
    /// Whether it is for clients that keep copies of keys: what each is told depends on what it has set.
    pub fn is_about_copies(&self) -> bool {
        !matches!(self, Delivery::Message { .. } | Delivery::ShardMessage { .. })
    }

    /// The bytes on the wire.
    pub fn encoded(&self, version: RespVersion) -> Bytes {
        let mut buffer = ReplyBuffer::new();
        let mut reply = Reply::new(&mut buffer, version);
        match self {
            Delivery::Message { pattern: None, channel, payload } => bulks(&mut reply, &[b"message", channel, payload]),
            Delivery::Message { pattern: Some(pattern), channel, payload } => {
                bulks(&mut reply, &[b"pmessage", pattern, channel, payload]);
            }
            Delivery::ShardMessage { channel, payload } => bulks(&mut reply, &[b"smessage", channel, payload]),
            Delivery::Invalidate { keys, .. } => {
                let keys: Vec<Bytes> = keys.iter().map(|(key, _)| key.clone()).collect();
                return encoded_invalidation(Some(&keys), version);
            }
            Delivery::InvalidateAll => return encoded_invalidation(None, version),
            Delivery::Redirected { keys, .. } => return encoded_invalidation(keys.as_deref(), version),
            Delivery::RedirectBroken { to } => {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.integer(*to as i64);
            }
        }
        Bytes::from(buffer.to_vec())
    }
}

/// Tells that keys (None: all) have changed: a push, or in version 2 a message on the channel for that.
pub fn encoded_invalidation(keys: Option<&[Bytes]>, version: RespVersion) -> Bytes {
    let mut buffer = ReplyBuffer::new();
    let mut reply = Reply::new(&mut buffer, version);
    if version == RespVersion::V3 {
        reply.push(2);
        reply.bulk(b"invalidate");
    } else {
        reply.push(3);
        reply.bulk(b"message");
        reply.bulk(b"__redis__:invalidate");
    }
    match keys {
        Some(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
        None => reply.null(),
    }
    Bytes::from(buffer.to_vec())
}

fn bulks(reply: &mut Reply<'_>, parts: &[&[u8]]) {
    reply.push(parts.len());
    parts.iter().for_each(|part| reply.bulk(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64) -> ClientRef {
        ClientRef { id, ..ClientRef::default() }
    }

    #[test]
    fn a_message_reaches_channel_and_fitting_patterns() {
        let mut table = Subscriptions::default();
        assert!(table.add(Kind::Channel, b"news", client(1)));
        assert!(!table.add(Kind::Channel, b"news", client(1)));
        table.add(Kind::Pattern, b"n*", client(1));
        table.add(Kind::Pattern, b"x*", client(2));
        let receivers: usize = table.deliveries(b"news", b"hi").iter().map(|(to, _)| to.len()).sum();
        assert_eq!(receivers, 2);
        assert_eq!(table.counts_of(1), [1, 1, 0]);
        table.remove_client(1);
        assert!(table.deliveries(b"news", b"hi").is_empty());
        assert!(table.is_anyone_listening());
        assert!(table.remove(Kind::Pattern, b"x*", 2) && !table.is_anyone_listening());
    }

    #[test]
    fn versions_differ_in_the_first_byte() {
        let delivery = Delivery::ShardMessage { channel: Bytes::from_static(b"c"), payload: Bytes::from_static(b"p") };
        assert_eq!(delivery.encoded(RespVersion::V2), "*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\np\r\n");
        assert_eq!(delivery.encoded(RespVersion::V3), ">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\np\r\n");
    }
}
