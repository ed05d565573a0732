//! When keys expire: setting it, asking for it, taking it back.

use super::arguments::{integer, is_word};
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::clock::UnixMillis;
use crate::config::NotifyFlags;
use crate::keyspace::Digits;
use crate::resp::Args;

/// Milliseconds of the unit in which a command counts.
const SECONDS: i64 = 1000;
const MILLISECONDS: i64 = 1;

/// EXPIRE key seconds [NX | XX | GT | LT].
fn expire(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let now = cx.core.keyspace.now();
    set_expiry(cx, args, now, SECONDS, "expire")
}

/// PEXPIRE key milliseconds [NX | XX | GT | LT].
fn pexpire(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let now = cx.core.keyspace.now();
    set_expiry(cx, args, now, MILLISECONDS, "pexpire")
}

/// EXPIREAT key unix-seconds [NX | XX | GT | LT].
fn expireat(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    set_expiry(cx, args, UnixMillis(0), SECONDS, "expireat")
}

/// PEXPIREAT key unix-milliseconds [NX | XX | GT | LT].
fn pexpireat(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    set_expiry(cx, args, UnixMillis(0), MILLISECONDS, "pexpireat")
}

/// What the new expiry must satisfy, beside the one that the key has.
#[derive(Clone, Copy, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: &Args<'_>) -> Result<Conditions, CommandError> {
        let mut conditions = Conditions::default();
        for option in args.iter().skip(3) {
            match () {
                _ if is_word(option, "NX") => conditions.nx = true,
                _ if is_word(option, "XX") => conditions.xx = true,
                _ if is_word(option, "GT") => conditions.gt = true,
                _ if is_word(option, "LT") => conditions.lt = true,
                _ => return Err(CommandError::quoting("ERR Unsupported option ", option, "")),
            }
        }
        let Conditions { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(CommandError::text_static(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(CommandError::text_static("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// A key without an expiry lives forever: nothing is greater.
    fn allow(self, current: Option<UnixMillis>, new: UnixMillis) -> bool {
        match current {
            None => !self.xx && !self.gt,
            Some(current) => !self.nx && (!self.gt || new > current) && (!self.lt || new < current),
        }
    }
}

/// Sets the expiry to `base` plus the second argument; one that has passed removes the key. Answers 1 when it did.
fn set_expiry(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    base: UnixMillis,
    unit_ms: i64,
    command: &'static str,
) -> CommandResult {
    let conditions = Conditions::parse(args)?;
    let deadline = integer(&args[2])?
        .checked_mul(unit_ms)
        .and_then(|millis| millis.checked_add(base.get()))
        .map(UnixMillis)
        .ok_or(CommandError::InvalidExpire(command))?;
    let (now, removes_expired) = (cx.core.keyspace.now(), cx.core.removes_expired());
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let allowed = entry.exists() && conditions.allow(entry.expiry(), deadline);
    if allowed {
        // What is loaded keeps its keys until the journal, or active expiry later, takes them.
        let is_past = deadline <= now && removes_expired;
        if is_past {
            entry.remove();
        } else {
            entry.set_expiry(Some(deadline));
        }
        cx.notify(NotifyFlags::GENERIC, if is_past { "del" } else { "expire" }, &args[1]);
        if cx.journals() {
            journal_expiry(cx, args, deadline, is_past);
        }
    }
    cx.reply.integer(i64::from(allowed));
    Ok(())
}

/// All forms are recorded as PEXPIREAT, with the conditions that were met.
#[cold]
fn journal_expiry(cx: &mut Context<'_>, args: &Args<'_>, deadline: UnixMillis, is_past: bool) {
    if is_past {
        let in_background = cx.core.config.lazyfree_lazy_expire;
        cx.journal_as_removal(&args[1], in_background);
    } else if is_word(&args[0], "PEXPIREAT") {
        cx.journal_with(args, &[]);
    } else {
        cx.journal_with(args, &[(0, b"PEXPIREAT"), (2, Digits::new().format(deadline.get()).as_bytes())]);
    }
}

/// PERSIST key: whether an expiry was there to be removed.
fn persist(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let persisted = cx.core.keyspace.write(cx.caller.db as usize, key).set_expiry(None);
    cx.reply.integer(i64::from(persisted));
    if persisted {
        cx.notify(NotifyFlags::GENERIC, "persist", &args[1]);
    }
    Ok(())
}

/// TTL key.
fn ttl(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let now = cx.core.keyspace.now();
    reply_expiry(cx, args, |expiry| rounded_seconds(expiry.since(now).max(0)))
}

/// PTTL key.
fn pttl(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let now = cx.core.keyspace.now();
    reply_expiry(cx, args, |expiry| expiry.since(now).max(0))
}

/// EXPIRETIME key.
fn expiretime(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    reply_expiry(cx, args, |expiry| rounded_seconds(expiry.get().max(0)))
}

/// PEXPIRETIME key.
fn pexpiretime(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    reply_expiry(cx, args, |expiry| expiry.get().max(0))
}

/// The nearest second. Wraps at the end of the range, where Redis's sum does.
fn rounded_seconds(millis: i64) -> i64 {
    millis.wrapping_add(SECONDS / 2) / SECONDS
}

/// -2 without the key, -1 without an expiry.
fn reply_expiry(cx: &mut Context<'_>, args: &Args<'_>, answer: impl FnOnce(UnixMillis) -> i64) -> CommandResult {
    let key = cx.key(&args[1]);
    let number = match cx.core.keyspace.inspect(cx.caller.db as usize, key) {
        None => -2,
        Some(info) => info.expiry.map_or(-1, answer),
    };
    cx.reply.integer(number);
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "expire",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Generic,
        since: "1.0.0",
        summary: "Sets how many seconds a key has to live.",
        complexity: "O(1)",
        syntax: "key seconds [NX | XX | GT | LT]",
        run: Run::OnOwner(expire),
    },
    CommandSpec {
        name: "pexpire",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Generic,
        since: "2.6.0",
        summary: "Sets how many milliseconds a key has to live.",
        complexity: "O(1)",
        syntax: "key milliseconds [NX | XX | GT | LT]",
        run: Run::OnOwner(pexpire),
    },
    CommandSpec {
        name: "expireat",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Generic,
        since: "1.2.0",
        summary: "Sets the Unix time in seconds at which a key expires.",
        complexity: "O(1)",
        syntax: "key unix-time-seconds [NX | XX | GT | LT]",
        run: Run::OnOwner(expireat),
    },
    CommandSpec {
        name: "pexpireat",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Generic,
        since: "2.6.0",
        summary: "Sets the Unix time in milliseconds at which a key expires.",
        complexity: "O(1)",
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
        run: Run::OnOwner(pexpireat),
    },
    CommandSpec {
        name: "ttl",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::Generic,
        since: "1.0.0",
        summary: "Returns how many seconds a key has to live.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(ttl),
    },
    CommandSpec {
        name: "pttl",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::Generic,
        since: "2.6.0",
        summary: "Returns how many milliseconds a key has to live.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(pttl),
    },
    CommandSpec {
        name: "expiretime",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::Generic,
        since: "7.0.0",
        summary: "Returns the Unix time in seconds at which a key expires.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(expiretime),
    },
    CommandSpec {
        name: "pexpiretime",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::Generic,
        since: "7.0.0",
        summary: "Returns the Unix time in milliseconds at which a key expires.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(pexpiretime),
    },
    CommandSpec {
        name: "persist",
        arity: Arity::Exactly(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Generic,
        since: "2.2.0",
        summary: "Removes the expiry of a key.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(persist),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    fn conditions(line: &str) -> Result<Conditions, CommandError> {
        let args: ArgsBuf = line.split(' ').collect();
        Conditions::parse(&args.as_args())
    }

    #[test]
    fn a_key_without_expiry_is_greater_than_any() {
        let new = UnixMillis(5);
        for (option, none, before, same, after) in [
            ("nx", true, false, false, false),
            ("xx", false, true, true, true),
            ("gt", false, true, false, false),
            ("lt", true, false, false, true),
            ("xx lt", false, false, false, true),
        ] {
            let allow = |current: Option<i64>| {
                conditions(&format!("expire k 1 {option}")).unwrap().allow(current.map(UnixMillis), new)
            };
            let answers = [allow(None), allow(Some(4)), allow(Some(5)), allow(Some(6))];
            assert_eq!(answers, [none, before, same, after], "{option}");
        }
    }

    #[test]
    fn contradicting_conditions_are_named() {
        let text = |line| conditions(line).err().map(|error| error.text().into_owned());
        for line in ["expire k 1 nx xx", "expire k 1 gt nx", "expire k 1 LT NX GT"] {
            let expected = "ERR NX and XX, GT or LT options at the same time are not compatible";
            assert_eq!(text(line).as_deref(), Some(expected), "{line}");
        }
        let expected = "ERR GT and LT options at the same time are not compatible";
        assert_eq!(text("expire k 1 gt lt").as_deref(), Some(expected));
        assert_eq!(text("expire k 1 ab").as_deref(), Some("ERR Unsupported option ab"));
    }
}
