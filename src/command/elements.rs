//! Elements of collections in replies. Called by the families whose collections have small forms.

use crate::keyspace::listpack::Element;
use crate::resp::Reply;

/// An element as a bulk string.
#[inline]
pub fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Integer(integer) => reply.bulk_integer(integer),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// An element as a bulk string, null for none.
#[inline]
pub fn reply_element_or_null(reply: &mut Reply<'_>, element: Option<Element<'_>>) {
    match element {
        Some(element) => reply_element(reply, element),
        None => reply.null(),
    }
}
