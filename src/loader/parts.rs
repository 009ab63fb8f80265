//! Parts of a stored archive of SQL, one after the other as if they were all of it: the rows of tables that nobody
//! wants are not read.

use crate::hex::Sha256Digest;
use crate::pipeline::{ArchiveReadError, CopyFacts, StoredArchive, Wrapping};
use crate::record::facts::{Contents, Member};
use crate::repository::{Backup, Repository};
use crate::storage::resume::Resuming;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;

/// Most bytes between the rows of two tables that hold nothing but the beginning of the second one's `COPY`.
const HEADING: u64 = 2 << 10;
/// Fewer bytes than this are read rather than asked for separately.
const WORTH_SKIPPING: u64 = 256 << 10;

/// A run of bytes of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArchivePart {
    range: Range<u64>,
    /// SHA-256 of the bytes, where they are the rows of a wanted table.
    sha256: Option<Sha256Digest>,
    /// What follows in the archive are rows that are not read: their end stands for them.
    skips: bool,
}

/// Cuts an archive of `size` bytes so that the rows of `wanted` tables are in it and long runs of others are not.
/// None where the facts say something impossible.
pub(super) fn cut(contents: &Contents, wanted: &BTreeSet<String>, size: u64) -> Option<Vec<ArchivePart>> {
    let mut members: Vec<(bool, &Member)> = Vec::new();
    for (table, rows) in &contents.tables {
        members.extend(rows.members.iter().map(|member| (wanted.contains(table), member)));
    }
    members.sort_by_key(|(_, member)| member.offset);
    let mut last = 0;
    for (_, member) in &members {
        if member.offset < last {
            return None;
        }
        last = member.offset.checked_add(member.length).filter(|end| *end <= size)?;
    }
    let end = |member: &Member| member.offset + member.length;
    let (mut parts, mut at) = (Vec::new(), 0);
    let mut members = members.into_iter().peekable();
    while let Some((is_wanted, member)) = members.next() {
        if is_wanted {
            parts.push(ArchivePart { range: at..member.offset, sha256: None, skips: false });
            at = end(member);
            parts.push(ArchivePart { range: member.offset..at, sha256: Some(member.sha256), skips: false });
            continue;
        }
        let mut last = end(member);
        while let Some((_, next)) = members.next_if(|(is_wanted, next)| !is_wanted && next.offset < last + HEADING) {
            last = end(next);
        }
        if last - member.offset >= WORTH_SKIPPING {
            parts.push(ArchivePart { range: at..member.offset, sha256: None, skips: true });
            at = last;
        }
    }
    parts.push(ArchivePart { range: at..size, sha256: None, skips: false });
    parts.retain(|part| !part.range.is_empty());
    Some(parts)
}

/// Reads parts in their order.
pub(crate) struct ArchiveParts {
    repository: Repository,
    backup: Backup,
    left: VecDeque<ArchivePart>,
    current: Option<(ArchivePart, StoredArchive<Resuming>)>,
    /// Bytes of the archive that were read.
    pub(crate) bytes: u64,
}

impl ArchiveParts {
    pub(super) fn new(repository: &Repository, backup: &Backup, parts: Vec<ArchivePart>) -> Self {
        let (repository, backup, left) = (repository.clone(), backup.clone(), parts.into());
        Self { repository, backup, left, current: None, bytes: 0 }
    }

    /// The next bytes of the dump; none at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ArchiveReadError> {
        loop {
            let Some((_, archive)) = &mut self.current else {
                let Some(part) = self.left.pop_front() else { return Ok(None) };
                let opened = self.repository.open(&self.backup, part.range.clone()).await;
                let body = opened.map_err(|error| ArchiveReadError::Store(io::Error::other(error)))?;
                let wrapping = Wrapping { gzip: true, age: None };
                self.current = Some((part, StoredArchive::open(body, wrapping, CopyFacts::None).await?));
                continue;
            };
            if let Some(bytes) = archive.next().await? {
                return Ok(Some(bytes));
            }
            let Some((part, archive)) = self.current.take() else { return Ok(None) };
            let (stored, _) = archive.finish().await?;
            self.bytes += stored.bytes;
            if part.sha256.is_some_and(|sha256| sha256.to_string() != stored.sha256) {
                return Err(ArchiveReadError::Changed("the rows of a table"));
            }
            if part.skips {
                return Ok(Some(Bytes::from_static(b"\\.\n")));
            }
        }
    }
}

impl ArchiveParts {
    /// Reads the current part to its end: true when its bytes are those that were written, as far as that can be told.
    pub(crate) async fn ends_as_written(mut self) -> bool {
        let Some((part, mut archive)) = self.current.take() else { return true };
        while matches!(archive.next().await, Ok(Some(_))) {}
        match (part.sha256, archive.finish().await) {
            (Some(sha256), Ok((stored, _))) => sha256.to_string() == stored.sha256,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::facts::TableRows;

    fn contents(tables: &[(&str, u64, u64)]) -> Contents {
        let mut contents = Contents::default();
        for (name, offset, length) in tables {
            let member = Member { offset: *offset, length: *length, sha256: Sha256Digest::default() };
            contents.tables.entry((*name).to_owned()).or_insert_with(TableRows::default).members.push(member);
        }
        contents
    }

    fn ranges(contents: &Contents, wanted: &str) -> Vec<(Range<u64>, bool, bool)> {
        let parts = cut(contents, &BTreeSet::from([wanted.to_owned()]), 10_000_000).unwrap();
        parts.into_iter().map(|part| (part.range, part.sha256.is_some(), part.skips)).collect()
    }

    #[test]
    fn long_runs_of_other_rows_are_skipped_and_everything_else_is_read() {
        // schema to 5000; b and c go together; d is wanted; something long is between e and f
        let contents = contents(&[
            ("a", 5_000, 100),
            ("b", 5_200, 300_000),
            ("c", 305_300, 300_000),
            ("d", 605_400, 1_000),
            ("e", 606_500, 400_000),
            ("f", 2_000_000, 5_000_000),
        ]);
        assert_eq!(
            ranges(&contents, "d"),
            [
                (0..5_000, false, true),
                (605_300..605_400, false, false),
                (605_400..606_400, true, false),
                (606_400..606_500, false, true),
                (1_006_500..2_000_000, false, true),
                (7_000_000..10_000_000, false, false),
            ]
        );
    }

    #[test]
    fn impossible_places_are_none() {
        for (offset, length) in [(u64::MAX, 2), (1 << 63, 1), (9_999_999, 2)] {
            assert_eq!(cut(&contents(&[("a", offset, length)]), &BTreeSet::new(), 10_000_000), None);
        }
        assert_eq!(cut(&contents(&[("a", 10, 100), ("b", 50, 100)]), &BTreeSet::new(), 10_000_000), None);
    }

    #[test]
    fn short_runs_are_read_through() {
        let contents = contents(&[("a", 500, 100), ("b", 700, 100), ("c", 900, 100)]);
        assert_eq!(
            ranges(&contents, "b"),
            [(0..700, false, false), (700..800, true, false), (800..10_000_000, false, false)]
        );
    }
}
