//! Rows of the system catalogues, so many at once as are held in memory at once.
//!
//! Longer than other files, because it is one list: what is asked of each catalogue, beside what comes of it.

use super::super::catalog::{LossyText, bytes_of};
use super::super::session::Session;
use super::oid::{Oid, Range, list};
use crate::record::facts::LONGEST_SOURCE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::{Error, Row};
use tracing::warn;

/// Relations that are asked for at once: what is known of them is in memory at the same time.
const RELATIONS_AT_ONCE: usize = 200;
/// Functions that are asked for at once.
pub(super) const FUNCTIONS_AT_ONCE: usize = 500;

/// What belongs to some relations.
pub(super) struct Chunk {
    pub(super) relations: Vec<Relation>,
    pub(super) columns: Vec<Column>,
    pub(super) defaults: Vec<ColumnDefault>,
    pub(super) parents: Vec<Parent>,
    pub(super) constraints: Vec<Constraint>,
    pub(super) indexes: Vec<Index>,
    pub(super) sequences: Vec<Sequence>,
    pub(super) triggers: Vec<Trigger>,
    pub(super) policies: Vec<Policy>,
}

#[derive(Deserialize)]
pub(super) struct Namespace {
    pub(super) oid: Oid,
    pub(super) name: String,
}
pub(super) const NAMESPACES: &str = "SELECT oid, nspname AS name FROM pg_catalog.pg_namespace";

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
    /// The function answers with the file of now, the column with that of the snapshot. TRUNCATE and the forms of ALTER
    /// TABLE that rewrite give a table another file, and older snapshots see no rows in it.
    pub(super) rewritten: bool,
    /// Its name is another table's by now, and the tools that go by the name mix the two. Names in a schema that the role
    /// may not use are never asked for: pg_dump reads nothing there, either.
    pub(super) replaced: bool,
}

impl Relation {
    /// A view or a materialized one.
    pub(super) fn is_view(&self) -> bool {
        self.kind == "v" || self.kind == "m"
    }
}

fn relations(after: Oid) -> String {
    format!(
        "SELECT oid, relname AS name, relnamespace AS namespace, relkind AS kind, relpersistence AS persistence,
                relrowsecurity AS row_security, relforcerowsecurity AS forced_row_security,
                relispopulated AS populated, relispartition AS is_partition,
                CASE WHEN relkind IN ('v', 'm') THEN reloptions END AS options,
                CASE relkind WHEN 'p' THEN pg_catalog.pg_get_partkeydef(oid) END AS key,
                CASE WHEN relispartition THEN pg_catalog.pg_get_expr(relpartbound, oid) END AS bound,
                coalesce(relkind = 'r' AND relfilenode <> 0
                         AND pg_catalog.pg_relation_filenode(oid) <> relfilenode, false) AS rewritten,
                CASE WHEN relkind IN ('r', 'p') AND pg_catalog.has_schema_privilege(relnamespace, 'USAGE') THEN coalesce(
                    pg_catalog.to_regclass(relnamespace::pg_catalog.regnamespace::text || '.'
                                           || pg_catalog.quote_ident(relname)) <> oid, false)
                    ELSE false END AS replaced
         FROM pg_catalog.pg_class
         WHERE oid > {after} AND relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND relpersistence <> 't'
         ORDER BY oid LIMIT {RELATIONS_AT_ONCE}"
    )
}

/// The text of a view.
#[derive(Deserialize)]
pub(super) struct Definition {
    pub(super) oid: Oid,
    pub(super) text: Option<String>,
}

/// What makes the texts of these objects keeps its locks until the transaction, or the part of it, is over.
pub(super) fn definitions(views: &[Oid]) -> String {
    format!(
        "SELECT oid, pg_catalog.pg_get_viewdef(oid) AS text FROM pg_catalog.pg_class WHERE oid IN ({})",
        list(views)
    )
}

#[derive(Deserialize)]
pub(super) struct Column {
    pub(super) relation: Oid,
    pub(super) number: i16,
    pub(super) name: String,
    /// Type and what else it is, but for its default.
    pub(super) text: String,
}

/// Number 100 is the database's own collation.
fn columns(major: u32, range: Range) -> String {
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
         WHERE a.attnum > 0 AND NOT a.attisdropped AND {} AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
           AND c.relpersistence <> 't'
         ORDER BY a.attrelid, a.attnum",
        range.of("a.attrelid")
    )
}

#[derive(Deserialize)]
pub(super) struct ColumnDefault {
    pub(super) relation: Oid,
    pub(super) number: i16,
    pub(super) text: Option<String>,
}
fn defaults(range: Range) -> String {
    format!(
        "SELECT adrelid AS relation, adnum AS number, pg_catalog.pg_get_expr(adbin, adrelid) AS text
         FROM pg_catalog.pg_attrdef WHERE {}",
        range.of("adrelid")
    )
}

#[derive(Deserialize)]
pub(super) struct Parent {
    pub(super) relation: Oid,
    pub(super) parent: Oid,
    pub(super) name: String,
    pub(super) namespace: Oid,
}
fn parents(range: Range) -> String {
    format!(
        "SELECT i.inhrelid AS relation, i.inhparent AS parent, c.relname AS name, c.relnamespace AS namespace
         FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent
         WHERE {} ORDER BY i.inhrelid, i.inhseqno",
        range.of("i.inhrelid")
    )
}

/// CHECK constraints and foreign keys of tables, without those that a partition has from its parent.
#[derive(Deserialize)]
pub(super) struct Constraint {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) relation: Oid,
    pub(super) references: Oid,
    pub(super) references_name: Option<String>,
    pub(super) references_namespace: Option<Oid>,
    pub(super) validated: bool,
    pub(super) columns: Vec<String>,
    pub(super) referenced_columns: Vec<String>,
    pub(super) on_update: String,
    pub(super) on_delete: String,
    pub(super) r#match: String,
    pub(super) deferrable: bool,
    pub(super) deferred: bool,
    pub(super) definition: Option<String>,
}
fn constraints(range: Range) -> String {
    let columns = |relation: &str, numbers: &str| {
        format!(
            "ARRAY(SELECT a.attname FROM pg_catalog.unnest({numbers}) WITH ORDINALITY AS u (number, place)
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = {relation} AND a.attnum = u.number ORDER BY u.place)"
        )
    };
    format!(
        "SELECT k.conname AS name, k.contype AS kind, k.conrelid AS relation, k.confrelid AS references,
                r.relname AS references_name, r.relnamespace AS references_namespace, k.convalidated AS validated,
                {} AS columns, {} AS referenced_columns, k.confupdtype AS on_update, k.confdeltype AS on_delete,
                k.confmatchtype AS match, k.condeferrable AS deferrable, k.condeferred AS deferred,
                CASE k.contype WHEN 'c' THEN pg_catalog.pg_get_constraintdef(k.oid) END AS definition
         FROM pg_catalog.pg_constraint k LEFT JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
         WHERE {} AND k.oid >= 16384 AND k.contype IN ('c', 'f') AND k.conparentid = 0
           AND (k.contype = 'f' OR k.conislocal)",
        columns("k.conrelid", "k.conkey"),
        columns("k.confrelid", "k.confkey"),
        range.of("k.conrelid")
    )
}

#[derive(Deserialize)]
pub(super) struct Index {
    pub(super) index: Oid,
    pub(super) name: String,
    pub(super) namespace: Oid,
    pub(super) relation: Oid,
    pub(super) valid: bool,
    pub(super) unique: bool,
    pub(super) primary: bool,
    /// Numbers of columns with spaces between; 0 is an expression.
    pub(super) columns: String,
    pub(super) definition: Option<String>,
}
fn indexes(range: Range) -> String {
    format!(
        "SELECT i.indexrelid AS index, c.relname AS name, c.relnamespace AS namespace, i.indrelid AS relation,
                i.indisvalid AND i.indisready AS valid, i.indisunique AS unique, i.indisprimary AS primary,
                i.indkey::text AS columns, pg_catalog.pg_get_indexdef(i.indexrelid) AS definition
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
         WHERE {} AND c.relpersistence <> 't'",
        range.of("i.indrelid")
    )
}

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
fn sequences(range: Range) -> String {
    format!(
        "SELECT seqrelid AS sequence, pg_catalog.format_type(seqtypid, NULL) AS type, seqstart AS start,
                seqincrement AS increment, seqmin AS least, seqmax AS most, seqcache AS cache, seqcycle AS cycles
         FROM pg_catalog.pg_sequence WHERE {}",
        range.of("seqrelid")
    )
}

#[derive(Deserialize)]
pub(super) struct Enum {
    pub(super) oid: Oid,
    pub(super) name: String,
    pub(super) namespace: Oid,
    pub(super) labels: Vec<String>,
}
pub(super) const ENUMS: &str = "
    SELECT t.oid, t.typname AS name, t.typnamespace AS namespace,
           ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS labels
    FROM pg_catalog.pg_type t WHERE t.oid >= 16384 AND t.typtype = 'e'";

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
    pub(super) has_body: bool,
}

/// A long source stays on the server, and its digest comes in its place, as [`crate::record::facts::shortened`] makes it: of
/// the bytes that the server has, which are UTF-8 but in a database that is SQL_ASCII.
pub(super) fn functions(major: u32, after: Oid) -> String {
    let has_body = if major >= 14 { "prosqlbody IS NOT NULL" } else { "false" };
    let bytes = "CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN pg_catalog.convert_to(prosrc, 'SQL_ASCII')
                      ELSE pg_catalog.convert_to(prosrc, 'UTF8') END";
    format!(
        "SELECT oid, proname AS name, pronamespace AS namespace, prokind AS kind,
                (SELECT lanname FROM pg_catalog.pg_language l WHERE l.oid = prolang) AS language,
                pg_catalog.pg_get_function_identity_arguments(oid) AS arguments,
                pg_catalog.pg_get_function_result(oid) AS result, provolatile AS volatility, proparallel AS parallel,
                proisstrict AS strict, prosecdef AS security_definer, proleakproof AS leakproof,
                proconfig AS settings, probin AS file, {has_body} AS has_body,
                CASE WHEN pg_catalog.octet_length(prosrc) <= {LONGEST_SOURCE} / 4 THEN prosrc
                     WHEN pg_catalog.octet_length({bytes}) <= {LONGEST_SOURCE} THEN prosrc
                     ELSE 'sha256:' || pg_catalog.encode(pg_catalog.sha256({bytes}), 'hex') || ', '
                          || pg_catalog.octet_length({bytes}) || ' bytes' END AS source
         FROM pg_catalog.pg_proc WHERE oid > {after} ORDER BY oid LIMIT {FUNCTIONS_AT_ONCE}"
    )
}

/// Bodies of functions in SQL; see [`definitions`].
pub(super) fn bodies(functions: &[Oid]) -> String {
    format!(
        "SELECT oid, pg_catalog.pg_get_function_sqlbody(oid) AS text FROM pg_catalog.pg_proc WHERE oid IN ({})",
        list(functions)
    )
}

#[derive(Deserialize)]
pub(super) struct Trigger {
    pub(super) name: String,
    pub(super) relation: Oid,
    pub(super) enabled: String,
    pub(super) definition: Option<String>,
}

fn triggers(major: u32, range: Range) -> String {
    let own = if major >= 13 { "AND tgparentid = 0" } else { "" };
    format!(
        "SELECT tgname AS name, tgrelid AS relation, tgenabled AS enabled,
                pg_catalog.pg_get_triggerdef(oid) AS definition
         FROM pg_catalog.pg_trigger WHERE {} AND NOT tgisinternal {own}",
        range.of("tgrelid")
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
pub(super) const EVENT_TRIGGERS: &str = "
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
fn policies(range: Range) -> String {
    format!(
        "SELECT polname AS name, polrelid AS relation, polcmd AS command, polpermissive AS permissive,
           ARRAY(SELECT CASE role WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(role) END
                 FROM pg_catalog.unnest(polroles) AS role ORDER BY 1) AS roles,
           pg_catalog.pg_get_expr(polqual, polrelid) AS using,
           pg_catalog.pg_get_expr(polwithcheck, polrelid) AS with_check
         FROM pg_catalog.pg_policy WHERE {}",
        range.of("polrelid")
    )
}

#[derive(Deserialize)]
pub(super) struct Extension {
    pub(super) name: String,
    pub(super) namespace: Oid,
    pub(super) version: String,
}
pub(super) const EXTENSIONS: &str = "
    SELECT extname AS name, extnamespace AS namespace, extversion AS version
    FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'";

/// What belongs to an extension.
#[derive(Deserialize)]
pub(super) struct ExtensionMember {
    pub(super) object: Oid,
}
pub(super) const MEMBERS: &str =
    "SELECT objid AS object FROM pg_catalog.pg_depend WHERE deptype = 'e' AND objid >= 16384";

#[derive(Deserialize)]
pub(super) struct Role {
    pub(super) name: String,
}

/// Roles that something in the database, or the database itself, depends on. 1260 and 1262 are the numbers of
/// pg_authid and pg_database.
pub(super) const ROLES: &str = "
    SELECT DISTINCT pg_catalog.pg_get_userbyid(s.refobjid) AS name
    FROM pg_catalog.pg_database d, pg_catalog.pg_shdepend s
    WHERE d.datname = pg_catalog.current_database() AND s.refclassid = 1260
      AND (s.dbid = d.oid OR s.dbid = 0 AND s.classid = 1262 AND s.objid = d.oid)";

/// Functions that make text of the server's trees. They lock the tables that they look at: most for the moment, those of
/// policies to the end of the transaction.
const TEXT_FUNCTIONS: &[&str] = &[
    "pg_catalog.pg_get_partkeydef(oid)",
    "pg_catalog.pg_get_expr(relpartbound, oid)",
    "pg_catalog.pg_get_expr(adbin, adrelid)",
    "pg_catalog.pg_get_constraintdef(k.oid)",
    "pg_catalog.pg_get_indexdef(i.indexrelid)",
    "pg_catalog.pg_get_triggerdef(oid)",
    "pg_catalog.pg_get_expr(polqual, polrelid)",
    "pg_catalog.pg_get_expr(polwithcheck, polrelid)",
];

/// Asks questions whose rows come as JSON, which takes whatever characters the database holds.
pub(super) struct Asker<'a> {
    pub(super) session: &'a Session,
    /// Text of the server's trees is asked for, too; without, nothing is locked.
    pub(super) texts: bool,
}

impl Asker<'_> {
    /// All rows of an answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: &str) -> Result<Vec<T>, Error> {
        let mut answers = Vec::new();
        self.each(question, |answer| answers.push(answer)).await?;
        Ok(answers)
    }

    /// Hands each row of an answer on as it comes.
    pub(super) async fn each<T: DeserializeOwned>(&self, question: &str, mut take: impl FnMut(T)) -> Result<(), Error> {
        let mut question = question.to_owned();
        for text in TEXT_FUNCTIONS.iter().filter(|_| !self.texts) {
            question = question.replace(text, "NULL::text");
        }
        let json = bytes_of("pg_catalog.row_to_json(r)::text");
        let question = format!("SELECT {json} FROM ({question}) AS r");
        let take = |row: Row| {
            let row: LossyText = row.get(0);
            match serde_json::from_str(&row.text) {
                Ok(answer) => take(answer),
                Err(error) => {
                    warn!("a row of the server's catalogue could not be parsed ({error}) and is not recorded");
                }
            }
        };
        self.session.each_row(&question, take).await
    }

    /// Relations behind a number, in order, with everything that belongs to them; none behind the last one. One question
    /// for each catalogue: planning joins would take longer than all of them.
    pub(super) async fn chunk(&self, major: u32, after: Oid) -> Result<Option<(Range, Chunk)>, Error> {
        let relations: Vec<Relation> = self.ask(&relations(after)).await?;
        let Some(last) = relations.last().map(|relation| relation.oid) else { return Ok(None) };
        let range = Range { after, last };
        let chunk = Chunk {
            relations,
            columns: self.ask(&columns(major, range)).await?,
            defaults: self.ask(&defaults(range)).await?,
            parents: self.ask(&parents(range)).await?,
            constraints: self.ask(&constraints(range)).await?,
            indexes: self.ask(&indexes(range)).await?,
            sequences: self.ask(&sequences(range)).await?,
            triggers: self.ask(&triggers(major, range)).await?,
            policies: self.ask(&policies(range)).await?,
        };
        Ok(Some((range, chunk)))
    }
}
