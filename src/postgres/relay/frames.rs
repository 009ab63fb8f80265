//! Pure: messages of PostgreSQL's protocol, whole, as they come out of a stream of bytes; and the few that are answered here.

use bytes::{Buf, Bytes, BytesMut};
use std::io;

/// Messages on their way from one side.
#[derive(Default)]
pub(super) struct FrameBuffer {
    buffer: BytesMut,
}

/// A letter, four bytes of length that counts itself, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WireFrame {
    pub(super) letter: u8,
    /// All of it.
    pub(super) bytes: Bytes,
}

/// The kind of authentication of which a server names several ways.
const SASL: u32 = 10;

/// Letter and length.
const HEAD: usize = 5;
const LENGTH: usize = 4;

impl WireFrame {
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[HEAD..]
    }

    /// The SQL of a simple query.
    pub(super) fn sql(&self) -> Option<&[u8]> {
        (self.letter == b'Q').then(|| self.body().strip_suffix(b"\0")).flatten()
    }

    /// What a server says of a parameter: its name and its value.
    pub(super) fn parameter(&self) -> Option<(&[u8], &[u8])> {
        let mut texts = self.body().split(|byte| *byte == 0);
        (self.letter == b'S').then(|| Some((texts.next()?, texts.next()?))).flatten()
    }

    /// The values of a row.
    pub(super) fn fields(&self) -> Vec<Option<&[u8]>> {
        let (mut rest, mut fields) = (self.body().get(2..).unwrap_or_default(), Vec::new());
        while let Some((length, values)) = rest.split_first_chunk::<LENGTH>() {
            // a length of -1 stands for no value
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (value, others) = values.split_at(length.unwrap_or_default().min(values.len()));
            fields.push(length.map(|_| value));
            rest = others;
        }
        fields
    }

    /// What it is about, to be kept.
    pub(super) fn body_bytes(&self) -> Bytes {
        self.bytes.slice(HEAD..)
    }

    /// The message as it is for a client that is not encrypted: a server that is reached by TLS offers to bind a password to
    /// that, and no client would take such an offer for anything but an attack.
    pub(super) fn without_channel_binding(&self) -> Bytes {
        let is_offer = self.letter == b'R' && self.body().starts_with(&SASL.to_be_bytes());
        let ways = self.body().get(LENGTH..).unwrap_or_default();
        let kept = || ways.split_inclusive(|byte| *byte == 0).filter(|way| !way.ends_with(b"-PLUS\0"));
        if !is_offer || ways.split_inclusive(|byte| *byte == 0).count() == kept().count() {
            return self.bytes.clone();
        }
        let body = [&SASL.to_be_bytes()[..], &kept().collect::<Vec<_>>().concat()].concat();
        frame(self.letter, &body).into()
    }

    /// What a server says of an error, in one line.
    pub(super) fn message(&self) -> Option<String> {
        let mut fields = self.body().split(|byte| *byte == 0);
        let message = fields.find_map(|field| field.strip_prefix(b"M"));
        (self.letter == b'E').then(|| String::from_utf8_lossy(message.unwrap_or_default()).into_owned())
    }
}

/// Bytes that are read at once.
const READ: usize = 32 << 10;

impl FrameBuffer {
    /// Where the next bytes belong.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ);
        &mut self.buffer
    }

    /// The next message, once all of it is there.
    pub(super) fn next(&mut self) -> io::Result<Option<WireFrame>> {
        if self.buffer.len() < HEAD {
            return Ok(None);
        }
        let length = self.length(1)?;
        if self.buffer.len() < 1 + length {
            return Ok(None);
        }
        Ok(Some(WireFrame { letter: self.buffer[0], bytes: self.buffer.split_to(1 + length).freeze() }))
    }

    /// The first message of a session, which has no letter.
    pub(super) fn first(&mut self) -> io::Result<Option<Bytes>> {
        if self.buffer.len() < LENGTH || self.buffer.len() < self.length(0)? {
            return Ok(None);
        }
        let length = self.length(0)?;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn length(&self, at: usize) -> io::Result<usize> {
        let length = (&self.buffer[at..]).get_u32() as usize;
        let short = || io::Error::new(io::ErrorKind::InvalidData, "a message that is shorter than its length");
        if length < LENGTH { Err(short()) } else { Ok(length) }
    }
}

/// What the first message of a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It asks for encryption.
    Encryption,
    /// It asks to cancel what another session does.
    Cancel,
    Session,
}

impl Purpose {
    /// Numbers that stand in the place of a version.
    pub(super) fn of(first: &[u8]) -> Self {
        match first.get(LENGTH..2 * LENGTH) {
            Some([0x04, 0xd2, 0x16, 0x2f | 0x30]) => Self::Encryption,
            Some([0x04, 0xd2, 0x16, 0x2e]) => Self::Cancel,
            _ => Self::Session,
        }
    }
}

fn frame(letter: u8, body: &[u8]) -> Vec<u8> {
    // what is made here is short
    let length = u32::try_from(body.len() + LENGTH).unwrap_or(u32::MAX);
    [&[letter], &length.to_be_bytes()[..], body].concat()
}

/// A simple query.
pub(super) fn query(sql: &[u8]) -> Vec<u8> {
    frame(b'Q', &[sql, b"\0"].concat())
}

/// A server's answer to `COPY … TO stdout` of a table without rows, within a transaction.
pub(super) fn no_rows() -> Vec<u8> {
    // text, and as many columns as nobody asks for
    [frame(b'H', &[0, 0, 0]), frame(b'c', &[]), frame(b'C', b"COPY 0\0"), frame(b'Z', b"T")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let bytes = [query(b"SELECT 1"), no_rows(), frame(b'S', b"TimeZone\0UTC\0"), frame(b'E', b"SERROR\0Mno\0\0")];
        let bytes = bytes.concat();
        for chunk in [1, 3, bytes.len()] {
            let (mut frames, mut letters, mut texts) = (FrameBuffer::default(), Vec::new(), Vec::new());
            for bytes in bytes.chunks(chunk) {
                frames.space().extend_from_slice(bytes);
                while let Some(frame) = frames.next().unwrap() {
                    letters.push(frame.letter);
                    texts.extend(frame.sql().map(|sql| String::from_utf8(sql.to_vec()).unwrap()));
                    texts.extend(frame.parameter().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()));
                    texts.extend(frame.message());
                }
            }
            assert_eq!(letters, b"QHcCZSE");
            assert_eq!(texts, ["SELECT 1", "UTC", "no"]);
            assert!(frames.buffer.is_empty());
        }
    }

    #[test]
    fn the_values_of_a_row_are_told_from_none() {
        let body = [&[0, 3, 0, 0, 0, 2][..], b"ab", &[0xff; 4], &[0, 0, 0, 0]].concat();
        let row = WireFrame { letter: b'D', bytes: frame(b'D', &body).into() };
        assert_eq!(row.fields(), [Some(&b"ab"[..]), None, Some(b"")]);
    }

    #[test]
    fn an_offer_to_bind_a_password_to_encryption_is_taken_out() {
        let offer = |ways: &[u8]| frame(b'R', &[&10_u32.to_be_bytes()[..], ways].concat());
        let passed = |bytes: Vec<u8>| WireFrame { letter: bytes[0], bytes: bytes.into() }.without_channel_binding();
        assert_eq!(passed(offer(b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")), offer(b"SCRAM-SHA-256\0\0"));
        for as_it_is in [offer(b"SCRAM-SHA-256\0\0"), frame(b'R', &0_u32.to_be_bytes()), frame(b'Z', b"I")] {
            assert_eq!(passed(as_it_is.clone()), as_it_is);
        }
    }

    #[test]
    fn a_connection_says_what_it_is_for_and_a_length_that_cannot_be_is_an_error() {
        let first = |code: u32| [8_u32.to_be_bytes(), code.to_be_bytes()].concat();
        assert_eq!(Purpose::of(&first(80_877_103)), Purpose::Encryption);
        assert_eq!(Purpose::of(&first(80_877_104)), Purpose::Encryption);
        assert_eq!(Purpose::of(&first(80_877_102)), Purpose::Cancel);
        assert_eq!(Purpose::of(&first(196_608)), Purpose::Session);
        let mut frames = FrameBuffer::default();
        frames.space().extend_from_slice(b"Q\0\0\0\x03");
        frames.next().unwrap_err();
    }
}
