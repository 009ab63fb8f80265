//! Pure: the statements that pg_dump writes.

use crate::dump_format::sql_lexer::{client_encoding, is_call_of_literals, is_row_copy, without_comments};

/// True for a statement that pg_dump does not write into the dump of a database: in a file that came from elsewhere it
/// could change the server beyond it. What functions of the dump do when they are used is the server's to allow.
pub(super) fn is_foreign(statement: &[u8], is_rows: bool) -> bool {
    let words = words(statement);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["BEGIN" | "COMMIT"] | ["BEGIN" | "COMMIT", ";"] | ["REFRESH", "MATERIALIZED", "VIEW", ..] => false,
        // there is no other way to read strings from then on
        ["SET", "STANDARD_CONFORMING_STRINGS", "=", rest @ ..] => rest != ["ON", ";"],
        // in encodings of clients alone a byte of a letter may be a quote or a backslash
        ["SET", "CLIENT_ENCODING", "=", ..] => {
            client_encoding(statement).is_none_or(|name| !SERVER_ENCODINGS.contains(&name.as_str()))
        }
        ["SET", "SESSION", "AUTHORIZATION", ..] => false,
        ["SET", name, "=", ..] => !SETTINGS.contains(name),
        ["SELECT", "PG_CATALOG", ".", "SET_CONFIG", "(", name, ..] => {
            *name != "'SEARCH_PATH'" || !is_call_of_literals(statement)
        }
        ["SELECT", "PG_CATALOG", ".", function, "(", ..]
        | ["SELECT", "*", "FROM", "PG_CATALOG", ".", function, "(", ..] => {
            !FUNCTIONS.contains(function) || !is_call_of_literals(statement)
        }
        ["CREATE" | "ALTER" | "DROP", "USER", "MAPPING", ..] => false,
        ["CREATE" | "ALTER" | "DROP", "DATABASE" | "ROLE" | "USER" | "GROUP" | "TABLESPACE" | "SYSTEM", ..]
        | ["COMMENT", "ON", "DATABASE" | "ROLE" | "TABLESPACE", ..] => true,
        // neither is made with what is in it
        ["CREATE", "SCHEMA", rest @ ..] => rest.len() > 2,
        ["CREATE", "TABLE" | "UNLOGGED" | "TEMPORARY" | "TEMP", ..] => makes_rows(&words),
        ["CREATE" | "ALTER" | "DROP" | "COMMENT", ..] => false,
        // without ON it would make members of a role
        ["SECURITY" | "GRANT" | "REVOKE", rest @ ..] => {
            let on = rest.iter().position(|word| *word == "ON");
            on.and_then(|at| rest.get(at + 1)).is_none_or(|kind| !OBJECTS.contains(kind))
        }
        // other formats may end their rows elsewhere
        ["COPY", ..] => !is_rows || !is_row_copy(statement),
        _ => true,
    }
}

/// True for a table that is made with rows in it: `AS` stands behind its name or its columns, and nowhere else outside of
/// parentheses.
fn makes_rows(words: &[&str]) -> bool {
    let mut depth = 0_usize;
    words.iter().any(|word| {
        match *word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && ["AS", "EXECUTE", "SELECT"].contains(word)
    })
}

/// Encodings that a database may have; the others are those of clients alone.
const SERVER_ENCODINGS: &[&str] = &[
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
];

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

/// The words of a statement in capital letters, names in quotes and strings as they are written, and every other sign for
/// itself; comments are none. Enough of them to know what it is.
fn words(statement: &[u8]) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), statement);
    while words.len() < WORDS {
        rest = without_comments(rest);
        let Some(first) = rest.first() else { break };
        let length = match first {
            b'\'' => quoted_length(rest, b'\'', false),
            b'"' => quoted_length(rest, b'"', false),
            b'E' | b'e' if rest.get(1) == Some(&b'\'') => 1 + quoted_length(&rest[1..], b'\'', true),
            b'$' => dollar_length(rest).unwrap_or(1),
            _ => rest.iter().take_while(|byte| is_word(**byte)).count().max(1),
        };
        let (word, others) = rest.split_at(length.min(rest.len()));
        let word = String::from_utf8_lossy(word);
        words.push(if *first == b'"' { word.into_owned() } else { word.to_ascii_uppercase() });
        rest = others;
    }
    words
}

/// A privilege on each of 1,600 columns has fewer.
const WORDS: usize = 100_000;

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Bytes to behind the closing quote, where a doubled one is itself, and a backslash may stand before one.
fn quoted_length(text: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match *byte {
            b'\\' if escapes => at += 2,
            byte if byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Bytes to behind the closing `$tag$`.
fn dollar_length(text: &[u8]) -> Option<usize> {
    let tag = text[1..].iter().position(|byte| !is_word(*byte) || *byte == b'$').filter(|at| text[1 + at] == b'$')?;
    let tag = &text[..tag + 2];
    Some(memchr::memmem::find(&text[tag.len()..], tag).map_or(text.len(), |at| at + 2 * tag.len()))
}
