//! Foreign keys, and whether they are validated.

use super::difference::Difference;
use super::{CheckKind, Compared, Judgement};
use crate::record::facts::Kind;
use crate::text;

pub(super) const CHECK: CheckKind = CheckKind { number: 6, title: "foreign keys", of_catalogue: true, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    if compared.found.objects.has_none(Kind::ForeignKey) {
        return Judgement::not_applicable("the database has no foreign key");
    }
    let (differences, mut warnings) =
        Difference::of(Kind::ForeignKey, &compared.found.objects, compared.terms.texts).judge(compared.terms);
    let unvalidated = compared.found.objects.unvalidated.iter();
    warnings.extend(unvalidated.map(|name| format!("{} was not validated at the source either", text::one_line(name))));
    Judgement::counted("foreign key", compared.found.objects.counts(Kind::ForeignKey), differences, warnings)
}
