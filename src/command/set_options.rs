//! The options of SET and GETEX, and the times that they name. Called by `strings`; changes nothing.

use super::arguments::{integer, is_word};
use super::error::CommandError;
use crate::base::clock::UnixMillis;
use crate::resp::Args;

/// How an expiry was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clause {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Unix seconds.
    ExAt,
    /// Unix milliseconds.
    PxAt,
}

impl Clause {
    const ALL: [(Clause, &'static str); 4] =
        [(Clause::Ex, "EX"), (Clause::Px, "PX"), (Clause::ExAt, "EXAT"), (Clause::PxAt, "PXAT")];

    fn named(option: &[u8]) -> Option<Clause> {
        Clause::ALL.iter().find(|(_, name)| is_word(option, name)).map(|(clause, _)| *clause)
    }

    fn is_seconds(self) -> bool {
        matches!(self, Clause::Ex | Clause::ExAt)
    }

    /// The moment does not depend on when the command came.
    pub fn is_absolute(self) -> bool {
        matches!(self, Clause::ExAt | Clause::PxAt)
    }

    /// The moment that `argument` names.
    ///
    /// # Errors
    /// `NotAnInteger`; `InvalidExpire` of `command` for what is not positive or lies beyond the range.
    pub fn deadline(self, argument: &[u8], now: UnixMillis, command: &'static str) -> Result<UnixMillis, CommandError> {
        let number = integer(argument)?;
        let scaled = if self.is_seconds() { number.checked_mul(1000) } else { Some(number) };
        let base = if self.is_absolute() { 0 } else { now.get() };
        scaled
            .filter(|_| number > 0)
            .and_then(|millis| millis.checked_add(base))
            .map(UnixMillis)
            .ok_or(CommandError::InvalidExpire(command))
    }
}

/// What SET and GETEX were asked for beyond the value.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Only when the key is not there.
    pub nx: bool,
    /// Only when the key is there.
    pub xx: bool,
    /// Answer the old value.
    pub get: bool,
    pub keep_ttl: bool,
    /// Remove the expiry (GETEX).
    pub persist: bool,
    /// The clause and its argument, not read yet.
    pub expiry: Option<(Clause, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// Options of SET, which begin at the fourth argument.
    ///
    /// # Errors
    /// `Syntax` for anything unknown or contradictory. The same option twice is none.
    pub fn of_set(args: &Args<'a>) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut index = 3;
        while let Some(option) = args.get(index) {
            index += 1;
            if is_word(option, "NX") && !options.xx {
                options.nx = true;
            } else if is_word(option, "XX") && !options.nx {
                options.xx = true;
            } else if is_word(option, "GET") {
                options.get = true;
            } else if is_word(option, "KEEPTTL") && options.expiry.is_none() {
                options.keep_ttl = true;
            } else {
                options.take_expiry(option, args.get(index))?;
                index += 1;
            }
        }
        Ok(options)
    }

    /// Options of GETEX, which begin at the third argument.
    ///
    /// # Errors
    /// As for [`Options::of_set`].
    pub fn of_getex(args: &Args<'a>) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut index = 2;
        while let Some(option) = args.get(index) {
            index += 1;
            if is_word(option, "PERSIST") && options.expiry.is_none() {
                options.persist = true;
            } else {
                options.take_expiry(option, args.get(index))?;
                index += 1;
            }
        }
        Ok(options)
    }

    /// An expiry may be repeated by the same clause: the last one counts.
    fn take_expiry(&mut self, option: &[u8], argument: Option<&'a [u8]>) -> Result<(), CommandError> {
        let clause = Clause::named(option).ok_or(CommandError::Syntax)?;
        let argument = argument.ok_or(CommandError::Syntax)?;
        let other_clause = self.expiry.is_some_and(|(before, _)| before != clause);
        if self.keep_ttl || self.persist || other_clause {
            return Err(CommandError::Syntax);
        }
        self.expiry = Some((clause, argument));
        Ok(())
    }

    /// The moment of the expiry clause, if there is one.
    ///
    /// # Errors
    /// As for [`Clause::deadline`].
    pub fn deadline(&self, now: UnixMillis, command: &'static str) -> Result<Option<UnixMillis>, CommandError> {
        self.expiry.map(|(clause, argument)| clause.deadline(argument, now, command)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn set(line: &str) -> Result<Option<UnixMillis>, CommandError> {
        let args: ArgsBuf = line.split(' ').collect();
        Options::of_set(&args.as_args())?.deadline(NOW, "set")
    }

    #[test]
    fn options_that_contradict_each_other_are_a_syntax_error() {
        for line in [
            "set k v nx xx",
            "set k v ex 1 px 1",
            "set k v ex 1 keepttl",
            "set k v keepttl ex 1",
            "set k v ex",
            "set k v persist",
            "set k v 10",
        ] {
            assert_eq!(set(line), Err(CommandError::Syntax), "{line}");
        }
        let persist: ArgsBuf = ["getex", "k", "persist", "ex", "1"].iter().collect();
        assert_eq!(Options::of_getex(&persist.as_args()).err(), Some(CommandError::Syntax));
    }

    #[test]
    fn the_same_option_may_come_twice_and_the_last_expiry_counts() {
        assert_eq!(set("set k v nx NX get GET ex 1 EX 2"), Ok(Some(NOW.plus(2000))));
        assert_eq!(set("set k v keepttl keepttl"), Ok(None));
    }

    #[test]
    fn times_outside_of_the_range_are_refused_with_the_name_of_the_command() {
        let refused = Err(CommandError::InvalidExpire("set"));
        for line in [
            "set k v ex 0",
            "set k v px -1",
            "set k v ex 9223372036854775",
            "set k v ex 9223372036854776",
            "set k v px 9223372036854775807",
            "set k v exat 9223372036854776",
        ] {
            assert_eq!(set(line), refused, "{line}");
        }
        assert_eq!(set("set k v pxat 9223372036854775807"), Ok(Some(UnixMillis(i64::MAX))));
        assert_eq!(set("set k v exat 9223372036854775"), Ok(Some(UnixMillis(9_223_372_036_854_775_000))));
        assert_eq!(set("set k v ex 1.5"), Err(CommandError::NotAnInteger));
    }
}
