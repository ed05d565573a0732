//! Requests as this node writes them: for files, for replicas, to its primary.

/// Appends a request, its name first: `*<count>\r\n`, then `$<length>\r\n<bytes>\r\n` for each word.
pub fn write_request<'a>(into: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut digits = itoa::Buffer::new();
    let mut number = |into: &mut Vec<u8>, mark: u8, number: usize| {
        into.push(mark);
        into.extend_from_slice(digits.format(number).as_bytes());
        into.extend_from_slice(b"\r\n");
    };
    number(into, b'*', words.len());
    for word in words {
        number(into, b'$', word.len());
        into.extend_from_slice(word);
        into.extend_from_slice(b"\r\n");
    }
}
