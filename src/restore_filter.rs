//! Pure: a dump as SQL on its way into psql, without what must not get there.
//!
//! The dump's own `\restrict` pair is left out, because ours is around it and such pairs do not nest. Any other command
//! of psql is refused: pg_dump writes none, and in a file that came from elsewhere it could run a program here.

use crate::sql_lexer::{Lexer, Token};

/// What else is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaveOut {
    /// Statements that give objects an owner or privileges.
    pub owners: bool,
    /// Statements that make, drop, or describe databases, and `\connect`: the dump is part of one of a whole server.
    pub databases: bool,
    /// Statements that tie a database to its surroundings: tablespaces, which another server lacks, and subscriptions,
    /// which would follow another server and cannot be dropped with their database.
    pub surroundings: bool,
}

/// Why a dump is not handed to psql.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A command of psql.
    #[error("line {line} has the command `{command}` of psql, which pg_dump does not write; it was not run")]
    Command {
        /// Line of the dump, from 1.
        line: u64,
        /// Its first word.
        command: String,
    },
    /// A statement that reaches beyond the database.
    #[error("line {line} has `{statement}`, which pg_dump does not write into the dump of a database; it was not run")]
    Statement {
        /// Line of the dump, from 1, on which it ends.
        line: u64,
        /// Its first words.
        statement: String,
    },
    /// The text ends in the middle of something.
    #[error("the dump breaks off in the middle of a statement, a string or the rows of a table")]
    BreaksOff,
}

/// Longest statement that is held back to be looked at; longer ones own nothing and are no `CREATE DATABASE`.
const HELD: usize = 64 << 10;

/// Passes a dump on in chunks.
pub struct Filter {
    lexer: Lexer,
    leave_out: LeaveOut,
    /// Of the current statement, as long as it may be left out.
    held: Vec<u8>,
    line: u64,
}

impl Filter {
    /// A filter at the beginning of a dump.
    pub fn new(leave_out: LeaveOut) -> Self {
        Self { lexer: Lexer::default(), leave_out, held: Vec::new(), line: 1 }
    }

    /// Adds to `output` what psql may have of the next bytes.
    pub fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(), FilterError> {
        let mut input = bytes;
        while let Some(token) = self.lexer.next(&mut input) {
            match token {
                Token::Sql(sql) => {
                    self.count(sql);
                    self.held.extend_from_slice(sql);
                    if self.held.len() > HELD {
                        output.append(&mut self.held);
                    }
                }
                Token::StatementEnd => {
                    if !self.is_left_out()? {
                        output.append(&mut self.held);
                    }
                    self.held.clear();
                }
                Token::Command(_) => {}
                Token::CommandEnd => {
                    self.check_command()?;
                    self.line += 1;
                }
                Token::CopyBegin => output.append(&mut self.held),
                Token::Row { bytes, ends } => {
                    output.extend_from_slice(bytes);
                    if ends {
                        output.push(b'\n');
                        self.line += 1;
                    }
                }
                Token::CopyEnd(bytes) => {
                    output.extend_from_slice(bytes);
                    self.line += 1;
                }
            }
        }
        Ok(())
    }

    /// The rest of what psql may have, once the dump is at its end.
    pub fn finish(mut self, output: &mut Vec<u8>) -> Result<(), FilterError> {
        output.append(&mut self.held);
        if self.lexer.is_between_statements() { Ok(()) } else { Err(FilterError::BreaksOff) }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }

    fn check_command(&self) -> Result<(), FilterError> {
        let text = String::from_utf8_lossy(self.lexer.command());
        let command = text.split_whitespace().next().unwrap_or("\\");
        match command {
            "\\restrict" | "\\unrestrict" => Ok(()),
            // pg_dump writes it before a name that needs quotes
            "\\connect" | "\\encoding" if self.leave_out.databases => Ok(()),
            _ => {
                let command = command.chars().take(40).collect();
                Err(FilterError::Command { line: self.line, command })
            }
        }
    }

    fn is_left_out(&self) -> Result<bool, FilterError> {
        let statement = String::from_utf8_lossy(&self.lexer.statement()[..self.lexer.statement().len().min(HELD)]);
        let words: Vec<&str> = statement.split_whitespace().collect();
        let leave_out = self.leave_out;
        let is_left_out = leave_out.databases && is_of_database(&words)
            || leave_out.owners && names_roles(&words)
            || leave_out.surroundings && is_of_surroundings(&words);
        if !is_left_out && reaches_beyond(&words, self.lexer.copy().is_some()) {
            let statement = words.iter().take(3).copied().collect::<Vec<_>>().join(" ").chars().take(80).collect();
            return Err(FilterError::Statement { line: self.line, statement });
        }
        // what was too long to be held is on its way already
        Ok(is_left_out && statement.len() < HELD)
    }
}

fn names_roles(words: &[&str]) -> bool {
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

fn is_of_database(words: &[&str]) -> bool {
    match words {
        ["CREATE" | "DROP" | "ALTER", "DATABASE", ..]
        | ["COMMENT", "ON", "DATABASE", ..]
        | ["SECURITY", "LABEL", ..]
        | ["UPDATE", "pg_catalog.pg_database", ..] => true,
        ["GRANT" | "REVOKE", rest @ ..] => rest.windows(2).any(|pair| pair == ["ON", "DATABASE"]),
        ["ALTER", "ROLE", rest @ ..] => rest.windows(2).any(|pair| pair == ["IN", "DATABASE"]),
        _ => false,
    }
}

fn is_of_surroundings(words: &[&str]) -> bool {
    matches!(
        words,
        ["SET", "default_tablespace", ..]
            | ["CREATE" | "ALTER", "SUBSCRIPTION", ..]
            | ["COMMENT", "ON", "SUBSCRIPTION", ..]
    )
}

/// True for statements of a file that came from elsewhere, which could change the server beyond the database.
fn reaches_beyond(words: &[&str], is_rows: bool) -> bool {
    let [first, second] = [0, 1].map(|at| words.get(at).map(|word| word.to_ascii_uppercase()).unwrap_or_default());
    let third = words.get(2).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    match (first.as_str(), second.as_str()) {
        ("CREATE" | "ALTER" | "DROP", "USER") => third != "MAPPING",
        ("CREATE" | "ALTER" | "DROP", "DATABASE" | "ROLE" | "GROUP" | "TABLESPACE" | "SYSTEM") => true,
        ("COPY", _) => !is_rows,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str, leave_out: LeaveOut) -> Result<String, FilterError> {
        let mut results = Vec::new();
        for chunk in [1, 7, text.len().max(1)] {
            let (mut filter, mut output) = (Filter::new(leave_out), Vec::new());
            let taken = text.as_bytes().chunks(chunk).try_for_each(|bytes| filter.take(bytes, &mut output));
            let result = taken.and_then(|()| filter.finish(&mut output));
            results.push(result.map(|()| String::from_utf8(output).unwrap()));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "chunks made a difference: {results:?}");
        results.remove(0)
    }

    const DUMP: &str = "--\n\\restrict abc\n\nSET x = 1;\nALTER TABLE public.t OWNER TO \"my role\";\nGRANT SELECT ON TABLE public.t TO app;\n\
                        COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n\nSELECT '\n\\! id\n';\n\\unrestrict abc\n";

    #[test]
    fn a_dump_goes_through_without_its_own_restriction() {
        let passed = filter(DUMP, LeaveOut::default()).unwrap();
        assert_eq!(passed, DUMP.replace("\\restrict abc\n", "").replace("\\unrestrict abc\n", ""));
    }

    #[test]
    fn owners_and_privileges_are_left_out_on_demand_and_rows_never() {
        let passed = filter(DUMP, LeaveOut { owners: true, ..LeaveOut::default() }).unwrap();
        assert!(!passed.contains("my role") && !passed.contains("GRANT"), "{passed}");
        assert!(passed.contains("COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n"), "{passed}");
        assert!(passed.contains("SET x = 1;"));
    }

    #[test]
    fn a_part_of_a_whole_servers_dump_says_nothing_of_its_database() {
        let part = "DROP DATABASE IF EXISTS a;\nCREATE DATABASE a WITH TEMPLATE = template0;\nALTER DATABASE a OWNER TO b;\n\
                    \\connect a\nGRANT CONNECT ON DATABASE a TO c;\nALTER ROLE c IN DATABASE a SET x TO '1';\nSELECT 1;\n";
        let passed = filter(part, LeaveOut { databases: true, ..LeaveOut::default() }).unwrap();
        assert_eq!(passed.trim(), "SELECT 1;");
        let grant = "GRANT SELECT ON TABLE t TO c;";
        assert!(filter(grant, LeaveOut { databases: true, ..LeaveOut::default() }).unwrap().contains(grant));
    }

    #[test]
    fn what_only_looks_like_an_owner_stays() {
        let owners = LeaveOut { owners: true, ..LeaveOut::default() };
        let text = "ALTER TABLE t ADD CONSTRAINT c CHECK ((note <> 'the OWNER TO be'::text)) NOT VALID;";
        assert_eq!(filter(text, owners).unwrap(), text);
        assert_eq!(filter("ALTER FUNCTION f(a int) OWNER TO \"a b\";", owners).unwrap(), "");
    }

    #[test]
    fn surroundings_are_left_out_on_demand() {
        let text =
            "SET default_tablespace = fast;\nCREATE TABLE t ();\nCREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;\n";
        let passed = filter(text, LeaveOut { surroundings: true, ..LeaveOut::default() }).unwrap();
        assert_eq!(passed.trim(), "CREATE TABLE t ();");
    }

    #[test]
    fn statements_that_reach_beyond_the_database_are_refused() {
        for statement in [
            "DROP DATABASE precious;",
            "create role evil superuser;",
            "ALTER SYSTEM SET x = 1;",
            "DROP TABLESPACE t;",
            "COPY t FROM PROGRAM 'id';",
            "COPY (SELECT 1) TO '/tmp/x';",
            "ALTER USER postgres PASSWORD 'x';",
        ] {
            let refused = filter(&format!("SELECT 1;\n{statement}\n"), LeaveOut::default());
            assert!(matches!(refused, Err(FilterError::Statement { line: 2, .. })), "{statement}: {refused:?}");
        }
        assert!(filter("CREATE USER MAPPING FOR u SERVER s;", LeaveOut::default()).is_ok());
        assert!(filter("ALTER TABLE t RENAME TO role;", LeaveOut::default()).is_ok());
    }

    #[test]
    fn a_command_of_psql_is_refused_by_line_and_name() {
        for command in ["\\! touch /tmp/x", "\\copy t from program 'id'", "\\connect other", "\\i /etc/passwd"] {
            let text = format!("SET x = 1;\nCOPY t (a) FROM stdin;\n1\n\\.\n{command}\nSELECT 1;\n");
            let word = command.split(' ').next().unwrap().to_owned();
            assert_eq!(filter(&text, LeaveOut::default()), Err(FilterError::Command { line: 5, command: word }));
        }
    }

    #[test]
    fn a_dump_that_breaks_off_is_refused() {
        for text in ["COPY t (a) FROM stdin;\n1\n", "SELECT 'x", "SELECT 1"] {
            assert_eq!(filter(text, LeaveOut::default()), Err(FilterError::BreaksOff), "{text}");
        }
    }
}
