//! Pure: statements that are left out where their roles, their database or their surroundings are not wanted.

use super::tokens::Shape;

/// True for a statement that gives an object an owner, or a role a privilege.
pub(super) fn names_roles(shape: &Shape) -> bool {
    match shape.first().as_slice() {
        ["GRANT" | "REVOKE", ..]
        | ["ALTER", "DEFAULT", "PRIVILEGES", ..]
        | ["SET" | "RESET", "SESSION", "AUTHORIZATION", ..] => true,
        ["ALTER", ..] => matches!(shape.last().as_slice(), ["OWNER", "TO", _, ";"]),
        _ => false,
    }
}

/// True for a statement about a database as a whole.
pub(super) fn is_of_database(shape: &Shape) -> bool {
    match shape.first().as_slice() {
        ["CREATE" | "DROP" | "ALTER", "DATABASE", ..]
        | ["COMMENT", "ON", "DATABASE", ..]
        | ["UPDATE", "PG_CATALOG", ".", "PG_DATABASE", ..] => true,
        ["GRANT" | "REVOKE", ..] | ["SECURITY", "LABEL", ..] => shape.on.as_deref() == Some("DATABASE"),
        ["ALTER", "ROLE", rest @ ..] => rest.windows(2).any(|pair| pair == ["IN", "DATABASE"]),
        _ => false,
    }
}

/// True for a statement that ties a database to its server, or to another.
pub(super) fn is_of_surroundings(shape: &Shape) -> bool {
    match shape.first().as_slice() {
        ["SET", "DEFAULT_TABLESPACE", ..]
        | ["CREATE" | "ALTER" | "DROP", "SUBSCRIPTION", ..]
        | ["COMMENT", "ON", "SUBSCRIPTION", ..] => true,
        ["SECURITY", "LABEL", ..] => shape.on.as_deref() == Some("SUBSCRIPTION"),
        _ => false,
    }
}
