//! What a server has and what its databases are like.

use super::session::Session;
use crate::dump_format::sql_lexer;
use crate::record::facts::{DatabaseProperties, Privilege};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use tokio_postgres::Error;
use tokio_postgres::types::{FromSql, Type};
use tracing::warn;

/// Properties of the current database, in one question.
///
/// The row of `pg_database` is read as JSON, because its columns differ from one major to the next: ICU's locale is
/// `daticulocale` in 15 and 16, `datlocale` since 17, and absent before.
const DATABASE: &str = "
    SELECT pg_catalog.jsonb_build_object(
        'columns', pg_catalog.to_jsonb(d) - 'datacl',
        'owner', pg_catalog.pg_get_userbyid(d.datdba),
        'encoding', pg_catalog.pg_encoding_to_char(d.encoding),
        'comment', pg_catalog.shobj_description(d.oid, 'pg_database'),
        'privileges', CASE WHEN d.datacl IS NOT NULL THEN coalesce(
            (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                'grantee', CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
                'grantor', pg_catalog.pg_get_userbyid(a.grantor),
                'privilege', a.privilege_type, 'grantable', a.is_grantable))
             FROM pg_catalog.aclexplode(d.datacl) a), '[]') END,
        'settings', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                'role', CASE s.setrole WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(s.setrole) END,
                'values', s.setconfig))
            FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid))::text
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

#[derive(Default, Deserialize)]
struct DatabaseRow {
    columns: Value,
    owner: String,
    encoding: String,
    comment: Option<String>,
    privileges: Option<Vec<Privilege>>,
    settings: Option<Vec<Settings>>,
}

#[derive(Deserialize)]
struct Settings {
    role: Option<String>,
    values: Vec<String>,
}

/// Properties of the current database.
pub async fn properties(session: &Session) -> Result<DatabaseProperties, Error> {
    let question = format!("SELECT {} FROM ({DATABASE}) AS database (json)", bytes_of("database.json"));
    let row = session.query_typed_one(&question, &[]).await?;
    let row: LossyText = row.get(0);
    let row = serde_json::from_str(&row.text).unwrap_or_else(|error| {
        warn!(
            "the server's answer about the database's properties could not be parsed ({error}), \
               so they are not recorded"
        );
        DatabaseRow::default()
    });
    let DatabaseRow { columns, owner, encoding, comment, mut privileges, settings } = row;
    let text = |names: &[&str]| names.iter().find_map(|name| columns.get(name)?.as_str().map(str::to_owned));
    let locale_provider = match text(&["datlocprovider"]).as_deref() {
        Some("i") => "icu",
        Some("b") => "builtin",
        _ => "libc",
    };
    privileges.iter_mut().for_each(|privileges| privileges.sort());
    let (mut of_database, mut role_settings) = (Vec::new(), BTreeMap::new());
    for settings in settings.into_iter().flatten() {
        match settings.role {
            None => of_database = settings.values,
            Some(role) => drop(role_settings.insert(role, settings.values)),
        }
    }
    Ok(DatabaseProperties {
        owner,
        privileges,
        comment,
        encoding,
        locale_provider: locale_provider.to_owned(),
        collate: text(&["datcollate"]).unwrap_or_default(),
        ctype: text(&["datctype"]).unwrap_or_default(),
        locale: text(&["datlocale", "daticulocale"]),
        icu_rules: text(&["daticurules"]),
        collation_version: text(&["datcollversion"]),
        connection_limit: columns.get("datconnlimit").and_then(Value::as_i64).unwrap_or(-1),
        settings: of_database,
        role_settings,
    })
}

/// Text of the server as bytes. A database of encoding SQL_ASCII may hold anything, which the server refuses to send as
/// text; what is no UTF-8 is replaced here. Asked for by [`bytes_of`] and [`stored_bytes_of`].
#[derive(Debug)]
pub(super) struct LossyText {
    pub(super) text: String,
    pub(super) is_whole: bool,
}

impl<'a> FromSql<'a> for LossyText {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let chars = || Vec::<i8>::from_sql(ty, raw).map(|chars| chars.into_iter().map(i8::cast_unsigned).collect());
        let bytes: Cow<'_, [u8]> = if *ty == Type::BYTEA { raw.into() } else { Cow::Owned(chars()?) };
        let text = String::from_utf8_lossy(&bytes);
        Ok(Self { is_whole: matches!(text, Cow::Borrowed(_)), text: text.into_owned() })
    }

    fn accepts(ty: &Type) -> bool {
        [Type::BYTEA, Type::CHAR_ARRAY].contains(ty)
    }
}

/// The SQL of a text's bytes.
pub(super) fn bytes_of(text: &str) -> String {
    format!(
        "CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN pg_catalog.convert_to({text}, 'SQL_ASCII')
         ELSE pg_catalog.textsend({text}) END"
    )
}

/// The SQL of the bytes of a value of type `name` as they lie on the disk: a database is reached by these, whatever they
/// mean. Names of the whole server are in the encoding of the database where they were given, so nothing may convert or
/// verify them: each byte is asked for alone.
pub(super) fn stored_bytes_of(name: &str) -> String {
    format!(
        "ARRAY(SELECT ({name})[i] FROM pg_catalog.generate_series(0, pg_catalog.octet_length({name}::text) - 1) AS i)"
    )
}

/// One database of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    /// False where the name is not UTF-8 and what stands here is only like it.
    pub is_text: bool,
    /// Bytes on the server's disk; 0 where the role may not ask, or nobody wanted to know.
    pub bytes: u64,
    /// A template, which nobody works in.
    pub is_template: bool,
}

/// Every database that allows connections and is nobody's scratch, by name; the size of those that are wanted, because the server looks at every
/// file for it. Databases whose removal was cut half-way cannot be connected to.
pub async fn databases(session: &Session, is_wanted: impl Fn(&Database) -> bool) -> Result<Vec<Database>, Error> {
    let question = format!(
        "SELECT {}, d.datistemplate, d.oid FROM pg_catalog.pg_database d
         WHERE d.datallowconn AND d.datconnlimit <> -2 AND NOT {} ORDER BY d.datname",
        stored_bytes_of("d.datname"),
        super::is_scratch("d")
    );
    let rows = session.query_typed(&question, &[]).await?;
    let database = |row: &tokio_postgres::Row| {
        let name: LossyText = row.get(0);
        (row.get(2), Database { name: name.text, is_text: name.is_whole, is_template: row.get(1), bytes: 0 })
    };
    let mut databases: Vec<(u32, Database)> = rows.iter().map(database).collect();
    let wanted: Vec<u32> =
        databases.iter().filter(|(_, database)| is_wanted(database)).map(|(number, _)| *number).collect();
    let sizes = session.query_typed(SIZES, &[(&wanted, Type::OID_ARRAY)]).await?;
    let sizes: BTreeMap<u32, i64> =
        sizes.iter().filter_map(|row| Some((row.get(0), row.get::<_, Option<i64>>(1)?))).collect();
    for (number, database) in &mut databases {
        database.bytes = sizes.get(number).copied().unwrap_or_default().unsigned_abs();
    }
    Ok(databases.into_iter().map(|(_, database)| database).collect())
}

/// What a standby does with whoever reads rows that its primary wants gone; none where the server is a primary.
pub async fn standby(session: &Session) -> Result<Option<Standby>, Error> {
    let question = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('hot_standby_feedback') = 'on',
                           pg_catalog.current_setting('max_standby_streaming_delay')";
    let row = session.query_typed_one(question, &[]).await?;
    let standby = || Standby { feeds_back: row.get(1), delay: row.get(2) };
    Ok(row.get::<_, bool>(0).then(standby))
}

/// The settings of a standby that decide how long a dump may last there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// `hot_standby_feedback`: its primary keeps the rows.
    pub feeds_back: bool,
    /// `max_standby_streaming_delay`, with its unit; `-1` is for ever.
    pub delay: String,
}

/// What `ALTER ROLE ALL SET` says, `name=value`: it holds for every role in every database.
pub async fn settings_of_all_roles(session: &Session) -> Result<Vec<String>, Error> {
    let question = format!(
        "SELECT {} FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS one (setting)
         WHERE s.setdatabase = 0 AND s.setrole = 0",
        bytes_of("one.setting")
    );
    Ok(session.query_typed(&question, &[]).await?.iter().map(|row| row.get::<_, LossyText>(0).text).collect())
}

/// How far the server's clock is ahead of ours; the time that the question took is no difference.
pub async fn clock_ahead(session: &Session) -> Result<TimeDelta, Error> {
    let before = Utc::now();
    let question = "SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::float8";
    let seconds: f64 = session.query_typed_one(question, &[]).await?.get(0);
    let after = Utc::now();
    let millis = |time: DateTime<Utc>| time.timestamp_millis();
    #[allow(clippy::cast_possible_truncation)]
    let server = (seconds * 1000.0) as i64;
    let ahead = (server - millis(after)).max(0) + (server - millis(before)).min(0);
    Ok(TimeDelta::milliseconds(ahead))
}

/// A database as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    /// Somebody may connect to it.
    pub allows_connections: bool,
}

/// Every database, whoever may connect to it.
pub async fn known(session: &Session) -> Result<Vec<Known>, Error> {
    let question = format!(
        "SELECT {}, d.datallowconn AND d.datconnlimit <> -2 FROM pg_catalog.pg_database d",
        stored_bytes_of("d.datname")
    );
    let rows = session.query_typed(&question, &[]).await?;
    let known =
        |row: &tokio_postgres::Row| Known { name: row.get::<_, LossyText>(0).text, allows_connections: row.get(1) };
    Ok(rows.iter().map(known).collect())
}

/// True when a database of some run that restores, or that died, is on the server.
pub async fn has_scratch(session: &Session) -> Result<bool, Error> {
    let question = format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_database d WHERE {})", super::is_scratch("d"));
    Ok(session.query_typed_one(&question, &[]).await?.get(0))
}

/// Sizes of databases, none where the role may not ask.
const SIZES: &str = "
    SELECT d.oid, CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
                         OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
                       THEN pg_catalog.pg_database_size(d.oid) END
    FROM pg_catalog.pg_database d WHERE d.oid = ANY ($1)";

/// Tables and materialized views as SQL names them, the largest first; a partitioned table stands for its partitions.
pub async fn largest_first(session: &Session) -> Result<Vec<String>, Error> {
    let question = "SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class
                    WHERE relkind IN ('r', 'm', 'p') AND NOT relispartition AND oid >= 16384
                    ORDER BY pg_catalog.pg_table_size(oid) DESC";
    Ok(session.query_typed(question, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Bytes of the current database on the server's disk.
pub async fn own_bytes(session: &Session) -> Result<u64, Error> {
    let row = session.query_one("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())", &[]).await?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// True when the session's role may read the passwords of roles.
pub async fn reads_role_passwords(session: &Session) -> Result<bool, Error> {
    let row = session.query_one("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')", &[]).await?;
    Ok(row.get(0))
}

/// A name that [`sql_lexer::qualified`] made as SQL of any version: reserved words are quoted too.
pub fn sql_name(qualified: &str) -> String {
    sql_lexer::parts(qualified)
        .map_or_else(|| qualified.to_owned(), |(schema, name)| format!("{}.{}", quote(&schema), quote(&name)))
}

/// A name as an identifier, always in quotes.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// The number by which PostgreSQL knows a server and its clones; none where the role may not ask.
pub async fn system_identifier(session: &Session) -> Option<String> {
    let question = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
    Some(session.query_typed_one(question, &[]).await.ok()?.get(0))
}

/// Names as SQL identifiers, quoted where that is needed.
pub async fn quoted(session: &Session, names: &[String]) -> Result<Vec<String>, Error> {
    let rows = session
        .query(
            "SELECT pg_catalog.quote_ident(n) FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS t(n, i) ORDER BY i",
            &[&names],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
