//! Names made and parsed, here and nowhere else.
//!
//! NAME is an archive's whole file name; its companions are `NAME` and an ending. The id of a backup is
//! `<base>[_<database>]_<time>` whatever the layout makes of the key, and `globals` or `cluster` stands where the
//! archive is not of one database.

use crate::hex;
use crate::record::facts::Subject;
use crate::record::manifest::{BackupType, Format};
use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Bytes of a database name that stand for themselves in file names and keys.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

/// Words that stand for what is no database.
const GLOBALS: &str = "globals";
const CLUSTER: &str = "cluster";

/// Longest component made of a database's name, in bytes: with the longest prefix, time, endings and the marks of a
/// file on its way it stays below the 255 bytes of a file's name.
const LONGEST: usize = 96;

/// Layout of archives under a folder or prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathFormat {
    /// `NAME`
    Flat,
    /// `2026-01/NAME`
    Monthly,
    /// `2026-01-28/NAME`
    Daily,
    /// `daily/NAME`
    Type,
    /// `DATABASE/TIMESTAMP.sql.gz`
    Database,
}

/// What a backup's names are made of.
#[derive(Debug, Clone)]
pub struct Naming {
    /// `BACKUP_BASE_NAME`.
    pub base: String,
    /// What the archive holds.
    pub subject: Subject,
    /// True when several databases are selected, and the id must tell them apart.
    pub several: bool,
    pub backup_type: BackupType,
    /// Format of the archive.
    pub format: Format,
    /// The archive is encrypted.
    pub encrypted: bool,
    /// Start of the backup.
    pub time: DateTime<Utc>,
    /// Zone in which names show it.
    pub zone: Tz,
}

impl Naming {
    fn stamp(&self) -> String {
        self.time.with_timezone(&self.zone).format("%Y-%m-%d_%H-%M-%S").to_string()
    }

    /// The id of the backup.
    pub fn id(&self) -> String {
        match &self.subject {
            Subject::Database(_) if !self.several => format!("{}_{}", self.base, self.stamp()),
            subject => format!("{}_{}_{}", self.base, component(subject), self.stamp()),
        }
    }

    /// The archive's key under a layout.
    pub fn key(&self, layout: PathFormat) -> String {
        let id = self.id();
        let archive = ArchiveName {
            id: &id,
            subject: &self.subject,
            backup_type: self.backup_type,
            format: self.format,
            encrypted: self.encrypted,
        };
        archive.place(layout, &self.stamp())
    }
}

/// What of a backup decides where it lies.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveName<'a> {
    /// The backup's id.
    pub id: &'a str,
    /// What it holds.
    pub subject: &'a Subject,
    pub backup_type: BackupType,
    /// Format of the archive.
    pub format: Format,
    /// The archive is encrypted.
    pub encrypted: bool,
}

impl ArchiveName<'_> {
    /// The archive's key under a layout, where the id is one that we make: it ends in the time that names show.
    pub fn key(&self, layout: PathFormat) -> Option<String> {
        let stamp = self.id.get(self.id.len().checked_sub(STAMP.len())?..)?;
        let is_stamp = stamp.bytes().zip(STAMP.bytes()).all(|(byte, sample)| match sample {
            b'0' => byte.is_ascii_digit(),
            mark => byte == mark,
        });
        let is_component =
            self.id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') && !self.id.starts_with('.');
        (is_stamp && is_component).then(|| self.place(layout, stamp))
    }

    fn place(&self, layout: PathFormat, stamp: &str) -> String {
        let ending = format!("{}{}", ending(self.format), if self.encrypted { ENCRYPTED } else { "" });
        let name = format!("{}{ending}", self.id);
        match layout {
            PathFormat::Flat => name,
            PathFormat::Monthly => format!("{}/{name}", &stamp[.."0000-00".len()]),
            PathFormat::Daily => format!("{}/{name}", &stamp[.."0000-00-00".len()]),
            PathFormat::Type => format!("{}/{name}", self.backup_type.as_str()),
            PathFormat::Database => format!("{}/{stamp}{ending}", component(self.subject)),
        }
    }
}

/// The form of the time in names.
const STAMP: &str = "0000-00-00_00-00-00";

/// What the name of an encrypted file ends in, as `age` itself has it.
pub const ENCRYPTED: &str = ".age";

/// Ending of an archive's name, before [`ENCRYPTED`].
pub fn ending(format: Format) -> &'static str {
    match format {
        Format::Plain => ".sql.gz",
        Format::Custom => ".dump",
    }
}

fn component(subject: &Subject) -> String {
    match subject {
        Subject::Database(name) => encode(name),
        Subject::Globals => GLOBALS.to_owned(),
        Subject::Cluster => CLUSTER.to_owned(),
    }
}

/// A database name as one harmless component of a path, different for every name.
///
/// Everything but letters, digits, `_`, `-` and `.` is percent-encoded, and so is the first byte where it is `.` or `-`
/// or where the name is one of our own words. What would be too long ends in `~` and a digest.
pub fn encode(database: &str) -> String {
    let encoded = utf8_percent_encode(database, PLAIN).to_string();
    let encoded = match encoded.as_bytes() {
        [first @ (b'.' | b'-'), ..] => format!("%{first:02X}{}", &encoded[1..]),
        [first, ..] if encoded == GLOBALS || encoded == CLUSTER => format!("%{first:02X}{}", &encoded[1..]),
        _ => encoded,
    };
    if encoded.len() <= LONGEST {
        return encoded;
    }
    let digest = hex::encode(&Sha256::digest(database)[..8]);
    // an escape is not cut in two
    let length = LONGEST - digest.len() - 1;
    let kept = &encoded[..length];
    let kept = kept.rfind('%').filter(|start| start + 3 > length).map_or(kept, |start| &kept[..start]);
    format!("{kept}~{digest}")
}

/// Which file of a backup a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `NAME`
    Archive,
    /// `NAME.sha256`
    Checksum,
    /// `NAME.facts.json.gz`, and with [`ENCRYPTED`] behind it where NAME has that
    Facts,
    /// `NAME.verify-<time>.json`
    Verification,
    /// `NAME.json`
    Manifest,
    /// `NAME.pending`: written before the archive, removed after the manifest
    Pending,
    /// `NAME.upload`: the store's number of the upload, removed before `NAME.pending`
    Upload,
    /// `NAME.deleting`: written before a backup is removed, removed last
    Deleting,
}

/// Splits a key into its archive's key and the part it is; none for anything we do not write.
pub fn parse(key: &str) -> Option<(&str, FileKind)> {
    let parts = [
        (".sha256", FileKind::Checksum),
        (".facts.json.gz", FileKind::Facts),
        (".pending", FileKind::Pending),
        (".upload", FileKind::Upload),
        (".deleting", FileKind::Deleting),
        (".json", FileKind::Manifest),
    ];
    let is_archive = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or(name);
        let name = name.strip_suffix(ENCRYPTED).unwrap_or(name);
        !name.starts_with('.')
            && [".sql.gz", ".dump"].iter().any(|ending| name.strip_suffix(ending).is_some_and(|stem| !stem.is_empty()))
    };
    if is_archive(key) {
        return Some((key, FileKind::Archive));
    }
    if let Some(archive) = key.strip_suffix(".facts.json.gz.age") {
        return (archive.ends_with(ENCRYPTED) && is_archive(archive)).then_some((archive, FileKind::Facts));
    }
    if let Some((archive, time)) = key.rsplit_once(".verify-")
        && is_verification_time(time)
        && is_archive(archive)
    {
        return Some((archive, FileKind::Verification));
    }
    parts.iter().find_map(|(ending, part)| {
        let archive = key.strip_suffix(ending)?;
        is_archive(archive).then_some((archive, *part))
    })
}

/// True for what [`verification`] writes behind `.verify-`: a database may have such a word in its name.
fn is_verification_time(text: &str) -> bool {
    const FORM: &str = "00000000T000000";
    let Some((time, rest)) = text.split_at_checked(FORM.len()) else { return false };
    let is_time = time.bytes().zip(FORM.bytes()).all(|(byte, sample)| match sample {
        b'0' => byte.is_ascii_digit(),
        mark => byte == mark,
    });
    let fraction = rest.strip_suffix("Z.json").unwrap_or("?");
    is_time && fraction.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
}

/// Key of the record of a verification that ended then.
pub fn verification(archive: &str, time: DateTime<Utc>) -> String {
    format!("{archive}.verify-{}.json", time.format("%Y%m%dT%H%M%S%.3fZ"))
}

/// Key of a companion of an archive; verifications carry a time, and [`verification`] makes their keys.
pub fn companion(archive: &str, part: FileKind) -> String {
    let ending = match part {
        FileKind::Archive | FileKind::Verification => "",
        FileKind::Checksum => ".sha256",
        FileKind::Facts if archive.ends_with(ENCRYPTED) => ".facts.json.gz.age",
        FileKind::Facts => ".facts.json.gz",
        FileKind::Manifest => ".json",
        FileKind::Pending => ".pending",
        FileKind::Upload => ".upload",
        FileKind::Deleting => ".deleting",
    };
    format!("{archive}{ending}")
}

/// What the name of a note of a failed run begins with.
const FAILURE: &str = "backup-failed-";
/// What the name of the note of its end ends in.
const RECOVERED: &str = ".over";
/// The form of its time.
const FAILURE_TIME: &str = "%Y%m%dT%H%M%S%.3fZ";

/// What the notes of failed runs of one kind of a source begin with.
pub fn failure_notes(source: &str, kind: &str) -> String {
    let digest = Sha256::new().chain_update(source).chain_update("\n").chain_update(kind).finalize();
    format!("{FAILURE}{}-", hex::encode(&digest[..8]))
}

/// Key of the note of a run that failed then.
pub fn failure_note(source: &str, kind: &str, time: DateTime<Utc>) -> String {
    format!("{}{}", failure_notes(source, kind), time.format(FAILURE_TIME))
}

/// Key of the note that such failures are over, where its own note cannot be deleted.
pub fn recovery_note(failure: &str) -> String {
    format!("{failure}{RECOVERED}")
}

/// When the failed run was that a key is the note of.
pub fn failure_time(key: &str) -> Option<DateTime<Utc>> {
    let (digest, time) = key.strip_prefix(FAILURE)?.split_once('-')?;
    if digest.len() != 16 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    NaiveDateTime::parse_from_str(time, FAILURE_TIME).ok().map(|time| time.and_utc())
}

/// True for the note of a failed run, or of its end.
pub fn is_failure_note(key: &str) -> bool {
    failure_time(key.strip_suffix(RECOVERED).unwrap_or(key)).is_some()
}

/// What the name of a note begins with that one server took over the backups of another.
const ADOPTION: &str = "backup-adopted-";

/// What the notes of a source begin with that backups were taken over.
pub fn adoptions(source: &str) -> String {
    format!("{ADOPTION}{}-", hex::encode(&Sha256::digest(source)[..8]))
}

/// Key of the note that `heir`, the source's server now, has taken over the backups of `server`.
pub fn adoption(source: &str, server: &str, heir: &str) -> String {
    format!("{}{server}-{heir}", adoptions(source))
}

/// The two servers of such a note of a source.
pub fn adoption_of(key: &str, source: &str) -> Option<(String, String)> {
    let (server, heir) = key.strip_prefix(&adoptions(source))?.split_once('-')?;
    Some((server.to_owned(), heir.to_owned()))
}

/// What the name of a note begins with that a database's loss of rows was meant.
const RELEASE: &str = "backup-released-";

/// What such notes of one database of a source begin with.
pub fn releases(source: &str, subject: &Subject) -> String {
    let digest = Sha256::new().chain_update(source).chain_update("\n").chain_update(component(subject)).finalize();
    format!("{RELEASE}{}-", hex::encode(&digest[..8]))
}

/// Key of the note of what was lost until then.
pub fn release(source: &str, subject: &Subject, until: DateTime<Utc>) -> String {
    format!("{}{}", releases(source, subject), until.format(FAILURE_TIME))
}

/// The time of a note whose name begins like this.
pub fn release_time(key: &str, releases: &str) -> Option<DateTime<Utc>> {
    let time = key.strip_prefix(releases)?;
    NaiveDateTime::parse_from_str(time, FAILURE_TIME).ok().map(|time| time.and_utc())
}

/// True for any of our notes: of a failed run, of its end, of backups that were taken over, or of rows that were meant to
/// go.
pub fn is_note(key: &str) -> bool {
    is_failure_note(key) || key.starts_with(ADOPTION) || key.starts_with(RELEASE)
}

#[cfg(test)]
mod tests;
