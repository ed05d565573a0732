//! DEBUG PROTOCOL: one reply of each type of the protocol, for the tests of clients.

use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{CommandResult, Part};
use crate::resp::{Args, Reply, RespVersion};

type Write = fn(&mut Reply<'_>);

/// Redis's example of a double, which is not meant to be pi.
#[allow(clippy::approx_constant)]
const DOUBLE: f64 = 3.141;

const TYPES: &[(&str, Write)] = &[
    ("string", |reply| reply.bulk(b"Hello World")),
    ("integer", |reply| reply.integer(12345)),
    ("double", |reply| reply.double(DOUBLE)),
    ("bignum", |reply| reply.big_number("1234567999999999999999999999999999999")),
    ("null", |reply| reply.null()),
    ("array", |reply| {
        reply.array(3);
        (0..3).for_each(|number| reply.integer(number));
    }),
    ("set", |reply| {
        reply.set(3);
        (0..3).for_each(|number| reply.integer(number));
    }),
    ("map", |reply| {
        reply.map(3);
        for number in 0..3 {
            reply.integer(number);
            reply.boolean(number == 1);
        }
    }),
    ("attrib", |reply| {
        if reply.version() == RespVersion::V3 {
            reply.attribute(1);
            reply.bulk(b"key-popularity");
            reply.array(2);
            reply.bulk(b"key:123");
            reply.integer(90);
        }
        reply.bulk(b"Some real reply following the attribute");
    }),
    ("push", |reply| {
        reply.push(2);
        reply.bulk(b"server-cpu-usage");
        reply.integer(42);
        // A push is no answer: a client that passes over it still needs one.
        reply.bulk(b"Some real reply following the push reply");
    }),
    ("verbatim", |reply| reply.verbatim("txt", b"This is a verbatim\nstring")),
    ("true", |reply| reply.boolean(true)),
    ("false", |reply| reply.boolean(false)),
];

/// DEBUG PROTOCOL type.
pub fn protocol(cx: &mut Context<'_>, args: &Args<'_>, _: Vec<Part>) -> CommandResult {
    let Some((name, write)) = TYPES.iter().find(|(name, _)| is_word(&args[2], name)) else {
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        return Err(CommandError::formatted(format!(
            "ERR Wrong protocol type name. Please use one of the following: {}",
            names.join("|")
        )));
    };
    if *name == "push" && cx.reply.version() == RespVersion::V2 {
        return Err(CommandError::text_static("ERR RESP2 is not supported by this command"));
    }
    write(&mut cx.reply);
    Ok(())
}
