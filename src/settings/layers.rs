//! The layers of assignments that settings are picked from: the environment, and the `.env` file under it.

use super::raw::{Origin, RawSettings, ReceivedValue};
use super::secret::without_line_end;
use super::{Setting, env_file, slips};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One layer of assignments: the environment, or the `.env` file under it.
pub(super) struct Layer {
    origin: Origin,
    pub(super) values: BTreeMap<String, String>,
}

impl RawSettings {
    pub(super) fn environment_layer(&mut self) -> Layer {
        let mut values = BTreeMap::new();
        for (name, value) in self.process.clone() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(values.insert(name, value)),
                Err(_) if self.is_known(&name) => self.problems.push(format!("{name} is not valid UTF-8")),
                Err(_) => {}
            }
        }
        Layer { origin: Origin::Environment, values }
    }

    pub(super) fn file_layer(&mut self, path: &Path) -> Option<Layer> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.problems.push(format!("{}: {error}", path.display()));
                return None;
            }
        };
        match env_file::parse(&text) {
            Ok(assignments) => {
                Some(Layer { origin: Origin::File(path.to_owned()), values: assignments.into_iter().collect() })
            }
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|problem| format!("{}: {problem}", path.display())));
                None
            }
        }
    }

    /// The value one layer gives a setting, by its name or by the file it names. Empty means unset.
    pub(super) fn pick(&mut self, setting: &Setting, layer: &Layer) -> Option<ReceivedValue> {
        let present = |name: &str| layer.values.get(name).filter(|value| !value.is_empty()).cloned();
        let direct = present(setting.name);
        let file_name = setting.file_name();
        let file = file_name.as_deref().and_then(present);
        match (direct, file) {
            (Some(_), Some(_)) => {
                let file_name = file_name.unwrap_or_default();
                self.problems.push(format!("{} and {file_name} are both set; unset one of them", setting.name));
                None
            }
            (Some(text), None) => {
                if text.len() > 1 && text.starts_with(['"', '\'']) && text.ends_with(['"', '\'']) {
                    self.warnings.push(format!(
                        "{} begins and ends with quotes, which are part of the value; \
                         remove them if that is not intended",
                        setting.name
                    ));
                }
                Some(ReceivedValue::new(text, layer.origin.clone()))
            }
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let text = without_line_end(&text).to_owned();
                    let value = ReceivedValue::new(text, Origin::File(path.into()));
                    (!value.text.is_empty()).then_some(ReceivedValue { is_whole_file: true, ..value })
                }
                Err(error) => {
                    self.problems.push(format!("{}: reading {path}: {error}", file_name.unwrap_or_default()));
                    None
                }
            },
            (None, None) => None,
        }
    }

    pub(super) fn warn_of_slips<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        let known: BTreeSet<String> =
            self.all().flat_map(|setting| [Some(setting.name.to_owned()), setting.file_name()]).flatten().collect();
        let unknown: BTreeSet<&String> = names.filter(|name| self.is_ours(name) && !known.contains(*name)).collect();
        for name in unknown {
            // a key that is overlooked would mean backups that anybody can read
            if name.starts_with("AGE_") {
                let why = "is not a setting; AGE_RECIPIENTS takes keys or the path of a file, AGE_IDENTITY_FILE a path";
                self.problems.push(format!("{name} {why}"));
                continue;
            }
            if let Some(meant) = slips::meant_name(name, &known) {
                self.warnings.push(format!("{name} is not a setting and is ignored; did you mean {meant}?"));
            }
        }
    }

    /// True for settings, and for names that begin like one: an unknown one may be a slip of the pen.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        let upper = name.to_ascii_uppercase();
        let begins_alike = |setting: &Setting| {
            setting.name.split_once('_').is_some_and(|(first, _)| upper.strip_prefix(first).is_some())
        };
        self.all().any(|setting| setting.name == name || begins_alike(setting))
    }

    fn is_known(&self, name: &str) -> bool {
        self.all().any(|setting| setting.name == name || setting.file_name().as_deref() == Some(name))
    }
}
