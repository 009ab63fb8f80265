//! A file for the node exporter's textfile collector, replaced at once.

use super::Metrics;
use super::families::{FAMILIES, FamilyOrigin};
use crate::repository::Side;
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Series by family, as the text has them.
type FamilyTexts = BTreeMap<String, FamilyText>;

#[derive(Debug, Default, PartialEq, Eq)]
struct FamilyText {
    header: Vec<String>,
    /// Value by name and labels.
    samples: BTreeMap<String, String>,
}

/// Replaces the file. Series of this source that have no new value and may still hold are kept.
pub(super) fn write(path: &Path, metrics: &Metrics) -> std::io::Result<()> {
    // what a link points to, not the link
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // runs that end at the same time would overwrite each other; dropping it ends the lock
    let lock = std::fs::File::open(folder)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    // a file that cannot be read has nothing to keep
    let old = std::fs::read(path).map(|bytes| read(&String::from_utf8_lossy(&bytes))).unwrap_or_default();
    replace(path, &merged(old, read(&metrics.text()), metrics))
}

/// Makes and removes a file where the new one would be made.
pub(super) fn check(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    let beside = path.with_file_name(format!("backup-check-{}.prom", uuid::Uuid::now_v7().simple()));
    replace(&beside, "# a file of this size can be written here\n")?;
    std::fs::remove_file(&beside)
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // the collector passes over what does not end in .prom
    name.push(format!(".{}.new", uuid::Uuid::now_v7().simple()));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = std::fs::File::create_new(&new)?;
        // the collector is another user, and nothing in it is secret
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    })();
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&new);
    })
}

fn merged(old: FamilyTexts, mut new: FamilyTexts, metrics: &Metrics) -> String {
    for (family, block) in old {
        for (series, value) in block.samples {
            if still_holds(&family, &series, metrics) {
                let kept = new.entry(family.clone()).or_default();
                if kept.header.is_empty() {
                    kept.header.clone_from(&block.header);
                }
                kept.samples.entry(series).or_insert(value);
            }
        }
    }
    let mut text = String::new();
    for block in new.values() {
        let samples = block.samples.iter().map(|(series, value)| format!("{series} {value}"));
        for line in block.header.iter().cloned().chain(samples) {
            text += &line;
            text.push('\n');
        }
    }
    text
}

/// True for a series that may still hold although it has no new value.
fn still_holds(family: &str, series: &str, metrics: &Metrics) -> bool {
    let Some(family) = FAMILIES.iter().find(|known| known.name == family) else { return false };
    let has = |name: &str, value: &str| {
        let label = label(name, value);
        series.contains(&format!("{{{label}")) || series.contains(&format!(",{label}"))
    };
    let is_of_target = |sides: &[Side]| sides.iter().any(|side| has("target", side.as_str()));
    let has_target = family.labels.contains(&"target");
    if !has("source", &metrics.source) || has_target && !is_of_target(&metrics.sides) {
        return false;
    }
    match family.origin {
        FamilyOrigin::Storage if has_target => !is_of_target(&metrics.read),
        FamilyOrigin::Storage => metrics.read.len() < metrics.sides.len(),
        FamilyOrigin::Attempt => {
            metrics.databases.as_ref().is_none_or(|names| names.iter().any(|name| has("database", name)))
        }
        // shards of another number are no part of the whole any more
        FamilyOrigin::Run => metrics.shard.as_ref().is_none_or(|own| {
            own.split_once('/').is_some_and(|(_, count)| {
                (0..count.parse().unwrap_or(0)).any(|index: u32| has("shard", &format!("{index}/{count}")))
            })
        }),
        FamilyOrigin::Process => false,
    }
}

/// A label as the text has it.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
    format!("{name}=\"{value}\"")
}

fn read(text: &str) -> FamilyTexts {
    let mut families = FamilyTexts::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(family) = comment.split(' ').nth(1) {
                families.entry(family.to_owned()).or_default().header.push(line.to_owned());
            }
        } else if let Some((series, value)) = line.rsplit_once(' ') {
            let family = series.split('{').next().unwrap_or(series);
            families.entry(family.to_owned()).or_default().samples.insert(series.to_owned(), value.to_owned());
        }
    }
    families
}
