//! What a database does not hold after all of its rows were loaded, because PostgreSQL cannot load it from its own dump.

use crate::dump_format::sql_lexer::DumpedObject;
use crate::record::manifest::Exception;
use crate::text;

/// An object that is not as it was, or a statement about one.
#[derive(Debug, Clone)]
pub(crate) struct Omission {
    /// What was to be made; none for a statement about an object that is there, or is left out itself.
    pub(crate) object: Option<DumpedObject>,
    /// It was made in part: what it lacks.
    pub(crate) in_part: Option<&'static str>,
    /// What the server said.
    pub(crate) reason: String,
    /// The statement that would make it.
    pub(crate) sql: String,
}

/// Letters of a statement that are kept.
const LONGEST: usize = 20_000;

impl Omission {
    /// For people, and for the record.
    pub(crate) fn record(&self) -> Exception {
        let object = match &self.object {
            Some(object) => text::one_line(&object.to_string()).into_owned(),
            None => format!("`{}`", first_words(&self.sql)),
        };
        let object = match self.in_part {
            Some(what) => format!("{object}: {what}"),
            None => format!("{object}: left out"),
        };
        let sql = text::without_secrets(&self.sql);
        let sql = match sql.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &sql[..end]),
            None => sql.into_owned(),
        };
        Exception { object, reason: self.reason.clone(), sql }
    }
}

/// Enough of a statement to know it by.
pub(super) fn first_words(sql: &str) -> String {
    let words = sql.split_whitespace().take(8).collect::<Vec<_>>().join(" ");
    text::one_line(text::without_secrets(words.trim_end_matches(';')).as_ref()).into_owned()
}
