//! What must hold for any bytes: one function for each reader of bytes from outside, which panics when it does not.
//!
//! Called by the fuzz targets beside this file with what libFuzzer makes up, and by `tests/fuzz_corpus.rs` with the inputs
//! kept under `corpus/`, so that every `cargo test` replays them. Opens no file and no socket.

use slotcore::base::clock::UnixMillis;
use slotcore::base::long_double::LongDouble;
use slotcore::base::random::Random;
use slotcore::base::{glob, number, slot, words};
use slotcore::cluster::message;
use slotcore::cluster::nodes_conf as cluster_file;
use slotcore::cluster::settings::ClusterSettings;
use slotcore::config::{Config, DIRECTIVES, Sources, load, split_words};
use slotcore::keyspace::{AccessPolicy, Key, Keyspace, KeyspaceOptions, LoadedValue, Object, StringValue, Value};
use slotcore::persist::aof::{CommandReader, Damage, Step, Units};
use slotcore::persist::rdb::{
    Encoder, LoadLimits, RdbError, ReaderOptions, Record, RecordReader, decode_value, payload,
};
use slotcore::resp::{LOOKAHEAD_MAX, Lookahead, Parse, ProtocolError, RequestLimits, RequestParser, Stopped};

/// One check and the name of its target and its folder of inputs.
pub type Check = (&'static str, fn(&[u8]));

/// All checks.
pub const CHECKS: &[Check] = &[
    ("request", request),
    ("config", config),
    ("nodes_conf", nodes_conf),
    ("numbers", numbers),
    ("rdb_file", rdb_file),
    ("restore_value", restore_value),
    ("aof", aof),
    ("bus", bus),
];

// ---- request ---------------------------------------------------------------------------------------------------

/// Longest line that a client may send without an end, as the parser has it.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// What a length line alone can make the parser reserve.
const RESERVED_BYTES_MAX: usize = 1024 * 1024;
/// What the parser keeps from one request to the next: its table of arguments.
const KEPT_BYTES_MAX: usize = 40 * 1024;
/// No longer input is made of a short one.
const EXPANDED_BYTES_MAX: usize = 1024 * 1024;

/// What became of a stream of requests.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    requests: Vec<Vec<Vec<u8>>>,
    error: Option<ProtocolError>,
    /// The parser stands within a request.
    is_inside: bool,
}

/// A client's bytes, however they are cut, are the same requests and cost memory in proportion to them.
///
/// ```text
/// 1  bit 0: authenticated, bit 1: a short proto-max-bulk-len, bit 2: FF n in the bytes means 256 * n times 'x'
/// 1  how many cuts
/// n  each how many bytes until the next one: 0..=127, from 128 on in steps of 512
/// *  the bytes
/// ```
pub fn request(input: &[u8]) {
    let [flags, cuts_count, rest @ ..] = input else { return };
    let Some((cuts, bytes)) = rest.split_at_checked(usize::from(*cuts_count)) else { return };
    let limits = RequestLimits {
        authenticated: flags & 1 != 0,
        bulk_bytes_max: if flags & 2 != 0 { 40_000 } else { 512 << 20 },
    };
    let bytes = if flags & 4 != 0 { expanded(bytes) } else { bytes.to_vec() };
    let whole = in_one_piece(&bytes, &limits);
    let pieces = in_pieces(&bytes, cuts, &limits);
    let is_long_line = |outcome: &Outcome| {
        use ProtocolError::{TooBigBulkCount, TooBigCount, TooBigInline};
        matches!(outcome.error, Some(TooBigBulkCount | TooBigCount | TooBigInline))
    };
    if is_long_line(&pieces) {
        // The end of a line that is too long may have come in time when all came at once.
        assert!(bytes.len() > LINE_BYTES_MAX, "{:?} of {} bytes", pieces.error, bytes.len());
        assert!(whole.requests.starts_with(&pieces.requests));
    } else {
        assert_eq!(pieces, whole);
    }
}

fn expanded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while out.len() < EXPANDED_BYTES_MAX {
        match rest {
            [0xff, count, behind @ ..] => {
                out.resize(out.len() + usize::from(*count) * 256, b'x');
                rest = behind;
            }
            [byte, behind @ ..] => {
                out.push(*byte);
                rest = behind;
            }
            [] => break,
        }
    }
    out
}

/// The plainest way to call the parser.
fn in_one_piece(bytes: &[u8], limits: &RequestLimits) -> Outcome {
    let (mut parser, mut requests, mut at) = (RequestParser::new(), Vec::new(), 0);
    let error = loop {
        match parser.parse(&bytes[at..], limits) {
            Parse::Request { bytes: length } => {
                assert!(length > 0 && length <= bytes.len() - at);
                let request: Vec<Vec<u8>> = parser.args(&bytes[at..]).iter().map(<[u8]>::to_vec).collect();
                parser.next();
                at += length;
                if !request.is_empty() {
                    requests.push(request);
                }
            }
            Parse::Incomplete { keep } => {
                assert!(keep <= bytes.len() - at);
                break None;
            }
            Parse::Error(error) => break Some(error),
        }
    };
    Outcome { requests, error, is_inside: parser.is_inside_request() }
}

/// A connection as the runtime has it: what has come and is no request yet.
#[derive(Default)]
struct Connection {
    parser: RequestParser,
    ahead: Lookahead,
    input: Vec<u8>,
    requests: Vec<Vec<Vec<u8>>>,
    error: Option<ProtocolError>,
}

fn in_pieces(bytes: &[u8], cuts: &[u8], limits: &RequestLimits) -> Outcome {
    let mut connection = Connection::default();
    let (mut rest, mut cuts, mut received) = (bytes, cuts.iter(), 0);
    while !rest.is_empty() && connection.error.is_none() {
        let wanted = match cuts.next() {
            None => rest.len(),
            Some(&cut) if cut < 128 => usize::from(cut),
            Some(&cut) => usize::from(cut - 127) * 512,
        };
        let (chunk, behind) = rest.split_at(wanted.min(rest.len()));
        rest = behind;
        received += chunk.len();
        connection.consume(chunk, limits);
        connection.check_memory(received, limits);
    }
    let is_inside = connection.parser.is_inside_request();
    Outcome { requests: connection.requests, error: connection.error, is_inside }
}

impl Connection {
    /// As `runtime/requests.rs` does: in the chunk itself when nothing is left over from before.
    fn consume(&mut self, chunk: &[u8], limits: &RequestLimits) {
        let taken = self.parser.feed_large(chunk);
        let chunk = &chunk[taken..];
        if self.input.is_empty() && taken == 0 {
            let (consumed, kept) = self.run(chunk, limits);
            self.input.extend_from_slice(&chunk[consumed..kept]);
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(chunk);
        let (consumed, kept) = self.run(&input, limits);
        input.truncate(kept);
        input.drain(..consumed);
        self.input = input;
    }

    /// Every request of `data`; which part of it is kept.
    fn run(&mut self, data: &[u8], limits: &RequestLimits) -> (usize, usize) {
        let count = if limits.authenticated { LOOKAHEAD_MAX } else { 1 };
        let mut at = 0;
        let kept = loop {
            let stopped = self.ahead.fill(&mut self.parser, data, &mut at, limits, count);
            assert!(self.ahead.len() <= count);
            self.requests.extend(self.ahead.requests(data).map(|args| args.iter().map(<[u8]>::to_vec).collect()));
            match stopped {
                Stopped::Full => {}
                Stopped::Single { bytes } => {
                    let args = self.parser.args(&data[at..]);
                    if !args.is_empty() {
                        self.requests.push(args.iter().map(<[u8]>::to_vec).collect());
                    }
                    self.parser.next();
                    at += bytes;
                }
                Stopped::Other(Parse::Incomplete { keep }) => break at + keep,
                Stopped::Other(Parse::Request { .. }) => unreachable!("kept aside or single"),
                Stopped::Other(Parse::Error(error)) => {
                    self.error = Some(error);
                    break at;
                }
            }
        };
        assert!(at <= kept && kept <= data.len());
        (at, kept)
    }

    fn check_memory(&self, received: usize, limits: &RequestLimits) {
        let bytes = self.parser.memory_bytes();
        if limits.authenticated || self.error.is_some() {
            // A request of empty arguments costs most: six bytes for a span, in a table that doubles; words of one byte
            // cost more, but not for longer than their request.
            let factor = if self.error.is_some() { 8 } else { 4 };
            let most = factor * received + RESERVED_BYTES_MAX + KEPT_BYTES_MAX;
            assert!(bytes <= most, "{bytes} bytes of memory for {received} received");
        } else {
            assert!(bytes <= KEPT_BYTES_MAX, "{bytes} bytes of memory for a client without a password");
        }
        assert!(self.input.len() <= received);
    }
}

// ---- config ----------------------------------------------------------------------------------------------------

/// Text of the command line's notation is read or refused, and what was read survives CONFIG REWRITE.
pub fn config(text: &[u8]) {
    if text.split(|byte| *byte == b'\n').any(names_a_file_to_open) {
        return;
    }
    let read = |options: &[u8]| load(Sources { options, ..Sources::default() });
    let config = match read(text) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
        Ok(loaded) => loaded.config,
    };
    let _ = config.not_in_effect();
    // Neither a new file nor the old one changed may mean anything else. The folder is not ours to look at.
    for old in [&b""[..], text] {
        let written = config.rewrite(old, None);
        let lines = written.split(|byte| *byte == b'\n').filter(|line| !names_a_file_to_open(line));
        let written = lines.collect::<Vec<_>>().join(&b'\n');
        let shown = || String::from_utf8_lossy(&written).into_owned();
        let again = match read(&written) {
            Ok(loaded) => loaded.config,
            Err(error) => panic!("refused after a rewrite: {error}\n{}", shown()),
        };
        for directive in DIRECTIVES {
            let (before, after) = ((directive.format)(&config), (directive.format)(&again));
            assert!(
                before == after && !(directive.differs)(&config, &again),
                "{}: '{}' became '{}' in\n{}",
                directive.name,
                before.escape_ascii(),
                after.escape_ascii(),
                shown()
            );
        }
    }
}

/// `include` opens files, `dir` asks for a folder.
fn names_a_file_to_open(line: &[u8]) -> bool {
    let words = split_words(line).unwrap_or_default();
    let name = words.first().map(Vec::as_slice).unwrap_or_default();
    name.eq_ignore_ascii_case(b"include") || name.eq_ignore_ascii_case(b"dir")
}

// ---- nodes.conf ------------------------------------------------------------------------------------------------

/// A file that can be read is written so that it is read as the same again.
pub fn nodes_conf(text: &[u8]) {
    let settings = ClusterSettings::of(&Config { port: 7000, ..Config::default() });
    let read = |text: &[u8]| cluster_file::parse(text, &settings, UnixMillis(77), &mut Random::new(1));
    let Ok(state) = read(text) else { return };
    let written = cluster_file::format(&state);
    match read(written.as_bytes()) {
        Ok(again) => {
            // The order of the lines means nothing: it follows the order in which nodes were first named.
            let again = cluster_file::format(&again);
            let (mut before, mut after): (Vec<&str>, Vec<&str>) = (written.lines().collect(), again.lines().collect());
            before.sort_unstable();
            after.sort_unstable();
            assert_eq!(after, before);
        }
        Err(damage) => panic!("written, and refused: {damage:?}\n{written}"),
    }
}

// ---- numbers ---------------------------------------------------------------------------------------------------

/// Pattern and text of a match take time in proportion to the product of their lengths.
const PATTERN_BYTES_MAX: usize = 512;
const TEXT_BYTES_MAX: usize = 2048;

/// Numbers are read back as they are shown; patterns, words and keys make nothing panic.
pub fn numbers(input: &[u8]) {
    integers(input);
    doubles(input);
    long_doubles(input);
    if let Some(bits) = input.first_chunk() {
        double_is_read_back(f64::from_bits(u64::from_le_bytes(*bits)));
    }
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let (Some(one), Some(other)) = (LongDouble::parse(first), LongDouble::parse(second)) {
        let sum = one.plus(other);
        assert_eq!(shown(sum), shown(other.plus(one)));
        long_double_is_read_back(sum);
    }
    globs(first, second);
    let mut quoted = Vec::new();
    words::quote_into(input, &mut quoted);
    assert_eq!(words::split_words(&quoted), Some(vec![input.to_vec()]));
    let _ = words::split_words(input);
    assert_eq!(slot::key_slot(input), slot::key_slot(slot::hash_tag(input)), "a hash tag is the key's");
}

fn integers(text: &[u8]) {
    // Strict: the one way to write each number.
    if let Some(value) = number::parse_i64(text) {
        assert_eq!(value.to_string().as_bytes(), text);
        let mut out = Vec::new();
        number::format_i64(value, &mut out);
        assert_eq!(out, text);
        assert_eq!(LongDouble::parse(text), Some(LongDouble::from(value)));
        assert_eq!(number::parse_f64(text), Some(value as f64));
    }
    if let Some(value) = number::parse_u64(text) {
        assert_eq!(value.to_string().as_bytes(), text);
        assert_eq!(number::parse_u64_lenient(text), Some(value));
    }
    let standard = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    if let Some(value) = standard.filter(|value| value.to_string().as_bytes() == text) {
        assert_eq!(number::parse_i64(text), Some(value));
    }
    if let Some(value) = number::parse_u64_lenient(text)
        && !text.starts_with(b"-")
    {
        let standard = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        assert_eq!(standard, Some(value));
    }
}

fn doubles(text: &[u8]) {
    if let Some(value) = number::parse_f64(text) {
        assert!(!value.is_nan());
        double_is_read_back(value);
    }
}

fn double_is_read_back(value: f64) {
    let mut text = Vec::new();
    number::format_double(value, &mut text);
    assert!(text.len() <= 32, "{}", text.escape_ascii());
    let again = number::parse_f64(&text);
    if value.is_nan() {
        assert_eq!(again, None);
        return;
    }
    assert_eq!(again.map(f64::to_bits), Some(value.to_bits()), "{}", text.escape_ascii());
    if value.is_finite() {
        let hexadecimal = hexadecimal(value);
        assert_eq!(number::parse_f64(hexadecimal.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{hexadecimal}");
    }
}

/// The double as C's `%a` shows it.
fn hexadecimal(value: f64) -> String {
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff).cast_signed());
    let (whole, exponent) = if exponent == 0 { (0, -1022) } else { (1, exponent - 1023) };
    format!("{}0x{whole}.{fraction:013x}p{exponent}", if value.is_sign_negative() { "-" } else { "" })
}

fn long_doubles(text: &[u8]) {
    if let Some(value) = LongDouble::parse(text) {
        assert_eq!(shown(value.plus(LongDouble::ZERO)), shown(value));
        long_double_is_read_back(value);
    }
}

/// What people are shown is a fixed point: reading it and showing it again changes nothing. Half of the last of 17
/// decimals or half of the mantissa's last bit, whichever is larger, is never crossed.
fn long_double_is_read_back(value: LongDouble) {
    let text = shown(value);
    match LongDouble::parse(text.as_bytes()) {
        Some(again) => assert_eq!(shown(again), text),
        None => assert!(value.is_nan_or_infinite(), "{text}"),
    }
}

fn shown(value: LongDouble) -> String {
    let mut out = Vec::new();
    value.format_human(&mut out);
    String::from_utf8(out).expect("digits")
}

fn globs(pattern: &[u8], text: &[u8]) {
    let (pattern, text) = (&pattern[..pattern.len().min(PATTERN_BYTES_MAX)], &text[..text.len().min(TEXT_BYTES_MAX)]);
    for nocase in [false, true] {
        glob::matches(pattern, text, nocase);
        let literal: Vec<u8> = text.iter().flat_map(|byte| [b'\\', *byte]).collect();
        assert!(glob::matches(&literal, text, nocase), "every byte stands for itself behind a backslash");
        let starred = [b"*", literal.as_slice(), b"*"].concat();
        assert_eq!(glob::matches(&starred, text, nocase), !text.is_empty());
    }
}

// ---- RDB -------------------------------------------------------------------------------------------------------

/// A file is the same records, or the same error, however it is cut; its values are read or refused.
///
/// ```text
/// 1  bytes by which the window grows
/// *  the file
/// ```
pub fn rdb_file(input: &[u8]) {
    let [step, file @ ..] = input else { return };
    let whole = records(file, file.len().max(1));
    let pieces = records(file, usize::from(*step) + 1);
    assert_eq!(pieces, whole);
    let limits = LoadLimits::of(&Config::default());
    let options = KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access: AccessPolicy::Lru };
    let mut keyspace = Keyspace::new(options);
    let mut reader = RecordReader::new(ReaderOptions { checksum: false, total_bytes: Some(file.len() as u64) });
    let mut batch = reader.batch(file);
    while let Ok(Some(record)) = batch.next_record() {
        if let Record::Key(record) = record
            && let Ok(Some(value)) = decode_value(record.kind, record.value, &limits)
        {
            keyspace.load(0, Key::new(&record.key), value, record.expiry, record.access);
            assert!(!keyspace.load(0, Key::new(&record.key), LoadedValue::Integer(1), None, record.access));
        }
    }
    assert!(batch.end().consumed <= file.len());
}

/// All records as text, up to the error if there is one.
fn records(file: &[u8], step: usize) -> (Vec<String>, Option<RdbError>) {
    let mut reader = RecordReader::new(ReaderOptions { checksum: true, total_bytes: Some(file.len() as u64) });
    let (mut start, mut end, mut shown) = (0, 0, Vec::new());
    while !reader.is_finished() {
        let mut batch = reader.batch(&file[start..end]);
        loop {
            match batch.next_record() {
                Ok(Some(record)) => shown.push(format!("{record:?}")),
                Ok(None) => break,
                Err(error) => return (shown, Some(error)),
            }
        }
        let progress = batch.end();
        start += progress.consumed;
        if !reader.is_finished() {
            assert!(end < file.len() && start as u64 + progress.wanted > end as u64, "there is more to come");
        }
        end = file.len().min(end + step);
    }
    (shown, None)
}

/// A value that was read is written and read as the same again; the first byte is its type.
pub fn restore_value(input: &[u8]) {
    let [kind, bytes @ ..] = input else { return };
    let limits = LoadLimits::of(&Config::default());
    let Ok(Some(first)) = decode_value(*kind, bytes, &limits) else { return };
    for compress in [false, true] {
        let mut written = Vec::new();
        payload::write(borrowed(&first), &mut Encoder::new(compress), &mut written);
        let sealed = payload::open(&written, false).expect("a payload of ours");
        let second = sealed.value(&limits).expect("a value of ours");
        assert_eq!(content(borrowed(&second)), content(borrowed(&first)));
    }
}

fn borrowed<'a>(value: &'a LoadedValue<'_>) -> Value<'a> {
    match value {
        LoadedValue::Integer(integer) => Value::String(StringValue::Integer(*integer)),
        LoadedValue::Bytes(bytes) => Value::String(StringValue::Bytes(bytes)),
        LoadedValue::Object(object) => Value::Object(object),
    }
}

/// What a value holds, whatever form it has and in which order a table gives it out.
fn content(value: Value<'_>) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = match value {
        Value::String(string) => vec![string.to_vec()],
        Value::Object(Object::List(list)) => list.iter().map(|item| item.to_vec()).collect(),
        Value::Object(Object::Set(set)) => set.iter().map(|member| member.to_vec()).collect(),
        Value::Object(Object::SortedSet(set)) => {
            set.iter().map(|(member, score)| [&score.to_bits().to_be_bytes()[..], &member.to_vec()].concat()).collect()
        }
        Value::Object(Object::Hash(hash)) => hash
            .iter()
            .flat_map(|(name, value)| {
                [[b"n", &name.to_vec()[..]].concat(), [&name.to_vec()[..], b"=", &value.to_vec()].concat()]
            })
            .collect(),
        Value::Object(Object::Stream(_)) => {
            let mut bytes = Vec::new();
            Encoder::new(false).value(value, &mut bytes);
            vec![bytes]
        }
    };
    if matches!(value, Value::Object(Object::Set(_) | Object::Hash(_))) {
        parts.sort();
    }
    parts
}

// ---- append-only files -----------------------------------------------------------------------------------------

/// What was read of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct ReadCommands {
    commands: Vec<Vec<Vec<u8>>>,
    units: Units,
    /// Its place counts from the start of the file.
    damage: Option<Damage>,
}

/// A file, however its chunks are cut, has the same commands and the same damage at the same place, costs memory in proportion
/// to its bytes, and is whole when it is trimmed to where it was whole.
///
/// ```text
/// 1  how many cuts
/// n  each how many bytes until the next one
/// *  the file
/// ```
pub fn aof(input: &[u8]) {
    let [cuts_count, rest @ ..] = input else { return };
    let Some((cuts, file)) = rest.split_at_checked(usize::from(*cuts_count)) else { return };
    let whole = commands_of(std::iter::once(file));
    let mut left = file;
    let mut chunks = Vec::new();
    for cut in cuts {
        let (chunk, behind) = left.split_at(usize::from(*cut).min(left.len()));
        chunks.push(chunk);
        left = behind;
    }
    chunks.push(left);
    assert_eq!(commands_of(chunks.into_iter()), whole);
    let trimmed = usize::try_from(whole.units.whole_bytes).expect("a short file");
    assert!(trimmed <= file.len());
    let again = commands_of(std::iter::once(&file[..trimmed]));
    assert!(again.damage.is_none() && !again.units.is_open && again.units.whole_bytes == whole.units.whole_bytes);
    assert!(whole.commands.starts_with(&again.commands));
}

fn commands_of<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> ReadCommands {
    let (mut reader, mut read) = (CommandReader::default(), ReadCommands::default());
    let (mut window, mut offset, mut received): (Vec<u8>, usize, usize) = (Vec::new(), 0, 0);
    for chunk in chunks {
        window.extend_from_slice(chunk);
        received += chunk.len();
        let mut at = 0;
        loop {
            let data = &window[at..];
            match reader.next(data) {
                Ok(Step::Command { bytes }) => {
                    let words: Vec<Vec<u8>> = reader.args(data).iter().map(<[u8]>::to_vec).collect();
                    assert!(!words.is_empty() && bytes <= data.len() && reader.spans().len() == words.len());
                    reader.pass();
                    at += bytes;
                    read.units.command(&words[0], (offset + at) as u64);
                    read.commands.push(words);
                }
                Ok(Step::Annotation { bytes }) => {
                    assert!(bytes > 0 && bytes <= data.len());
                    at += bytes;
                    read.units.annotation((offset + at) as u64);
                }
                Ok(Step::Incomplete) => break,
                Err(damage) => {
                    read.damage = Some(Damage { at: offset + at + damage.at, ..damage });
                    return read;
                }
            }
        }
        assert!(reader.memory_bytes() <= 4 * received + KEPT_BYTES_MAX, "{} bytes", reader.memory_bytes());
        window.drain(..at);
        offset += at;
    }
    read
}

// ---- cluster bus -----------------------------------------------------------------------------------------------

/// A packet is refused, or read and written so that it is read as the same again.
///
/// ```text
/// 1  bit 0: the length in the packet is made the one that it has
/// *  the packet; FF n means 16 * n zero bytes, FF 00 the byte FF
/// ```
pub fn bus(input: &[u8]) {
    let [flags, bytes @ ..] = input else { return };
    let mut packet = with_zeros(bytes);
    let total = u32::try_from(packet.len()).expect("a short packet");
    if flags & 1 != 0
        && let Some(field) = packet.get_mut(4..8)
    {
        field.copy_from_slice(&total.to_be_bytes());
    }
    let read = match message::decode(&packet) {
        Ok(read) => read,
        Err(damage) => {
            assert!(!damage.to_string().is_empty());
            return;
        }
    };
    assert_eq!(message::packet_len(&packet), Ok(Some(packet.len())));
    assert!(message::decode(&packet[..packet.len() - 1]).is_err());
    let written = read.encode();
    assert!(written.len() <= packet.len(), "{} bytes became {}", packet.len(), written.len());
    assert_eq!(message::decode(&written), Ok(read));
}

fn with_zeros(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while out.len() < EXPANDED_BYTES_MAX {
        match rest {
            [0xff, 0, behind @ ..] => {
                out.push(0xff);
                rest = behind;
            }
            [0xff, count, behind @ ..] => {
                out.resize(out.len() + usize::from(*count) * 16, 0);
                rest = behind;
            }
            [byte, behind @ ..] => {
                out.push(*byte);
                rest = behind;
            }
            [] => break,
        }
    }
    out
}
