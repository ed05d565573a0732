//! What is said to a target, and what its answers come to. Pure: bytes in and out.

use std::collections::VecDeque;

use super::super::error::CommandError;
use super::job::Order;
use crate::resp::write_request;

/// A reply that is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Auth,
    Select,
    /// Of the key at this place.
    Restore(usize),
}

/// How a job has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Moved,
    /// The target has answered with this error, without the leading `-`.
    Refused(Vec<u8>),
    /// No connection came about.
    Unreachable,
    /// The connection broke, or nothing moved for the time limit.
    Broken {
        while_writing: bool,
    },
}

impl Outcome {
    /// The error that the client gets, in Redis's words.
    pub fn error(&self) -> Option<CommandError> {
        match self {
            Outcome::Moved => None,
            Outcome::Refused(line) => {
                // A line of an error has no ends of lines within.
                let line: Vec<u8> =
                    line.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
                let text = [&b"ERR Target instance replied with error: "[..], line.trim_ascii_end()].concat();
                Some(CommandError::Text(text.into()))
            }
            Outcome::Unreachable => Some(CommandError::text_static("IOERR error or timeout connecting to the client")),
            Outcome::Broken { while_writing: true } => {
                Some(CommandError::text_static("IOERR error or timeout writing to target instance"))
            }
            Outcome::Broken { while_writing: false } => {
                Some(CommandError::text_static("IOERR error or timeout reading to target instance"))
            }
        }
    }
}

/// One conversation with a target.
#[derive(Debug, Default)]
pub struct Dialogue {
    awaited: VecDeque<Awaited>,
    /// AUTH or SELECT were refused: whatever becomes of the keys does not count.
    access_refusal: Option<Vec<u8>>,
    refusal: Option<Vec<u8>>,
    /// Keys that are there now, by their places.
    moved: Vec<usize>,
    has_heard_of_keys: bool,
}

impl Dialogue {
    /// Begins on a connection on which this database is selected; appends what is to be sent first.
    pub fn begin(order: &Order, selected_db: Option<i64>, into: &mut Vec<u8>) -> Dialogue {
        let mut dialogue = Dialogue::default();
        if let Some(login) = &order.login {
            let words = [Some(&b"AUTH"[..]), login.user.as_deref(), Some(login.password.as_slice())];
            let words: Vec<&[u8]> = words.into_iter().flatten().collect();
            write_request(into, words.into_iter());
            dialogue.awaited.push_back(Awaited::Auth);
        }
        if selected_db != Some(order.db) {
            let number = order.db.to_string();
            write_request(into, [&b"SELECT"[..], number.as_bytes()].into_iter());
            dialogue.awaited.push_back(Awaited::Select);
        }
        dialogue
    }

    /// The RESTORE of the key at this place is being sent.
    pub fn expect_key(&mut self, place: usize) {
        self.awaited.push_back(Awaited::Restore(place));
    }

    /// A reply has come: its line, without the end. False when nobody has asked for it.
    pub fn heard(&mut self, line: &[u8]) -> bool {
        let Some(awaited) = self.awaited.pop_front() else { return false };
        let refusal = line.strip_prefix(b"-");
        match awaited {
            Awaited::Auth | Awaited::Select => {
                if let Some(refusal) = refusal {
                    self.access_refusal.get_or_insert_with(|| refusal.to_vec());
                }
            }
            Awaited::Restore(place) => {
                self.has_heard_of_keys = true;
                match self.access_refusal.as_deref().or(refusal) {
                    Some(refusal) => _ = self.refusal.get_or_insert_with(|| refusal.to_vec()),
                    None => self.moved.push(place),
                }
            }
        }
        true
    }

    /// Whether everything that was asked is answered.
    pub fn is_answered(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Whether a key was spoken of: then the conversation is not begun anew.
    pub fn has_heard_of_keys(&self) -> bool {
        self.has_heard_of_keys
    }

    /// Whether the database that was asked for is selected on the connection now.
    pub fn has_selected(&self) -> bool {
        self.access_refusal.is_none() && self.refusal.is_none()
    }

    /// The keys that have moved, and what it came to if the connection is in order (`None`) or has failed in this way.
    pub fn into_outcome(self, failure: Option<Outcome>) -> (Vec<usize>, Outcome) {
        let outcome = self.refusal.map(Outcome::Refused).or(failure).unwrap_or(Outcome::Moved);
        (self.moved, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::migrate::job::Login;

    fn order(login: Option<Login>) -> Order {
        let (host, port) = (b"h".to_vec(), b"1".to_vec());
        Order { host, port, db: 2, timeout_ms: 1, copies: false, replaces: false, login }
    }

    fn said(login: Option<Login>, selected_db: Option<i64>, keys: usize) -> (String, Dialogue) {
        let mut bytes = Vec::new();
        let mut dialogue = Dialogue::begin(&order(login), selected_db, &mut bytes);
        (0..keys).for_each(|place| dialogue.expect_key(place));
        (String::from_utf8(bytes).unwrap(), dialogue)
    }

    fn text(outcome: &Outcome) -> String {
        outcome.error().map_or("OK".to_owned(), |error| error.text().into_owned())
    }

    #[test]
    fn auth_and_select_are_said_where_they_are_needed() {
        let login =
            |user: Option<&str>| Some(Login { user: user.map(|u| u.as_bytes().to_vec()), password: b"p".to_vec() });
        assert_eq!(said(None, Some(2), 0).0, "");
        assert_eq!(said(None, None, 0).0, "*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n");
        assert_eq!(said(login(None), Some(2), 0).0, "*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n");
        assert_eq!(said(login(Some("u")), Some(2), 0).0, "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n");
    }

    #[test]
    fn what_is_acknowledged_has_moved_whatever_comes_of_the_rest() {
        let (_, mut dialogue) = said(None, Some(1), 3);
        assert!(!dialogue.has_heard_of_keys());
        for line in ["+OK", "+OK", "-BUSYKEY Target key name already exists.", "+OK"] {
            assert!(!dialogue.is_answered());
            assert!(dialogue.heard(line.as_bytes()));
        }
        assert!(dialogue.is_answered() && dialogue.has_heard_of_keys() && !dialogue.has_selected());
        assert!(!dialogue.heard(b"+OK"));
        let (moved, outcome) = dialogue.into_outcome(None);
        assert_eq!(moved, [0, 2]);
        let expected = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
        assert_eq!(text(&outcome), expected);
    }

    #[test]
    fn a_broken_connection_is_told_unless_the_target_has_refused_before() {
        let broken = || Some(Outcome::Broken { while_writing: false });
        let (_, mut dialogue) = said(None, Some(2), 2);
        dialogue.heard(b"+OK");
        let (moved, outcome) = dialogue.into_outcome(broken());
        assert_eq!((moved, text(&outcome).as_str()), (vec![0], "IOERR error or timeout reading to target instance"));
        let (_, mut dialogue) = said(None, Some(2), 2);
        dialogue.heard(b"-OOM command not allowed");
        let (moved, outcome) = dialogue.into_outcome(broken());
        let refused = "ERR Target instance replied with error: OOM command not allowed";
        assert_eq!((moved, text(&outcome).as_str()), (vec![], refused));
    }

    #[test]
    fn keys_do_not_count_where_access_was_refused() {
        let (_, mut dialogue) = said(Some(Login { user: None, password: b"x".to_vec() }), None, 1);
        for line in ["-WRONGPASS no", "-NOAUTH first", "+OK"] {
            assert!(dialogue.heard(line.as_bytes()));
        }
        let (moved, outcome) = dialogue.into_outcome(None);
        assert_eq!((moved, text(&outcome).as_str()), (vec![], "ERR Target instance replied with error: WRONGPASS no"));
    }
}
