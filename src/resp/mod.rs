//! RESP on the wire: requests in (`request`), replies out (`buffer`, `reply`), in both protocol versions.
//!
//! Called by the connections of the runtime and by every handler through `Args` and `Reply`. Knows nothing of
//! commands, clients or sockets.

mod args;
mod buffer;
mod reply;
mod request;

pub use args::{Args, ArgsBuf, Span};
pub use buffer::{Mark, ReplyBuffer, SHARED_BYTES_MIN};
pub use reply::{Deferred, Reply, RespVersion};
pub use request::{Parse, ProtocolError, RequestLimits, RequestParser};
