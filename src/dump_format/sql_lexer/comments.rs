//! What stands between the words of SQL and says nothing.

/// Space for the server, and not for ASCII's own list.
pub(super) const VERTICAL_TAB: u8 = 0x0b;

/// SQL without the space and the comments that stand before its first word.
pub fn without_comments(sql: &[u8]) -> &[u8] {
    let mut rest = sql;
    loop {
        rest = rest.trim_ascii_start();
        rest = match rest {
            [VERTICAL_TAB, rest @ ..] => rest,
            [b'-', b'-', comment @ ..] => match memchr::memchr2(b'\n', b'\r', comment) {
                Some(end) => &comment[end..],
                None => return &[],
            },
            [b'/', b'*', ..] => match comment_length(rest) {
                Some(length) => &rest[length..],
                None => return rest,
            },
            _ => return rest,
        };
    }
}

/// Bytes of a comment in `/* */`, which may have others in it.
fn comment_length(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(two) = text.get(at..at + 2) {
        match two {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}
