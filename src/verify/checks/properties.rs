//! Properties of the database that pg_dump leaves out.

use super::difference::{changes, setting_changes, short};
use super::{CheckKind, Compared, Judgement, verdict_of};
use crate::record::facts::DatabaseProperties;
use serde_json::{Map, Value};

pub(super) const CHECK: CheckKind = CheckKind { number: 14, title: "database properties", of_catalogue: false, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    let all = |properties: &DatabaseProperties| match serde_json::to_value(properties) {
        Ok(Value::Object(all)) => all,
        _ => Map::new(),
    };
    let (mut wanted, mut there) = (all(&compared.expected.head.properties), all(&compared.found.properties));
    let mut warnings = compared.found.unapplied.clone();
    let versions = (wanted.remove("collation_version"), there.remove("collation_version"));
    if versions.0 != versions.1 {
        let show = |value: Option<Value>| value.map_or("none".to_owned(), short);
        let versions = (show(versions.1), show(versions.0));
        warnings.push(format!("collation_version is {} here, {} at the source", versions.0, versions.1));
    }
    // the comment of a scratch database is its mark
    let mut left_out = vec!["comment"];
    if !compared.terms.owners {
        left_out.extend(["owner", "privileges", "connection_limit"]);
        warnings.push("owner, privileges and connection limit were not restored".to_owned());
    }
    if !compared.found.unapplied.is_empty() {
        left_out.extend(["settings", "role_settings", "owner", "privileges", "connection_limit"]);
    }
    for name in left_out {
        wanted.remove(name);
        there.remove(name);
    }
    let mut differences = Vec::new();
    for name in ["settings", "role_settings"] {
        let (wanted, there) = (wanted.remove(name), there.remove(name));
        // which ones, and not their values: one may be a secret
        differences.extend((wanted != there).then(|| setting_changes(name, wanted.as_ref(), there.as_ref())));
    }
    differences.extend(changes(&wanted, &there));
    let (mut details, verdict) = (differences.clone(), verdict_of(&differences, &warnings));
    details.extend(warnings);
    Judgement::new(
        verdict,
        format!("{} properties", wanted.len()),
        format!("{} equal", wanted.len() - differences.len().min(wanted.len())),
        details,
    )
}
