//! The record that makes a backup exist, written last and never changed.

use crate::record::facts::{DatabaseProperties, SnapshotRecord, Subject, Totals, Versions};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Version of the layout that this program writes.
pub const VERSION: u32 = 1;
/// Most bytes of a manifest.
pub const LIMIT: u64 = 64 << 10;

/// Format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// SQL text, compressed by us.
    Plain,
    /// pg_dump's own archive, compressed by pg_dump.
    Custom,
}

/// Why a backup was made; retention keeps each type by its own rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// Pruned by age.
    Auto,
    /// Newest N kept.
    Daily,
    /// Newest N kept.
    Weekly,
    /// Newest N kept.
    Monthly,
    /// Never pruned.
    Manual,
}

impl BackupType {
    /// The word in manifests and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Manual => "manual",
        }
    }
}

/// What a backup is, where it came from, and how to know its bytes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout.
    pub version: u32,
    /// `<base>[_<database>]_<time>`
    pub id: String,
    /// The run that made it.
    pub run_id: String,
    /// Name of the source.
    pub source: String,
    /// What the archive holds: `content`, and `database` where that is one.
    #[serde(flatten)]
    pub subject: Subject,
    /// Type.
    #[serde(rename = "type")]
    pub backup_type: BackupType,
    /// Format of the archive.
    pub format: Format,
    /// How the archive is compressed.
    pub compression: Compression,
    /// How the archive is encrypted; none when it is not.
    pub encryption: Option<String>,
    /// When the backup began.
    pub started: DateTime<Utc>,
    /// The snapshot that the dump shows; none where the archive is not the dump of one database. The facts file has
    /// one for each database of a cluster archive.
    pub snapshot: Option<SnapshotRecord>,
    /// When the last byte was stored.
    pub finished: DateTime<Utc>,
    /// Versions of server, client and this program.
    pub versions: Versions,
    /// The number by which PostgreSQL knows the server and its clones; none where the role may not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Bytes that pg_dump wrote.
    pub raw_bytes: u64,
    /// Bytes of the archive.
    pub stored_bytes: u64,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the facts file, in hexadecimal.
    pub facts_sha256: String,
    /// Arguments of pg_dump, or of pg_dumpall for globals; of an encrypted archive the options without their values.
    pub arguments: Vec<String>,
    /// The databases of a cluster archive, or those that were to be saved with these globals; empty when they do not fit, and then only the facts file has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<String>,
    /// What `ALTER ROLE ALL SET` says on the server, `name=value`, where the archive holds the roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings_of_all_roles: Vec<String>,
    /// Counts.
    pub totals: Totals,
    /// Properties of the one database; none when they do not fit or are encrypted, and then only the facts file has them.
    pub properties: Option<DatabaseProperties>,
}

/// How an archive is compressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    /// `gzip` (by us, independent members) or `pg_dump` (inside the archive).
    pub method: String,
    /// 0 to 9, as configured.
    pub level: u8,
}

/// A manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not this layout.
    #[error("it is not a manifest: {0}")]
    Form(#[from] serde_json::Error),
    /// Made by a newer program.
    #[error("it has version {0}, and this program reads up to {VERSION}; use a newer release of backup")]
    Newer(u32),
}

/// By what a backup of one source is known wherever it lies: its id, and the SHA-256 of its archive.
pub type Identity = (String, String);

impl Manifest {
    /// The backup's identity.
    pub fn identity(&self) -> Identity {
        (self.id.clone(), self.sha256.clone())
    }

    /// The bytes to store: what would break the limit is left to the facts file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let render = |manifest: &Self| {
            let mut bytes = serde_json::to_vec_pretty(manifest).unwrap_or_default();
            bytes.push(b'\n');
            bytes
        };
        let bytes = render(self);
        if bytes.len() as u64 <= LIMIT {
            bytes
        } else {
            render(&Self { properties: None, databases: Vec::new(), ..self.clone() })
        }
    }

    /// Without what could hold names of a schema: only the facts file has that, and it is encrypted.
    #[must_use]
    pub fn without_names(self) -> Self {
        let options = self.arguments.iter().filter(|argument| argument.starts_with('-'));
        let name = |option: &String| match option.strip_prefix("--") {
            Some(long) => format!("--{}", long.split('=').next().unwrap_or_default()),
            // a short option may have its value right behind it
            None => option.chars().take(2).collect(),
        };
        Self { arguments: options.map(name).collect(), properties: None, ..self }
    }

    /// Reads stored bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.version > VERSION {
            return Err(ManifestError::Newer(head.version));
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// How a backup was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Restored and compared.
    Restore,
    /// Its stored bytes read and compared.
    Checksum,
}

/// What the record of a verification says of its backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Version of this layout.
    pub version: u32,
    /// SHA-256 of the archive that was meant, as its manifest has it.
    pub sha256: String,
    /// How it was verified.
    pub how: How,
    /// Nothing failed.
    pub passed: bool,
    /// Objects that PostgreSQL cannot load from its own dump; the report names them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub exceptions: usize,
    /// What failed, in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failures: String,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// Seconds that restoring its databases took, none where nothing was restored. The report says it for each database,
    /// and whoever reads a stored one adds these up.
    #[serde(skip)]
    pub restore_seconds: Option<f64>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What of a database cannot be loaded from its dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The object, and what became of it.
    pub object: String,
    /// What the server said.
    pub reason: String,
    /// SQL that would make it, once the reason is gone.
    pub sql: String,
}

/// What `.pending` and `.deleting` hold: whose they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Version of this layout.
    pub version: u32,
    /// Name of the source.
    pub source: String,
    /// The number by which PostgreSQL knows the source's server; none where it was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    pub run_id: String,
    pub written: DateTime<Utc>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(id: &str) -> Manifest {
        let time = "2026-01-28T02:05:00Z".parse().unwrap();
        Manifest {
            version: VERSION,
            id: id.to_owned(),
            run_id: "run".to_owned(),
            source: "db:5432".to_owned(),
            subject: Subject::Database("shop".to_owned()),
            backup_type: BackupType::Auto,
            format: Format::Plain,
            compression: Compression { method: "gzip".to_owned(), level: 6 },
            encryption: None,
            started: time,
            snapshot: Some(SnapshotRecord { taken: time, exported: true }),
            finished: time,
            versions: Versions { server: "17.10".to_owned(), client: "17.10".to_owned(), tool: "0.1.0".to_owned() },
            system_identifier: Some("7710654680363480094".to_owned()),
            raw_bytes: 1000,
            stored_bytes: 100,
            sha256: "00".repeat(32),
            facts_sha256: "11".repeat(32),
            arguments: vec!["--format=plain".to_owned()],
            databases: Vec::new(),
            settings_of_all_roles: Vec::new(),
            totals: Totals { tables: 3, rows: 12, database_bytes: 9000 },
            properties: Some(DatabaseProperties {
                owner: "owner".to_owned(),
                privileges: None,
                comment: None,
                encoding: "UTF8".to_owned(),
                locale_provider: "libc".to_owned(),
                collate: "C".to_owned(),
                ctype: "C".to_owned(),
                locale: None,
                icu_rules: None,
                collation_version: None,
                connection_limit: -1,
                settings: Vec::new(),
                role_settings: std::collections::BTreeMap::new(),
            }),
        }
    }

    #[test]
    fn the_manifest_keeps_its_published_shape() {
        let text = String::from_utf8(sample("backup_2026-01-28_02-05-00").to_bytes()).unwrap();
        insta::with_settings!({ snapshot_path => "../../tests/snapshots" }, { insta::assert_snapshot!(text) });
    }

    #[test]
    fn what_is_written_can_be_read() {
        for subject in [Subject::Database("a \"b\"\n".to_owned()), Subject::Globals, Subject::Cluster] {
            let manifest = Manifest { subject, ..sample("backup_2026-01-28_02-05-00") };
            assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        }
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_facts_file() {
        let mut manifest = sample("x");
        manifest.properties.as_mut().unwrap().comment = Some("long".repeat(20_000));
        let bytes = manifest.to_bytes();
        assert!(bytes.len() as u64 <= LIMIT);
        assert_eq!(Manifest::parse(&bytes).unwrap().properties, None);
        let databases = (0..2000).map(|n| format!("a database with a rather long name {n}")).collect();
        let manifest = Manifest { subject: Subject::Cluster, databases, ..sample("x") };
        assert!(manifest.to_bytes().len() as u64 <= LIMIT);
    }

    #[test]
    fn a_newer_layout_is_refused_by_name() {
        assert_eq!(
            Manifest::parse(br#"{"version": 99}"#).unwrap_err().to_string(),
            "it has version 99, and this program reads up to 1; use a newer release of backup"
        );
    }
}
