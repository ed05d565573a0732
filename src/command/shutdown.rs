//! SHUTDOWN: ends the node.

use super::arguments::is_word;
use super::context::Context;
use super::core::{Core, Effect, ShutdownOptions};
use super::error::CommandError;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config;
use crate::resp::Args;

const FLAGS: Flags = Flags::ADMIN
    .and(Flags::NOSCRIPT)
    .and(Flags::LOADING)
    .and(Flags::STALE)
    .and(Flags::NO_MULTI)
    .and(Flags::ALLOW_BUSY)
    .and(Flags::LATE);

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "shutdown",
    arity: Arity::AtLeast(1),
    flags: FLAGS,
    keys: Keys::None,
    group: Group::Server,
    since: "1.0.0",
    summary: "Ends the node, saving the data first if it is told or configured to.",
    complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
    syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
    run: Run::OnFirstCore(shutdown),
}];

/// What the arguments ask for: None is ABORT.
fn options(args: &Args<'_>) -> Result<Option<ShutdownOptions>, CommandError> {
    let (mut options, mut abort) = (ShutdownOptions::default(), false);
    for word in args.iter().skip(1) {
        match () {
            () if is_word(word, "NOSAVE") && options.save != Some(true) => options.save = Some(false),
            () if is_word(word, "SAVE") && options.save != Some(false) => options.save = Some(true),
            () if is_word(word, "NOW") => options.now = true,
            () if is_word(word, "FORCE") => options.force = true,
            () if is_word(word, "ABORT") => abort = true,
            () => return Err(CommandError::Syntax),
        }
    }
    match abort {
        true if options != ShutdownOptions::default() => Err(CommandError::Syntax),
        true => Ok(None),
        false => Ok(Some(options)),
    }
}

/// What SIGINT and SIGTERM ask for: `shutdown-on-sigint`, `shutdown-on-sigterm`.
pub fn by_signal(options: config::ShutdownOptions) -> ShutdownOptions {
    let save = (options.save || options.nosave).then_some(options.save);
    ShutdownOptions { now: options.now, force: options.force, save }
}

/// Whether the data would be in a file: with `appendonly yes` they are in none before the first rewrite has ended, nor would a start
/// look into a snapshot. Said on core 0, before the node begins to end.
pub fn may_end(core: &mut Core, options: ShutdownOptions) -> bool {
    if !core.config.appendonly || !core.node().persistence.append_only.awaits_base() {
        return true;
    }
    match options.force {
        true => tracing::warn!("Writing initial AOF. Exit anyway."),
        false => {
            tracing::warn!("Writing initial AOF, can't exit.");
            log_failure();
        }
    }
    options.force
}

/// Says that the node goes on because its data would be lost.
pub fn log_failure() {
    tracing::warn!("Errors trying to shut down the server. Check the logs for more information.");
}

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]: no reply but the end of the connection.
///
/// With save points the data are saved first, or with SAVE. A node that cannot save, or whose first append-only files are being made,
/// does not end, unless FORCE says so; then this has a reply.
fn shutdown(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let Some(options) = options(args)? else {
        if !cx.core.node().persistence.saving.is_shutting_down() {
            return Err(CommandError::text_static("ERR No shutdown in progress."));
        }
        cx.core.effects.push(Effect::CallShutdownOff);
        cx.reply.ok();
        return Ok(());
    };
    if cx.core.is_busy() && options.save != Some(false) {
        return Err(cx.core.busy_error());
    }
    tracing::info!("User requested shutdown...");
    if !may_end(cx.core, options) {
        return Err(CommandError::text_static("ERR Errors trying to SHUTDOWN. Check logs."));
    }
    cx.core.effects.push(Effect::Shutdown(options));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    fn parse(line: &str) -> Result<Option<ShutdownOptions>, CommandError> {
        let args: ArgsBuf = line.split(' ').collect();
        options(&args.as_args())
    }

    #[test]
    fn words_that_contradict_each_other_are_a_syntax_error() {
        for line in
            ["shutdown save nosave", "shutdown nosave SAVE", "shutdown abort now", "shutdown x", "shutdown now abort"]
        {
            assert_eq!(parse(line), Err(CommandError::Syntax), "{line}");
        }
        assert_eq!(parse("shutdown ABORT"), Ok(None));
        assert_eq!(parse("shutdown"), Ok(Some(ShutdownOptions::default())));
        let all = ShutdownOptions { now: true, force: true, save: Some(true) };
        assert_eq!(parse("shutdown save save now FORCE"), Ok(Some(all)));
    }
}
