//! Pure: statements that are left out where their roles, their database or their surroundings are not wanted.

/// True for a statement that gives an object an owner, or a role a privilege.
pub(super) fn names_roles(words: &[&str]) -> bool {
    match words {
        ["GRANT" | "REVOKE", ..] | ["ALTER", "DEFAULT", "PRIVILEGES", ..] | ["SET", "SESSION", "AUTHORIZATION", ..] => {
            true
        }
        ["ALTER", rest @ ..] => rest.windows(2).rposition(|pair| pair == ["OWNER", "TO"]).is_some_and(|at| {
            // one name is all that may follow
            let role = rest[at + 2..].join(" ");
            let role = role.trim_end_matches(';');
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
            let quoted = role.len() > 1 && role.starts_with('"') && role.ends_with('"');
            !role.is_empty() && (quoted || role.bytes().all(plain))
        }),
        _ => false,
    }
}

/// True for a statement about a database as a whole.
pub(super) fn is_of_database(words: &[&str]) -> bool {
    match words {
        ["CREATE" | "DROP" | "ALTER", "DATABASE", ..]
        | ["COMMENT", "ON", "DATABASE", ..]
        | ["UPDATE", "pg_catalog.pg_database", ..] => true,
        ["GRANT" | "REVOKE", rest @ ..] => rest.windows(2).any(|pair| pair == ["ON", "DATABASE"]),
        // a label may have any words in it, behind what it is on
        ["SECURITY", "LABEL", rest @ ..] => {
            rest.iter().position(|word| *word == "ON").is_some_and(|at| rest.get(at + 1) == Some(&"DATABASE"))
        }
        ["ALTER", "ROLE", rest @ ..] => rest.windows(2).any(|pair| pair == ["IN", "DATABASE"]),
        _ => false,
    }
}

/// True for a statement that ties a database to its server, or to another.
pub(super) fn is_of_surroundings(words: &[&str]) -> bool {
    matches!(
        words,
        ["SET", "default_tablespace", ..]
            | ["CREATE" | "ALTER", "SUBSCRIPTION", ..]
            | ["COMMENT", "ON", "SUBSCRIPTION", ..]
    )
}
