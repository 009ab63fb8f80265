//! Pure: the statements that pg_dump writes.

use super::tokens::Shape;
use crate::dump_format::sql_lexer::{client_encoding, is_call_of_literals, is_row_copy};

/// True for a statement that pg_dump does not write into the dump of a database: in a file that came from elsewhere it
/// could change the server beyond it. What functions of the dump do when they are used is the server's to allow.
pub(super) fn is_foreign(statement: &[u8], shape: &Shape, is_rows: bool) -> bool {
    match shape.first().as_slice() {
        [] | ["BEGIN" | "COMMIT"] | ["BEGIN" | "COMMIT", ";"] | ["REFRESH", "MATERIALIZED", "VIEW", ..] => false,
        // there is no other way to read strings from then on
        ["SET", "STANDARD_CONFORMING_STRINGS", "=", rest @ ..] => rest != ["ON", ";"],
        // in encodings of clients alone a byte of a letter may be a quote or a backslash
        ["SET", "CLIENT_ENCODING", "=", ..] => {
            client_encoding(statement).is_none_or(|name| !SERVER_ENCODINGS.contains(&name.as_str()))
        }
        ["SET", "SESSION", "AUTHORIZATION", ..] | ["RESET", "SESSION", "AUTHORIZATION", ";"] => false,
        ["SET", name, "=", ..] => !SETTINGS.contains(name),
        ["SELECT", "PG_CATALOG", ".", "SET_CONFIG", "(", name, ..] => {
            *name != "'SEARCH_PATH'" || !is_call_of_literals(statement)
        }
        // large objects are removed before they are made
        ["SELECT", "PG_CATALOG", ".", "LO_UNLINK", "(", "OID", rest @ ..] => !is_of_large_objects(rest),
        ["SELECT", "PG_CATALOG", ".", function, "(", ..]
        | ["SELECT", "*", "FROM", "PG_CATALOG", ".", function, "(", ..] => {
            !FUNCTIONS.contains(function) || !is_call_of_literals(statement)
        }
        ["CREATE" | "ALTER" | "DROP", "USER", "MAPPING", rest @ ..] => {
            !matches!(rest, ["FOR", ..] | ["IF", "EXISTS", "FOR", ..] | ["IF", "NOT", "EXISTS", "FOR", ..])
        }
        // neither is made with what is in it
        ["CREATE", "SCHEMA", rest @ ..] => rest.len() > 2,
        ["CREATE", "TABLE", ..] | ["CREATE", "UNLOGGED", "TABLE", ..] => shape.has_as,
        ["CREATE", "MATERIALIZED", "VIEW", ..] => shape.last() != ["WITH", "NO", "DATA", ";"],
        ["CREATE", "OR", "REPLACE", kind, ..]
        | ["CREATE", "UNIQUE" | "UNLOGGED" | "DEFAULT" | "CONSTRAINT" | "TRUSTED", kind, ..]
        | ["CREATE", kind, ..] => !KINDS.contains(kind),
        ["ALTER", "DEFAULT", "PRIVILEGES", ..] | ["ALTER", "LARGE", "OBJECT", ..] => false,
        ["ALTER", "EXTENSION", ..] => true,
        ["ALTER" | "DROP", kind, ..] => !KINDS.contains(kind),
        ["COMMENT", "ON", kind, ..] => ["DATABASE", "ROLE", "TABLESPACE", "SUBSCRIPTION"].contains(kind),
        // without ON it would make members of a role
        ["SECURITY" | "GRANT" | "REVOKE", ..] => shape.on.as_deref().is_none_or(|kind| !OBJECTS.contains(&kind)),
        // other formats may end their rows elsewhere
        ["COPY", ..] => !is_rows || !is_row_copy(statement),
        _ => true,
    }
}

/// What `--clean` writes behind `SELECT pg_catalog.lo_unlink(oid`.
fn is_of_large_objects(rest: &[&str]) -> bool {
    let [")", "FROM", "PG_CATALOG", ".", "PG_LARGEOBJECT_METADATA", "WHERE", "OID", "=", number, ";"] = rest else {
        return false;
    };
    let digits = number.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What the objects of a database are called behind `CREATE`, `ALTER` and `DROP`.
const KINDS: &[&str] = &[
    "ACCESS",
    "AGGREGATE",
    "CAST",
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EVENT",
    "EXTENSION",
    "FOREIGN",
    "FUNCTION",
    "INDEX",
    "LANGUAGE",
    "MATERIALIZED",
    "OPERATOR",
    "POLICY",
    "PROCEDURAL",
    "PROCEDURE",
    "PUBLICATION",
    "ROUTINE",
    "RULE",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "TABLE",
    "TEXT",
    "TRANSFORM",
    "TRIGGER",
    "TRUSTED",
    "TYPE",
    "VIEW",
];

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
