//! What a replica says to its primary before data flow: line by line, without a socket.
//!
//! ```text
//! PING                                        +PONG (or that AUTH is needed)
//! AUTH [user] password                        +OK, when there is a password
//! REPLCONF listening-port <port>              +OK
//! REPLCONF ip-address <address>               +OK, when one is announced
//! REPLCONF capa eof capa psync2 capa slot-states   +OK
//! CLUSTER MYID                                $40 <id>, in a cluster
//! PSYNC <id> <offset>                         +FULLRESYNC <id> <offset> | +CONTINUE [<id>] | an error
//! ```
//!
//! The link's thread sends what [`Handshake::begin`] and [`Handshake::answer`] give it, and hands each line that comes to
//! the latter. Places here are counts of bytes, as everywhere in this node; on the wire PSYNC names the first byte wanted, which
//! is one more.
//!
//! CLUSTER MYID is not in Redis's. A cluster tells a replica where its primary is, and by then an empty node may have that address: a
//! container made anew has the address of the one that was removed. Redis's replica would take over that node's
//! nothing in place of the last copy of the data. This one asks who is there, and waits when it is somebody else.

use std::collections::VecDeque;

use crate::base::hex::HexId;
use crate::base::number::parse_i64;
use crate::resp::write_request;

/// Longest line that an answer may have.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// What a replica introduces itself with.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// `masteruser` and `masterauth`; no password, no AUTH.
    pub user: Vec<u8>,
    pub password: Vec<u8>,
    /// `replica-announce-port`, or the port that clients find.
    pub port: u16,
    /// `replica-announce-ip`; empty when none is announced.
    pub address: String,
    /// The history that the replica has, and up to which place.
    pub known: Option<(HexId, u64)>,
    /// The other side is asked to take over (FAILOVER).
    pub hands_over: bool,
    /// The node that must be there; outside of a cluster it may be any.
    pub primary: Option<HexId>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// More lines are to come.
    Wait,
    /// Send this, and wait for lines.
    Send(Vec<u8>),
    /// All data will come, as of this place in this history.
    Full { id: HexId, place: u64 },
    /// The stream goes on where the replica is. The id is there if the primary's history has another name by now.
    Continue { id: Option<HexId> },
    /// No way on: why, as the log has it.
    Failed(String),
    /// The primary does not want this replica now: why, as the log has it.
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Ping,
    Auth,
    Port,
    Address,
    Abilities,
    /// The line that says how long the id is.
    Identity,
    /// The id itself.
    Id,
    Psync,
}

/// The replica's side of it.
pub struct Handshake {
    introduction: Introduction,
    /// What was sent and not answered.
    asked: VecDeque<Asked>,
}

impl Handshake {
    pub fn new(introduction: Introduction) -> Handshake {
        Handshake { introduction, asked: VecDeque::new() }
    }

    /// What to send first.
    pub fn begin(&mut self) -> Vec<u8> {
        self.ask(&[(Asked::Ping, &[b"PING"])])
    }

    /// Takes a line that has come, without its end.
    pub fn answer(&mut self, line: &[u8]) -> Next {
        let Some(asked) = self.asked.front().copied() else {
            return Next::Failed(format!("Unexpected reply from the master: {}", shown(line)));
        };
        // While the primary makes up its mind it sends empty lines to show that it lives.
        if line.is_empty() && asked == Asked::Psync {
            return Next::Wait;
        }
        self.asked.pop_front();
        match asked {
            Asked::Ping => return self.pinged(line),
            Asked::Auth if line.first() == Some(&b'-') => {
                return Next::Failed(format!("Unable to AUTH to MASTER: {}", shown(line)));
            }
            Asked::Port => not_understood("listening-port", line),
            Asked::Address => not_understood("ip-address", line),
            Asked::Abilities => not_understood("capa", line),
            Asked::Identity if line == b"$40" => self.asked.push_front(Asked::Id),
            // Who may not tell, or does not know yet, is taken for the one.
            Asked::Identity if line.first() == Some(&b'-') => {
                tracing::info!("(Non critical) Master does not say who it is: {}", shown(line));
            }
            Asked::Identity => return Next::Failed(format!("Unexpected reply from the master: {}", shown(line))),
            Asked::Id if self.introduction.primary != HexId::parse(line) => return self.another_is_there(line),
            Asked::Id => {}
            Asked::Psync => return psync_answered(line),
            Asked::Auth => {}
        }
        if self.asked.is_empty() { self.ask_for_stream() } else { Next::Wait }
    }

    fn pinged(&mut self, line: &[u8]) -> Next {
        // Who has yet to authenticate may be told so.
        let is_alive = line.first() == Some(&b'+')
            || [&b"-NOAUTH"[..], b"-NOPERM", b"-ERR operation not permitted"].iter().any(|text| line.starts_with(text));
        if !is_alive {
            return Next::Failed(format!("Error reply to PING from master: '{}'", shown(line)));
        }
        tracing::info!("Master replied to PING, replication can continue...");
        Next::Send(self.introduce())
    }

    fn introduce(&mut self) -> Vec<u8> {
        let Introduction { user, password, port, address, .. } = self.introduction.clone();
        let port = port.to_string();
        let auth: Vec<&[u8]> = match (user.is_empty(), password.is_empty()) {
            (_, true) => Vec::new(),
            (true, false) => vec![b"AUTH", &password],
            (false, false) => vec![b"AUTH", &user, &password],
        };
        let mut lines: Vec<(Asked, &[&[u8]])> = Vec::new();
        let port_line: [&[u8]; 3] = [b"REPLCONF", b"listening-port", port.as_bytes()];
        let address_line: [&[u8]; 3] = [b"REPLCONF", b"ip-address", address.as_bytes()];
        if !auth.is_empty() {
            lines.push((Asked::Auth, &auth));
        }
        lines.push((Asked::Port, &port_line));
        if !address.is_empty() {
            lines.push((Asked::Address, &address_line));
        }
        lines.push((Asked::Abilities, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", b"slot-states"]));
        if self.introduction.primary.is_some() {
            lines.push((Asked::Identity, &[b"CLUSTER", b"MYID"]));
        }
        self.ask(&lines)
    }

    fn another_is_there(&self, line: &[u8]) -> Next {
        let primary = self.introduction.primary.map(|id| id.to_string()).unwrap_or_default();
        Next::Refused(format!("Not synchronizing: at the master's address is {}, not {primary}", shown(line)))
    }

    fn ask_for_stream(&mut self) -> Next {
        let (id, offset) = match &self.introduction.known {
            Some((id, place)) => (id.to_string(), place.saturating_add(1).to_string()),
            None => ("?".to_owned(), "-1".to_owned()),
        };
        match &self.introduction.known {
            Some(_) => tracing::info!("Trying a partial resynchronization (request {id}:{offset})."),
            None => tracing::info!("Partial resynchronization not possible (no cached master)"),
        }
        let words: [&[u8]; 4] = [b"PSYNC", id.as_bytes(), offset.as_bytes(), b"FAILOVER"];
        let count = if self.introduction.hands_over { 4 } else { 3 };
        Next::Send(self.ask(&[(Asked::Psync, &words[..count])]))
    }

    fn ask(&mut self, lines: &[(Asked, &[&[u8]])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (asked, words) in lines {
            self.asked.push_back(*asked);
            write_request(&mut bytes, words.iter().copied());
        }
        bytes
    }
}

/// Old primaries do not know all that a replica says about itself; it goes on all the same.
fn not_understood(what: &str, line: &[u8]) {
    if line.first() == Some(&b'-') {
        tracing::info!("(Non critical) Master does not understand REPLCONF {what}: {}", shown(line));
    }
}

fn psync_answered(line: &[u8]) -> Next {
    if let Some(rest) = line.strip_prefix(b"+FULLRESYNC") {
        let mut words = words(rest);
        let id = words.next().and_then(HexId::parse);
        let place = words.next().and_then(parse_i64).and_then(|place| u64::try_from(place).ok());
        return match (id, place) {
            (Some(id), Some(place)) => {
                tracing::info!("Full resync from master: {id}:{place}");
                Next::Full { id, place }
            }
            _ => Next::Failed("Master replied with wrong +FULLRESYNC syntax.".to_owned()),
        };
    }
    if let Some(rest) = line.strip_prefix(b"+CONTINUE") {
        return Next::Continue { id: words(rest).next().and_then(HexId::parse) };
    }
    if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
        return Next::Refused(format!(
            "Master is currently unable to PSYNC but should be in the future: {}",
            shown(line)
        ));
    }
    if line.first() == Some(&b'-') {
        return Next::Refused(format!("Master does not support PSYNC or is in error state (reply: {})", shown(line)));
    }
    Next::Failed(format!("Unexpected reply to PSYNC from master: {}", shown(line)))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// The beginning of a line, for the log.
fn shown(line: &[u8]) -> String {
    let line = line.get(..256).unwrap_or(line);
    String::from_utf8_lossy(line).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8; 40] = b"0123456789abcdef0123456789abcdef01234567";

    fn id() -> HexId {
        HexId::parse(ID).unwrap()
    }

    /// The words of what was sent, one request a line.
    fn lines(bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let requests = text.split('*').skip(1);
        let lines: Vec<String> =
            requests.map(|text| text.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ")).collect();
        lines.join("; ")
    }

    fn sent(next: Next) -> String {
        match next {
            Next::Send(bytes) => lines(&bytes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_replica_introduces_itself_and_asks_for_the_stream() {
        let known = Some((id(), 99));
        let introduction = Introduction {
            user: b"u".to_vec(),
            password: b"p w".to_vec(),
            port: 7001,
            address: "10.0.0.1".to_owned(),
            known,
            hands_over: false,
            primary: None,
        };
        let mut handshake = Handshake::new(introduction);
        assert_eq!(lines(&handshake.begin()), "PING");
        let introduced = "AUTH u p w; REPLCONF listening-port 7001; REPLCONF ip-address 10.0.0.1; \
                          REPLCONF capa eof capa psync2 capa slot-states";
        assert_eq!(sent(handshake.answer(b"-NOAUTH Authentication required.")), introduced);
        assert_eq!(handshake.answer(b"+OK"), Next::Wait);
        assert_eq!(handshake.answer(b"-ERR what?"), Next::Wait);
        assert_eq!(handshake.answer(b"+OK"), Next::Wait);
        assert_eq!(sent(handshake.answer(b"+OK")), format!("PSYNC {} 100", id()));
        assert_eq!(handshake.answer(b""), Next::Wait);
        assert_eq!(handshake.answer(b"+CONTINUE"), Next::Continue { id: None });
    }

    /// The last answer of a handshake without a password and without a history.
    fn answered(line: &[u8]) -> Next {
        let mut handshake = Handshake::new(Introduction { port: 1, ..Introduction::default() });
        handshake.begin();
        assert_eq!(
            sent(handshake.answer(b"+PONG")),
            "REPLCONF listening-port 1; REPLCONF capa eof capa psync2 capa slot-states"
        );
        assert_eq!(handshake.answer(b"+OK"), Next::Wait);
        assert_eq!(sent(handshake.answer(b"+OK")), "PSYNC ? -1");
        handshake.answer(line)
    }

    #[test]
    fn the_answer_to_psync_says_how_it_goes_on() {
        let with_id = |text: &str| format!("{text} {}", id()).into_bytes();
        assert_eq!(answered(&[&with_id("+FULLRESYNC")[..], b" 17"].concat()), Next::Full { id: id(), place: 17 });
        assert_eq!(answered(&with_id("+CONTINUE")), Next::Continue { id: Some(id()) });
        for (line, why) in [
            (&b"+FULLRESYNC x 1"[..], "Master replied with wrong +FULLRESYNC syntax."),
            (b"-NOMASTERLINK no", "Master is currently unable to PSYNC but should be in the future: -NOMASTERLINK no"),
            (b"-LOADING x", "Master is currently unable to PSYNC but should be in the future: -LOADING x"),
            (b"-ERR unknown", "Master does not support PSYNC or is in error state (reply: -ERR unknown)"),
            (b":1\x07", "Unexpected reply to PSYNC from master: :1?"),
        ] {
            let is_refused = line.first() == Some(&b'-');
            let expected = if is_refused { Next::Refused(why.to_owned()) } else { Next::Failed(why.to_owned()) };
            assert_eq!(answered(line), expected);
        }
    }

    /// The answer to the last line of an introduction that expects the node with `id()`.
    fn identified(lines: &[&[u8]]) -> Next {
        let mut handshake = Handshake::new(Introduction { primary: Some(id()), ..Introduction::default() });
        handshake.begin();
        assert!(sent(handshake.answer(b"+PONG")).ends_with("; CLUSTER MYID"));
        assert_eq!(handshake.answer(b"+OK"), Next::Wait);
        assert_eq!(handshake.answer(b"+OK"), Next::Wait);
        let (last, others) = lines.split_last().unwrap();
        others.iter().for_each(|line| assert_eq!(handshake.answer(line), Next::Wait));
        handshake.answer(last)
    }

    #[test]
    fn a_replica_of_a_cluster_asks_no_other_than_its_primary_for_data() {
        assert_eq!(sent(identified(&[b"$40", ID])), "PSYNC ? -1");
        assert_eq!(sent(identified(&[b"-NOPERM no"])), "PSYNC ? -1");
        let other = b"f".repeat(40);
        assert!(matches!(identified(&[b"$40", &other]), Next::Refused(_)));
        assert!(matches!(identified(&[b"$40", b"no id"]), Next::Refused(_)));
        assert!(matches!(identified(&[b"$4000000"]), Next::Failed(_)));
    }

    #[test]
    fn a_wrong_password_and_a_peer_that_is_no_primary_end_it() {
        let mut handshake = Handshake::new(Introduction { password: b"x".to_vec(), ..Introduction::default() });
        handshake.begin();
        handshake.answer(b"+PONG");
        let failed = Next::Failed("Unable to AUTH to MASTER: -WRONGPASS no".to_owned());
        assert_eq!(handshake.answer(b"-WRONGPASS no"), failed);
        let mut handshake = Handshake::new(Introduction::default());
        handshake.begin();
        let failed = Next::Failed("Error reply to PING from master: '-DENIED'".to_owned());
        assert_eq!(handshake.answer(b"-DENIED"), failed);
        assert!(matches!(handshake.answer(b"+PONG"), Next::Failed(_)));
    }
}
