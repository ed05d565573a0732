//! Requests as this node writes them: for files, for replicas, to its primary.

/// Appends a request, its name first: `*<count>\r\n`, then `$<length>\r\n<bytes>\r\n` for each word.
pub fn write_request<'a>(into: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    write_head(into, words.len());
    words.for_each(|word| write_word(into, [word].into_iter()));
}

/// Appends what stands before the words of a request: how many there are.
pub fn write_head(into: &mut Vec<u8>, words_count: usize) {
    write_number(into, b'*', words_count);
}

/// Appends one word of a request, in pieces.
pub fn write_word<'a>(into: &mut Vec<u8>, pieces: impl Iterator<Item = &'a [u8]> + Clone) {
    write_number(into, b'$', pieces.clone().map(<[u8]>::len).sum());
    pieces.for_each(|piece| into.extend_from_slice(piece));
    into.extend_from_slice(b"\r\n");
}

fn write_number(into: &mut Vec<u8>, mark: u8, number: usize) {
    into.push(mark);
    into.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    into.extend_from_slice(b"\r\n");
}
