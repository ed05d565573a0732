//! The primary that this node copies: REPLICAOF, ROLE, and the state of the link.

/// The primary, and how far the link to it is.
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub link: Link,
}

/// How far the link to the primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// To be made.
    Down,
    /// Being made, up to the answer to PSYNC.
    Connecting,
    /// The primary's data are coming.
    Syncing,
    /// The primary's stream is being applied.
    Up,
}

impl Upstream {
    /// Whether the primary's stream is being applied.
    pub fn is_linked(&self) -> bool {
        self.link == Link::Up
    }
}
