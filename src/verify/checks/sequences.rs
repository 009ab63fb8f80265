//! Sequences and their values.

use super::difference::Difference;
use super::{CheckKind, Compared, Judgement};
use crate::record::facts::{Kind, SequenceValue};
use crate::text;

pub(super) const CHECK: CheckKind = CheckKind { number: 10, title: "sequences", of_catalogue: false, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    if compared.found.objects.has_none(Kind::Sequence) {
        return Judgement::not_applicable("the database has no sequence");
    }
    let (mut differences, warnings) =
        Difference::of(Kind::Sequence, &compared.found.objects, compared.terms.texts).judge(compared.terms);
    for (name, there) in &compared.found.contents.sequences {
        let show = |value: &SequenceValue| {
            format!("{}{}", value.value, if value.is_called { "" } else { " (not called yet)" })
        };
        let there = there.as_ref().map_or("none".to_owned(), show);
        let wanted = compared.expected.contents.sequences.get(name).map_or("none".to_owned(), show);
        differences.push(format!("{}: value is {there}, expected {wanted}", text::one_line(name)));
    }
    Judgement::counted("sequence", compared.found.objects.counts(Kind::Sequence), differences, warnings)
}
