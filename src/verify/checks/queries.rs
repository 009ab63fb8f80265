//! The queries of VERIFY_QUERIES_FILE.

use super::difference::short;
use super::{CheckKind, Compared, Judgement, verdict_of};
use crate::text;

pub(super) const CHECK: CheckKind = CheckKind { number: 13, title: "SQL checks", of_catalogue: false, judge };

fn judge(compared: &Compared<'_>) -> Judgement {
    let Some(queries) = &compared.found.queries else {
        return Judgement::not_applicable("VERIFY_QUERIES_FILE is not set");
    };
    let wrong = |(query, result): &(String, Result<bool, String>)| match result {
        Ok(true) => None,
        Ok(false) => Some(format!("{}: not true", short(query))),
        Err(cause) => Some(format!("{}: {cause}", short(query))),
    };
    let details: Vec<String> = queries.iter().filter_map(wrong).collect();
    let all = text::count(queries.len(), "query");
    let verdict = verdict_of(&details, &[]);
    Judgement::new(verdict, format!("{all} true"), format!("{} true", queries.len() - details.len()), details)
}
