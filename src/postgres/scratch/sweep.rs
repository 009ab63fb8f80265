//! What dead runs left on a server.

use super::super::catalog::{LossyText, bytes_of, stored_bytes_of};
use super::super::{MARK, UNMARKED, run_of};
use super::{ScratchError, ScratchServer, drop_database};
use tracing::{info, warn};

impl ScratchServer {
    /// Drops what dead runs of the same source left: those without a session on this server.
    pub async fn sweep(&self) -> Result<(), ScratchError> {
        for (kind, name, run_id) in self.leftovers().await? {
            let dropped = match kind {
                LeftoverKind::Database => drop_database(&self.connection, &self.server, &name).await.map(|()| true),
                LeftoverKind::Role => self.drop_role(&name).await,
            };
            match dropped {
                Ok(false) => {}
                Ok(true) => {
                    info!("dropped the {kind} {name}, which run {run_id} left behind on the {}", self.server.role);
                }
                Err(error) => warn!("the {kind} {name}, which run {run_id} left behind, could not be dropped: {error}"),
            }
        }
        Ok(())
    }

    /// What runs of this source left that have no session any more, databases first; each with its run.
    pub(super) async fn leftovers(&self) -> Result<Vec<(LeftoverKind, String, String)>, ScratchError> {
        // a comment that is not ours may be in any encoding, which must not be read in that of this database
        let marked = format!(
            "SELECT l.is_database, {}, {} FROM (
                 SELECT true, d.datname, pg_catalog.shobj_description(d.oid, 'pg_database') FROM pg_catalog.pg_database d
                 UNION ALL
                 SELECT false, r.rolname, pg_catalog.shobj_description(r.oid, 'pg_authid') FROM pg_catalog.pg_roles r
             ) AS l (is_database, name, comment) ORDER BY 1 DESC",
            stored_bytes_of("l.name"),
            bytes_of(&format!("CASE WHEN pg_catalog.starts_with(l.comment, '{MARK}') THEN l.comment ELSE '' END")),
        );
        let rows = self.connection.query_typed(&marked, &[]).await.map_err(self.asking("looking for leftovers"))?;
        // asked after the leftovers were looked for: what was made since belongs to a run that lives
        let living = format!("SELECT {} FROM pg_catalog.pg_stat_activity", bytes_of("coalesce(application_name, '')"));
        let living =
            self.connection.query_typed(&living, &[]).await.map_err(self.asking("asking which runs are alive"))?;
        let living: Vec<LossyText> = living.iter().map(|row| row.get(0)).collect();
        let mut leftovers = Vec::new();
        for row in rows {
            let (is_database, name, comment): (bool, LossyText, LossyText) = (row.get(0), row.get(1), row.get(2));
            let kind = if is_database { LeftoverKind::Database } else { LeftoverKind::Role };
            let marked = comment.text.strip_prefix(MARK).and_then(|rest| rest.split_once(" of "));
            let marked = marked.filter(|(_, source)| *source == self.source).map(|(run_id, _)| run_id);
            // one whose maker died before it got its comment
            let unmarked = name.text.strip_prefix(UNMARKED).filter(|run_id| is_database && is_run_id(run_id));
            let Some(run_id) = marked.or(unmarked) else { continue };
            if !living.iter().any(|application| run_of(&application.text) == Some(run_id)) {
                leftovers.push((kind, name.text.clone(), run_id.to_owned()));
            }
        }
        Ok(leftovers)
    }
}

/// What a leftover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftoverKind {
    Database,
    Role,
}

impl std::fmt::Display for LeftoverKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Database { "database" } else { "role" })
    }
}

fn is_run_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
