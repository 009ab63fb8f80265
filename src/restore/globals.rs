//! Roles of the source on a server that has roles of its own.

use super::plan::{Done, Plan, RestoredRoles};
use super::{Restorer, proved};
use crate::dump_format::script::globals::{self, Globals};
use crate::error::{BackupError, Error};
use crate::loader::archive::Reading;
use crate::loader::{self, Broken};
use crate::postgres::properties::settings_of_all;
use crate::postgres::scratch::ScratchServer;
use crate::record::facts::Subject;
use crate::repository::Backup;
use crate::text;
use crate::verify::archive;
use tracing::info;

/// Most bytes of globals; a server with a hundred thousand roles has less.
const LIMIT: usize = 256 << 20;

impl Restorer<'_> {
    pub(super) async fn plan_globals(
        &self,
        server: &ScratchServer,
        backup: &Backup,
        plan: &mut Plan,
    ) -> Result<Globals, Error> {
        let globals = self.globals(server, backup).await?;
        let Globals { made, kept, passwords, tablespaces, .. } = &globals;
        let list = |names: &[String]| text::one_line(&names.join(", ")).into_owned();
        let makes =
            if made.is_empty() { "none is missing".to_owned() } else { format!("{} will be created", list(made)) };
        let keeps = if kept.is_empty() { String::new() } else { format!("; {} stay unchanged", list(kept)) };
        plan.say("roles", format!("{makes}{keeps}"));
        if !passwords.is_empty() {
            plan.say("passwords", format!("{} will get those of the backup", list(passwords)));
            plan.confirm = plan.confirm.take().or(Some("passwords".to_owned()));
        }
        let lacking = self.shutdown.guard(server.tablespaces()).await??;
        let lacking: Vec<String> = tablespaces.iter().filter(|name| !lacking.contains(*name)).cloned().collect();
        if !lacking.is_empty() {
            let what =
                "do not exist on the server; what was in them goes to the default one, unless you create them first";
            plan.say("tablespaces", format!("{} {what}", list(&lacking)));
        }
        let of_all = &backup.manifest.settings_of_all_roles;
        if !of_all.is_empty() {
            plan.say("settings", format!("of all roles: {}", list(of_all)));
        }
        Ok(globals)
    }

    /// All of it or nothing, in one transaction.
    pub(super) async fn restore_globals(
        &self,
        server: &ScratchServer,
        backup: &Backup,
        globals: &Globals,
        done: &mut Done,
    ) -> Result<(), Error> {
        let of_all = settings_of_all(&backup.manifest.settings_of_all_roles);
        let statements = globals.statements.iter().cloned().chain(of_all);
        let run = async {
            let session = loader::open_session(server.server()).await?;
            loader::run_alone(&session, "BEGIN", server.role()).await?;
            for statement in statements {
                loader::run_alone(&session, &statement, server.role()).await?;
            }
            loader::run_alone(&session, "COMMIT", server.role()).await
        };
        self.shutdown.guard(run).await??;
        let made = text::count(globals.made.len(), "role");
        info!("created {made}");
        done.lines.push(format!("{made} created, {} left unchanged", globals.kept.len()));
        done.roles = Some(RestoredRoles { made: globals.made.clone(), kept: globals.kept.clone() });
        Ok(())
    }

    /// What of the globals in an archive is to be done, once its stored bytes are known to be those that were written.
    async fn globals(&self, server: &ScratchServer, backup: &Backup) -> Result<Globals, Error> {
        let facts = self.facts(backup).await?;
        let keys = self.config.encryption.identities.as_ref();
        let opened = Reading::open(self.repository, backup, keys);
        let mut reading = self.shutdown.guard(opened).await??;
        // those of a whole server's archive stand before its first database
        let is_cluster = backup.manifest.subject == Subject::Cluster;
        let end = facts.databases().next().map(|database| database.raw_offset).filter(|_| is_cluster);
        let (text, read) = self.shutdown.guard(read_text(&mut reading, end)).await?;
        // roles stay whatever becomes of the databases, so every stored byte is proved before one is made
        let check = self.shutdown.guard(archive::prove(reading, &backup.manifest, None, read)).await??;
        proved(&backup.manifest, &check)?;
        let roles = self.shutdown.guard(server.roles()).await??;
        let passwords = self.request.reset_passwords.then_some(self.config.source.user.as_str());
        globals::sort(&text, &roles, passwords).map_err(|error| {
            Error::Backup(BackupError::NotRestored { id: backup.manifest.id.clone(), failures: error.to_string() })
        })
    }
}

async fn read_text(reading: &mut Reading, end: Option<u64>) -> (Vec<u8>, Result<(), Broken>) {
    let mut text = Vec::new();
    loop {
        match reading.next(end).await {
            Ok(Some(bytes)) if text.len() + bytes.len() <= LIMIT => text.extend_from_slice(&bytes),
            Ok(Some(_)) => return (text, Err(Broken::Backup("its globals are larger than 256 MB".to_owned()))),
            Ok(None) => return (text, Ok(())),
            Err(broken) => return (text, Err(broken)),
        }
    }
}
