//! What the tables of migration tools say: the version, and whether one broke off.

use super::{CheckKind, Compared, Expected, Judgement};
use crate::record::facts::Migration;
use crate::verify::report::Verdict;
use std::collections::BTreeMap;

pub(super) const VERSION: CheckKind =
    CheckKind { number: 1, title: "migration version", of_catalogue: true, judge: judge_version };

pub(super) const DIRTY: CheckKind =
    CheckKind { number: 2, title: "migration not dirty", of_catalogue: true, judge: judge_dirty };

/// What the migration tools say whose tables have their rows in the dump.
fn dumped<'a>(expected: &Expected, migrations: &'a [Migration]) -> Vec<&'a Migration> {
    let dumped = |migration: &&Migration| expected.contents.tables.contains_key(&migration.table);
    migrations.iter().filter(dumped).collect()
}

const NO_MIGRATIONS: &str = "the dump has the rows of no migration tool's table";

fn judge_version(compared: &Compared<'_>) -> Judgement {
    let versions = |all: &[Migration]| -> BTreeMap<String, String> {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
        let all = dumped(compared.expected, all).into_iter();
        all.map(|one| (format!("{} ({})", one.tool, one.table), version(&one.version))).collect()
    };
    let (expected, found) = (versions(&compared.expected.head.migrations), versions(&compared.found.migrations));
    if expected.is_empty() && found.is_empty() {
        return Judgement::not_applicable(NO_MIGRATIONS);
    }
    let show = |versions: &BTreeMap<String, String>| {
        versions.iter().map(|(tool, version)| format!("{tool}: {version}")).collect::<Vec<_>>().join(", ")
    };
    let verdict = if expected == found { Verdict::Ok } else { Verdict::Failed };
    Judgement::new(verdict, show(&expected), show(&found), Vec::new())
}

fn judge_dirty(compared: &Compared<'_>) -> Judgement {
    let (wanted, there) = (
        dumped(compared.expected, &compared.expected.head.migrations),
        dumped(compared.expected, &compared.found.migrations),
    );
    if wanted.is_empty() && there.is_empty() {
        return Judgement::not_applicable(NO_MIGRATIONS);
    }
    let dirty = |all: Vec<&Migration>| -> Vec<String> {
        all.into_iter().filter(|one| one.dirty).map(|one| one.table.clone()).collect()
    };
    let (expected, found) = (dirty(wanted), dirty(there));
    let verdict = match (expected == found, expected.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, false) => Verdict::Warning,
        (true, true) => Verdict::Ok,
    };
    let details =
        expected.iter().map(|table| format!("{table}: a migration at the source was not completed")).collect();
    let show = |tables: &[String]| if tables.is_empty() { "not dirty".to_owned() } else { tables.join(", ") };
    Judgement::new(verdict, show(&expected), show(&found), details)
}
