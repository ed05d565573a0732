//! INFO: what the node can tell about itself, in sections of `name:value` lines.
//!
//! `fields` is the table of what is shown, `figures` gathers it: each core copies its counters, and the core of the
//! connection merges the copies and writes the text.

pub mod fields;
mod figures;

pub use figures::{DatabaseFigures, Figures, Share, Wanted, human, ratio};

use super::context::Context;
use super::error::CommandError;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::resp::Args;
use fields::{FIELDS, Field, Section, Show};

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "info",
    arity: Arity::AtLeast(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::DANGEROUS),
    keys: Keys::None,
    group: Group::Server,
    since: "1.0.0",
    summary: "Tells about the node and counts what it has done.",
    complexity: "O(1)",
    syntax: "[section [section ...]]",
    run: Run::OnEveryCore { part: info_part, merge: info_merge },
}];

/// Which sections the arguments ask for. Names that are no section ask for nothing.
fn sections(args: &Args<'_>) -> Vec<Section> {
    let asked: Vec<&[u8]> = args.iter().skip(1).collect();
    let has = |name: &str| asked.iter().any(|argument| argument.eq_ignore_ascii_case(name.as_bytes()));
    let all = has("all") || has("everything");
    let default = asked.is_empty() || has("default");
    let wanted = |section: &Section| {
        all && section.is_in_all()
            || default && section.is_default()
            || asked.iter().any(|argument| section.is_named(argument))
    };
    Section::ALL.into_iter().filter(wanted).collect()
}

/// INFO [section ...], one core's share.
fn info_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let sections = sections(args);
    let wanted = Wanted {
        commands: sections.contains(&Section::Commandstats),
        latencies: sections.contains(&Section::Latencystats),
        tables: false,
    };
    Ok(Share::of(cx, wanted).part())
}

fn info_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let figures = Figures::merge(cx.core, parts);
    let texts: Vec<String> = sections(args).into_iter().map(|section| section_text(section, &figures)).collect();
    cx.reply.verbatim("txt", texts.join("\r\n").as_bytes());
    Ok(())
}

fn section_text(section: Section, figures: &Figures<'_>) -> String {
    let mut text = format!("# {}\r\n", section.title());
    for field in FIELDS.iter().filter(|field| field.section == section) {
        append(field, figures, &mut text);
    }
    text
}

fn append(field: &Field, figures: &Figures<'_>, text: &mut String) {
    let mut line = |value: &str| {
        for part in [field.name, ":", value, "\r\n"] {
            text.push_str(part);
        }
    };
    match field.show {
        Show::Is(value) => line(&value(figures)),
        Show::Maybe(value) => {
            if let Some(value) = value(figures) {
                line(&value);
            }
        }
        Show::OfPrimary(value) => {
            let primary = figures.replication.upstream.as_ref();
            if let Some(value) = primary.and_then(|primary| value(figures, primary)) {
                line(&value);
            }
        }
        Show::Until(value, _) | Show::Always(value, _) => line(value),
        Show::Lines(lines) => {
            for line in lines(figures) {
                text.push_str(&line);
                text.push_str("\r\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    fn titles(arguments: &[&str]) -> Vec<&'static str> {
        let args: ArgsBuf = std::iter::once(&"info").chain(arguments).collect();
        sections(&args.as_args()).into_iter().map(Section::title).collect()
    }

    #[test]
    fn arguments_choose_sections_once_and_in_order() {
        assert_eq!(titles(&["keyspace", "CPU", "cpu", "nonsense"]), ["CPU", "Keyspace"]);
        assert_eq!(titles(&[]), titles(&["default"]));
        assert_eq!(titles(&[]).len(), 11);
        assert_eq!(titles(&["all"]), titles(&["everything"]));
        assert_eq!(titles(&["all", "cpu"]).len(), 14);
        assert_eq!(titles(&["all", "debug"]).len(), 15);
        assert_eq!(titles(&["CORES"]), ["Cores"]);
        assert_eq!(titles(&["default", "commandstats"]).len(), 12);
        assert_eq!(titles(&["sentinel"]), Vec::<&str>::new());
    }
}
