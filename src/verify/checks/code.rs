//! Views, functions, triggers, policies and extensions.

use super::difference::{Difference, short};
use super::{CheckKind, Compared, Found, Judgement, verdict_of};
use crate::record::facts::{Kind, Objects};
use crate::text;
use serde_json::{Map, Value};

pub(super) const CHECK: CheckKind =
    CheckKind { number: 11, title: "views, functions, triggers, policies, extensions", of_catalogue: true, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    let kinds = [
        ("view", Kind::View),
        ("function", Kind::Function),
        ("trigger", Kind::Trigger),
        ("policy", Kind::Policy),
        ("extension", Kind::Extension),
    ];
    if kinds.iter().all(|(_, kind)| compared.found.objects.has_none(*kind)) {
        return Judgement::not_applicable("the database has none of them");
    }
    let (mut differences, mut warnings) = (Vec::new(), Vec::new());
    for (what, kind) in kinds {
        let difference = match kind {
            Kind::Extension => extensions(compared.found, &mut warnings),
            _ => Difference::of(kind, &compared.found.objects, compared.terms.texts),
        };
        let (different, warned) = difference.judge(compared.terms);
        differences.extend(different.into_iter().map(|text| format!("{what} {text}")));
        warnings.extend(warned.into_iter().map(|text| format!("{what} {text}")));
    }
    let count = |side: usize| {
        let counts = kinds.iter().map(|(what, kind)| {
            let (wanted, there) = compared.found.objects.counts(*kind);
            text::count([wanted, there][side], what)
        });
        counts.collect::<Vec<_>>().join(", ")
    };
    let verdict = verdict_of(&differences, &warnings);
    differences.extend(warnings);
    Judgement::new(verdict, count(0), count(1), differences)
}

/// What differs between extensions but for their versions, which are warnings.
fn extensions(found: &Found, warnings: &mut Vec<String>) -> Difference {
    let (wanted, there) = found.objects.unlike(Kind::Extension);
    let without_version = |all: &Objects| -> Objects {
        let mut all = all.clone();
        all.values_mut().for_each(|extension| drop(extension.remove("version")));
        all
    };
    for (name, extension) in wanted {
        let version = |extension: &Map<String, Value>| extension.get("version").map(short).unwrap_or_default();
        let there = there.get(name).map(version);
        if let Some(there) = there.filter(|there| *there != version(extension)) {
            warnings.push(format!("extension {name}: version {there} here, {} at the source", version(extension)));
        }
    }
    Difference::between(&without_version(wanted), &without_version(there), true)
}
