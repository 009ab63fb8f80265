//! Whatever a custom archive holds, it is read in the same way however it arrives.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postgres_backup_job::dump_format::custom_archive::{ArchiveError, CustomArchive, Event};

/// Its events in order, the data between two of them as one, and how it ended.
fn events(archive: &[u8], chunk: usize) -> (Vec<String>, Result<(), ArchiveError>) {
    let (mut reader, mut events, mut data) = (CustomArchive::default(), Vec::new(), Vec::new());
    for bytes in archive.chunks(chunk) {
        let mut input = bytes;
        while let Some(event) = reader.next(&mut input) {
            if let Event::Data(bytes) = event {
                data.extend_from_slice(bytes);
                continue;
            }
            events.push(format!("{} bytes, {event:?}", std::mem::take(&mut data).len()));
        }
    }
    events.push(format!("{} bytes", data.len()));
    (events, reader.finish())
}

fuzz_target!(|archive: &[u8]| {
    let whole = events(archive, archive.len().max(1));
    for chunk in [1, 7] {
        assert_eq!(whole, events(archive, chunk));
    }
});
