//! RESP on the wire: requests in (`request`, `lookahead`), replies out (`buffer`, `reply`), in both protocol versions.
//!
//! Called by the connections of the runtime and by every handler through `Args` and `Reply`. Knows nothing of
//! commands, clients or sockets.

mod args;
mod buffer;
mod lookahead;
mod reply;
mod request;
mod write;

pub use args::{Args, ArgsBuf, Span};
pub use buffer::{Mark, ReplyBuffer, SHARED_BYTES_MIN};
pub use lookahead::{LOOKAHEAD_MAX, Lookahead, Stopped};
pub use reply::{Deferred, Reply, RespVersion};
pub use request::{Parse, ProtocolError, RequestLimits, RequestParser};
pub use write::{write_head, write_request, write_word};
