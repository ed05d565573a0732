//! CLIENT KILL: every core ends those of its clients that the filters match.

use super::listing::{ClientType, is_gone};
use crate::base::number::parse_i64;
use crate::command::client::{Client, CloseReason};
use crate::command::connection::DEFAULT_USER;
use crate::command::context::Context;
use crate::command::core::Effect;
use crate::command::error::CommandError;
use crate::command::spec::{CommandResult, Part};
use crate::resp::Args;

/// Which clients KILL means: those that every given filter matches.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<ClientType>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    spares_caller: bool,
}

impl<'a> Filter<'a> {
    fn parse(args: &Args<'a>) -> Result<Filter<'a>, CommandError> {
        // The old form, an address alone, may end the caller too.
        if args.len() == 3 {
            return Ok(Filter { address: args.get(2), ..Filter::default() });
        }
        let mut filter = Filter { spares_caller: true, ..Filter::default() };
        for at in (2..args.len()).step_by(2) {
            let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
            filter.option(&args[at].to_ascii_lowercase(), value)?;
        }
        Ok(filter)
    }

    fn option(&mut self, name: &[u8], value: &'a [u8]) -> CommandResult {
        match name {
            b"id" => {
                let id = parse_i64(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                self.id = Some(id.ok_or(CommandError::text_static("ERR client-id should be greater than 0"))?);
            }
            b"type" => self.kind = Some(ClientType::parse(value)?),
            b"addr" => self.address = Some(value),
            b"laddr" => self.local_address = Some(value),
            // Every client is the default user, so the filter leaves all of them.
            b"user" if value == DEFAULT_USER.as_bytes() => {}
            b"user" => return Err(CommandError::quoting("ERR No such user '", value, "'")),
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => self.spares_caller = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => self.spares_caller = false,
            _ => return Err(CommandError::Syntax),
        }
        Ok(())
    }

    fn matches(&self, client: &Client, caller: u64) -> bool {
        self.id.is_none_or(|id| client.id == id)
            && self.kind.is_none_or(|kind| kind == ClientType::of(client))
            && self.address.is_none_or(|address| client.peer.to_string().as_bytes() == address)
            && self.local_address.is_none_or(|address| client.local.to_string().as_bytes() == address)
            && !(self.spares_caller && client.id == caller)
    }
}

pub(super) fn kill_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let filter = Filter::parse(args)?;
    let caller = cx.caller.client.id;
    let mut killed_count = 0usize;
    for (index, client) in &cx.core.clients {
        if is_gone(client) || !filter.matches(client, caller) {
            continue;
        }
        // Who ends itself still gets the answer.
        let reason = if client.id == caller { CloseReason::AfterReply } else { CloseReason::Killed };
        cx.core.effects.push(Effect::Close { index: index as u32, reason });
        killed_count += 1;
    }
    Ok(Part::new(killed_count))
}

pub(super) fn kill_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let killed_count: usize = parts.into_iter().map(|part| part.take::<usize>()).sum();
    match (args.len(), killed_count) {
        (3, 0) => return Err(CommandError::text_static("ERR No such client")),
        (3, _) => cx.reply.ok(),
        _ => cx.reply.integer(killed_count as i64),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::command::client::Endpoint;
    use crate::resp::ArgsBuf;

    fn client(id: u64) -> Client {
        let endpoint = |port: u16| Endpoint::Tcp(([127, 0, 0, 1], port).into());
        Client::new(id, 0, 9, endpoint(1000), endpoint(6379), UnixMillis(5_500))
    }

    fn args(line: &str) -> ArgsBuf {
        ArgsBuf::from_iter(line.split(' '))
    }

    fn kills(line: &str, caller: u64) -> Result<bool, String> {
        let args = args(line);
        let filter = Filter::parse(&args.as_args()).map_err(|error| error.text().into_owned())?;
        Ok(filter.matches(&client(7), caller))
    }

    #[test]
    fn kill_matches_by_every_filter_given() {
        for (line, killed) in [
            ("client kill 127.0.0.1:1000", true),
            ("client kill 127.0.0.1:1001", false),
            ("client kill id 7", true),
            ("client kill ID 8", false),
            ("client kill addr 127.0.0.1:1000 laddr 127.0.0.1:6379", true),
            ("client kill addr 127.0.0.1:1000 laddr 127.0.0.1:1", false),
            ("client kill type normal user default", true),
            ("client kill type pubsub", false),
        ] {
            assert_eq!(kills(line, 1), Ok(killed), "{line}");
        }
    }

    #[test]
    fn kill_spares_the_caller_unless_told_or_asked_the_old_way() {
        assert_eq!(kills("client kill id 7", 7), Ok(false));
        assert_eq!(kills("client kill id 7 skipme no", 7), Ok(true));
        assert_eq!(kills("client kill 127.0.0.1:1000", 7), Ok(true));
    }

    #[test]
    fn kill_refuses_what_it_does_not_know() {
        assert_eq!(kills("client kill id 0", 1).unwrap_err(), "ERR client-id should be greater than 0");
        assert_eq!(kills("client kill type x", 1).unwrap_err(), "ERR Unknown client type 'x'");
        assert_eq!(kills("client kill user x", 1).unwrap_err(), "ERR No such user 'x'");
        assert_eq!(kills("client kill id 10 wrong_arg", 1).unwrap_err(), "ERR syntax error");
        assert_eq!(kills("client kill skipme maybe", 1).unwrap_err(), "ERR syntax error");
    }
}
