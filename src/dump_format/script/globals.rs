//! Pure: the globals of a server as what may be run on another one, which has roles of its own.
//!
//! Roles that are there keep everything: their attributes, settings, and passwords unless those are asked for.
//! Nothing is dropped, and tablespaces, which need folders, are left to people.

use super::ScriptError;
use super::tokens::{Tokens, capital};
use crate::dump_format::sql_lexer::{Charset, Lexer, Token, name_after};
use std::collections::BTreeSet;

/// What becomes of the globals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Globals {
    /// What is to be run, in the order of the dump.
    pub statements: Vec<String>,
    /// Roles that are made.
    pub made: Vec<String>,
    /// Roles that were there and stay as they are.
    pub kept: Vec<String>,
    /// Roles that were there and get the password of the dump.
    pub passwords: Vec<String>,
    /// Tablespaces that are left out.
    pub tablespaces: Vec<String>,
}

/// Sorts the statements of a dump of globals; `existing` are the roles of the server. Passwords of those become the dump's
/// only where `but` names the role that is connected: under another password it could not go on.
pub fn sort(text: &[u8], existing: &BTreeSet<String>, but: Option<&str>) -> Result<Globals, ScriptError> {
    let (mut lexer, mut input, mut globals, mut line) = (Lexer::default(), text, Globals::default(), 1);
    let mut charset = Charset::default();
    while let Some(token) = lexer.next(&mut input) {
        match token {
            Token::Sql(sql) => line += memchr::memchr_iter(b'\n', sql).count() as u64,
            Token::StatementEnd => {
                charset = Charset::parse(lexer.statement()).unwrap_or(charset);
                // what stands for something else would be another role
                let statement =
                    charset.exact(lexer.statement()).ok_or(ScriptError::Encoding { line })?.trim().to_owned();
                globals.take(&statement, existing, but).ok_or_else(|| ScriptError::Statement {
                    line,
                    statement: statement
                        .split_whitespace()
                        .take(3)
                        .collect::<Vec<_>>()
                        .join(" ")
                        .chars()
                        .take(80)
                        .collect(),
                })?;
            }
            Token::CommandEnd => {
                let command = String::from_utf8_lossy(lexer.command());
                let command = command.split_whitespace().next().unwrap_or("\\");
                if !["\\restrict", "\\unrestrict", "\\connect"].contains(&command) {
                    return Err(ScriptError::Command { line, command: command.chars().take(40).collect() });
                }
                line += 1;
            }
            _ => {}
        }
    }
    if lexer.is_between_statements() { Ok(globals) } else { Err(ScriptError::BreaksOff) }
}

impl Globals {
    /// None for a statement that no dump of globals has.
    fn take(&mut self, statement: &str, existing: &BTreeSet<String>, but: Option<&str>) -> Option<()> {
        let tokens: Vec<&str> =
            Tokens::of(statement.as_bytes()).map(|token| std::str::from_utf8(token).unwrap_or_default()).collect();
        let capitals: Vec<String> = tokens.iter().map(|token| capital(token.as_bytes())).collect();
        let capitals: Vec<&str> = capitals.iter().map(String::as_str).collect();
        match capitals.as_slice() {
            // the preamble of a whole server's dump makes room, which is not wanted here
            ["DROP", "ROLE" | "DATABASE" | "TABLESPACE", ..] | ["UPDATE", "PG_CATALOG", ".", "PG_DATABASE", ..] => {}
            ["SET", ..] | ["SELECT", "PG_CATALOG", ".", "SET_CONFIG", "(", "'SEARCH_PATH'", ..] => {}
            ["CREATE", "ROLE", _, ";"] => {
                let role = role_name(tokens[2])?;
                if existing.contains(&role) {
                    self.kept.push(role);
                } else {
                    self.made.push(role);
                    self.statements.push(statement.to_owned());
                }
            }
            ["ALTER", "ROLE", _, "WITH" | "SET" | "IN", ..] => {
                let role = role_name(tokens[2])?;
                if self.made.contains(&role) {
                    self.statements.push(statement.to_owned());
                } else if !existing.contains(&role) {
                    return None;
                } else if let Some(password) = password(&tokens).filter(|_| but.is_some_and(|but| but != role)) {
                    let name = role.replace('"', "\"\"");
                    self.statements.push(format!("ALTER ROLE \"{name}\" PASSWORD {password};"));
                    self.passwords.push(role);
                }
            }
            // what it says holds for every role, and for those that are there as well
            ["ALTER", "ROLE", "ALL", ..] => {}
            ["COMMENT", "ON", "ROLE", _, "IS", _, ";"] => {
                let role = role_name(tokens[3])?;
                self.statements.extend(self.made.contains(&role).then(|| statement.to_owned()));
            }
            ["CREATE", "TABLESPACE", ..] => {
                self.tablespaces.push(name_after(statement.as_bytes(), &["create", "tablespace"])?);
            }
            ["ALTER", "TABLESPACE", ..] | ["COMMENT", "ON", "TABLESPACE", ..] | ["SECURITY", "LABEL", ..] => {}
            ["GRANT" | "REVOKE", ..] if capitals.contains(&"ON") => {}
            ["GRANT", _, "TO", _, rest @ ..] => {
                // between roles that were there everything stays; who gave it may not be able to give it here
                let (role, member) = (role_name(tokens[1])?, role_name(tokens[3])?);
                let given = membership(rest)?;
                if !existing.contains(&role) || !existing.contains(&member) {
                    self.statements.push(format!("{};", tokens[..4 + given].join(" ")));
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// What may stand behind the member of a role: how many tokens say what it may do with that. None for anything else.
fn membership(rest: &[&str]) -> Option<usize> {
    let given = rest.iter().position(|token| ["GRANTED", ";"].contains(token))?;
    let options = &rest[..given];
    let is_option = |token: &&str| ["ADMIN", "INHERIT", "SET", "OPTION", "TRUE", "FALSE", ","].contains(token);
    let is_whole = matches!(options, [] | ["WITH", ..]) && options.iter().skip(1).all(is_option);
    (is_whole && matches!(&rest[given..], [";"] | ["GRANTED", "BY", _, ";"])).then_some(given)
}

/// The role of that name; none for a word that stands for another role, or for several.
fn role_name(token: &str) -> Option<String> {
    if let Some(quoted) = token.strip_prefix('"') {
        return quoted.strip_suffix('"').filter(|name| !name.is_empty()).map(|name| name.replace("\"\"", "\""));
    }
    let is_word = token.starts_with(|first: char| first.is_alphabetic() || first == '_');
    let stands_for_others = ["ALL", "PUBLIC", "NONE", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER", "USER"];
    let name = token.to_ascii_lowercase();
    (is_word && !stands_for_others.contains(&token.to_ascii_uppercase().as_str())).then_some(name)
}

/// The literal behind `PASSWORD`.
fn password<'a>(tokens: &[&'a str]) -> Option<&'a str> {
    let at = tokens.iter().position(|token| *token == "PASSWORD")?;
    tokens.get(at + 1).copied().filter(|literal| literal.starts_with('\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\n\\restrict x\nSET default_transaction_read_only = off;\nDROP DATABASE IF EXISTS shop;\n\
        DROP ROLE IF EXISTS \"my \"\"app\";\nCREATE ROLE \"my \"\"app\";\n\
        ALTER ROLE \"my \"\"app\" WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:a$b:c' VALID UNTIL 'infinity';\n\
        CREATE ROLE reader;\nALTER ROLE reader WITH NOLOGIN;\nALTER ROLE reader SET work_mem TO '4MB';\n\
        CREATE TABLESPACE fast OWNER reader LOCATION '/srv';\nGRANT ALL ON TABLESPACE fast TO reader;\n\
        GRANT reader TO \"my \"\"app\" GRANTED BY postgres;\n\\unrestrict x\n";

    fn roles(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_fresh_server_gets_every_role_and_nothing_is_dropped() {
        let globals = sort(DUMP.as_bytes(), &roles(&[]), None).unwrap();
        assert_eq!(globals.made, ["my \"app", "reader"]);
        assert_eq!(globals.statements.len(), 6, "{:?}", globals.statements);
        assert!(!globals.statements.iter().any(|statement| statement.contains("DROP") || statement.contains("fast")));
        assert_eq!(globals.tablespaces, ["fast"]);
    }

    #[test]
    fn names_of_a_server_of_another_encoding_are_read_in_that_and_never_guessed() {
        let dump = |encoding: &str| {
            let text = format!("SET client_encoding = '{encoding}';\nCREATE ROLE \"m\u{fc}ller\";\n");
            text.chars().map(|letter| u8::try_from(letter).unwrap()).collect::<Vec<u8>>()
        };
        let globals = sort(&dump("LATIN1"), &roles(&[]), None).unwrap();
        assert_eq!((globals.made.as_slice(), globals.statements.len()), (&["müller".to_owned()][..], 1));
        assert_eq!(globals.statements[0], "CREATE ROLE \"müller\";");
        assert_eq!(sort(&dump("UTF8"), &roles(&[]), None), Err(ScriptError::Encoding { line: 2 }));
    }

    #[test]
    fn roles_that_are_there_are_kept_and_their_passwords_too_unless_asked_for() {
        let globals = sort(DUMP.as_bytes(), &roles(&["my \"app"]), None).unwrap();
        assert_eq!(
            (globals.kept.as_slice(), globals.made.as_slice()),
            (&["my \"app".to_owned()][..], &["reader".to_owned()][..])
        );
        assert!(!globals.statements.iter().any(|statement| statement.contains("PASSWORD")), "{:?}", globals.statements);
        let globals = sort(DUMP.as_bytes(), &roles(&["my \"app", "reader"]), Some("postgres")).unwrap();
        assert_eq!(globals.statements, ["ALTER ROLE \"my \"\"app\" PASSWORD 'SCRAM-SHA-256$4096:a$b:c';",]);
        assert_eq!(globals.passwords, ["my \"app"]);
    }

    #[test]
    fn the_role_that_is_connected_keeps_its_password_and_odd_names_are_members_too() {
        let globals = sort(DUMP.as_bytes(), &roles(&["my \"app"]), Some("my \"app")).unwrap();
        assert!(globals.passwords.is_empty());
        // a name of one letter, which stands before the quotes of others
        let globals = sort(b"CREATE ROLE u;\nGRANT u TO app;\n", &roles(&["app"]), None).unwrap();
        assert_eq!((globals.made, globals.statements.len()), (vec!["u".to_owned()], 2));
        let text = "CREATE ROLE mem;\nGRANT \"a ON b\" TO mem WITH ADMIN OPTION GRANTED BY dba;\nGRANT SET ON PARAMETER x TO mem;\n";
        let globals = sort(text.as_bytes(), &roles(&[]), None).unwrap();
        assert_eq!(globals.statements[1..], ["GRANT \"a ON b\" TO mem WITH ADMIN OPTION;"]);
    }

    #[test]
    fn what_no_dump_of_globals_has_is_refused() {
        for text in [
            "CREATE FUNCTION f() RETURNS int;",
            "\\! id\n",
            "DO $$ $$;",
            "ALTER SYSTEM SET x = 1;",
            "SELECT evil();",
            "ALTER ROLE CURRENT_USER WITH PASSWORD 'x';",
            "ALTER ROLE session_user SET a TO 'x';",
            "ALTER ROLE U&\"\\006Cowly\" WITH SUPERUSER;",
            "ALTER ROLE nobody WITH SUPERUSER;",
            "CREATE ROLE evil SUPERUSER ROLE app;",
            "CREATE ROLE CURRENT_USER;",
            "GRANT app TO fresh, app;",
            "GRANT app, fresh TO app;",
            "GRANT app TO CURRENT_USER;",
            "GRANT app TO fresh WITH ADMIN OPTION, x;",
        ] {
            assert!(sort(text.as_bytes(), &roles(&[]), None).is_err(), "{text}");
        }
        assert_eq!(sort(b"CREATE ROLE 'x", &roles(&[]), None), Err(ScriptError::BreaksOff));
    }
}
