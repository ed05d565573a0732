//! Tables of request lines and replies, and the runner that shows them to redis-server too.

use super::{Client, Kind, Server};

/// Runs the lines in order on one connection and compares each reply in its text form (see `reply`).
///
/// An expected text of `?` takes any reply that is not an error, `:?` any integer, and one that ends in `...` any
/// reply that starts so.
pub fn check(client: &mut Client, table: &[(&str, &str)]) {
    for (line, expected) in table {
        let reply = client.line(line);
        let text = reply.to_string();
        let same = match *expected {
            "?" => !reply.is_error(),
            ":?" => text.starts_with(':'),
            prefix if prefix.ends_with("...") => text.starts_with(&prefix[..prefix.len() - 3]),
            exact => text == exact,
        };
        assert!(same, "{line}\n  expected {expected}\n  got      {text}");
    }
}

/// Runs the test against slotcore and against redis-server, each freshly started: what it expects is then right
/// by construction, and not by our reading of a manual.
pub fn on_both(test: impl Fn(&Server)) {
    on_both_with(&[], test);
}

/// `on_both` with directives for both servers.
pub fn on_both_with(args: &[&str], test: impl Fn(&Server)) {
    for kind in [Kind::Slotcore, Kind::Redis] {
        let server = Server::start(kind, args);
        test(&server);
    }
}
