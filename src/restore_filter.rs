//! Pure: a dump as SQL on its way into psql, without what must not get there.
//!
//! The dump's own `\restrict` pair is left out, because ours is around it and such pairs do not nest. Any other command
//! of psql is refused: pg_dump writes none, and in a file that came from elsewhere it could run a program here.

pub mod globals;

use crate::sql_lexer::{ForeignKey, LargeObject, Lexer, SequenceSet, Token, name_after};
use std::collections::BTreeSet;

/// What else is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaveOut {
    /// Statements that give objects an owner or privileges.
    pub owners: bool,
    /// Statements that make, drop, or describe databases, and `\connect`: the dump is part of one of a whole server.
    pub databases: bool,
    /// Statements that tie a database to its surroundings: tablespaces, which another server lacks, and subscriptions,
    /// which would follow another server and cannot be dropped with their database.
    pub surroundings: bool,
    /// Tablespaces that are there, and stay in spite of that.
    pub tablespaces: BTreeSet<String>,
    /// Rows, and what depends on them.
    pub rows: Rows,
}

/// The tables whose rows are restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Rows {
    /// Every table's, and everything else that is data.
    #[default]
    All,
    /// No table's, no values of sequences and no large objects.
    None,
    /// Those of these tables, as [`crate::sql_lexer::qualified`] writes them, and no large objects. Foreign keys stay
    /// only between them: others would refer to rows that are not there.
    Of(BTreeSet<String>),
}

impl Rows {
    /// True when the table's rows are restored.
    pub fn has(&self, table: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Of(tables) => tables.contains(table),
        }
    }
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
    /// A statement that no server takes.
    #[error("line {line} is in a statement of more than 256 MiB, which pg_dump does not write")]
    TooLong {
        /// Line of the dump, from 1.
        line: u64,
    },
    /// The text ends in the middle of something.
    #[error("the dump breaks off in the middle of a statement, a string or the rows of a table")]
    BreaksOff,
}

/// Bytes of a statement that are held back to be looked at; nothing of a longer one passes before that.
const HELD: usize = 1 << 20;

/// Longest statement, in bytes; psql holds all of it.
const LONGEST: usize = 256 << 20;

/// Passes a dump on in chunks.
pub struct Filter {
    lexer: Lexer,
    leave_out: LeaveOut,
    /// Of the current statement, as long as it may be left out.
    held: Vec<u8>,
    /// Bytes of the current statement.
    length: usize,
    /// It was too long to be held to its end: whether it is left out.
    verdict: Option<bool>,
    /// The rows that pass are left out.
    is_skipping: bool,
    subscriptions: Vec<String>,
    lacks_tablespace: bool,
    line: u64,
}

impl Filter {
    /// A filter at the beginning of a dump.
    pub fn new(leave_out: LeaveOut) -> Self {
        Self {
            lexer: Lexer::default(),
            leave_out,
            held: Vec::new(),
            length: 0,
            verdict: None,
            is_skipping: false,
            subscriptions: Vec::new(),
            lacks_tablespace: false,
            line: 1,
        }
    }

    /// The table whose rows pass now.
    pub fn table(&self) -> Option<&str> {
        self.lexer.copy().map(|copy| copy.table.as_str())
    }

    /// True when no tablespace was left out.
    pub fn has_every_tablespace(&self) -> bool {
        !self.lacks_tablespace
    }

    /// Adds to `output` what psql may have of the next bytes.
    pub fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(), FilterError> {
        let mut input = bytes;
        while let Some(token) = self.lexer.next(&mut input) {
            match token {
                Token::Sql(sql) => self.take_sql(sql, output)?,
                Token::StatementEnd => self.end_statement(output)?,
                Token::Command(_) => {}
                Token::CommandEnd => {
                    self.check_command()?;
                    self.line += 1;
                }
                Token::CopyBegin => {
                    // psql would run what stands behind the statement on its line, after the rows
                    if !self.held.trim_ascii().is_empty() {
                        return Err(self.foreign("COPY … FROM stdin; …"));
                    }
                    self.is_skipping = self.lexer.copy().is_some_and(|copy| !self.leave_out.rows.has(&copy.table));
                    if !self.is_skipping {
                        output.append(&mut self.held);
                    }
                    self.held.clear();
                }
                Token::Row { bytes, ends } => {
                    self.line += u64::from(ends);
                    if !self.is_skipping {
                        output.extend_from_slice(bytes);
                        output.extend(ends.then_some(b'\n'));
                    }
                }
                Token::CopyEnd(bytes) => {
                    self.line += 1;
                    if !self.is_skipping {
                        output.extend_from_slice(bytes);
                    }
                }
            }
        }
        Ok(())
    }

    fn take_sql(&mut self, sql: &[u8], output: &mut Vec<u8>) -> Result<(), FilterError> {
        self.count(sql);
        self.length += sql.len();
        if self.length > LONGEST {
            return Err(FilterError::TooLong { line: self.line });
        }
        match self.verdict {
            Some(true) => {}
            Some(false) => output.extend_from_slice(sql),
            None => {
                self.held.extend_from_slice(sql);
                if self.held.len() > HELD {
                    // what is between two statements is none yet
                    let statement = String::from_utf8_lossy(self.lexer.statement()).into_owned();
                    if statement.trim().is_empty() {
                        return Err(FilterError::TooLong { line: self.line });
                    }
                    let is_left_out = self.is_left_out(&statement)?;
                    self.verdict = Some(is_left_out);
                    if !is_left_out {
                        output.append(&mut self.held);
                    }
                    self.held.clear();
                }
            }
        }
        Ok(())
    }

    fn end_statement(&mut self, output: &mut Vec<u8>) -> Result<(), FilterError> {
        self.length = 0;
        let statement = String::from_utf8_lossy(self.lexer.statement()).into_owned();
        let is_left_out = match self.verdict.take() {
            Some(verdict) => verdict,
            None => self.is_left_out(&statement)?,
        };
        if !is_left_out {
            output.append(&mut self.held);
        } else if let Some(name) = name_after(self.lexer.statement(), &["create", "subscription"]) {
            self.subscriptions.push(name);
        } else if self.lexer.statement().starts_with(DEFAULT_TABLESPACE.as_bytes()) {
            self.lacks_tablespace = true;
            // what was set before must not hold any longer
            output.extend_from_slice(b"\nSET default_tablespace = '';");
        }
        // errors name the lines of the dump
        output.extend(self.held.drain(..).filter(|byte| *byte == b'\n'));
        Ok(())
    }

    fn foreign(&self, statement: &str) -> FilterError {
        FilterError::Statement { line: self.line, statement: statement.to_owned() }
    }

    /// The rest of what psql may have, once the dump is at its end; the answer are the subscriptions that were left out.
    pub fn finish(self, output: &mut Vec<u8>) -> Result<Vec<String>, FilterError> {
        // psql would run a statement that lacks its end
        output.extend(self.held.iter().filter(|byte| **byte == b'\n'));
        if self.lexer.is_between_statements() { Ok(self.subscriptions) } else { Err(FilterError::BreaksOff) }
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

    fn is_left_out(&self, statement: &str) -> Result<bool, FilterError> {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let leave_out = &self.leave_out;
        let is_left_out = leave_out.databases && is_of_database(&words)
            || leave_out.owners && names_roles(&words)
            || leave_out.surroundings && is_of_surroundings(&words) && !self.has_tablespace(&words)
            || leave_out.rows != Rows::All && self.is_data(&words);
        if !is_left_out && is_foreign(statement, self.lexer.copy().is_some()) {
            let words = words.iter().take(3).copied().collect::<Vec<_>>().join(" ");
            return Err(self.foreign(&words.chars().take(80).collect::<String>()));
        }
        Ok(is_left_out)
    }
}

impl Filter {
    /// True for a tablespace that is there, or none.
    fn has_tablespace(&self, words: &[&str]) -> bool {
        let ["SET", "default_tablespace", "=", name @ ..] = words else { return false };
        let name = name.join(" ");
        let name = name.trim_end_matches(';');
        let plain = name.trim_matches(['\'', '"']).replace("\"\"", "\"");
        plain.is_empty() || self.leave_out.tablespaces.contains(&plain)
    }

    /// True for data that go with rows, where not all of those are wanted.
    fn is_data(&self, words: &[&str]) -> bool {
        let (statement, charset) = (self.lexer.statement(), self.lexer.charset());
        let is_large_object = match words {
            ["SELECT", call, ..] => {
                call.starts_with("pg_catalog.lo_create(") || LargeObject::parse(statement).is_some()
            }
            ["ALTER", "LARGE", "OBJECT", ..] | ["COMMENT", "ON", "LARGE", "OBJECT", ..] => true,
            ["SECURITY", "LABEL", rest @ ..] | ["GRANT" | "REVOKE", rest @ ..] => {
                rest.windows(3).any(|words| words == ["ON", "LARGE", "OBJECT"])
            }
            _ => false,
        };
        is_large_object
            || self.lexer.copy().is_some_and(|copy| !self.leave_out.rows.has(&copy.table))
            || match &self.leave_out.rows {
                Rows::None => SequenceSet::parse(statement, charset).is_some(),
                rows => ForeignKey::parse(statement, charset)
                    .is_some_and(|key| !rows.has(&key.table) || !rows.has(&key.references)),
            }
    }
}

const DEFAULT_TABLESPACE: &str = "SET default_tablespace";

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

/// True for a statement that pg_dump does not write into the dump of a database: in a file that came from elsewhere it
/// could change the server beyond it. What functions of the dump do when they are used is the server's to allow.
fn is_foreign(statement: &str, is_rows: bool) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str, leave_out: &LeaveOut) -> Result<String, FilterError> {
        let mut results = Vec::new();
        for chunk in [1, 7, text.len().max(1)] {
            let (mut filter, mut output) = (Filter::new(leave_out.clone()), Vec::new());
            let taken = text.as_bytes().chunks(chunk).try_for_each(|bytes| filter.take(bytes, &mut output));
            let result = taken.and_then(|()| filter.finish(&mut output));
            results.push(result.map(|_| String::from_utf8(output).unwrap()));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "chunks made a difference: {results:?}");
        results.remove(0)
    }

    const DUMP: &str = "--\n\\restrict abc\n\nSET lock_timeout = 0;\nALTER TABLE public.t OWNER TO \"my role\";\nGRANT SELECT ON TABLE public.t TO app;\n\
                        COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n\nCOMMENT ON TABLE public.t IS '\n\\! id\n';\n\\unrestrict abc\n";

    #[test]
    fn a_dump_goes_through_without_its_own_restriction() {
        let passed = filter(DUMP, &LeaveOut::default()).unwrap();
        assert_eq!(passed, DUMP.replace("\\restrict abc\n", "").replace("\\unrestrict abc\n", ""));
    }

    #[test]
    fn owners_and_privileges_are_left_out_on_demand_and_rows_never() {
        let passed = filter(DUMP, &LeaveOut { owners: true, ..LeaveOut::default() }).unwrap();
        assert!(!passed.contains("my role") && !passed.contains("GRANT"), "{passed}");
        assert!(passed.contains("COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n"), "{passed}");
        assert!(passed.contains("SET lock_timeout = 0;"));
    }

    #[test]
    fn a_part_of_a_whole_servers_dump_says_nothing_of_its_database() {
        let part = "DROP DATABASE IF EXISTS a;\nCREATE DATABASE a WITH TEMPLATE = template0;\nALTER DATABASE a OWNER TO b;\n\
                    \\connect a\nGRANT CONNECT ON DATABASE a TO c;\nALTER ROLE c IN DATABASE a SET x TO '1';\nSET row_security = off;\n";
        let passed = filter(part, &LeaveOut { databases: true, ..LeaveOut::default() }).unwrap();
        assert_eq!(passed.trim(), "SET row_security = off;");
        let grant = "GRANT SELECT ON TABLE t TO c;";
        assert!(filter(grant, &LeaveOut { databases: true, ..LeaveOut::default() }).unwrap().contains(grant));
    }

    #[test]
    fn what_only_looks_like_an_owner_stays() {
        let owners = LeaveOut { owners: true, ..LeaveOut::default() };
        let text = "ALTER TABLE t ADD CONSTRAINT c CHECK ((note <> 'the OWNER TO be'::text)) NOT VALID;";
        assert_eq!(filter(text, &owners.clone()).unwrap(), text);
        assert_eq!(filter("ALTER FUNCTION f(a int) OWNER TO \"a b\";", &owners).unwrap(), "");
    }

    #[test]
    fn surroundings_are_left_out_on_demand() {
        let text = "SET default_tablespace = fast;\nCREATE TABLE t ();\nSET default_tablespace = \"my \"\"own\";\nCREATE TABLE u ();\n\
                    CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;\n";
        let passed = |tablespaces: &[&str]| {
            let tablespaces = tablespaces.iter().map(|name| (*name).to_owned()).collect();
            let passed = filter(text, &LeaveOut { surroundings: true, tablespaces, ..LeaveOut::default() }).unwrap();
            passed.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
        };
        let none = "SET default_tablespace = '';";
        assert_eq!(passed(&[]), format!("{none} CREATE TABLE t (); {none} CREATE TABLE u ();"));
        assert_eq!(
            passed(&["my \"own"]),
            format!("{none} CREATE TABLE t (); SET default_tablespace = \"my \"\"own\"; CREATE TABLE u ();")
        );
    }

    #[test]
    fn only_the_rows_that_are_wanted_pass_and_what_depends_on_others_does_not() {
        let text = "CREATE TABLE public.a (id int);\nCOPY public.a (id) FROM stdin;\n1\n\\.\n\
                    COPY public.\"B b\" (id) FROM stdin;\n2\n\\.\nSELECT pg_catalog.setval('public.s', 3, true);\n\
                    SELECT pg_catalog.lo_create('5');\nALTER LARGE OBJECT 5 OWNER TO x;\n\
                    ALTER TABLE ONLY public.a ADD CONSTRAINT \"FOREIGN KEY\" PRIMARY KEY (id);\n\
                    ALTER TABLE ONLY public.a ADD CONSTRAINT k FOREIGN KEY (id) REFERENCES public.\"B b\"(id);\n";
        let of = |tables: &[&str]| Rows::Of(tables.iter().map(|name| (*name).to_owned()).collect());
        let passed = |rows| filter(text, &LeaveOut { rows, ..LeaveOut::default() }).unwrap();
        assert_eq!(passed(Rows::All), text);
        let lines = |rows| passed(rows).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let schema =
            text.lines().filter(|line| line.starts_with("CREATE") || line.contains("PRIMARY")).collect::<Vec<_>>();
        let none = lines(Rows::None);
        assert_eq!(none.len(), 3, "{none:?}");
        assert!(schema.iter().all(|line| none.contains(&(*line).to_owned())));
        assert!(none.iter().any(|line| line.contains("REFERENCES")), "an empty table refers to nothing");
        let one = lines(of(&["public.a"]));
        assert!(one.contains(&"1".to_owned()) && !one.contains(&"2".to_owned()), "{one:?}");
        assert!(one.iter().any(|line| line.contains("setval")) && !one.iter().any(|line| line.contains("REFERENCES")));
        assert!(lines(of(&["public.a", "public.\"B b\""])).iter().any(|line| line.contains("REFERENCES")));
    }

    #[test]
    fn statements_that_reach_beyond_the_database_are_refused() {
        for statement in [
            "DROP DATABASE precious;",
            "create role evil superuser;",
            "ALTER SYSTEM SET lock_timeout = 0;",
            "DROP TABLESPACE t;",
            "COPY t FROM PROGRAM 'id';",
            "COPY (SELECT 1) TO '/tmp/x';",
            "ALTER USER postgres PASSWORD 'x';",
            "create/* x */role evil superuser;",
            "CREATE -- x\nROLE evil;",
            "CREATE /* /* */ */ DATABASE x;",
            "DO $$ BEGIN END $$;",
            "CALL evil();",
            "SELECT evil();",
            "SELECT pg_catalog.pg_read_file('/etc/passwd');",
            "GRANT pg_execute_server_program TO app;",
            "COMMENT ON DATABASE x IS 'y';",
            "INSERT INTO t VALUES (1);",
            "VACUUM;",
            "-- x\rCREATE ROLE evil;",
            "COPY t (a) FROM stdin; CREATE ROLE evil;\n1\n\\.",
            "SET standard_conforming_strings = off;",
            "SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false);",
            "SET SESSION standard_conforming_strings = off;",
            "RESET ALL;",
            "GRANT CONNECT ON DATABASE precious TO app;",
            "GRANT SELECT(\"ON\", \"TABLE\") TO app;",
            "UPDATE pg_authid SET rolsuper = true;",
            "LOAD '/etc/passwd';",
            "COPY t (a) FROM stdin WITH (FORMAT csv);\n1\n\\.",
            "COPY t (a) FROM stdin;\n1\n\\.\r\nCREATE ROLE evil;\n1\n\\.",
        ] {
            let refused = filter(&format!("SET lock_timeout = 0;\n{statement}\n"), &LeaveOut::default());
            let short: String = statement.chars().take(80).collect();
            assert!(
                matches!(refused, Err(FilterError::Statement { .. } | FilterError::TooLong { .. })),
                "{short}: {refused:?}"
            );
        }
        assert!(filter("CREATE USER MAPPING FOR u SERVER s;", &LeaveOut::default()).is_ok());
        assert!(filter("ALTER TABLE t RENAME TO role;", &LeaveOut::default()).is_ok());
    }

    #[test]
    fn what_is_too_long_to_be_held_is_looked_at_before_any_of_it_passes() {
        let space = " ".repeat(HELD * 2);
        for text in [
            format!("DROP DATABASE {space} precious;"),
            format!("{space} DROP DATABASE precious;"),
            format!("DROP DATABASE x{space}"),
        ] {
            let (mut filter, mut output) = (Filter::new(LeaveOut::default()), Vec::new());
            let taken = text.as_bytes().chunks(CHUNK).try_for_each(|bytes| filter.take(bytes, &mut output));
            assert!(taken.is_err() && output.is_empty());
        }
        let long = format!("COMMENT ON TABLE t IS '{space}';\nSET row_security = off;\n");
        let (mut filter, mut output) = (Filter::new(LeaveOut::default()), Vec::new());
        long.as_bytes().chunks(CHUNK).try_for_each(|bytes| filter.take(bytes, &mut output)).unwrap();
        assert!(filter.finish(&mut output).is_ok() && output == long.as_bytes());
    }

    const CHUNK: usize = 100_000;

    #[test]
    fn a_command_of_psql_is_refused_by_line_and_name() {
        for command in ["\\! touch /tmp/x", "\\copy t from program 'id'", "\\connect other", "\\i /etc/passwd"] {
            let text = format!("SET lock_timeout = 0;\nCOPY t (a) FROM stdin;\n1\n\\.\n{command}\nSELECT 1;\n");
            let word = command.split(' ').next().unwrap().to_owned();
            assert_eq!(filter(&text, &LeaveOut::default()), Err(FilterError::Command { line: 5, command: word }));
        }
    }

    #[test]
    fn a_dump_that_breaks_off_is_refused() {
        for text in ["COPY t (a) FROM stdin;\n1\n", "SELECT 'x", "SELECT 1"] {
            assert_eq!(filter(text, &LeaveOut::default()), Err(FilterError::BreaksOff), "{text}");
        }
    }
}
