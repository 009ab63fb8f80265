use super::incoming::FramesIn;
use super::outgoing::FramesOut;
use super::*;

fn message(letter: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[letter][..], &length, body].concat()
}

/// The first message of a session: its length and nothing before that.
fn startup() -> Vec<u8> {
    message(b'x', b"\0\x03\0\0user\0P\0Q\0\0")[1..].to_vec()
}

fn sent(messages: &[u8], chunk: usize) -> Vec<u8> {
    let mut outgoing = FramesOut::default();
    for bytes in messages.chunks(chunk) {
        outgoing.take(bytes, false).unwrap();
    }
    outgoing.waiting().to_vec()
}

fn received(messages: &[u8], chunk: usize, room: usize) -> Vec<u8> {
    let (mut incoming, mut all) = (FramesIn::default(), Vec::new());
    let mut hand_on = |incoming: &mut FramesIn| loop {
        let mut space = vec![0; room];
        let mut into = ReadBuf::new(&mut space);
        let is_more = incoming.hand_on(&mut into).unwrap();
        all.extend_from_slice(into.filled());
        if !is_more {
            break;
        }
    };
    for bytes in messages.chunks(chunk) {
        let mut space = incoming.space();
        space.put_slice(bytes);
        incoming.filled(bytes.len());
        hand_on(&mut incoming);
    }
    all
}

#[test]
fn sql_leaves_as_its_bytes_and_everything_else_as_it_is() {
    let sql = b"COMMENT ON TABLE t IS '\xe4\xff\x80'";
    let text = as_text(sql);
    // behind the SQL are a number and types of values, which are no text
    let rest = b"\0\0\x01\xc3\xa4\xc3\xa4";
    let messages = |sql: &[u8]| {
        [
            startup(),
            message(b'P', &[b"s1\0", sql, rest].concat()),
            message(b'Q', &[sql, b"\0"].concat()),
            message(b'd', "ä\t1\n".as_bytes()),
            message(b'S', b""),
        ]
        .concat()
    };
    for chunk in [1, 3, 7, 1000] {
        assert_eq!(sent(&messages(text.as_bytes()), chunk), messages(sql), "{chunk}");
    }
}

#[test]
fn the_end_of_rows_that_the_server_never_took_is_left_out() {
    let end = [message(b'f', b"\0"), message(b'S', b"")].concat();
    let next = [message(b'P', b"s1\0SELECT 1\0\0\0"), message(b'S', b"")].concat();
    for (takes_rows, expected) in [(false, next.clone()), (true, [end.as_slice(), &next].concat())] {
        for chunk in [1, 4, 1000] {
            let mut outgoing = FramesOut::default();
            outgoing.take(&startup(), false).unwrap();
            let begun = outgoing.waiting().len();
            for bytes in [end.as_slice(), &next].concat().chunks(chunk) {
                outgoing.take(bytes, takes_rows).unwrap();
            }
            assert_eq!(&outgoing.waiting()[begun..], expected, "{takes_rows}, {chunk}");
        }
    }
}

#[test]
fn sql_of_letters_that_are_no_bytes_is_an_error() {
    let messages = [startup(), message(b'Q', "SELECT '€'\0".as_bytes())].concat();
    assert!(FramesOut::default().take(&messages, false).is_err());
}

#[test]
fn long_rows_come_in_parts_and_every_other_message_whole() {
    let row: Vec<u8> = (0..200_000_u32).map(|number| b'a' + u8::try_from(number % 26).unwrap()).collect();
    let messages = [message(b'D', &row), message(b'd', &row), message(b'd', b"short\n"), message(b'C', b"")].concat();
    for (chunk, room) in [(1000, 100), (30_000, 8192), (997, 70_000)] {
        let all = received(&messages, chunk, room);
        let (mut rest, mut found) = (all.as_slice(), Vec::new());
        while let [letter, a, b, c, d, ..] = rest {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            found.push((*letter, rest[5..=length].to_vec()));
            rest = &rest[length + 1..];
        }
        assert_eq!(found[0], (b'D', row.clone()));
        assert!(found.iter().filter(|(letter, _)| *letter == b'd').all(|(_, body)| body.len() <= 64 << 10));
        let rows: Vec<u8> =
            found.iter().filter(|(letter, _)| *letter == b'd').flat_map(|(_, body)| body.clone()).collect();
        assert_eq!(rows, [row.as_slice(), b"short\n"].concat());
        assert_eq!(found.last().unwrap(), &(b'C', Vec::new()));
    }
}

#[test]
fn a_message_shorter_than_its_length_is_an_error() {
    let mut incoming = FramesIn::default();
    incoming.space().put_slice(b"d\0\0\0\x01");
    incoming.filled(5);
    let mut space = [0; 10];
    assert!(incoming.hand_on(&mut ReadBuf::new(&mut space)).is_err());
}
