//! COMMAND: what the table of commands says, to clients that want to know.
//!
//! Everything follows from the rows, and from `facts` beside them; nothing here is about a single command.

use super::arguments::is_word;
use super::context::Context;
use super::error::CommandError;
use super::facts;
use super::gate::{key_indexes, keys_count};
use super::spec::{Access, Arity, CATEGORIES, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::syntax::{self, Argument, Kind};
use super::table::{CommandId, table};
use crate::base::glob;
use crate::resp::{Args, ArgsBuf, Reply};

const COMMAND: CommandSpec = CommandSpec {
    name: "command",
    arity: Arity::AtLeast(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::CONNECTION),
    keys: Keys::None,
    group: Group::Server,
    since: "2.8.13",
    summary: "Describes every command.",
    complexity: "O(N) where N is the number of commands",
    syntax: "",
    run: Run::ContainerOr(info),
};

pub const COMMANDS: &[CommandSpec] = &[
    COMMAND,
    CommandSpec {
        name: "command|count",
        arity: Arity::Exactly(2),
        summary: "Counts the commands.",
        complexity: "O(1)",
        run: Run::OnConnection(count),
        ..COMMAND
    },
    CommandSpec {
        name: "command|info",
        arity: Arity::AtLeast(2),
        summary: "Describes commands: arguments, flags, keys, categories.",
        complexity: "O(N) where N is the number of commands asked for",
        syntax: "[command-name [command-name ...]]",
        run: Run::OnConnection(info),
        ..COMMAND
    },
    CommandSpec {
        name: "command|list",
        arity: Arity::AtLeast(2),
        since: "7.0.0",
        summary: "Lists the names of commands.",
        syntax: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        run: Run::OnConnection(list),
        ..COMMAND
    },
    CommandSpec {
        name: "command|docs",
        arity: Arity::AtLeast(2),
        since: "7.0.0",
        summary: "Documents commands.",
        complexity: "O(N) where N is the number of commands asked for",
        syntax: "[command-name [command-name ...]]",
        run: Run::OnConnection(docs),
        ..COMMAND
    },
    CommandSpec {
        name: "command|getkeys",
        arity: Arity::AtLeast(3),
        summary: "Finds the keys of a command with its arguments.",
        complexity: "O(N) where N is the number of arguments",
        syntax: "command [arg ...]",
        run: Run::OnConnection(get_keys),
        ..COMMAND
    },
    CommandSpec {
        name: "command|getkeysandflags",
        arity: Arity::AtLeast(3),
        since: "7.0.0",
        summary: "Finds the keys of a command and what it does with each.",
        complexity: "O(N) where N is the number of arguments",
        syntax: "command [arg ...]",
        run: Run::OnConnection(get_keys_and_flags),
        ..COMMAND
    },
    CommandSpec {
        name: "command|help",
        arity: Arity::Exactly(2),
        since: "5.0.0",
        summary: "Lists the sub-commands.",
        complexity: "O(1)",
        run: Run::OnConnection(help),
        ..COMMAND
    },
];

/// Every command that is no sub-command.
fn top_level() -> impl Iterator<Item = CommandId> {
    table().rows().filter(|(_, row)| row.sub_name().is_none()).map(|(id, _)| id)
}

fn count(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.integer(top_level().count() as i64);
    Ok(())
}

/// COMMAND and COMMAND INFO [command-name ...].
fn info(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if args.len() <= 2 {
        cx.reply.array(top_level().count());
        top_level().for_each(|command| describe(&mut cx.reply, command));
        return Ok(());
    }
    cx.reply.array(args.len() - 2);
    for name in args.iter().skip(2) {
        match table().find_full(name) {
            Some(command) => describe(&mut cx.reply, command),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

/// The ten elements of COMMAND INFO.
fn describe(reply: &mut Reply<'_>, command: CommandId) {
    let spec = command.spec();
    let specs = key_specs(spec);
    let (first, last, step) = legacy_keys(&specs);
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(spec.arity.wire());
    let flags: Vec<&str> = shown_flags(spec, &specs).names().collect();
    words(reply, &flags);
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    words(reply, &spec.categories());
    let tips = facts::tips(spec.name);
    reply.set(tips.len());
    tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(specs.len());
    specs.iter().for_each(|keys| describe_keys(reply, keys));
    let subcommands: Vec<CommandId> = table().subcommands(command).map(|(id, _)| id).collect();
    if subcommands.is_empty() {
        return reply.set(0);
    }
    reply.array(subcommands.len());
    subcommands.into_iter().for_each(|sub| describe(reply, sub));
}

/// A set of status replies.
fn words(reply: &mut Reply<'_>, words: &[&str]) {
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(word));
}

// ---- where the keys are -------------------------------------------------------------------------------------------------

/// One key specification: where the search begins, and how it goes on from there.
struct KeySpec {
    access: Access,
    begin: Begin,
    find: Find,
}

/// Where the search begins.
enum Begin {
    /// At this argument.
    At(usize),
    /// Behind a word, which stands at this argument, counted from the end when negative, or later.
    Behind(&'static str, isize),
    /// That cannot be told beforehand.
    Unknown,
}

enum Find {
    /// `last` counts from the beginning, or from the end of the arguments when negative.
    Range {
        last: isize,
        step: usize,
    },
    /// The first half of what follows.
    FirstHalf,
    /// The count stands where the search begins, the keys behind it.
    Counted,
    Unknown,
}

fn key_specs(spec: &CommandSpec) -> Vec<KeySpec> {
    let at = |at, access| KeySpec { access, begin: Begin::At(at), find: Find::Range { last: 0, step: 1 } };
    match spec.keys {
        Keys::None | Keys::SlotNumber(_) => Vec::new(),
        Keys::At(index, access) => vec![at(index, access)],
        Keys::Pair(index, first, second) => vec![at(index, first), at(index + 1, second)],
        Keys::Range { first, last, step, access } => {
            let last = if last < 0 { last } else { last - first as isize };
            vec![KeySpec { access, begin: Begin::At(first), find: Find::Range { last, step } }]
        }
        Keys::Into(index, access) => {
            let sources = Find::Range { last: -1, step: 1 };
            vec![at(index, access), KeySpec { access: Access::READ, begin: Begin::At(index + 1), find: sources }]
        }
        Keys::Counted { count_at, access } => {
            vec![KeySpec { access, begin: Begin::At(count_at), find: Find::Counted }]
        }
        Keys::Behind { word, from, access, .. } => {
            vec![KeySpec { access, begin: Begin::Behind(word, from as isize), find: Find::FirstHalf }]
        }
        Keys::AtOrBehind { at: index, word, from, access, behind, .. } => {
            let find = Find::Range { last: -1, step: 1 };
            vec![at(index, access), KeySpec { access: behind, begin: Begin::Behind(word, from), find }]
        }
        Keys::AtAndFound { at: index, access, more, .. } => {
            let unknown = |access: &Access| KeySpec { access: *access, begin: Begin::Unknown, find: Find::Unknown };
            std::iter::once(at(index, access)).chain(more.iter().map(unknown)).collect()
        }
        Keys::IntoCounted { into, count_at } => {
            let sources = KeySpec { access: Access::READ, begin: Begin::At(count_at), find: Find::Counted };
            vec![at(into, Access::WRITE), sources]
        }
        Keys::AndStore { from } => {
            let behind = |word| {
                let find = Find::Range { last: 0, step: 1 };
                KeySpec { access: Access::WRITE, begin: Begin::Behind(word, from as isize), find }
            };
            vec![at(1, Access::READ), behind("STORE"), behind("STOREDIST")]
        }
        Keys::Found { access, .. } => vec![KeySpec { access, begin: Begin::Unknown, find: Find::Unknown }],
    }
}

/// First key, last key and step, for clients older than key specifications: one range, or ranges in a row with
/// step 1; zeros when there is none.
fn legacy_keys(specs: &[KeySpec]) -> (i64, i64, i64) {
    let mut ranges = specs.iter().filter_map(|keys| match (&keys.begin, &keys.find) {
        (Begin::At(begin), Find::Range { last, step }) => {
            let last = if *last < 0 { *last } else { *last + *begin as isize };
            Some((*begin as i64, last as i64, *step as i64))
        }
        _ => None,
    });
    let Some((first, mut last, step)) = ranges.next() else { return (0, 0, 0) };
    for (_, next_last, _) in ranges {
        last = next_last;
    }
    (first, last, step)
}

/// The row's flags, and `movablekeys` when the keys are not all in ranges.
fn shown_flags(spec: &CommandSpec, specs: &[KeySpec]) -> Flags {
    let is_movable = specs.iter().any(|keys| !matches!((&keys.begin, &keys.find), (Begin::At(_), Find::Range { .. })));
    if is_movable { spec.flags.and(Flags::MOVABLEKEYS) } else { spec.flags }
}

fn describe_keys(reply: &mut Reply<'_>, keys: &KeySpec) {
    reply.map(3);
    reply.bulk(b"flags");
    words(reply, keys.access.0);
    reply.bulk(b"begin_search");
    match keys.begin {
        Begin::At(index) => search(reply, "index", &[("index", index as i64)]),
        Begin::Behind(word, from) => {
            begin_search(reply, "keyword", 2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.integer(from as i64);
        }
        Begin::Unknown => search(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match keys.find {
        Find::Range { last, step } => {
            search(reply, "range", &[("lastkey", last as i64), ("keystep", step as i64), ("limit", 0)]);
        }
        Find::FirstHalf => search(reply, "range", &[("lastkey", -1), ("keystep", 1), ("limit", 2)]),
        Find::Counted => search(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]),
        Find::Unknown => search(reply, "unknown", &[]),
    }
}

fn search(reply: &mut Reply<'_>, kind: &str, numbers: &[(&str, i64)]) {
    begin_search(reply, kind, numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(*number);
    }
}

/// The kind of a search; its `length` details follow.
fn begin_search(reply: &mut Reply<'_>, kind: &str, length: usize) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(length);
}

fn get_keys(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let keys = find_keys(args)?;
    cx.reply.array(keys.len());
    keys.iter().for_each(|(index, _)| cx.reply.bulk(&args[index + 2]));
    Ok(())
}

fn get_keys_and_flags(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let keys = find_keys(args)?;
    cx.reply.array(keys.len());
    for (index, access) in keys {
        cx.reply.array(2);
        cx.reply.bulk(&args[index + 2]);
        words(&mut cx.reply, access.0);
    }
    Ok(())
}

/// The keys of the command in `args[2..]`: indexes into it, and what is done with each.
fn find_keys(args: &Args<'_>) -> Result<Vec<(usize, Access)>, CommandError> {
    let request: ArgsBuf = args.iter().skip(2).collect();
    let request = request.as_args();
    let command = lookup(&request).ok_or(CommandError::text_static("ERR Invalid command specified"))?;
    let spec = command.spec();
    if key_specs(spec).is_empty() {
        return Err(CommandError::text_static("ERR The command has no key arguments"));
    }
    if !spec.arity.accepts(request.len()) {
        return Err(CommandError::text_static("ERR Invalid number of arguments specified for command"));
    }
    let invalid = CommandError::text_static("ERR Invalid arguments specified for command");
    if !counts_fit(spec, &request) {
        return Err(invalid);
    }
    let indexes = match indexes_behind(spec, &request) {
        Some(indexes) => indexes,
        None => key_indexes(spec, &request).map_err(|_| invalid.clone())?,
    };
    if indexes.is_empty() && !spec.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(invalid);
    }
    Ok(indexes.into_iter().map(|index| (index, access_at(spec, &request, index))).collect())
}

/// The row of a request: the sub-command's where there is one.
fn lookup(request: &Args<'_>) -> Option<CommandId> {
    let command = table().find(request.get(0)?)?;
    match request.get(1) {
        Some(sub) if command.spec().run.is_container() => table().find_sub(command, sub),
        _ => Some(command),
    }
}

/// Are there as many keys as a `numkeys` says? What receives must have something to receive, though PFMERGE runs without.
fn counts_fit(spec: &CommandSpec, request: &Args<'_>) -> bool {
    match spec.keys {
        Keys::Into(at, _) => request.len() > at + 1,
        Keys::Counted { count_at, .. } | Keys::IntoCounted { count_at, .. } => keys_count(request, count_at).is_some(),
        _ => true,
    }
}

/// The keys behind a word as the key specification has them, which knows of no options: the word may also be a group's
/// name. `None` where it finds nothing.
fn indexes_behind(spec: &CommandSpec, request: &Args<'_>) -> Option<Vec<usize>> {
    let Keys::Behind { word, from, .. } = spec.keys else { return None };
    let at = request.iter().skip(from).position(|argument| is_word(argument, word))?;
    let first = from + at + 1;
    let keys_count = (request.len() - first) / 2;
    (keys_count > 0).then(|| (first..first + keys_count).collect())
}

fn access_at(spec: &CommandSpec, request: &Args<'_>, index: usize) -> Access {
    match spec.keys {
        // With GET it also reads, and that is all that is variable about it.
        Keys::At(_, Access::UPDATE_VARIABLE) if spec.name == "set" => {
            let gets = request.iter().skip(3).any(|option| option.eq_ignore_ascii_case(b"get"));
            if gets { Access::CHANGE_AND_RETURN } else { Access::WRITE }
        }
        // As long as all its operations read, BITFIELD does.
        Keys::At(_, Access::UPDATE_VARIABLE) if spec.name == "bitfield" => {
            if super::bitfield::only_reads(request) {
                Access::READ
            } else {
                Access::CHANGE_AND_RETURN
            }
        }
        Keys::At(_, access)
        | Keys::Range { access, .. }
        | Keys::Counted { access, .. }
        | Keys::Behind { access, .. }
        | Keys::AtOrBehind { access, .. }
        | Keys::Found { access, .. } => access,
        Keys::Pair(first, access, _) | Keys::Into(first, access) if index == first => access,
        Keys::Into(..) => Access::READ,
        Keys::AtAndFound { at, access, .. } if index == at => access,
        Keys::AtAndFound { access, more, .. } => more.last().copied().unwrap_or(access),
        Keys::Pair(_, _, access) => access,
        Keys::IntoCounted { into, .. } if index == into => Access::WRITE,
        Keys::AndStore { .. } if index > 1 => Access::WRITE,
        Keys::IntoCounted { .. } | Keys::AndStore { .. } => Access::READ,
        Keys::None | Keys::SlotNumber(_) => unreachable!("a row without keys has none to ask about"),
    }
}

// ---- LIST -----------------------------------------------------------------------------------------------------------------

/// Which names COMMAND LIST wants.
enum Filter<'a> {
    All,
    /// There are no modules.
    Module,
    Category(&'a [u8]),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(args: &Args<'a>) -> Result<Filter<'a>, CommandError> {
        let (Some(option), Some(kind), Some(value), 5) = (args.get(2), args.get(3), args.get(4), args.len()) else {
            return if args.len() == 2 { Ok(Filter::All) } else { Err(CommandError::Syntax) };
        };
        if !option.eq_ignore_ascii_case(b"filterby") {
            return Err(CommandError::Syntax);
        }
        match kind.to_ascii_lowercase().as_slice() {
            b"module" => Ok(Filter::Module),
            b"aclcat" => Ok(Filter::Category(value)),
            b"pattern" => Ok(Filter::Pattern(value)),
            _ => Err(CommandError::Syntax),
        }
    }

    fn wants(&self, spec: &CommandSpec) -> bool {
        match self {
            Filter::All => true,
            Filter::Module => false,
            Filter::Category(name) => {
                let known = CATEGORIES.iter().find(|known| known.as_bytes()[1..].eq_ignore_ascii_case(name));
                known.is_some_and(|category| spec.categories().contains(category))
            }
            Filter::Pattern(pattern) => glob::matches(pattern, spec.name.as_bytes(), true),
        }
    }
}

fn list(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let filter = Filter::parse(args)?;
    let names: Vec<&str> = table().rows().filter(|(_, row)| filter.wants(row)).map(|(_, row)| row.name).collect();
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.bulk(name.as_bytes()));
    Ok(())
}

// ---- DOCS -----------------------------------------------------------------------------------------------------------------

fn docs(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let commands: Vec<CommandId> = match args.len() {
        2 => top_level().collect(),
        _ => args.iter().skip(2).filter_map(|name| table().find_full(name)).collect(),
    };
    cx.reply.map(commands.len());
    commands.into_iter().for_each(|command| document(&mut cx.reply, command));
    Ok(())
}

/// A command's name and its documentation.
fn document(reply: &mut Reply<'_>, command: CommandId) {
    let spec = command.spec();
    let arguments = syntax::parse(spec.syntax).unwrap_or_default();
    let subcommands: Vec<CommandId> = table().subcommands(command).map(|(id, _)| id).collect();
    let deprecation = facts::deprecation(spec.name);
    let mut texts = vec![("summary", spec.summary), ("since", spec.since), ("group", spec.group.name())];
    if !spec.complexity.is_empty() {
        texts.push(("complexity", spec.complexity));
    }
    let flags: &[&str] = match deprecation {
        Some(_) => &["deprecated"],
        None if facts::is_system(spec.name) => &["syscmd"],
        None => &[],
    };
    let more = [!flags.is_empty(), !arguments.is_empty(), !subcommands.is_empty()];
    let fields_count =
        texts.len() + more.iter().filter(|present| **present).count() + if deprecation.is_some() { 2 } else { 0 };
    reply.bulk(spec.name.as_bytes());
    reply.map(fields_count);
    texts.into_iter().for_each(|(name, text)| field(reply, name, text));
    if !flags.is_empty() {
        reply.bulk(b"doc_flags");
        words(reply, flags);
    }
    if let Some((since, instead)) = deprecation {
        field(reply, "deprecated_since", since);
        field(reply, "replaced_by", instead);
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        let mut keys = KeyArguments::of(spec);
        document_arguments(reply, &arguments, &mut keys);
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        subcommands.into_iter().for_each(|sub| document(reply, sub));
    }
}

fn field(reply: &mut Reply<'_>, name: &str, text: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(text.as_bytes());
}

/// Tells which key specification each key argument belongs to: they come in the same order, and the last one takes
/// what is left.
struct KeyArguments {
    command: &'static str,
    specs_count: usize,
    /// Patterns name keys, too, of the second specification (SORT).
    names_patterns: bool,
    next: usize,
}

impl KeyArguments {
    fn of(spec: &CommandSpec) -> KeyArguments {
        let names_patterns = matches!(spec.keys, Keys::AtAndFound { .. });
        KeyArguments { command: spec.name, specs_count: key_specs(spec).len(), names_patterns, next: 0 }
    }

    /// The specification of an argument that looks like a key; None where the row has no keys.
    fn take(&mut self) -> Option<usize> {
        let last = self.specs_count.checked_sub(1)?;
        // What patterns name has a specification of its own: the key behind the first one is the last one's.
        let index = if self.next > 0 && self.names_patterns { last } else { self.next.min(last) };
        self.next += 1;
        Some(index)
    }
}

fn document_arguments(reply: &mut Reply<'_>, arguments: &[Argument], keys: &mut KeyArguments) {
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| document_argument(reply, argument, keys));
}

fn document_argument(reply: &mut Reply<'_>, argument: &Argument, keys: &mut KeyArguments) {
    let key_spec = match argument.kind {
        Kind::Key => keys.take(),
        Kind::Pattern if keys.names_patterns => Some(1),
        _ => None,
    };
    // An argument called like a key in a command without keys, as in CLUSTER KEYSLOT, is a string.
    let kind = match &argument.kind {
        Kind::Key if key_spec.is_none() => "string",
        _ if facts::is_double(keys.command, &argument.name) => "double",
        kind => facts::argument_type(keys.command, &argument.name).unwrap_or(kind.name()),
    };
    let parts = match &argument.kind {
        Kind::OneOf(parts) | Kind::Block(parts) => Some(parts),
        _ => None,
    };
    let flags: Vec<&str> =
        [(argument.optional, "optional"), (argument.multiple, "multiple"), (argument.multiple_token, "multiple_token")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
            .collect();
    let more = [key_spec.is_some(), argument.token.is_some(), !flags.is_empty()];
    // Name, type, and the text or the parts.
    reply.map(3 + more.iter().filter(|present| **present).count());
    field(reply, "name", &argument.name);
    field(reply, "type", kind);
    if parts.is_none() {
        field(reply, "display_text", &argument.name);
    }
    if let Some(index) = key_spec {
        reply.bulk(b"key_spec_index");
        reply.integer(index as i64);
    }
    if let Some(token) = &argument.token {
        field(reply, "token", token);
    }
    if !flags.is_empty() {
        reply.bulk(b"flags");
        words(reply, &flags);
    }
    if let Some(parts) = parts {
        reply.bulk(b"arguments");
        document_arguments(reply, parts, keys);
    }
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "COMMAND",
        &[
            "(no subcommand)",
            "    Describe every command.",
            "COUNT",
            "    Count the commands.",
            "LIST [FILTERBY (MODULE <module>|ACLCAT <category>|PATTERN <pattern>)]",
            "    List the names of commands.",
            "INFO [<command-name> ...]",
            "    Describe commands, or all of them.",
            "DOCS [<command-name> ...]",
            "    Document commands, or all of them.",
            "GETKEYS <full-command>",
            "    Find the keys of a command with its arguments.",
            "GETKEYSANDFLAGS <full-command>",
            "    Find the keys of a command and what it does with each.",
        ],
    );
    Ok(())
}
