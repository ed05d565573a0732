//! Tables of requests and the keyspace events that they publish.

use super::Server;

/// What a server is started with so that it publishes every event, those of new keys too.
pub const ALL_EVENTS: &[&str] = &["--notify-keyspace-events", "EAn"];

/// Sends each line, and compares the events that it publishes, as `event:key event:key`, and how many changes it counts as.
pub fn check_published(server: &Server, rows: &[(&str, &str, i64)]) {
    let (client, listener) = (&mut server.connect(), &mut server.connect());
    listener.must("PSUBSCRIBE __keyevent*");
    listener.must("PSUBSCRIBE end");
    for (line, expected, changes) in rows {
        let before = client.info_number("rdb_changes_since_last_save");
        client.line(line);
        assert_eq!(client.info_number("rdb_changes_since_last_save") - before, *changes, "{line}");
        client.must("PUBLISH end here");
        let mut events = Vec::new();
        loop {
            let message = listener.read();
            let (channel, text) = (message.items()[2].text(), message.items()[3].text());
            let Some(event) = channel.strip_prefix("__keyevent@0__:") else { break };
            events.push(format!("{event}:{text}"));
        }
        assert_eq!(events.join(" "), *expected, "{line}");
    }
}
