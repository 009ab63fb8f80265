//! Roles that a server lacks, made for the time of a proof.

use super::super::catalog::{literal, quote};
use super::sweep::LeftoverKind;
use super::{ScratchError, ScratchServer, TAKEN};
use std::collections::BTreeSet;
use tracing::{info, warn};

/// Any number; held shared by every run that needs the roles which others may have made.
const ROLES_LOCK: i64 = 0x6261_636b_7570_0001;

impl ScratchServer {
    /// False where another run needs the role: whoever comes last drops it.
    pub(super) async fn drop_role(&self, name: &str) -> Result<bool, ScratchError> {
        let lock = format!("SELECT pg_catalog.pg_try_advisory_lock({ROLES_LOCK})");
        let row =
            self.connection.query_typed_one(&lock, &[]).await.map_err(self.asking("taking the lock for roles"))?;
        if !row.get::<_, bool>(0) {
            return Ok(false);
        }
        let statement = format!("DROP ROLE IF EXISTS {}", quote(name));
        let dropped = self.connection.batch_execute(&statement).await;
        let unlock = format!("SELECT pg_catalog.pg_advisory_unlock({ROLES_LOCK})");
        self.connection.batch_execute(&unlock).await.map_err(self.asking("giving back the lock for roles"))?;
        dropped.map(|()| true).map_err(self.asking(format!("dropping the role {name}")))
    }

    /// Makes those roles that are missing, without login, where that is allowed; the answer are those that are there
    /// in the end.
    pub async fn provide_roles(
        &mut self,
        needed: &BTreeSet<String>,
        make: bool,
    ) -> Result<BTreeSet<String>, ScratchError> {
        let lock = format!("SELECT pg_catalog.pg_advisory_lock_shared({ROLES_LOCK})");
        self.connection.batch_execute(&lock).await.map_err(self.asking("taking the lock for roles"))?;
        self.holds_roles = true;
        let mut present = BTreeSet::new();
        let existing = self.roles().await?;
        for role in needed {
            if existing.contains(role) {
                present.insert(role.clone());
                continue;
            }
            // names that begin like this are the server's own
            if !make || role.starts_with("pg_") {
                continue;
            }
            let (name, mark) = (quote(role), literal(&self.mark()));
            let statements = format!("BEGIN; CREATE ROLE {name} NOLOGIN; COMMENT ON ROLE {name} IS {mark}; COMMIT");
            let made = self.connection.batch_execute(&statements).await;
            if made.is_err() {
                self.connection.batch_execute("ROLLBACK").await.map_err(self.asking("creating a role"))?;
            }
            match made {
                Ok(()) => self.made.push(role.clone()),
                // another run was faster
                Err(error) if error.code().is_some_and(|code| TAKEN.contains(&code)) => {}
                Err(cause) => return Err(self.asking(format!("creating the role {role}"))(cause)),
            }
            present.insert(role.clone());
        }
        if !self.made.is_empty() {
            let made = crate::text::count(self.made.len(), "role");
            info!("created {made} on the {} for the time of the verification", self.server.role);
        }
        Ok(present)
    }

    /// Drops the roles that were made, once the scratch databases are gone, and those that other runs left to whoever
    /// comes last.
    pub async fn close(self) -> Result<(), ScratchError> {
        if self.holds_roles {
            let unlock = format!("SELECT pg_catalog.pg_advisory_unlock_shared({ROLES_LOCK})");
            self.connection.batch_execute(&unlock).await.map_err(self.asking("giving back the lock for roles"))?;
        }
        let others = self.leftovers().await?.into_iter().filter(|(kind, _, _)| *kind == LeftoverKind::Role);
        for role in self.made.iter().cloned().chain(others.map(|(_, name, _)| name)) {
            if let Err(error) = self.drop_role(&role).await {
                warn!("the role {role}, created for a verification, could not be dropped: {error}");
            }
        }
        Ok(())
    }
}
