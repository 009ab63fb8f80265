use super::*;

/// A tiny archive of that version: one entry with two chunks of data, one of large objects, one without data.
fn archive(minor: u8) -> Vec<u8> {
    fn int(value: i64, out: &mut Vec<u8>) {
        out.push(u8::from(value < 0));
        out.extend_from_slice(&u32::try_from(value.abs()).unwrap().to_le_bytes());
    }
    fn text(value: &str, out: &mut Vec<u8>) {
        int(value.len() as i64, out);
        out.extend_from_slice(value.as_bytes());
    }
    let mut out = b"PGDMP".to_vec();
    out.extend([1, minor, 0, 4, 8, 1]);
    if minor >= 15 {
        out.push(1);
    } else {
        int(6, &mut out);
    }
    (0..7).for_each(|value| int(value, &mut out));
    ["db", "18.6", "18.6"].iter().for_each(|value| text(value, &mut out));
    int(3, &mut out);
    for (entry, has_data) in [(7, 1), (8, 1), (9, 0)] {
        int(entry, &mut out);
        int(has_data, &mut out);
        ["1259", "16384", "t", "TABLE DATA"].iter().for_each(|value| text(value, &mut out));
        int(3, &mut out);
        ["", "", "COPY t FROM stdin;\n", "public", ""].iter().for_each(|value| text(value, &mut out));
        int(-1, &mut out);
        if minor >= 16 {
            int(114, &mut out);
        }
        ["owner", "false", "3", "4"].iter().for_each(|value| text(value, &mut out));
        int(-1, &mut out);
        out.extend([1; 9]);
    }
    out.push(1);
    int(7, &mut out);
    ["abc", "defg", ""].iter().for_each(|value| text(value, &mut out));
    out.push(3);
    int(8, &mut out);
    for object in [500, 501] {
        int(object, &mut out);
        ["large", ""].iter().for_each(|value| text(value, &mut out));
    }
    int(0, &mut out);
    out
}

/// The same without any data, as of a database without rows: the table of contents ends the archive.
fn archive_without_data(minor: u8) -> Vec<u8> {
    let bytes = archive(minor);
    // the nine bytes of the last entry's offset, and the type of the first block
    let toc = bytes.windows(10).rposition(|window| window == [1; 10]).unwrap() + 9;
    let mut bytes = bytes[..toc].to_vec();
    for entry in [7_u8, 8] {
        // the entry's number, and whether it has data
        let at = bytes.windows(10).position(|window| window == [0, entry, 0, 0, 0, 0, 1, 0, 0, 0]).unwrap();
        bytes[at + 6] = 0;
    }
    bytes
}

#[test]
fn an_archive_without_data_is_whole_when_its_table_of_contents_is() {
    for minor in 14..=16 {
        let bytes = archive_without_data(minor);
        for step in [1, 7, bytes.len()] {
            assert_eq!(read(&bytes, step), Ok(()), "version 1.{minor} in chunks of {step}");
        }
        assert!(read(&bytes[..bytes.len() - 1], 100).is_err());
    }
}

#[test]
fn entries_and_their_data_come_out_as_they_went_in() {
    for minor in 14..=16 {
        let bytes = archive(minor);
        for step in [1, 5, bytes.len()] {
            let (mut archive, mut entries, mut data) = (CustomArchive::default(), Vec::new(), Vec::new());
            for mut input in bytes.chunks(step) {
                while let Some(event) = archive.next(&mut input) {
                    match event {
                        Event::Entry(entry) => entries.push(entry),
                        Event::Begin(number) => data.push((number, Vec::new())),
                        Event::Data(bytes) => data.last_mut().unwrap().1.extend_from_slice(bytes),
                        Event::Object(_) | Event::ObjectEnd | Event::End => {}
                    }
                }
            }
            assert_eq!(entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [7, 8, 9]);
            assert_eq!(entries[0].kind, b"TABLE DATA");
            assert_eq!(entries[0].copy, b"COPY t FROM stdin;\n");
            assert_eq!(data, [(7, b"abcdefg".to_vec()), (8, b"largelarge".to_vec())]);
            assert_eq!(archive.compression(), ArchiveCompression::Zlib);
            assert_eq!(archive.offset(), bytes.len() as u64);
        }
    }
}

fn read(bytes: &[u8], step: usize) -> Result<(), ArchiveError> {
    let mut end = CustomArchive::default();
    bytes.chunks(step).for_each(|chunk| end.feed(chunk));
    end.finish()
}

#[test]
fn a_whole_archive_of_every_version_is_accepted_however_it_is_cut_into_chunks() {
    for minor in 14..=16 {
        let bytes = archive(minor);
        for step in [1, 2, 3, 7, 64, bytes.len()] {
            assert_eq!(read(&bytes, step), Ok(()), "version 1.{minor} in steps of {step}");
        }
    }
}

#[test]
fn an_archive_that_breaks_off_anywhere_is_refused() {
    let bytes = archive(16);
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length], 16).is_err(), "accepted the first {length} of {} bytes", bytes.len());
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    assert_eq!(read(b"--\n-- PostgreSQL database dump\n", 5), Err(ArchiveError::Magic));
    let mut unknown = archive(16);
    unknown[6] = 99;
    assert_eq!(read(&unknown, 64), Err(ArchiveError::Version("1.99".to_owned())));
    let mut trailing = archive(16);
    trailing.push(9);
    assert!(read(&trailing, 64).is_err());
}
