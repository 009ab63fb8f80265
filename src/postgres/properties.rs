//! A database's own properties as statements: what `pg_dump` leaves out.

use super::catalog::{literal, quote};
use crate::record::facts::{DatabaseProperties, Privilege};
use std::collections::BTreeSet;

/// Settings whose value is a list of names, each of which is quoted for itself. From `GUC_LIST_QUOTE` in PostgreSQL.
const LISTS: &[&str] = &[
    "search_path",
    "temp_tablespaces",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
    "unix_socket_directories",
];

/// Privileges on a database.
const PRIVILEGES: &[&str] = &["CONNECT", "CREATE", "TEMPORARY", "TEMP"];

/// Makes an empty database of that encoding and locale.
pub(super) fn create(name: &str, properties: &DatabaseProperties, server_major: u32) -> String {
    let DatabaseProperties { encoding, locale_provider, collate, ctype, locale, icu_rules, .. } = properties;
    let mut text = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        quote(name),
        literal(encoding),
        literal(collate),
        literal(ctype)
    );
    if server_major >= 15 {
        text += &format!(" LOCALE_PROVIDER {}", quote(locale_provider));
    }
    if let Some(locale) = locale {
        let word = if locale_provider == "builtin" { "BUILTIN_LOCALE" } else { "ICU_LOCALE" };
        text += &format!(" {word} {}", literal(locale));
    }
    if let Some(rules) = icu_rules {
        text += &format!(" ICU_RULES {}", literal(rules));
    }
    text
}

/// Settings of the database, and of the roles in it that are given.
pub fn settings(name: &str, properties: &DatabaseProperties, roles: &BTreeSet<String>) -> Vec<String> {
    let of_database = properties.settings.iter().map(|setting| (format!("ALTER DATABASE {}", quote(name)), setting));
    let of_roles = properties.role_settings.iter().filter(|(role, _)| roles.contains(*role)).flat_map(|(role, all)| {
        all.iter().map(move |setting| (format!("ALTER ROLE {} IN DATABASE {}", quote(role), quote(name)), setting))
    });
    of_database.chain(of_roles).map(|(target, setting)| format!("{target} SET {}", assignment(setting))).collect()
}

/// Settings of every role in every database, which `pg_dumpall` leaves out.
pub fn settings_of_all(settings: &[String]) -> impl Iterator<Item = String> {
    settings.iter().map(|setting| format!("ALTER ROLE ALL SET {};", assignment(setting)))
}

/// `name=value` as SQL.
fn assignment(setting: &str) -> String {
    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
    let value = if LISTS.contains(&name.to_ascii_lowercase().as_str()) { list(value) } else { literal(value) };
    // a name of two parts is that of an extension's setting
    let name = name.split('.').map(quote).collect::<Vec<_>>().join(".");
    format!("{name} TO {value}")
}

/// Elements between commas, some of them in double quotes, as literals.
fn list(value: &str) -> String {
    let (mut elements, mut current, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => current.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => elements.push(std::mem::take(&mut current)),
            letter if letter.is_whitespace() && !quoted => {}
            letter => current.push(letter),
        }
    }
    elements.push(current);
    elements.iter().map(|element| literal(element)).collect::<Vec<_>>().join(", ")
}

/// Owner, connection limit and privileges. Each privilege is given by whoever gave it, after that one has got it.
pub fn ownership(name: &str, properties: &DatabaseProperties) -> Vec<String> {
    let (database, owner) = (quote(name), quote(&properties.owner));
    let mut statements = vec![
        format!("ALTER DATABASE {database} OWNER TO {owner}"),
        format!("ALTER DATABASE {database} CONNECTION LIMIT {}", properties.connection_limit),
    ];
    let Some(privileges) = &properties.privileges else { return statements };
    statements.push(format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"));
    statements.push(format!("REVOKE ALL ON DATABASE {database} FROM {owner}"));
    let mut left: Vec<&Privilege> = privileges.iter().collect();
    let mut givers = BTreeSet::from([properties.owner.as_str()]);
    while !left.is_empty() {
        let (mut now, later): (Vec<&Privilege>, Vec<&Privilege>) =
            left.into_iter().partition(|privilege| givers.contains(privilege.grantor.as_str()));
        left = later;
        if now.is_empty() {
            // somebody gave what nobody gave to them; the server will say so
            now.append(&mut left);
        }
        // facts may come from elsewhere, and these are words of SQL
        for privilege in now.into_iter().filter(|one| PRIVILEGES.contains(&one.privilege.as_str())) {
            let Privilege { grantee, grantor, privilege, grantable } = privilege;
            let is_owner = *grantor == properties.owner;
            statements.extend((!is_owner).then(|| format!("SET SESSION AUTHORIZATION {}", quote(grantor))));
            let to = grantee.as_deref().map_or("PUBLIC".to_owned(), quote);
            let option = if *grantable { " WITH GRANT OPTION" } else { "" };
            statements.push(format!("GRANT {privilege} ON DATABASE {database} TO {to}{option}"));
            statements.extend((!is_owner).then(|| "RESET SESSION AUTHORIZATION".to_owned()));
            givers.extend(grantee.as_deref().filter(|_| *grantable));
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_lists_are_quoted_one_by_one() {
        assert_eq!(
            assignment("search_path=\"$user\", public, \"a,\"\"b\""),
            "\"search_path\" TO '$user', 'public', 'a,\"b'"
        );
        assert_eq!(assignment("search_path=\"\""), "\"search_path\" TO ''");
        assert_eq!(assignment("work_mem=4MB"), "\"work_mem\" TO '4MB'");
        assert_eq!(assignment("my.own=it's \\"), "\"my\".\"own\" TO E'it''s \\\\'");
    }
}
