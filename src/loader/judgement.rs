//! Pure: whose matter it is when a server does not take a statement of a dump, by what the statement does and by the code
//! of the error together; never by a text, which is in the server's language.

use crate::config::ServerRole;
use crate::dump_format::sql_lexer::{Intent, ObjectKind};
use crate::postgres::restore::Blame;

/// Whose matter a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matter {
    /// The bytes': pg_dump did not write this.
    Bytes,
    /// The schema's of the source: PostgreSQL cannot load from its own dump what is there.
    Schema,
    /// The server's that was asked: it lacks something, or is full.
    Server(ServerLack),
    /// The role's: a superuser may.
    Privilege,
    /// The connection's.
    Connection,
}

/// What a server lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerLack {
    /// Room on its disk.
    Space,
    /// Memory, locks, connections.
    Limit,
    /// A role, a tablespace, an extension, a locale, a library, a setting.
    Installed,
    /// Somebody has ended it, or is in the way.
    Undisturbed,
}

impl Matter {
    /// The same as an error has it, with what a person can do.
    pub(super) fn blame(self, server: ServerRole) -> Blame {
        let user = server.setting("USER");
        match self {
            Self::Bytes | Self::Schema => Blame::Backup,
            Self::Connection => {
                Blame::Connection(format!("check {} and the log of the {server}", server.setting("HOST")))
            }
            Self::Privilege => {
                Blame::Privilege(format!("{user} lacks a privilege on the {server}; a superuser has it"))
            }
            Self::Server(ServerLack::Space) => {
                Blame::Server(format!("free some space on the {server}, or give it a larger disk"))
            }
            Self::Server(ServerLack::Limit) => {
                Blame::Server(format!("raise the limit on the {server}, or give it more memory"))
            }
            Self::Server(ServerLack::Undisturbed) => {
                Blame::Server("another session or a timeout interrupted it; try again".to_owned())
            }
            Self::Server(ServerLack::Installed) => Blame::Server(format!(
                "the {server} lacks a role, a tablespace, an extension, a locale or a setting of the source"
            )),
        }
    }
}

/// What a server said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerAnswer<'a> {
    /// SQLSTATE, five letters and digits.
    pub(crate) state: &'a str,
    /// It points at a place of the statement itself, and not at one of a function or a script that this has run.
    pub(crate) is_in_statement: bool,
    /// Where in the server's sources it arose, if it says so.
    pub(crate) routine: Option<&'a str>,
}

/// Places in the server's sources at which it looks for a role, a tablespace or an access method.
const INSTALLED: &[&str] =
    &["get_role_oid", "get_rolespec_oid", "get_rolespec_tuple", "regrolein", "get_tablespace_oid", "get_table_am_oid"];

/// Codes of what no statement can help, whatever it does.
fn of_server(failure: ServerAnswer<'_>) -> Option<Matter> {
    let ServerAnswer { state, routine, .. } = failure;
    let matter = match (&state[..2.min(state.len())], state) {
        ("08", _) => Matter::Connection,
        ("57", "57014") => Matter::Server(ServerLack::Undisturbed),
        ("57", _) => Matter::Connection,
        ("53", "53100") => Matter::Server(ServerLack::Space),
        ("53", _) => Matter::Server(ServerLack::Limit),
        ("55", "55006" | "55P03") | ("40", _) => Matter::Server(ServerLack::Undisturbed),
        ("58", _) | ("XX", "XX001" | "XX002") | ("F0", _) => Matter::Server(ServerLack::Installed),
        (_, "42704" | "42P01") if routine.is_some_and(|routine| INSTALLED.contains(&routine)) => {
            Matter::Server(ServerLack::Installed)
        }
        _ => return None,
    };
    Some(matter)
}

/// Whose matter it is that a statement failed.
pub(crate) fn of_statement(intent: &Intent, failure: ServerAnswer<'_>) -> Matter {
    if let Some(matter) = of_server(failure) {
        return matter;
    }
    match (intent, failure.state) {
        (_, "42501") => Matter::Privilege,
        // the statement itself is no SQL, or names a column that its table does not have
        (_, "42601" | "42703") if failure.is_in_statement => Matter::Bytes,
        // a setting that the server does not know
        (Intent::Session, _) => Matter::Server(ServerLack::Installed),
        (Intent::Make(object), state) => match (object.kind, state) {
            (ObjectKind::Collation, _) => Matter::Server(ServerLack::Installed),
            // its files are not there, or not in that version; anything else its own script has said
            (ObjectKind::Extension | ObjectKind::Language, "0A000" | "22023" | "42704") => {
                Matter::Server(ServerLack::Installed)
            }
            _ => Matter::Schema,
        },
        _ => Matter::Schema,
    }
}

/// What becomes of a table whose rows a server did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowsFailure {
    /// A CHECK did not let them in.
    Check,
    /// There is no such table.
    NoTable,
    Matter(Matter),
}

/// Whose matter it is that rows failed.
pub(crate) fn of_rows(failure: ServerAnswer<'_>) -> RowsFailure {
    match (of_server(failure), failure.state) {
        (Some(matter), _) => RowsFailure::Matter(matter),
        (None, "42501") => RowsFailure::Matter(Matter::Privilege),
        (None, "23514") => RowsFailure::Check,
        (None, "42P01" | "3F000" | "42809") => RowsFailure::NoTable,
        (None, _) => RowsFailure::Matter(Matter::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump_format::sql_lexer::Charset;

    fn judge(statement: &str, state: &str, routine: Option<&str>) -> Matter {
        of_statement(
            &Intent::of(statement.as_bytes(), Charset::default()),
            ServerAnswer { state, routine, is_in_statement: true },
        )
    }

    #[test]
    fn the_statement_and_the_code_decide_together() {
        let lacks = Matter::Server(ServerLack::Installed);
        for (statement, state, routine, matter) in [
            ("CREATE EXTENSION IF NOT EXISTS x WITH SCHEMA public;", "0A000", None, lacks),
            ("CREATE EXTENSION IF NOT EXISTS x WITH SCHEMA public;", "58P01", None, lacks),
            ("CREATE EXTENSION IF NOT EXISTS x WITH SCHEMA public;", "P0001", None, Matter::Schema),
            ("CREATE COLLATION public.c (provider = icu, locale = 'x');", "22023", None, lacks),
            ("CREATE COLLATION public.c (provider = libc, locale = 'x');", "42704", None, lacks),
            ("ALTER TABLE public.t OWNER TO app;", "42704", Some("get_role_oid"), lacks),
            ("COMMENT ON INDEX public.i IS 'x';", "42P01", Some("relation_openrv"), Matter::Schema),
            ("CREATE INDEX i ON public.t USING btree (public.f(a));", "42P17", None, Matter::Schema),
            ("CREATE INDEX i ON public.t USING btree (a);", "53100", None, Matter::Server(ServerLack::Space)),
            ("CREATE INDEX i ON public.t USING btree (a);", "57P01", None, Matter::Connection),
            ("CREATE VIEW public.v AS SELECT 1;", "42601", None, Matter::Bytes),
            ("CREATE INDEX i ON public.t USING btree (bx);", "42703", None, Matter::Bytes),
            ("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f();", "42501", None, Matter::Privilege),
            ("SET transaction_timeout = 0;", "42704", None, lacks),
        ] {
            assert_eq!(judge(statement, state, routine), matter, "{statement} {state}");
        }
    }

    #[test]
    fn rows_that_no_column_takes_are_the_bytes_and_others_are_not() {
        let rows = |state, routine| of_rows(ServerAnswer { state, routine, is_in_statement: false });
        assert_eq!(rows("22P02", None), RowsFailure::Matter(Matter::Bytes));
        assert_eq!(rows("22P04", None), RowsFailure::Matter(Matter::Bytes));
        assert_eq!(rows("23514", None), RowsFailure::Check);
        assert_eq!(rows("42P01", None), RowsFailure::NoTable);
        assert_eq!(rows("42704", Some("regrolein")), RowsFailure::Matter(Matter::Server(ServerLack::Installed)));
        assert_eq!(rows("53100", None), RowsFailure::Matter(Matter::Server(ServerLack::Space)));
    }
}
