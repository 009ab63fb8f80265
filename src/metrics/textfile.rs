//! A file for the node exporter's textfile collector, replaced at once.

use super::Metrics;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Series by family, as the text has them.
type Text = BTreeMap<String, Block>;

#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    header: Vec<String>,
    /// Value by name and labels.
    samples: BTreeMap<String, String>,
}

/// Replaces the file. What it said of this source and is not said anew stays, unless it is about a database that is
/// known to be gone.
pub(super) fn write(path: &Path, metrics: &Metrics) -> std::io::Result<()> {
    let old = match std::fs::read_to_string(path) {
        Ok(text) => read(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Text::new(),
        Err(error) => return Err(error),
    };
    let text = merged(old, read(&metrics.text()), metrics);
    let new = beside(path);
    let written = (|| {
        let mut file = std::fs::File::create(&new)?;
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

/// Makes and removes a file where the new one would be made.
pub(super) fn check(path: &Path) -> std::io::Result<()> {
    let new = beside(path);
    std::fs::File::create(&new)?;
    std::fs::remove_file(&new)
}

/// The collector passes over what does not end in .prom.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn merged(old: Text, mut new: Text, metrics: &Metrics) -> String {
    let source = label("source", &metrics.source);
    for (family, block) in old {
        for (series, value) in block.samples {
            let is_gone = metrics.databases.as_ref().is_some_and(|databases| {
                let is_about = |name: &String| series.contains(&format!("{{{}", label("database", name)));
                series.contains("{database=\"") && !databases.iter().any(is_about)
            });
            if series.contains(&source) && !is_gone {
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

/// A label as the text has it.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
    format!("{name}=\"{value}\"")
}

fn read(text: &str) -> Text {
    let mut families = Text::new();
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
