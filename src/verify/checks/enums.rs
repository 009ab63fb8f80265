//! Enum types with their labels in order.

use super::difference::Difference;
use super::{CheckKind, Compared, Judgement};
use crate::record::facts::Kind;

pub(super) const CHECK: CheckKind = CheckKind { number: 4, title: "enum types", of_catalogue: true, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    if compared.found.objects.has_none(Kind::Enum) {
        return Judgement::not_applicable("the database has no enum type");
    }
    let (differences, warnings) =
        Difference::of(Kind::Enum, &compared.found.objects, compared.terms.texts).judge(compared.terms);
    Judgement::counted("enum type", compared.found.objects.counts(Kind::Enum), differences, warnings)
}
