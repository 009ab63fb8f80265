//! Indexes.

use super::difference::Difference;
use super::{CheckKind, Compared, Judgement};
use crate::record::facts::Kind;
use crate::text;

pub(super) const CHECK: CheckKind = CheckKind { number: 5, title: "indexes", of_catalogue: true, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    if compared.found.objects.has_none(Kind::Index) {
        return Judgement::not_applicable("the database has no index");
    }
    let (differences, mut warnings) =
        Difference::of(Kind::Index, &compared.found.objects, compared.terms.texts).judge(compared.terms);
    let invalid = compared.found.objects.invalid.iter();
    warnings.extend(invalid.map(|name| format!("{} was already invalid at the source", text::one_line(name))));
    Judgement::counted("index", compared.found.objects.counts(Kind::Index), differences, warnings)
}
