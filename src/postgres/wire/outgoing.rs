//! Pure: messages to a server, in which SQL stands with one character for each byte and leaves as those bytes.

use std::io;

/// Messages on their way.
#[derive(Default)]
pub(super) struct FramesOut {
    state: Frame,
    /// The next end of several messages is left out, as what came before it was.
    drops_sync: bool,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that were written.
    written: usize,
}

/// The message that is being taken.
enum Frame {
    /// Its head, as far as it is there. The first message of a session has no letter.
    Head { head: Vec<u8>, is_first: bool },
    /// It is handed on as it is; bytes that are still to come.
    Passing(usize),
    /// It is left out; bytes that are still to come.
    Dropped(usize),
    /// It has SQL in it.
    Sql { letter: u8, body: Vec<u8>, left: usize },
}

impl Default for Frame {
    fn default() -> Self {
        Self::Head { head: Vec::new(), is_first: true }
    }
}

impl Frame {
    fn next() -> Self {
        Self::Head { head: Vec::new(), is_first: false }
    }
}

const COPY_FAIL: u8 = b'f';
const SYNC: u8 = b'S';
/// Bytes of a message's length, which counts them.
const LENGTH: usize = 4;

impl FramesOut {
    /// What is to be written.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.waiting[self.written..]
    }

    /// That many bytes of it were written.
    pub(super) fn written(&mut self, count: usize) {
        self.written += count;
        if self.written == self.waiting.len() {
            self.waiting.clear();
            self.written = 0;
            self.waiting.shrink_to(2 * super::WAITING);
        }
    }

    /// Takes the next bytes, wherever messages begin and end in them. Where the server `takes_rows`, they may end.
    ///
    /// A COPY that the server refused is ended by tokio-postgres as one that it took. Its answer to that would be one that
    /// nobody waits for, and the session would be lost.
    pub(super) fn take(&mut self, mut bytes: &[u8], takes_rows: bool) -> io::Result<()> {
        while let Some(first) = bytes.first() {
            match &mut self.state {
                Frame::Head { head, is_first } => {
                    head.push(*first);
                    bytes = &bytes[1..];
                    let letter = usize::from(!*is_first);
                    if head.len() == letter + LENGTH {
                        let head = std::mem::take(head);
                        self.begin(&head, letter, takes_rows)?;
                    }
                }
                Frame::Passing(left) => {
                    let (taken, rest) = bytes.split_at(bytes.len().min(*left));
                    self.waiting.extend_from_slice(taken);
                    *left -= taken.len();
                    bytes = rest;
                    if *left == 0 {
                        self.state = Frame::next();
                    }
                }
                Frame::Dropped(left) => {
                    let count = bytes.len().min(*left);
                    *left -= count;
                    bytes = &bytes[count..];
                    if *left == 0 {
                        self.state = Frame::next();
                    }
                }
                Frame::Sql { body, left, .. } => {
                    let (taken, rest) = bytes.split_at(bytes.len().min(*left));
                    body.extend_from_slice(taken);
                    *left -= taken.len();
                    bytes = rest;
                    if *left == 0 {
                        self.end_sql()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, head: &[u8], letter: usize, takes_rows: bool) -> io::Result<()> {
        let length = <[u8; LENGTH]>::try_from(&head[letter..]).map_err(|_| invalid("a message without a length"))?;
        let length = u32::from_be_bytes(length) as usize;
        let left = length.checked_sub(LENGTH).ok_or_else(|| invalid("a message that is shorter than its length"))?;
        let is_fail = letter > 0 && head[0] == COPY_FAIL && !takes_rows;
        let is_sync = letter > 0 && head[0] == SYNC && self.drops_sync;
        if is_fail || is_sync {
            self.drops_sync = is_fail;
            self.state = if left == 0 { Frame::next() } else { Frame::Dropped(left) };
            return Ok(());
        }
        self.state = match head {
            [letter @ (b'P' | b'Q'), ..] if head.len() > LENGTH => {
                Frame::Sql { letter: *letter, body: Vec::with_capacity(left), left }
            }
            _ => {
                self.waiting.extend_from_slice(head);
                if left == 0 { Frame::next() } else { Frame::Passing(left) }
            }
        };
        Ok(())
    }

    /// `P` has a name, SQL and types of values; `Q` has SQL. Texts end in a zero.
    fn end_sql(&mut self) -> io::Result<()> {
        let Frame::Sql { letter, body, .. } = std::mem::replace(&mut self.state, Frame::next()) else {
            return Ok(());
        };
        let zero = |from: usize| memchr::memchr(0, &body[from..]).map(|at| from + at);
        let begin = if letter == b'P' { zero(0).map(|at| at + 1) } else { Some(0) };
        let end = begin.and_then(zero);
        let (Some(begin), Some(end)) = (begin, end) else { return Err(invalid("SQL without its end")) };
        let sql = std::str::from_utf8(&body[begin..end]).map_err(|_| invalid("SQL that is no text"))?;
        let sql: Option<Vec<u8>> = sql.chars().map(|letter| u8::try_from(letter).ok()).collect();
        let sql = sql.ok_or_else(|| invalid("SQL of letters that are no bytes"))?;
        let length = LENGTH + body.len() - (end - begin) + sql.len();
        let length = u32::try_from(length).map_err(|_| invalid("SQL of more than 4 GiB"))?;
        self.waiting.push(letter);
        self.waiting.extend_from_slice(&length.to_be_bytes());
        self.waiting.extend_from_slice(&body[..begin]);
        self.waiting.extend_from_slice(&sql);
        self.waiting.extend_from_slice(&body[end..]);
        Ok(())
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
