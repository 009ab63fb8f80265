//! What a database contains and which properties it has, read under a snapshot.

use crate::facts::{DatabaseProperties, Privilege, Totals};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio_postgres::{Client, Error};

/// Version of the server: `major` decides which client tools fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// 15 of 15.18.
    pub major: u32,
    /// `15.18`.
    pub text: String,
}

/// Asks the server for its version.
pub async fn server_version(client: &Client) -> Result<ServerVersion, Error> {
    let row = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('server_version')",
            &[],
        )
        .await?;
    let (number, text): (i32, String) = (row.get(0), row.get(1));
    let text = text.split_whitespace().next().unwrap_or_default().to_owned();
    Ok(ServerVersion { major: u32::try_from(number / 10_000).unwrap_or_default(), text })
}

/// Counts of the current database.
pub async fn totals(client: &Client) -> Result<Totals, Error> {
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM pg_catalog.pg_class c
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e'
                                       AND d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid)),
                    pg_catalog.pg_database_size(pg_catalog.current_database())",
            &[],
        )
        .await?;
    let (tables, bytes): (i64, i64) = (row.get(0), row.get(1));
    Ok(Totals { tables: tables.unsigned_abs(), database_bytes: bytes.unsigned_abs() })
}

/// Properties of the current database.
///
/// The row of `pg_database` is read as JSON, because its columns differ from one major to the next: ICU's locale is
/// `daticulocale` in 15 and 16, `datlocale` since 17, and absent before.
pub async fn properties(client: &Client) -> Result<DatabaseProperties, Error> {
    let row = client
        .query_one(
            "SELECT pg_catalog.to_jsonb(d)::text, pg_catalog.pg_get_userbyid(d.datdba)::text,
                    pg_catalog.pg_encoding_to_char(d.encoding)::text,
                    pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NULL
             FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()",
            &[],
        )
        .await?;
    let columns: Value = serde_json::from_str(row.get(0)).unwrap_or_default();
    let text = |names: &[&str]| names.iter().find_map(|name| columns.get(name)?.as_str().map(str::to_owned));
    let privileges = if row.get(4) { None } else { Some(privileges(client).await?) };
    let (settings, role_settings) = settings(client).await?;
    let locale_provider = match text(&["datlocprovider"]).as_deref() {
        Some("i") => "icu",
        Some("b") => "builtin",
        _ => "libc",
    };
    Ok(DatabaseProperties {
        owner: row.get(1),
        privileges,
        comment: row.get(3),
        encoding: row.get(2),
        locale_provider: locale_provider.to_owned(),
        collate: text(&["datcollate"]).unwrap_or_default(),
        ctype: text(&["datctype"]).unwrap_or_default(),
        locale: text(&["datlocale", "daticulocale"]),
        icu_rules: text(&["daticurules"]),
        collation_version: text(&["datcollversion"]),
        connection_limit: columns.get("datconnlimit").and_then(Value::as_i64).unwrap_or(-1),
        settings,
        role_settings,
    })
}

async fn privileges(client: &Client) -> Result<Vec<Privilege>, Error> {
    let rows = client
        .query(
            "SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END,
                    pg_catalog.pg_get_userbyid(a.grantor)::text, a.privilege_type, a.is_grantable
             FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
             WHERE d.datname = pg_catalog.current_database()",
            &[],
        )
        .await?;
    let privilege = |row: &tokio_postgres::Row| Privilege {
        grantee: row.get(0),
        grantor: row.get(1),
        privilege: row.get(2),
        grantable: row.get(3),
    };
    let mut privileges: Vec<Privilege> = rows.iter().map(privilege).collect();
    privileges.sort();
    Ok(privileges)
}

type RoleSettings = BTreeMap<String, Vec<String>>;

async fn settings(client: &Client) -> Result<(Vec<String>, RoleSettings), Error> {
    let rows = client
        .query(
            "SELECT CASE s.setrole WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(s.setrole)::text END, s.setconfig
             FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
             WHERE d.datname = pg_catalog.current_database()",
            &[],
        )
        .await?;
    let mut of_database = Vec::new();
    let mut of_roles = BTreeMap::new();
    for row in rows {
        let settings: Vec<String> = row.get(1);
        match row.get::<_, Option<String>>(0) {
            None => of_database = settings,
            Some(role) => drop(of_roles.insert(role, settings)),
        }
    }
    Ok((of_database, of_roles))
}

/// One database of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Name.
    pub name: String,
    /// Bytes on the server's disk; 0 where the role may not ask.
    pub bytes: u64,
    /// A template, which nobody works in.
    pub is_template: bool,
}

/// Every database that allows connections, by name. Those whose removal was cut half-way cannot be connected to.
pub async fn databases(client: &Client) -> Result<Vec<Database>, Error> {
    let rows = client
        .query(
            "SELECT d.datname::text, d.datistemplate,
                    CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
                           OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
                         THEN pg_catalog.pg_database_size(d.oid) END
             FROM pg_catalog.pg_database d WHERE d.datallowconn AND d.datconnlimit <> -2 ORDER BY 1",
            &[],
        )
        .await?;
    let database = |row: &tokio_postgres::Row| Database {
        name: row.get(0),
        is_template: row.get(1),
        bytes: row.get::<_, Option<i64>>(2).unwrap_or_default().unsigned_abs(),
    };
    Ok(rows.iter().map(database).collect())
}

/// True when the session's role may read the passwords of roles.
pub async fn reads_role_passwords(client: &Client) -> Result<bool, Error> {
    let row = client.query_one("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')", &[]).await?;
    Ok(row.get(0))
}

/// Names as SQL identifiers, quoted where that is needed.
pub async fn quoted(client: &Client, names: &[String]) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            "SELECT pg_catalog.quote_ident(n) FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS t(n, i) ORDER BY i",
            &[&names],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
