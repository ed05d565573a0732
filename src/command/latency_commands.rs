//! LATENCY: what the latency monitor has seen on all cores, and how long commands take.

use std::collections::BTreeSet;

use hdrhistogram::Histogram;

use super::context::Context;
use super::error::CommandError;
use super::latency::LatencyEvents;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use super::stats::CoreStats;
use super::table::{CommandId, table};
use crate::resp::{Args, Reply};

mod doctor;
mod graph;

/// The first step of a histogram that is shown, in ns; each next one is twice as long.
const FIRST_STEP_NS: u64 = 1024;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

const fn row(name: &'static str, arity: Arity, summary: &'static str, syntax: &'static str, run: Run) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        flags: ADMIN,
        keys: Keys::None,
        group: Group::Server,
        since: "2.8.13",
        summary,
        complexity: "O(1)",
        syntax,
        run,
    }
}

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        flags: Flags::NONE,
        complexity: "Depends on subcommand.",
        ..row("latency", Arity::AtLeast(2), "Shows what took long.", "", Run::Container)
    },
    row("latency|doctor", Arity::Exactly(2), "Explains what took long and what may help.", "", on_events(doctor)),
    row("latency|graph", Arity::Exactly(3), "Draws how long an event took.", "event", on_events(graph)),
    CommandSpec {
        flags: Flags::LOADING.and(Flags::STALE),
        ..row("latency|help", Arity::Exactly(2), "Explains the subcommands of LATENCY.", "", Run::OnConnection(help))
    },
    CommandSpec {
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands with latency information being retrieved.",
        ..row(
            "latency|histogram",
            Arity::AtLeast(2),
            "Shows how the durations of commands are distributed.",
            "[command [command ...]]",
            Run::OnEveryCore { part: histogram_part, merge: histogram_merge },
        )
    },
    row("latency|history", Arity::Exactly(3), "Lists how long an event took and when.", "event", on_events(history)),
    row("latency|latest", Arity::Exactly(2), "Shows the last sample of each event.", "", on_events(latest)),
    row(
        "latency|reset",
        Arity::AtLeast(2),
        "Forgets the samples of some or all events.",
        "[event [event ...]]",
        Run::OnEveryCore { part: reset_part, merge: reset_merge },
    ),
];

const fn on_events(merge: fn(&mut Context<'_>, &Args<'_>, Vec<Part>) -> CommandResult) -> Run {
    Run::OnEveryCore { part: events_part, merge }
}

fn events_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    Ok(Part::new(cx.core.latency.clone()))
}

fn merged(parts: Vec<Part>) -> LatencyEvents {
    let mut events = LatencyEvents::default();
    parts.into_iter().for_each(|part| events.merge(part.take()));
    events
}

/// LATENCY HISTORY event.
fn history(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let events = merged(parts);
    let samples = event_name(args).and_then(|event| events.get(event)).map_or(&[][..], |series| &series.samples);
    cx.reply.array(samples.len());
    for (second, ms) in samples {
        cx.reply.array(2);
        cx.reply.integer(*second);
        cx.reply.integer(ms.cast_signed());
    }
    Ok(())
}

fn event_name<'a>(args: &Args<'a>) -> Option<&'a str> {
    std::str::from_utf8(args.get(2)?).ok()
}

/// LATENCY LATEST.
fn latest(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let events = merged(parts);
    cx.reply.array(events.events().count());
    for (name, series) in events.events() {
        let (second, ms) = series.samples.last().copied().unwrap_or_default();
        cx.reply.array(4);
        cx.reply.bulk(name.as_bytes());
        cx.reply.integer(second);
        cx.reply.integer(ms.cast_signed());
        cx.reply.integer(series.longest_ms.cast_signed());
    }
    Ok(())
}

/// LATENCY GRAPH event.
fn graph(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let events = merged(parts);
    let found = event_name(args).and_then(|event| Some((event, events.get(event)?)));
    let Some((event, series)) = found else {
        let event = String::from_utf8_lossy(&args[2]);
        return Err(CommandError::formatted(format!("ERR No samples available for event '{event}'")));
    };
    let text = graph::draw(event, series, cx.core.clock.unix().seconds());
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// LATENCY DOCTOR.
fn doctor(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let events = merged(parts);
    let text = doctor::report(&events, &cx.core.config, cx.core.clock.unix().seconds());
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// LATENCY RESET [event ...], one core's share: the names of the events that it had.
fn reset_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let asked: Vec<&[u8]> = args.iter().skip(2).collect();
    let is_asked =
        |name: &str| asked.is_empty() || asked.iter().any(|event| event.eq_ignore_ascii_case(name.as_bytes()));
    let found: Vec<String> =
        cx.core.latency.events().map(|(name, _)| name.to_owned()).filter(|name| is_asked(name)).collect();
    for name in &found {
        cx.core.latency.remove(name);
    }
    Ok(Part::new(found))
}

fn reset_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let events: BTreeSet<String> = parts.into_iter().flat_map(Part::take::<Vec<String>>).collect();
    cx.reply.integer(events.len() as i64);
    Ok(())
}

/// LATENCY HISTOGRAM [command ...], one core's share.
fn histogram_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    Ok(Part::new(cx.core.stats.copy(true, true)))
}

fn histogram_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let mut stats = CoreStats::new(table().len());
    parts.into_iter().for_each(|part| stats.merge(&part.take()));
    let shown: Vec<CommandId> = if args.len() == 2 {
        table().rows().map(|(id, _)| id).collect()
    } else {
        args.iter().skip(2).filter_map(|name| table().find_full(name)).flat_map(with_subcommands).collect()
    };
    let map = cx.reply.begin_map();
    let mut count = 0;
    for id in shown {
        if let Some(latency) = &stats.commands[id.index()].latency {
            cx.reply.bulk(id.spec().name.as_bytes());
            distribution(&mut cx.reply, latency);
            count += 1;
        }
    }
    cx.reply.finish(map, count);
    Ok(())
}

fn with_subcommands(id: CommandId) -> Vec<CommandId> {
    std::iter::once(id).chain(table().subcommands(id).map(|(sub, _)| sub)).collect()
}

/// How many calls took at most so many microseconds, in steps that double; steps without a call are left out.
fn distribution(reply: &mut Reply<'_>, latency: &Histogram<u32>) {
    let total = latency.len();
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(total.cast_signed());
    reply.bulk(b"histogram_usec");
    let map = reply.begin_map();
    let (mut steps, mut before, mut step_ns) = (0, 0, FIRST_STEP_NS);
    while before < total {
        let calls = latency.count_between(0, step_ns);
        if calls > before {
            reply.integer((latency.highest_equivalent(step_ns) / 1000).cast_signed());
            reply.integer(calls.cast_signed());
            steps += 1;
        }
        before = calls;
        step_ns = step_ns.saturating_mul(2);
    }
    reply.finish(map, steps);
}

/// LATENCY HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "LATENCY",
        &[
            "DOCTOR",
            "    Explain in words what took long and what may help.",
            "GRAPH <event>",
            "    Draw the samples of an event.",
            "HISTORY <event>",
            "    List the samples of an event with their times.",
            "LATEST",
            "    Show the last sample and the worst one of each event.",
            "RESET [<event> ...]",
            "    Forget the samples of these events, or of all.",
            "HISTOGRAM [COMMAND ...]",
            "    Show how long the calls of these commands, or of all, have taken: how many took at most",
            "    so many microseconds.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{ReplyBuffer, RespVersion};

    #[test]
    fn a_distribution_counts_up_in_doubling_steps() {
        let mut latency = Histogram::<u32>::new_with_bounds(1, 1_000_000_000, 2).unwrap();
        for ns in [500, 900, 3000, 40_000, 1_000_000_000] {
            latency.record(ns).unwrap();
        }
        let mut buffer = ReplyBuffer::new();
        distribution(&mut Reply::new(&mut buffer, RespVersion::V2), &latency);
        let text = String::from_utf8(buffer.to_vec()).unwrap();
        let steps = [":1\r\n:2\r\n", ":4\r\n:3\r\n", ":66\r\n:4\r\n", ":1082130\r\n:5\r\n"].concat();
        assert_eq!(text, format!("*4\r\n$5\r\ncalls\r\n:5\r\n$14\r\nhistogram_usec\r\n*8\r\n{steps}"));
    }
}
