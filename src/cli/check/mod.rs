//! `backup check`: what would stop a run, found before it does.

mod findings;

use super::OutputFormat;
use crate::config::{Config, Target};
use crate::error::{Error, Exit};
use crate::inventory::sides::{self, new_run_id};
use crate::job::alarms::{self, WrongClock};
use crate::job::identity::identify;
use crate::job::tasks::Tasks;
use crate::job::{self, Server};
use crate::metrics;
use crate::notify;
use crate::postgres;
use crate::postgres::catalog::{self, Database};
use crate::postgres::connection::{self, Connection};
use crate::postgres::dump::STANDBY;
use crate::postgres::foresight::{self, Foreseen};
use crate::postgres::privileges::Lack;
use crate::postgres::scratch::ScratchServer;
use crate::repository::{Probe, Repository, Side};
use crate::storage::{Advice, LARGEST_PART};
use crate::text;
use chrono::TimeDelta;
use findings::{FindingVerdict, Findings};

/// How far the clock of a store may be from ours.
const SKEW: TimeDelta = TimeDelta::seconds(30);

pub(super) async fn execute(format: &OutputFormat, config: &Config) -> Result<Exit, Error> {
    let mut findings = Findings::default();
    check_database(config, &mut findings).await;
    for target in [Target::Local, Target::Remote] {
        if config.target == target || config.target == Target::All {
            check_side(config, target, &mut findings).await;
        }
    }
    if config.verify.enabled {
        check_verify_server(config, &mut findings).await;
    }
    check_keys(config, &mut findings);
    for (kind, answer) in notify::check(&config.notifications).await {
        let check = kind.label();
        match answer {
            Ok(()) => findings.good(&check, "it answers".to_owned()),
            Err(cause) => {
                let hint = Some(format!("check {}", kind.setting()));
                findings.add(&check, FindingVerdict::Warning, cause.to_string(), hint);
            }
        }
    }
    for (check, setting, problem) in metrics::check(&config.metrics).await {
        match problem {
            None => findings.good(check, "it is ready".to_owned()),
            Some(cause) => findings.add(check, FindingVerdict::Warning, cause, Some(format!("check {setting}"))),
        }
    }
    if format.json {
        findings.print_json()?;
    } else {
        findings.print()?;
    }
    Ok(findings.exit.unwrap_or(Exit::Done))
}

async fn check_database(config: &Config, findings: &mut Findings) {
    let source = &config.source;
    let connection = match connection::connect_directly(source, "backup check").await {
        Ok(connection) => connection,
        Err(error) => return findings.bad("database", &error.into()),
    };
    findings.good("database", format!("connected to {} as {}", source.display(), source.user));
    let server = match job::examine_server(config, &connection).await {
        Ok(server) => server,
        Err(error) => return findings.bad("client tools", &error),
    };
    check_tools(&server, findings);
    if let Some(wrong) = alarms::wrong_clock(config, server.ahead) {
        findings.add("clock", FindingVerdict::Warning, wrong.what, Some(WrongClock::HINT.to_owned()));
    }
    if let Ok(Some(standby)) = catalog::standby(&connection).await
        && !standby.feeds_back
        && standby.delay != "-1"
    {
        let detail = format!("the server is a standby, and may cancel a dump after {}", standby.delay);
        findings.add("standby", FindingVerdict::Warning, detail, Some(STANDBY.to_owned()));
    }
    match job::choose_tasks(config, &server) {
        Ok(tasks) => check_tasks(config, &server, &tasks, findings).await,
        Err(error) => findings.bad("databases", &error),
    }
}

/// The keys themselves were read with the settings.
fn check_keys(config: &Config, findings: &mut Findings) {
    let Some(recipients) = &config.encryption.recipients else { return };
    let keys = text::count(recipients.count(), "public key");
    match &config.encryption.identities {
        None => {
            findings.good("encryption", format!("{keys}; there is no private key here, and making backups needs none"));
        }
        Some(identities) if identities.open_some_of(recipients) => {
            findings.good("encryption", format!("{keys}; AGE_IDENTITY_FILE decrypts what is encrypted to them"));
        }
        Some(_) => {
            let detail = format!("{keys}; AGE_IDENTITY_FILE cannot decrypt what is encrypted to them");
            let hint = Some("a restore needs the AGE_IDENTITY_FILE that belongs to these keys".to_owned());
            findings.add("encryption", FindingVerdict::Warning, detail, hint);
        }
    }
}

fn check_tools(server: &Server, findings: &mut Findings) {
    let tools = &server.tools.chosen;
    let mut detail = format!("{} ({}) for PostgreSQL {}", tools.version, tools.folder.display(), server.version.text);
    let others: Vec<&str> =
        server.tools.all.iter().filter(|other| *other != tools).map(|other| other.version.as_str()).collect();
    if !others.is_empty() {
        detail += &format!("; also found: {}", others.join(", "));
    }
    match tools.update_wanted() {
        None => findings.good("client tools", detail),
        Some(release) => {
            let hint = format!(
                "update them to {release} or later: with older ones a dump can run commands where it is restored \
                 (CVE-2025-8714, CVE-2025-8715 and those found since)"
            );
            findings.add("client tools", FindingVerdict::Warning, detail, Some(hint));
        }
    }
}

/// Looks into everything that a run would dump.
async fn check_tasks(config: &Config, server: &Server, tasks: &Tasks, findings: &mut Findings) {
    let mut readable = 0;
    for (_, error) in tasks.errors() {
        findings.bad("databases", &error);
    }
    for glob in &tasks.idle_globs {
        let hint = "check BACKUP_DATABASES and BACKUP_EXCLUDE_DATABASES".to_owned();
        findings.add("databases", FindingVerdict::Warning, format!("`{glob}` matches no database"), Some(hint));
    }
    for Database { name, .. } in tasks.list.iter().flat_map(|task| &task.databases) {
        let check = format!("privileges in {name}");
        match job::look_into(config, name, "backup check").await {
            Ok((connection, lacks)) if lacks.is_empty() => {
                readable += 1;
                look_ahead(&connection, name, findings).await;
            }
            Ok((_, lacks)) => lacks.into_iter().for_each(|lack| missing_privilege(config, &check, lack, findings)),
            Err(error) => findings.bad(&check, &error),
        }
    }
    if readable > 0 {
        let detail = format!("everything in {} can be read", text::count(readable, "database"));
        findings.good("privileges", detail);
    }
    if tasks.list.iter().any(|task| task.subject.database().is_none()) {
        if server.reads_passwords {
            findings.good("globals", "roles can be saved with their passwords".to_owned());
        } else {
            let detail =
                format!("roles are saved without passwords, because {} cannot read pg_authid", config.source.user);
            findings.add(
                "globals",
                FindingVerdict::Warning,
                detail,
                Some("a superuser can, and so can a member of pg_read_all_data".to_owned()),
            );
        }
    }
}

/// What a restore of the database will leave out, as far as its catalogue tells.
async fn look_ahead(connection: &Connection, database: &str, findings: &mut Findings) {
    let check = format!("restore of {database}");
    match foresight::look(connection).await {
        Ok(foreseen) => {
            for Foreseen { what, hint } in foreseen {
                findings.add(&check, FindingVerdict::Warning, what, Some(hint.to_owned()));
            }
        }
        Err(error) => findings.add(&check, FindingVerdict::Warning, postgres::cause(&error), None),
    }
}

/// Looks at the server that backups are restored to.
async fn check_verify_server(config: &Config, findings: &mut Findings) {
    const CHECK: &str = "verify server";
    let server = match ScratchServer::connect(&config.verify.server, &new_run_id(), &config.source.name).await {
        Ok(server) => server,
        Err(error) => return findings.bad(CHECK, &error.into()),
    };
    match server.may_create().await {
        Ok(true) => {}
        Ok(false) => {
            findings.exit.get_or_insert(Exit::Refused);
            let user = &config.verify.server.user;
            let (detail, hint) =
                (format!("{user} is not allowed to create databases"), format!("ALTER ROLE \"{user}\" CREATEDB;"));
            return findings.add(CHECK, FindingVerdict::Failed, detail, Some(hint));
        }
        Err(error) => return findings.bad(CHECK, &error.into()),
    }
    let version = server.connection().version();
    let detail = format!("PostgreSQL {} on {}", version.text, config.verify.server.name);
    let source = match connection::connect(&config.source, "backup check").await {
        Ok(source) => job::examine_server(config, &source).await.ok(),
        Err(_) => None,
    };
    if let Some(tools) = source.as_ref().map(|source| &source.tools.chosen).filter(|tools| tools.major > version.major)
    {
        findings.exit.get_or_insert(Exit::Config);
        let detail = format!("{detail}, which is older than pg_dump {}", tools.version);
        return findings.add(
            CHECK,
            FindingVerdict::Failed,
            detail,
            Some("point VERIFY_HOST at a server that is at least as new".to_owned()),
        );
    }
    let identifier = source.and_then(|source| source.system_identifier);
    if config.verify.is_source || identifier.is_some() && identifier == server.system_identifier().await {
        let hint = "set VERIFY_HOST to a server on another host, which spares the source and proves more".to_owned();
        return findings.add(CHECK, FindingVerdict::Warning, format!("{detail} is the source itself"), Some(hint));
    }
    findings.good(CHECK, detail);
}

fn missing_privilege(config: &Config, check: &str, lack: Lack, findings: &mut Findings) {
    let detail = format!("the role {} is not allowed to read {}", config.source.user, lack.object);
    let verdict = if config.dump.leaves_out_nothing() {
        findings.exit.get_or_insert(Exit::Refused);
        FindingVerdict::Failed
    } else {
        // it may be left out on purpose, which only pg_dump knows
        FindingVerdict::Warning
    };
    findings.add(check, verdict, detail, Some(lack.mend));
}

/// Backups of other servers that go by the name of this source.
async fn check_namesakes(config: &Config, repository: &Repository, findings: &mut Findings) {
    identify(config, [repository]).await;
    let Ok(catalog) = repository.catalog().await else { return };
    for text in repository.describe_namesakes(&catalog, &config.source.name) {
        findings.add("source", FindingVerdict::Warning, text, None);
    }
}

async fn check_side(config: &Config, target: Target, findings: &mut Findings) {
    let name = if target == Target::Local { "local folder" } else { "remote store" };
    let opened = sides::open(config, target, &new_run_id()).await;
    for repository in match opened {
        Ok(sides) => sides,
        Err(error) => return findings.bad(name, &error),
    } {
        let place = repository.location().name;
        match repository.probe().await {
            Ok(Probe { skew, advice }) => {
                for Advice { what, hint } in advice {
                    let verdict = if hint.is_some() { FindingVerdict::Warning } else { FindingVerdict::Ok };
                    findings.add(name, verdict, what, hint);
                }
                let room = match repository.side() {
                    Side::Local => {
                        let space = repository.space().await;
                        space.map(|space| format!(", {} free", text::size(space.free))).unwrap_or_default()
                    }
                    Side::Remote => {
                        let part = (memory_at_hand() / 2).min(LARGEST_PART);
                        let largest = part * u64::from(config.remote.max_parts);
                        format!("; the available memory allows backups of up to {}", text::size(largest))
                    }
                };
                let parts = if repository.side() == Side::Remote { ", and uploaded a part" } else { "" };
                let detail = format!("wrote, read, listed and deleted in {place}{parts}{room}");
                match skew.filter(|skew| skew.abs() > SKEW) {
                    None => findings.good(name, detail),
                    Some(skew) => {
                        let word = if skew > TimeDelta::zero() { "ahead of" } else { "behind" };
                        let skew = text::apart(skew);
                        let detail = format!("{detail}; its clock is {skew} {word} this machine's");
                        let hint =
                            "correct the clock that is wrong: ages, retention and signatures depend on it".to_owned();
                        findings.add(name, FindingVerdict::Warning, detail, Some(hint));
                    }
                }
            }
            Err(error) => findings.bad(name, &error.into()),
        }
        check_namesakes(config, &repository, findings).await;
    }
}

/// Memory that this process may use: the control group's limit, or all there is. One part of an upload has to fit
/// half of it, so that half times the number of parts is the largest backup.
fn memory_at_hand() -> u64 {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let machine = rustix::system::sysinfo().totalram;
    limit.unwrap_or(u64::MAX).min(machine)
}
