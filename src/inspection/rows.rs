//! The first rows of a table, read out of its part of the archive. What is read is a few blocks, so that no checksum can
//! be compared: it shows rows, and proves nothing.

use super::row_reader::{Chunks, FieldText, fields, next_line};
use super::stored_file::StoredFile;
use crate::dump_format::custom_archive::{ArchiveCompression, CustomArchive};
use crate::dump_format::sql_lexer::Charset;
use crate::encryption::{Identities, KeyError};
use crate::record::facts::{Member, TableRows};
use crate::record::manifest::Format;
use crate::repository::{Backup, Repository};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use serde::Serialize;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use tokio::runtime::Handle;

/// Bytes asked of a decoder at once: small, so that little more is read than is shown.
const BLOCK: usize = 8 << 10;
/// Bytes in which the beginning of a custom archive, before its table of contents, surely has its end.
const HEADER: usize = 4 << 10;

/// Rows of a table.
#[derive(Debug, Serialize)]
pub struct FirstRows {
    /// The backup.
    pub id: String,
    pub database: String,
    pub table: String,
    pub columns: Vec<String>,
    /// How many the backup has.
    pub total: u64,
    /// The values of each row in the order of the columns, as PostgreSQL writes them as text; null is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many of the values have bytes that are no text in the database's encoding, each shown as U+FFFD.
    pub replaced_values: u64,
}

/// Why no rows can be shown.
#[derive(Debug, thiserror::Error)]
pub enum PeekError {
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store does not give them, or they are not what was written.
    #[error("{0}")]
    Read(#[from] io::Error),
}

/// Which rows of which table.
pub struct WantedRows<'w> {
    pub database: &'w str,
    pub table: &'w str,
    /// What the facts say of its rows.
    pub facts: &'w TableRows,
    /// How their bytes are to be read; none is UTF-8.
    pub encoding: Option<&'w str>,
    /// Most rows that are read.
    pub limit: usize,
}

/// Reads at most as many rows as are wanted, over as few bytes as the compression allows.
pub async fn read(
    repository: &Repository,
    backup: &Backup,
    keys: Option<&Identities>,
    wanted: WantedRows<'_>,
) -> Result<FirstRows, PeekError> {
    let file = StoredFile::new(repository, backup, Handle::current());
    let keys = match (&backup.manifest.encryption, keys) {
        (None, _) => None,
        (Some(_), Some(keys)) => Some(keys.clone()),
        (Some(_), None) => return Err(KeyError::Missing.into()),
    };
    let format = backup.manifest.format;
    let charset = wanted.encoding.map(Charset::named).unwrap_or_default();
    let (members, limit) = (wanted.facts.members.clone(), wanted.limit);
    let work = move || match keys {
        Some(keys) => read_members(&mut keys.decrypt_parts(BufReader::new(file))?, format, &members, limit),
        None => read_members(&mut BufReader::with_capacity(BLOCK, file), format, &members, limit),
    };
    let lines = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
    let columns: Vec<String> = wanted.facts.columns.names().map(str::to_owned).collect();
    let rows: Vec<Vec<FieldText>> = lines.iter().map(|line| fields(line, columns.len(), charset)).collect();
    let replaced = rows.iter().flatten().filter(|field| !field.is_exact).count();
    Ok(FirstRows {
        id: backup.manifest.id.clone(),
        database: wanted.database.to_owned(),
        table: wanted.table.to_owned(),
        columns,
        total: wanted.facts.rows,
        rows: rows.into_iter().map(|row| row.into_iter().map(|field| field.text).collect()).collect(),
        replaced_values: replaced as u64,
    })
}

/// The lines of rows, as the archive has them.
fn read_members<R: Read + Seek>(
    file: &mut R,
    format: Format,
    members: &[Member],
    limit: usize,
) -> Result<Vec<Vec<u8>>, PeekError> {
    let mut rows = Vec::new();
    let header = match format {
        Format::Plain => None,
        Format::Custom => Some(read_header(file)?),
    };
    for member in members {
        file.seek(SeekFrom::Start(member.offset))?;
        let part = file.take(member.length);
        let decoder: Box<dyn Read + '_> = match header {
            None => Box::new(MultiGzDecoder::new(part)),
            Some((int_length, ArchiveCompression::None)) => Box::new(Chunks::new(part, int_length)),
            Some((int_length, ArchiveCompression::Zlib)) => Box::new(ZlibDecoder::new(Chunks::new(part, int_length))),
            Some((_, ArchiveCompression::Other)) => {
                return Err(io::Error::other("it is compressed by a method that this program cannot read").into());
            }
        };
        let mut lines = BufReader::with_capacity(BLOCK, decoder);
        while rows.len() < limit
            && let Some(line) = next_line(&mut lines)?
        {
            rows.push(line);
        }
        if rows.len() == limit {
            break;
        }
    }
    Ok(rows)
}

/// How long integers are and how data are compressed.
fn read_header(file: &mut impl Read) -> io::Result<(usize, ArchiveCompression)> {
    let mut header = Vec::with_capacity(HEADER);
    file.take(HEADER as u64).read_to_end(&mut header)?;
    let mut archive = CustomArchive::default();
    archive.feed(&header);
    Ok((archive.int_length(), archive.compression()))
}
