//! Pure: the statements that pg_dump writes.

/// True for a statement that pg_dump does not write into the dump of a database: in a file that came from elsewhere it
/// could change the server beyond it. What functions of the dump do when they are used is the server's to allow.
pub(super) fn is_foreign(statement: &str, is_rows: bool) -> bool {
    let words = words(statement);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["BEGIN" | "COMMIT"] | ["BEGIN" | "COMMIT", ";"] | ["REFRESH", "MATERIALIZED", "VIEW", ..] => false,
        // the lexer, and psql, know of no other way to read strings from then on
        ["SET", "STANDARD_CONFORMING_STRINGS", "=", rest @ ..] => rest != ["ON", ";"],
        ["SET", "SESSION", "AUTHORIZATION", ..] => false,
        ["SET", name, "=", ..] => !SETTINGS.contains(name),
        ["SELECT", "PG_CATALOG", ".", "SET_CONFIG", "(", name, rest @ ..] => {
            *name != "'SEARCH_PATH'" || rest.contains(&"(")
        }
        ["SELECT", "PG_CATALOG", ".", function, "(", ..]
        | ["SELECT", "*", "FROM", "PG_CATALOG", ".", function, "(", ..] => !FUNCTIONS.contains(function),
        ["CREATE" | "ALTER" | "DROP", "USER", "MAPPING", ..] => false,
        ["CREATE" | "ALTER" | "DROP", "DATABASE" | "ROLE" | "USER" | "GROUP" | "TABLESPACE" | "SYSTEM", ..]
        | ["COMMENT", "ON", "DATABASE" | "ROLE" | "TABLESPACE", ..] => true,
        ["CREATE" | "ALTER" | "DROP" | "COMMENT", ..] => false,
        // without ON it would make members of a role
        ["SECURITY" | "GRANT" | "REVOKE", rest @ ..] => {
            let on = rest.iter().position(|word| *word == "ON");
            on.and_then(|at| rest.get(at + 1)).is_none_or(|kind| !OBJECTS.contains(kind))
        }
        // other formats may end their rows elsewhere
        ["COPY", .., "FROM", "STDIN", ";"] => !is_rows,
        _ => true,
    }
}

/// Kinds of objects of a database that privileges and labels are given on.
const OBJECTS: &[&str] = &[
    "AGGREGATE",
    "COLUMN",
    "DOMAIN",
    "EVENT",
    "FOREIGN",
    "FUNCTION",
    "LANGUAGE",
    "LARGE",
    "MATERIALIZED",
    "PROCEDURE",
    "PUBLICATION",
    "ROUTINE",
    "SCHEMA",
    "SEQUENCE",
    "TABLE",
    "TYPE",
    "VIEW",
];

/// Settings that pg_dump sets.
const SETTINGS: &[&str] = &[
    "STATEMENT_TIMEOUT",
    "LOCK_TIMEOUT",
    "IDLE_IN_TRANSACTION_SESSION_TIMEOUT",
    "TRANSACTION_TIMEOUT",
    "CLIENT_ENCODING",
    "CHECK_FUNCTION_BODIES",
    "XMLOPTION",
    "CLIENT_MIN_MESSAGES",
    "ROW_SECURITY",
    "ESCAPE_STRING_WARNING",
    "DEFAULT_TABLESPACE",
    "DEFAULT_TABLE_ACCESS_METHOD",
    "DEFAULT_WITH_OIDS",
    "DEFAULT_TOAST_COMPRESSION",
    "SEARCH_PATH",
];

/// Functions that pg_dump calls.
const FUNCTIONS: &[&str] = &[
    "SETVAL",
    "LO_CREATE",
    "LO_OPEN",
    "LOWRITE",
    "LO_CLOSE",
    "LO_UNLINK",
    "PG_RESTORE_RELATION_STATS",
    "PG_RESTORE_ATTRIBUTE_STATS",
];

/// The words of a statement in capital letters, names in quotes as they are, strings up to their first end, and every
/// other sign for itself; comments are none. Enough of them to know what it is.
fn words(statement: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), statement);
    while words.len() < WORDS {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once(['\n', '\r']).map_or("", |(_, rest)| rest);
        } else if rest.starts_with("/*") {
            rest = behind_comment(rest);
        } else if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let end = rest[1..].find(quote).map_or(rest.len(), |at| at + 2);
            let word = &rest[..end];
            words.push(if quote == '"' { word.to_owned() } else { word.to_ascii_uppercase() });
            rest = &rest[end..];
        } else {
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let sign = rest.chars().next().map_or(0, char::len_utf8);
            let (word, others) = rest.split_at(length.max(sign));
            if word.is_empty() {
                break;
            }
            words.push(word.to_ascii_uppercase());
            rest = others;
        }
    }
    words
}

/// A privilege on each of 1,600 columns has fewer.
const WORDS: usize = 10_000;

/// What follows a comment, which may have others in it.
fn behind_comment(text: &str) -> &str {
    let (mut depth, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return &text[at..];
        }
    }
    ""
}
