//! `backup check`: what would stop a run, found before it does.

use super::{Format, new_run_id, output, sides};
use crate::config::{Config, Target};
use crate::error::{Error, Exit};
use crate::job::{Server, SideKind, examine_server};
use crate::notify;
use crate::postgres::connection;
use crate::progress::human;
use serde::Serialize;

/// One line of the table.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    ok: bool,
    detail: String,
    hint: Option<String>,
}

/// Findings, and the exit code of the first that is bad.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    exit: Option<Exit>,
}

impl Findings {
    fn good(&mut self, check: &str, detail: String) {
        self.list.push(Finding { check: check.to_owned(), ok: true, detail, hint: None });
    }

    fn bad(&mut self, check: &str, error: &Error) {
        self.exit.get_or_insert(error.exit());
        let hint = error.hint().map(str::to_owned);
        self.list.push(Finding { check: check.to_owned(), ok: false, detail: error.to_string(), hint });
    }
}

pub(super) async fn execute(format: &Format, config: &Config) -> Result<Exit, Error> {
    let mut findings = Findings::default();
    check_database(config, &mut findings).await;
    for target in [Target::Local, Target::Remote] {
        if config.target == target || config.target == Target::All {
            check_side(config, target, &mut findings).await;
        }
    }
    match notify::check(config).await {
        Some(Ok(())) => findings.good("Discord webhook", "it answers".to_owned()),
        Some(Err(cause)) => findings.list.push(Finding {
            check: "Discord webhook".to_owned(),
            ok: false,
            detail: cause,
            hint: Some("look at DISCORD_WEBHOOK_URL".to_owned()),
        }),
        None => {}
    }
    if format.json {
        output::print_json(&findings.list);
    } else {
        let row = |finding: &Finding| {
            let mark = if finding.ok { "✓" } else { "✗" };
            let hint = finding.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            vec![mark.to_owned(), finding.check.clone(), format!("{}{hint}", finding.detail)]
        };
        output::print_table(&["", "CHECK", "RESULT"], findings.list.iter().map(row).collect());
    }
    Ok(findings.exit.unwrap_or(Exit::Done))
}

async fn check_database(config: &Config, findings: &mut Findings) {
    let source = &config.source;
    let connection = match connection::connect(source, "backup check").await {
        Ok(connection) => connection,
        Err(error) => return findings.bad("database", &error.into()),
    };
    findings.good("database", format!("connected to {} as {}", source.display(), source.user));
    match examine_server(config, &connection).await {
        Ok(Server { version, tool, unreadable }) => {
            let detail = format!("pg_dump {} ({}) for PostgreSQL {}", tool.version, tool.path.display(), version.text);
            findings.good("client tools", detail);
            if unreadable.is_empty() {
                findings.good("privileges", "every table and sequence can be read".to_owned());
            } else {
                let error = Error::Unreadable { role: source.user.clone(), objects: unreadable.join(", ") };
                findings.bad("privileges", &error);
            }
        }
        Err(error) => findings.bad("client tools", &error),
    }
}

async fn check_side(config: &Config, target: Target, findings: &mut Findings) {
    let name = if target == Target::Local { "local folder" } else { "remote store" };
    let opened = sides(config, target, &new_run_id()).await;
    for side in match opened {
        Ok(sides) => sides,
        Err(error) => return findings.bad(name, &error),
    } {
        let place = side.repository.location().name;
        match side.repository.probe().await {
            Ok(()) => {
                let room = match side.kind {
                    SideKind::Local => {
                        let free = side.repository.free_bytes().await;
                        free.map(|bytes| format!(", {} free", human(bytes))).unwrap_or_default()
                    }
                    SideKind::Remote => {
                        let largest = memory_at_hand() / 2 * u64::from(config.remote.max_parts);
                        format!(", backups of up to {} fit the memory at hand", human(largest))
                    }
                };
                findings.good(name, format!("wrote, read, listed and deleted in {place}{room}"));
            }
            Err(error) => findings.bad(name, &error.into()),
        }
    }
}

/// Memory that this process may use: the control group's limit, or all there is. One part of an upload has to fit
/// half of it, so that half times the number of parts is the largest backup.
fn memory_at_hand() -> u64 {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let machine = rustix::system::sysinfo().totalram;
    limit.unwrap_or(u64::MAX).min(machine)
}
