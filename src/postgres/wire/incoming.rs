//! Pure: messages of a server, of which those with rows of COPY are cut into short ones. Where one row ends is what its
//! line break says, so nothing that reads rows as a stream sees a difference.

use std::io;
use tokio::io::ReadBuf;

/// Messages on their way.
pub(super) struct FramesIn {
    buffer: Vec<u8>,
    /// What of the buffer is filled and was not handed on.
    filled: std::ops::Range<usize>,
    /// A head that is to be handed on.
    head: Vec<u8>,
    /// Bytes of the current message that are still to come, without its head.
    left: usize,
    /// Bytes of the current part, where the message is cut.
    part: usize,
    is_cut: bool,
    /// The server takes rows: what ends them may be sent.
    takes_rows: bool,
}

/// Bytes read at once.
const BUFFER: usize = 64 << 10;
/// Most bytes of rows in a message that is handed on.
const PART: usize = 64 << 10;
/// A letter and four bytes of length, which counts itself.
const HEAD: usize = 5;
const ROWS: u8 = b'd';
const COPY_IN: u8 = b'G';
const READY: u8 = b'Z';

impl Default for FramesIn {
    fn default() -> Self {
        Self {
            buffer: vec![0; BUFFER],
            filled: 0..0,
            head: Vec::new(),
            left: 0,
            part: 0,
            is_cut: false,
            takes_rows: false,
        }
    }
}

impl FramesIn {
    /// True from where the server says that it takes rows, up to the end of its answer.
    pub(super) fn takes_rows(&self) -> bool {
        self.takes_rows
    }

    /// Where the next bytes of the server belong; [`FramesIn::filled`] says how many they were.
    pub(super) fn space(&mut self) -> ReadBuf<'_> {
        self.buffer.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        ReadBuf::new(&mut self.buffer[self.filled.end..])
    }

    pub(super) fn filled(&mut self, count: usize) {
        self.filled.end += count;
    }

    /// Hands on what is there; false when more bytes are needed for that.
    pub(super) fn hand_on(&mut self, into: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = into.filled().len();
        while into.remaining() > 0 {
            if !self.head.is_empty() {
                let count = self.head.len().min(into.remaining());
                into.put_slice(&self.head[..count]);
                self.head.drain(..count);
            } else if self.left > 0 && self.is_cut && self.part == 0 {
                self.begin_part();
            } else if self.left > 0 {
                let most = if self.is_cut { self.part } else { self.left };
                let count = most.min(self.filled.len()).min(into.remaining());
                if count == 0 {
                    break;
                }
                into.put_slice(&self.buffer[self.filled.start..self.filled.start + count]);
                self.filled.start += count;
                self.left -= count;
                self.part = self.part.saturating_sub(count);
            } else if self.filled.len() >= HEAD {
                self.begin_message()?;
            } else {
                break;
            }
        }
        Ok(into.filled().len() > before || into.remaining() == 0)
    }

    fn begin_message(&mut self) -> io::Result<()> {
        let head = &self.buffer[self.filled.start..self.filled.start + HEAD];
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let short = || io::Error::new(io::ErrorKind::InvalidData, "a message that is shorter than its length");
        self.left = length.checked_sub(HEAD - 1).ok_or_else(short)?;
        match head[0] {
            COPY_IN => self.takes_rows = true,
            READY => self.takes_rows = false,
            _ => {}
        }
        self.is_cut = head[0] == ROWS && self.left > PART;
        if !self.is_cut {
            self.head.extend_from_slice(head);
        }
        self.part = 0;
        self.filled.start += HEAD;
        Ok(())
    }

    fn begin_part(&mut self) {
        self.part = self.left.min(PART);
        self.head.push(ROWS);
        // at most `PART`
        let length = u32::try_from(self.part + HEAD - 1).unwrap_or(u32::MAX);
        self.head.extend_from_slice(&length.to_be_bytes());
    }
}
