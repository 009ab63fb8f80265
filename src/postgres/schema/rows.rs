//! Rows of the system catalogues, one question for each: planning joins would take longer than all of them.
//!
//! Objects below number 16384 are the server's own.

use super::super::catalog::{Text, bytes_of};
use super::super::session::Session;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::{Error, Row};
use tracing::warn;

/// The number of an object, which is text in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Oid(u32);

impl TryFrom<String> for Oid {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// Everything that was asked for.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) namespaces: Vec<Namespace>,
    pub(super) relations: Vec<Relation>,
    pub(super) columns: Vec<Column>,
    pub(super) defaults: Vec<ColumnDefault>,
    pub(super) parents: Vec<Parent>,
    pub(super) constraints: Vec<Constraint>,
    pub(super) indexes: Vec<Index>,
    pub(super) sequences: Vec<Sequence>,
    pub(super) enums: Vec<Enum>,
    pub(super) labels: Vec<Label>,
    pub(super) functions: Vec<Function>,
    pub(super) triggers: Vec<Trigger>,
    pub(super) event_triggers: Vec<EventTrigger>,
    pub(super) policies: Vec<Policy>,
    pub(super) extensions: Vec<Extension>,
    pub(super) members: Vec<Member>,
    pub(super) roles: Vec<Role>,
}

#[derive(Deserialize)]
pub(super) struct Namespace {
    pub(super) oid: Oid,
    pub(super) name: String,
}
const NAMESPACES: &str = "SELECT oid, nspname AS name FROM pg_catalog.pg_namespace";

/// Tables, views, indexes and sequences.
#[derive(Deserialize)]
pub(super) struct Relation {
    pub(super) oid: Oid,
    pub(super) name: String,
    pub(super) namespace: Oid,
    pub(super) kind: String,
    pub(super) persistence: String,
    pub(super) row_security: bool,
    pub(super) forced_row_security: bool,
    pub(super) populated: bool,
    pub(super) is_partition: bool,
    pub(super) options: Option<Vec<String>>,
    pub(super) key: Option<String>,
    pub(super) bound: Option<String>,
    pub(super) definition: Option<String>,
    /// The function answers with the file of now, the column with that of the snapshot. TRUNCATE and the forms of ALTER
    /// TABLE that rewrite give a table another file, and older snapshots see no rows in it.
    pub(super) rewritten: bool,
    /// Its name is another table's by now, and the tools that go by the name mix the two. Names in a schema that the role
    /// may not use are never asked for: pg_dump reads nothing there, either.
    pub(super) replaced: bool,
}
const RELATIONS: &str = "
    SELECT oid, relname AS name, relnamespace AS namespace, relkind AS kind, relpersistence AS persistence,
           relrowsecurity AS row_security, relforcerowsecurity AS forced_row_security, relispopulated AS populated,
           relispartition AND relkind <> 'i' AS is_partition,
           CASE WHEN relkind IN ('v', 'm') THEN reloptions END AS options,
           CASE relkind WHEN 'p' THEN pg_catalog.pg_get_partkeydef(oid) END AS key,
           CASE WHEN relispartition AND relkind <> 'i' THEN pg_catalog.pg_get_expr(relpartbound, oid) END AS bound,
           CASE WHEN relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(oid) END AS definition,
           coalesce(relkind = 'r' AND relfilenode <> 0 AND pg_catalog.pg_relation_filenode(oid) <> relfilenode, false)
               AS rewritten,
           CASE WHEN relkind IN ('r', 'p') AND pg_catalog.has_schema_privilege(relnamespace, 'USAGE') THEN coalesce(
               pg_catalog.to_regclass(relnamespace::pg_catalog.regnamespace::text || '.'
                                      || pg_catalog.quote_ident(relname)) <> oid, false)
               ELSE false END AS replaced
    FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind <> 't' AND relpersistence <> 't'";

#[derive(Deserialize)]
pub(super) struct Column {
    pub(super) relation: Oid,
    pub(super) number: i16,
    pub(super) name: String,
    /// Type and what else it is, but for its default.
    pub(super) text: String,
}

/// Number 100 is the database's own collation.
fn columns(major: u32) -> String {
    let collation = match major {
        13.. => {
            "CASE WHEN a.attcollation NOT IN (0, 100) THEN ' collate ' || a.attcollation::pg_catalog.regcollation::text
                  ELSE '' END"
        }
        _ => "''",
    };
    format!(
        "SELECT a.attrelid AS relation, a.attnum AS number, a.attname AS name,
                pg_catalog.format_type(a.atttypid, a.atttypmod) || {collation}
                || CASE WHEN a.attnotnull AND c.relkind NOT IN ('v', 'm') THEN ' not null' ELSE '' END
                || CASE WHEN a.attidentity <> '' THEN ' identity ' || a.attidentity::text ELSE '' END
                || CASE WHEN a.attgenerated <> '' THEN ' generated ' || a.attgenerated::text ELSE '' END AS text
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
         WHERE a.attnum > 0 AND NOT a.attisdropped AND c.oid >= 16384 AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
           AND c.relpersistence <> 't'
         ORDER BY a.attrelid, a.attnum"
    )
}

#[derive(Deserialize)]
pub(super) struct ColumnDefault {
    pub(super) relation: Oid,
    pub(super) number: i16,
    pub(super) text: Option<String>,
}
const DEFAULTS: &str = "
    SELECT adrelid AS relation, adnum AS number, pg_catalog.pg_get_expr(adbin, adrelid) AS text
    FROM pg_catalog.pg_attrdef WHERE adrelid >= 16384";

#[derive(Deserialize)]
pub(super) struct Parent {
    pub(super) relation: Oid,
    pub(super) parent: Oid,
}
const PARENTS: &str =
    "SELECT inhrelid AS relation, inhparent AS parent FROM pg_catalog.pg_inherits ORDER BY inhrelid, inhseqno";

/// CHECK constraints and foreign keys of tables; those that a partition has from its parent are not told of.
#[derive(Deserialize)]
pub(super) struct Constraint {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) relation: Oid,
    pub(super) references: Oid,
    pub(super) validated: bool,
    pub(super) columns: Option<Vec<i16>>,
    pub(super) referenced_columns: Option<Vec<i16>>,
    pub(super) on_update: String,
    pub(super) on_delete: String,
    pub(super) r#match: String,
    pub(super) deferrable: bool,
    pub(super) deferred: bool,
    pub(super) definition: Option<String>,
}
const CONSTRAINTS: &str = "
    SELECT conname AS name, contype AS kind, conrelid AS relation, confrelid AS references, convalidated AS validated,
           conkey AS columns, confkey AS referenced_columns, confupdtype AS on_update, confdeltype AS on_delete,
           confmatchtype AS match, condeferrable AS deferrable, condeferred AS deferred,
           CASE contype WHEN 'c' THEN pg_catalog.pg_get_constraintdef(oid) END AS definition
    FROM pg_catalog.pg_constraint
    WHERE oid >= 16384 AND contype IN ('c', 'f') AND conrelid <> 0 AND conparentid = 0
      AND (contype = 'f' OR conislocal)";

#[derive(Deserialize)]
pub(super) struct Index {
    pub(super) index: Oid,
    pub(super) relation: Oid,
    pub(super) valid: bool,
    pub(super) unique: bool,
    pub(super) primary: bool,
    /// Numbers of columns with spaces between; 0 is an expression.
    pub(super) columns: String,
    pub(super) definition: Option<String>,
}
const INDEXES: &str = "
    SELECT indexrelid AS index, indrelid AS relation, indisvalid AND indisready AS valid, indisunique AS unique,
           indisprimary AS primary, indkey::text AS columns, pg_catalog.pg_get_indexdef(indexrelid) AS definition
    FROM pg_catalog.pg_index WHERE indexrelid >= 16384";

#[derive(Deserialize)]
pub(super) struct Sequence {
    pub(super) sequence: Oid,
    pub(super) r#type: String,
    pub(super) start: i64,
    pub(super) increment: i64,
    pub(super) least: i64,
    pub(super) most: i64,
    pub(super) cache: i64,
    pub(super) cycles: bool,
}
const SEQUENCES: &str = "
    SELECT seqrelid AS sequence, pg_catalog.format_type(seqtypid, NULL) AS type, seqstart AS start,
           seqincrement AS increment, seqmin AS least, seqmax AS most, seqcache AS cache, seqcycle AS cycles
    FROM pg_catalog.pg_sequence WHERE seqrelid >= 16384";

#[derive(Deserialize)]
pub(super) struct Enum {
    pub(super) oid: Oid,
    pub(super) name: String,
    pub(super) namespace: Oid,
}
const ENUMS: &str = "
    SELECT oid, typname AS name, typnamespace AS namespace FROM pg_catalog.pg_type WHERE oid >= 16384 AND typtype = 'e'";

#[derive(Deserialize)]
pub(super) struct Label {
    pub(super) r#enum: Oid,
    pub(super) label: String,
}
const LABELS: &str = "
    SELECT enumtypid AS enum, enumlabel AS label FROM pg_catalog.pg_enum ORDER BY enumtypid, enumsortorder";

#[derive(Deserialize)]
pub(super) struct Function {
    pub(super) oid: Oid,
    pub(super) name: String,
    pub(super) namespace: Oid,
    /// None for a function that is gone by now.
    pub(super) arguments: Option<String>,
    pub(super) kind: String,
    pub(super) result: Option<String>,
    pub(super) language: String,
    pub(super) volatility: String,
    pub(super) parallel: String,
    pub(super) strict: bool,
    pub(super) security_definer: bool,
    pub(super) leakproof: bool,
    pub(super) settings: Option<Vec<String>>,
    pub(super) source: Option<String>,
    pub(super) file: Option<String>,
    pub(super) body: Option<String>,
}

fn functions(major: u32) -> String {
    let body = if major >= 14 { "pg_catalog.pg_get_function_sqlbody(oid)" } else { "NULL" };
    format!(
        "SELECT oid, proname AS name, pronamespace AS namespace, prokind AS kind,
                (SELECT lanname FROM pg_catalog.pg_language l WHERE l.oid = prolang) AS language,
                pg_catalog.pg_get_function_identity_arguments(oid) AS arguments,
                pg_catalog.pg_get_function_result(oid) AS result, provolatile AS volatility, proparallel AS parallel,
                proisstrict AS strict, prosecdef AS security_definer, proleakproof AS leakproof,
                proconfig AS settings, prosrc AS source, probin AS file, {body} AS body
         FROM pg_catalog.pg_proc WHERE oid >= 16384"
    )
}

#[derive(Deserialize)]
pub(super) struct Trigger {
    pub(super) name: String,
    pub(super) relation: Oid,
    pub(super) enabled: String,
    pub(super) definition: Option<String>,
}

fn triggers(major: u32) -> String {
    let own = if major >= 13 { "AND tgparentid = 0" } else { "" };
    format!(
        "SELECT tgname AS name, tgrelid AS relation, tgenabled AS enabled,
                pg_catalog.pg_get_triggerdef(oid) AS definition
         FROM pg_catalog.pg_trigger WHERE oid >= 16384 AND NOT tgisinternal {own}"
    )
}

#[derive(Deserialize)]
pub(super) struct EventTrigger {
    pub(super) oid: Oid,
    pub(super) name: String,
    pub(super) event: String,
    pub(super) enabled: String,
    pub(super) function: Option<String>,
    pub(super) tags: Option<Vec<String>>,
}
const EVENT_TRIGGERS: &str = "
    SELECT oid, evtname AS name, evtevent AS event, evtenabled AS enabled,
           evtfoid::pg_catalog.regproc::text AS function, evttags AS tags
    FROM pg_catalog.pg_event_trigger WHERE oid >= 16384";

#[derive(Deserialize)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) relation: Oid,
    pub(super) command: String,
    pub(super) permissive: bool,
    pub(super) roles: Vec<String>,
    pub(super) using: Option<String>,
    pub(super) with_check: Option<String>,
}
const POLICIES: &str = "
    SELECT polname AS name, polrelid AS relation, polcmd AS command, polpermissive AS permissive,
           ARRAY(SELECT CASE role WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(role) END
                 FROM pg_catalog.unnest(polroles) AS role ORDER BY 1) AS roles,
           pg_catalog.pg_get_expr(polqual, polrelid) AS using,
           pg_catalog.pg_get_expr(polwithcheck, polrelid) AS with_check
    FROM pg_catalog.pg_policy";

#[derive(Deserialize)]
pub(super) struct Extension {
    pub(super) name: String,
    pub(super) namespace: Oid,
    pub(super) version: String,
}
const EXTENSIONS: &str = "
    SELECT extname AS name, extnamespace AS namespace, extversion AS version
    FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'";

/// What belongs to an extension.
#[derive(Deserialize)]
pub(super) struct Member {
    pub(super) object: Oid,
}
const MEMBERS: &str = "SELECT objid AS object FROM pg_catalog.pg_depend WHERE deptype = 'e' AND objid >= 16384";

#[derive(Deserialize)]
pub(super) struct Role {
    pub(super) name: String,
}

/// Roles that something in the database, or the database itself, depends on. 1260 and 1262 are the numbers of
/// pg_authid and pg_database.
const ROLES: &str = "
    SELECT DISTINCT pg_catalog.pg_get_userbyid(s.refobjid) AS name
    FROM pg_catalog.pg_database d, pg_catalog.pg_shdepend s
    WHERE d.datname = pg_catalog.current_database() AND s.refclassid = 1260
      AND (s.dbid = d.oid OR s.dbid = 0 AND s.classid = 1262 AND s.objid = d.oid)";

/// Functions that make text of the server's trees. They lock the tables that they look at, for the moment.
const TEXTS: &[&str] = &[
    "pg_catalog.pg_get_partkeydef(oid)",
    "pg_catalog.pg_get_expr(relpartbound, oid)",
    "pg_catalog.pg_get_viewdef(oid)",
    "pg_catalog.pg_get_expr(adbin, adrelid)",
    "pg_catalog.pg_get_constraintdef(oid)",
    "pg_catalog.pg_get_indexdef(indexrelid)",
    "pg_catalog.pg_get_function_sqlbody(oid)",
    "pg_catalog.pg_get_triggerdef(oid)",
    "pg_catalog.pg_get_expr(polqual, polrelid)",
    "pg_catalog.pg_get_expr(polwithcheck, polrelid)",
];

/// Asks one question after the other. Without `texts` nothing is locked.
pub(super) async fn read(session: &Session, major: u32, texts: bool) -> Result<Rows, Error> {
    let asker = Asker { session, texts };
    Ok(Rows {
        namespaces: asker.ask(NAMESPACES).await?,
        relations: asker.ask(RELATIONS).await?,
        columns: asker.ask(&columns(major)).await?,
        defaults: asker.ask(DEFAULTS).await?,
        parents: asker.ask(PARENTS).await?,
        constraints: asker.ask(CONSTRAINTS).await?,
        indexes: asker.ask(INDEXES).await?,
        sequences: asker.ask(SEQUENCES).await?,
        enums: asker.ask(ENUMS).await?,
        labels: asker.ask(LABELS).await?,
        functions: asker.ask(&functions(major)).await?,
        triggers: asker.ask(&triggers(major)).await?,
        event_triggers: asker.ask(EVENT_TRIGGERS).await?,
        policies: asker.ask(POLICIES).await?,
        extensions: asker.ask(EXTENSIONS).await?,
        members: asker.ask(MEMBERS).await?,
        roles: asker.ask(ROLES).await?,
    })
}

struct Asker<'a> {
    session: &'a Session,
    texts: bool,
}

impl Asker<'_> {
    /// One question, each row answered in JSON, which takes whatever characters the database holds.
    async fn ask<T: DeserializeOwned>(&self, question: &str) -> Result<Vec<T>, Error> {
        let mut question = question.to_owned();
        for text in TEXTS.iter().filter(|_| !self.texts) {
            question = question.replace(text, "NULL::text");
        }
        let json = bytes_of("pg_catalog.row_to_json(r)::text");
        let question = format!("SELECT {json} FROM ({question}) AS r");
        let mut answers = Vec::new();
        let take = |row: Row| {
            let row: Text = row.get(0);
            match serde_json::from_str(&row.text) {
                Ok(answer) => answers.push(answer),
                Err(error) => warn!("a row of the server's catalogue is not understood ({error}) and not recorded"),
            }
        };
        self.session.each_row(&question, take).await?;
        Ok(answers)
    }
}
