//! Rows whose validated foreign key refers to nothing.

use super::{CheckKind, Compared, Judgement, verdict_of};
use crate::text;

pub(super) const CHECK: CheckKind = CheckKind { number: 9, title: "no orphan rows", of_catalogue: false, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    let (keys, orphans) = &compared.found.orphans;
    if *keys == 0 {
        return Judgement::not_applicable("the database has no validated foreign key");
    }
    let details: Vec<String> = orphans
        .iter()
        .map(|(key, count)| format!("{}: {}", text::one_line(key), text::count(*count, "orphan row")))
        .collect();
    let sum: u64 = orphans.values().sum();
    let expected = format!("no orphan rows in {}", text::count(*keys, "foreign key"));
    Judgement::new(verdict_of(&details, &[]), expected, text::count(sum, "orphan row"), details)
}
