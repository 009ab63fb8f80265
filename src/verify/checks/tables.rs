//! Tables and their columns.

use super::difference::Difference;
use super::{CheckKind, Compared, Judgement};
use crate::record::facts::Kind;
use crate::text;

pub(super) const CHECK: CheckKind = CheckKind { number: 3, title: "tables and columns", of_catalogue: true, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    if compared.found.objects.has_none(Kind::Table) {
        return Judgement::not_applicable("the database has no table");
    }
    let mut difference = Difference::of(Kind::Table, &compared.found.objects, compared.terms.texts);
    // its rows are in the dump, so it is not left out
    let (lost, left_out): (Vec<String>, Vec<String>) =
        difference.missing.drain(..).partition(|name| compared.expected.contents.tables.contains_key(name));
    difference.missing = left_out;
    let (mut differences, warnings) = difference.judge(compared.terms);
    differences.splice(0..0, lost.iter().map(|name| format!("{} is missing", text::one_line(name))));
    Judgement::counted("table", compared.found.objects.counts(Kind::Table), differences, warnings)
}
