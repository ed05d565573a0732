//! From the documentation's line of arguments to the tree that COMMAND DOCS shows.
//!
//! Reads a row's `syntax` and nothing else; called by `introspection`. The notation:
//!
//! | written | means |
//! |---|---|
//! | `name` | an argument; its type follows from its name |
//! | `WORD` | a literal, alone or before the argument or group that it announces |
//! | `[...]`, `<...>` | a group, optional or not |
//! | `a \| b` | one of these, within a group |
//! | `x [x ...]`, `[x ...]` | several times |

/// One argument, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub kind: Kind,
    /// The literal before it; of a pure token, the argument itself.
    pub token: Option<String>,
    pub optional: bool,
    pub multiple: bool,
    /// With several, the literal stands before each.
    pub multiple_token: bool,
}

/// What an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf(Vec<Argument>),
    Block(Vec<Argument>),
}

impl Kind {
    /// As COMMAND DOCS names it.
    pub const fn name(&self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Key => "key",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf(_) => "oneof",
            Kind::Block(_) => "block",
        }
    }

    /// The types of arguments by their names; every other name is a string's.
    fn of(name: &str) -> Kind {
        match name {
            "key" | "key1" | "key2" | "newkey" | "source" | "destination" | "destkey" | "sourcekey" => Kind::Key,
            "pattern" | "by-pattern" | "get-pattern" => Kind::Pattern,
            "unix-time-seconds" | "unix-time-milliseconds" => Kind::UnixTime,
            "longitude" | "latitude" | "radius" | "width" | "height" | "score" | "weight" => Kind::Double,
            "bit" | "client-id" | "config-epoch" | "count" | "cursor" | "db" | "decrement" | "destination-db"
            | "end" | "end-slot" | "frequency" | "increment" | "index" | "index1" | "index2" | "len"
            | "milliseconds" | "min" | "min-match-len" | "num-matches" | "numkeys" | "offset" | "port" | "protover"
            | "rank" | "samples" | "seconds" | "slot" | "start" | "start-slot" | "stop" | "timeout" | "ttl"
            | "version" => Kind::Integer,
            _ => Kind::String,
        }
    }
}

/// Reads a line of arguments.
///
/// # Errors
/// What is wrong with it: our own mistake in a row, which a test finds.
pub fn parse(line: &str) -> Result<Vec<Argument>, String> {
    let spaced: String = line.chars().flat_map(spread).collect();
    let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
    let mut reader = Reader { words: &words, at: 0 };
    let nodes = reader.sequence()?;
    if let Some(word) = reader.peek() {
        return Err(format!("'{word}' does not belong there"));
    }
    arguments(&nodes)
}

/// Brackets and bars are words of their own.
fn spread(character: char) -> impl Iterator<Item = char> {
    let pad = matches!(character, '[' | ']' | '<' | '>' | '|').then_some(' ');
    pad.into_iter().chain([character]).chain(pad)
}

/// The line as it is nested.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node<'a> {
    Word(&'a str),
    /// `...`: what stands before it comes several times.
    Again,
    Group {
        optional: bool,
        alternatives: Vec<Vec<Node<'a>>>,
    },
}

impl Node<'_> {
    /// A literal: it has no lower-case letter.
    fn is_token(&self) -> bool {
        matches!(self, Node::Word(word) if !word.contains(|c: char| c.is_ascii_lowercase()))
    }
}

struct Reader<'w, 'a> {
    words: &'w [&'a str],
    at: usize,
}

impl<'a> Reader<'_, 'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    /// Reads up to a bar, a closing bracket or the end.
    fn sequence(&mut self) -> Result<Vec<Node<'a>>, String> {
        let mut nodes = Vec::new();
        while let Some(word) = self.peek().filter(|word| !matches!(*word, "|" | "]" | ">")) {
            self.at += 1;
            nodes.push(match word {
                "..." => Node::Again,
                "[" => self.group("]")?,
                "<" => self.group(">")?,
                _ => Node::Word(word),
            });
        }
        Ok(nodes)
    }

    fn group(&mut self, end: &str) -> Result<Node<'a>, String> {
        let mut alternatives = vec![self.sequence()?];
        while self.peek() == Some("|") {
            self.at += 1;
            alternatives.push(self.sequence()?);
        }
        if self.peek() != Some(end) {
            return Err(format!("a group lacks its '{end}'"));
        }
        self.at += 1;
        Ok(Node::Group { optional: end == "]", alternatives })
    }
}

/// The arguments of a sequence.
fn arguments(nodes: &[Node<'_>]) -> Result<Vec<Argument>, String> {
    let mut found = Vec::new();
    let mut rest = nodes;
    while !rest.is_empty() {
        let (argument, used) = match repeated(rest) {
            Some(length) => (several(&rest[..length])?, length + 1),
            None => single(rest)?,
        };
        found.push(argument);
        rest = &rest[used..];
    }
    Ok(found)
}

/// The length of the unit at the front that `[unit ...]` repeats, if one does.
fn repeated(nodes: &[Node<'_>]) -> Option<usize> {
    (1..nodes.len()).find(|length| match &nodes[*length] {
        Node::Group { optional: true, alternatives } => match alternatives.as_slice() {
            [only] => only.split_last() == Some((&Node::Again, &nodes[..*length])),
            _ => false,
        },
        _ => false,
    })
}

/// A unit that comes several times.
fn several(unit: &[Node<'_>]) -> Result<Argument, String> {
    let mut argument = whole(unit)?;
    argument.multiple = true;
    argument.multiple_token = argument.token.is_some() && argument.kind != Kind::PureToken;
    Ok(argument)
}

/// The argument at the front and how many nodes it takes.
fn single(nodes: &[Node<'_>]) -> Result<(Argument, usize), String> {
    let (mut argument, mut used) = match nodes {
        [first @ Node::Word(word), rest @ ..] if first.is_token() => announced(word, rest)?,
        [Node::Word(word), ..] => (named(word, Kind::of(word)), 1),
        [Node::Group { optional, alternatives }, ..] => (group(*optional, alternatives)?, 1),
        _ => return Err("nothing stands before '...'".to_owned()),
    };
    if nodes.get(used) == Some(&Node::Again) {
        argument.multiple = true;
        used += 1;
    }
    Ok((argument, used))
}

/// A literal and what it announces, if anything.
fn announced(token: &str, rest: &[Node<'_>]) -> Result<(Argument, usize), String> {
    let announces = match rest.first() {
        Some(Node::Word(_)) => !rest[0].is_token(),
        Some(Node::Group { optional, .. }) => !optional,
        _ => false,
    };
    if !announces {
        return Ok((named(token, Kind::PureToken).with_token(token), 1));
    }
    let (argument, used) = match repeated(rest) {
        Some(length) => (several(&rest[..length])?, length + 1),
        None => single(rest)?,
    };
    Ok((argument.with_token(token), used + 1))
}

fn group(optional: bool, alternatives: &[Vec<Node<'_>>]) -> Result<Argument, String> {
    let mut argument = match alternatives {
        [only] => match only.split_last() {
            // `[x ...]`
            Some((Node::Again, unit)) => several(unit)?,
            _ => whole(only)?,
        },
        _ => {
            let choices = alternatives.iter().map(|nodes| whole(nodes)).collect::<Result<Vec<_>, _>>()?;
            named(&joined(&choices), Kind::OneOf(choices))
        }
    };
    argument.optional |= optional;
    Ok(argument)
}

/// A sequence as one argument: a block if it has several, announced by the literal that it begins with.
fn whole(nodes: &[Node<'_>]) -> Result<Argument, String> {
    let mut parts = arguments(nodes)?;
    match (parts.len(), nodes) {
        (0, _) => Err("an empty group".to_owned()),
        (1, _) => Ok(parts.remove(0)),
        (_, [Node::Word(token), rest @ ..]) if nodes[0].is_token() && parts[0].kind != Kind::PureToken => {
            let name = token.to_ascii_lowercase();
            Ok(named(&name, Kind::Block(arguments(rest)?)).with_token(token))
        }
        _ => Ok(named(&joined(&parts), Kind::Block(parts))),
    }
}

fn joined(parts: &[Argument]) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    names.join("_")
}

fn named(name: &str, kind: Kind) -> Argument {
    let name = name.to_ascii_lowercase();
    Argument { name, kind, token: None, optional: false, multiple: false, multiple_token: false }
}

impl Argument {
    fn with_token(mut self, token: &str) -> Argument {
        self.token = Some(token.to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::table;

    /// A tree in short: `TOKEN name:type?*+` (optional, multiple, multiple token), groups in brackets.
    fn short(arguments: &[Argument]) -> String {
        let one = |argument: &Argument| {
            let mut text = argument.token.as_ref().map_or_else(String::new, |token| format!("{token} "));
            match &argument.kind {
                Kind::PureToken => text.push('!'),
                Kind::OneOf(choices) => text.push_str(&format!("({})", short(choices).replace(", ", " | "))),
                Kind::Block(parts) => text.push_str(&format!("{{{}}}", short(parts))),
                kind => text.push_str(&format!("{}:{}", argument.name, kind.name())),
            }
            for (set, mark) in [(argument.optional, '?'), (argument.multiple, '*'), (argument.multiple_token, '+')] {
                if set {
                    text.push(mark);
                }
            }
            text
        };
        arguments.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_notation_has_its_tree() {
        for (line, tree) in [
            ("", ""),
            ("key value", "key:key, value:string"),
            ("key [key ...]", "key:key*"),
            ("[section [section ...]]", "section:string?*"),
            ("[message ...]", "message:string?*"),
            ("key value [key value ...]", "{key:key, value:string}*"),
            ("[username] password", "username:string?, password:string"),
            ("[NX | XX] [GET]", "(NX ! | XX !)?, GET !?"),
            ("[EX seconds | KEEPTTL]", "(EX seconds:integer | KEEPTTL !)?"),
            ("[LIMIT offset count]", "LIMIT {offset:integer, count:integer}?"),
            ("[COUNT count [ANY]]", "COUNT {count:integer, ANY !?}?"),
            ("[GET pattern [GET pattern ...]]", "GET pattern:pattern?*+"),
            ("[ID client-id [client-id ...]]", "ID client-id:integer?*"),
            ("[TYPE <NORMAL | PUBSUB>]", "TYPE (NORMAL ! | PUBSUB !)?"),
            ("[<MAXLEN | MINID> [= | ~] threshold]", "{(MAXLEN ! | MINID !), (= ! | ~ !)?, threshold:string}?"),
            (
                "<a | <[ID client-id] | [SKIPME <YES | NO>]> ...>",
                "(a:string | (ID client-id:integer? | SKIPME (YES ! | NO !)?)*)",
            ),
            (
                "[protover [AUTH username password] [SETNAME clientname]]",
                "{protover:integer, AUTH {username:string, password:string}?, SETNAME clientname:string?}?",
            ),
        ] {
            assert_eq!(short(&parse(line).unwrap()), tree, "{line}");
        }
    }

    #[test]
    fn a_malformed_line_says_what_is_wrong() {
        assert!(parse("[key").is_err());
        assert!(parse("key]").is_err());
        assert!(parse("[]").is_err());
        assert!(parse("...").is_err());
        assert!(parse("a | b").is_err());
    }

    #[test]
    fn every_rows_line_is_well_formed() {
        for (_, row) in table().rows() {
            assert!(parse(row.syntax).is_ok(), "{}: {:?}", row.name, parse(row.syntax));
        }
    }
}
