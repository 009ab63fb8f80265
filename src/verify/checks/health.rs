//! The health check that VERIFY_HEALTH_URL names.

use super::{CheckKind, Compared, Judgement};
use crate::verify::report::Verdict;

pub(super) const CHECK: CheckKind = CheckKind { number: 8, title: "health check", of_catalogue: false, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    let (verdict, text) = match &compared.found.health {
        None => return Judgement::not_applicable("VERIFY_HEALTH_URL is not set"),
        Some(Ok(answer)) => (Verdict::Ok, answer.clone()),
        Some(Err(cause)) => (Verdict::Failed, cause.clone()),
    };
    Judgement::new(verdict, "a 2xx answer".to_owned(), text, Vec::new())
}
