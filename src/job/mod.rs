//! The whole run: lock → preflight → dump and store each database → verify → prune → tell people.

mod again;
pub mod alarms;
mod backup;
pub mod identity;
mod legs;
mod outage;
mod overview;
mod preflight;
pub mod prune;
mod record;
mod run;
mod source;
pub mod tasks;
pub mod upload;
mod verification;

pub use overview::Overview;
pub use preflight::{Server, choose_tasks, enter, examine_server, look_into};
pub use verification::summary;

use crate::config::{BackupType, Config};
use crate::error::{Error, Exit, exit_of};
use crate::leftovers::counted;
use crate::metrics::{Known, Metrics};
use crate::notify;
use crate::pipeline::Workers;
use crate::postgres;
use crate::postgres::lock::{Lock, LockError};
use crate::progress::{self, Counters};
use crate::record::facts::Subject;
use crate::report::{Activity, Entry, Failure, Outcome, Report};
use crate::repository::{Side, SideKind};
use crate::shutdown::{Shutdown, Stop};
use crate::storage::StorageError;
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use preflight::Ready;
use run::Run;
use std::time::Duration;
use tasks::Task;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// How long cleaning up after a failure may take, per target.
const CLEANUP: Duration = Duration::from_secs(60);
/// The same, counted from a signal on.
const HASTY_CLEANUP: Duration = Duration::from_secs(9);

/// How long publishing metrics may take, and until when after a signal.
const METRICS: Duration = Duration::from_secs(45);
const HASTY_METRICS: Duration = Duration::from_secs(14);
/// And the look at the storage before that.
const LOOK: Duration = Duration::from_secs(20);
const LOOK_AT_SIDE: Duration = Duration::from_secs(15);
const HASTY_LOOK: Duration = Duration::from_secs(12);

/// How long a run that has failed may look for the last good backup.
const PREVIOUS: Duration = Duration::from_secs(5);

/// Everything a run needs from outside.
pub struct Context {
    /// Settings.
    pub config: Config,
    /// `--type`, or its default.
    pub backup_type: BackupType,
    /// Id of the run; the name of its sessions.
    pub run_id: String,
    /// The targets.
    pub sides: Vec<Side>,
    /// Why a target that was asked for cannot even be tried.
    pub unusable: Vec<StorageError>,
    /// Since when the runs before this one have failed, where this process knows it.
    pub failing_since: Option<DateTime<Utc>>,
    /// Asks everybody to stop.
    pub shutdown: Shutdown,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// Show a progress bar instead of lines.
    pub terminal: bool,
    /// Who compresses.
    pub workers: Workers,
    /// Bytes of the whole run so far.
    pub counters: Counters,
}

impl Context {
    /// Name of this run's sessions on the server, by which others see that it lives.
    pub fn application(&self) -> String {
        postgres::application(&self.run_id)
    }

    /// The shard that this run is, as the lock and people name it.
    fn shard(&self) -> Option<String> {
        self.config.selection.shard.map(|shard| shard.to_string())
    }

    /// Runs what must not be dropped lightly, in the time that is left for it.
    async fn finish<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.shutdown.finish(CLEANUP, HASTY_CLEANUP, work).await
    }
}

/// An error and what the run was doing when it happened.
#[derive(Debug)]
pub struct StageError {
    stage: &'static str,
    error: Error,
}

trait At<T> {
    fn at(self, stage: &'static str) -> Result<T, StageError>;
}

impl<T, E: Into<Error>> At<T> for Result<T, E> {
    fn at(self, stage: &'static str) -> Result<T, StageError> {
        self.map_err(|error| StageError { stage, error: error.into() })
    }
}

/// Ends a task when its owner goes.
pub struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    /// Runs `work` beside its owner.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(counted(work)))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs the job and tells people. Nothing here exits or prints; the code says how it ended.
pub async fn run(context: &Context) -> (Report, Exit) {
    let config = &context.config;
    let mut report = Report {
        activity: Activity::Backup,
        run_id: context.run_id.clone(),
        source: config.source.name.clone(),
        shard: context.shard(),
        wanted: config.selection.describe(&config.source.database),
        backup_type: context.backup_type,
        started: (context.now)(),
        finished: (context.now)(),
        outcome: Outcome::Failure,
        entries: Vec::new(),
        targets: context.sides.iter().map(|side| side.repository.location().name).collect(),
        pruned: Vec::new(),
        alarms: Vec::new(),
        failures: Vec::new(),
        kept: None,
        failing_since: None,
    };
    let shard = report.shard.as_ref().map(|shard| format!(", shard {shard}")).unwrap_or_default();
    let (source, backup_type) = (config.source.display(), context.backup_type.as_str());
    info!(run_id = report.run_id, "starting backup of {source} ({backup_type}{shard})");
    let begun = notify::begin(&config.notices, &context.run_id);
    let timer = deadline(config, &context.shutdown);
    let errors = whole(context, &mut report).await;
    drop(timer);
    let exit = conclude(context, &mut report, &errors);
    outage::settle(context, &mut report, exit).await;
    publish(config, &context.sides, Some(&report), &context.shutdown).await;
    notify::send(&config.notices, &report, begun, &context.shutdown).await;
    // a signal that came after the errors were counted
    let exit = context.shutdown.signal().map_or(exit, |stop| Error::Stopped(stop).exit());
    (report, exit)
}

/// Publishes metrics of what lies on the sides and of what a run did, in bounded time.
pub async fn publish(config: &Config, sides: &[Side], report: Option<&Report>, shutdown: &Shutdown) {
    if !config.metrics.is_wanted() {
        return;
    }
    let (source, now) = (&config.source.name, Utc::now());
    // what a run did is said also where nobody can say what lies in storage
    let looked = shutdown.finish(LOOK, HASTY_LOOK, Overview::look(config, sides, source, now, LOOK_AT_SIDE)).await;
    let overview = looked.unwrap_or_default();
    let work = async {
        let attempts = report.map(Report::attempts).unwrap_or_default();
        let metrics = Metrics::of(&Known {
            status: &overview.status(source, TimeDelta::MAX, now),
            inventory: &overview.inventory,
            read: &overview.read,
            sides: SideKind::of(config.target),
            attempts: &attempts,
            last_run: report,
            is_whole: report.is_some_and(Report::has_begun) && config.selection.is_whole(),
            daemon: None,
        });
        metrics.publish(&config.metrics).await;
    };
    if shutdown.finish(METRICS, HASTY_METRICS, work).await.is_none() {
        warn!("metrics are not published in full: file or Pushgateway did not answer in time");
    }
}

/// Asks everybody to stop when `BACKUP_TIMEOUT` is over, unless dropped before.
pub fn deadline(config: &Config, shutdown: &Shutdown) -> Option<AbortOnDrop> {
    config.deadline.map(|deadline| AbortOnDrop::spawn(stop_after(deadline, shutdown.clone())))
}

async fn stop_after(deadline: Duration, shutdown: Shutdown) {
    tokio::time::sleep(deadline).await;
    shutdown.request(Stop::Deadline);
}

/// The run itself; what it answers are the errors, none when all was done.
async fn whole(context: &Context, report: &mut Report) -> Errors {
    let mut errors = Errors::default();
    let lock = match take_lock(context).await {
        Ok(lock) => lock,
        Err(error) => return nothing_begun(context, report, error).await,
    };
    let mut ready = match preflight::prepare(context, lock.as_ref()).await {
        Ok(ready) => ready,
        Err(error) => return nothing_begun(context, report, error).await,
    };
    for failed in ready.failed.drain(..) {
        errors.add(report, failed);
    }
    let every_target = errors.0.is_empty();
    let run = Run::new(context, &ready, lock);
    save_all(&run, report, &mut errors).await;
    if context.config.verify.enabled && !errors.is_stopped() {
        verification::verify_all(context, report, &mut errors).await;
    }
    if !errors.is_stopped() && report.entries.iter().any(|entry| entry.backup.is_some()) {
        alarms::look_back(&run, report).await;
    }
    let done: Vec<Subject> = report.entries.iter().filter(|entry| entry.is_done()).map(|e| e.subject.clone()).collect();
    if report.entries.is_empty() || errors.is_stopped() {
        return errors;
    }
    if let Some(wrong) = alarms::wrong_clock(&context.config, ready.server.ahead) {
        error!("{wrong}");
        report.alarms.push(wrong);
    } else if !every_target || done.is_empty() {
        warn!("nothing is pruned, because not every target has a good backup");
    } else if let Err(error) = prune_after(&run, &done, report, &mut errors).await {
        errors.add(report, error);
    }
    errors
}

/// The run ended before it knew what there is to save. People are told what should have been, as far as settings and
/// backups tell, and how old the last backups are.
async fn nothing_begun(context: &Context, report: &mut Report, error: StageError) -> Errors {
    let config = &context.config;
    let own = &config.source.database;
    let previous = tokio::time::timeout(PREVIOUS, preflight::newest_of_all(context)).await.unwrap_or_default();
    let saved = previous.keys().cloned().collect();
    let expected = tasks::expected(&config.selection, own, &saved).into_iter();
    let is_ours = |subject: &Subject| match subject {
        Subject::Globals => config.selection.wants_globals(),
        subject => tasks::is_in_shard(&config.selection, subject),
    };
    let entry = |subject: Subject| Entry { previous: previous.get(&subject).copied(), ..Entry::new(subject) };
    report.entries = expected.filter(is_ours).map(entry).collect();
    let mut errors = Errors::default();
    errors.add(report, error);
    errors
}

/// Everything that went wrong, for the exit code; people read the report.
#[derive(Default)]
struct Errors(Vec<Error>);

impl Errors {
    /// True when it was time to stop.
    fn is_stopped(&self) -> bool {
        self.0.iter().any(|error| matches!(error, Error::Stopped(_)))
    }

    /// True when a backup failed its verification.
    fn is_unproved(&self) -> bool {
        self.0.iter().any(|error| matches!(error, Error::Unproved { .. }))
    }

    /// One more, which concerns the run as a whole.
    fn add(&mut self, report: &mut Report, error: StageError) {
        report.failures.push(failure(error.stage, &error.error));
        self.0.push(error.error);
    }
}

/// Takes the lock, connecting with retry. A server that grants none is no reason not to back it up.
async fn take_lock(context: &Context) -> Result<Option<Lock>, StageError> {
    let source = &context.config.source;
    let targets: Vec<String> = context.sides.iter().map(|side| side.repository.location().name).collect();
    let (application, shard) = (context.application(), context.shard());
    let take = Lock::take(source, &targets, shard.as_deref(), &application);
    match context.shutdown.guard(take).await.at("connect")? {
        Ok(lock) => {
            info!("connected to {}", source.display());
            Ok(Some(lock))
        }
        Err(LockError::Query(error)) => {
            warn!("the server grants no lock ({}); this run prunes nothing", postgres::cause(&error));
            Ok(None)
        }
        Err(error @ LockError::Taken { .. }) => Err(error).at("lock"),
        Err(error) => Err(error).at("connect"),
    }
}

/// Saves every subject, so many at once as the settings say. What becomes of one is no matter to the others.
async fn save_all(run: &Run<'_>, report: &mut Report, errors: &mut Errors) {
    let tasks = &run.ready.tasks;
    let subjects = tasks.subjects();
    let several = subjects.len() > 1;
    if let (true, Some(shard)) = (subjects.is_empty(), &report.shard) {
        info!("no database of the server belongs to shard {shard}");
        report.wanted = "no database in this shard".to_owned();
    }
    let expected_bytes = tasks.list.iter().map(Task::expected_bytes).sum();
    let bar = run.context.terminal.then(|| progress::show_bar(run.context.counters.clone(), expected_bytes));
    let _bar = bar.map(AbortOnDrop::spawn);
    let lost = tasks.errors().map(|(name, error)| backup::lost(run, name, error));
    let saved = stream::iter(&tasks.list).map(|task| backup::save(run, task)).buffer_unordered(run.at_once());
    let mut all = std::pin::pin!(stream::iter(lost).chain(saved));
    let mut stopped = None;
    while let Some((mut entry, failed)) = all.next().await {
        for error in failed {
            if let Error::Stopped(_) = error.error {
                // one wish to stop is one failure, however many databases it cuts
                stopped.get_or_insert(error);
                continue;
            }
            let failure = failure(error.stage, &error.error);
            let subject = if several { format!("{}: ", entry.subject) } else { String::new() };
            error!(stage = failure.stage, "{subject}{failure}");
            entry.failures.push(failure);
            errors.0.push(error.error);
        }
        report.entries.push(entry);
    }
    if let Some(error) = stopped {
        errors.add(report, error);
    }
    report.entries.sort_by_key(|entry| subjects.iter().position(|subject| *subject == entry.subject));
}

/// Prunes what this run has saved anew, where the lock is still ours.
async fn prune_after(
    run: &Run<'_>,
    done: &[Subject],
    report: &mut Report,
    errors: &mut Errors,
) -> Result<(), StageError> {
    let context = run.context;
    if run.holds_lock().await.at("prune")? != Some(true) {
        warn!("nothing is pruned, because the lock is not held");
        return Ok(());
    }
    let now = (context.now)();
    let plan = context.shutdown.guard(prune::plan(&context.config, &context.sides, now)).await.at("prune")?;
    for plan in plan.at("prune")? {
        let plan = plan.only(done);
        let (side, days) = (plan.side.as_str(), plan.policy.days);
        info!("cleaning up {side} auto backups older than {days} days and typed ones by count");
        let before = report.pruned.len();
        let failed = context.shutdown.guard(prune::apply(&plan, &mut report.pruned)).await.at("prune")?;
        info!("deleted {} backups", report.pruned.len() - before);
        report.kept.get_or_insert_with(|| plan.kept());
        for error in failed {
            errors.add(report, StageError { stage: "prune", error });
        }
    }
    Ok(())
}

/// Works out how the run ended: the report's last lines, the log's last line and the exit code.
fn conclude(context: &Context, report: &mut Report, errors: &Errors) -> Exit {
    report.finished = (context.now)();
    for failure in &report.failures {
        error!(stage = failure.stage, "{failure}");
    }
    let saved = report.entries.iter().any(|entry| entry.backup.is_some());
    let duration = text::duration(report.duration());
    report.outcome = match (errors.0.is_empty(), saved && !errors.is_unproved()) {
        (true, _) => Outcome::Success,
        (false, true) => Outcome::Partial,
        (false, false) => Outcome::Failure,
    };
    let summary = report.summary();
    match report.outcome {
        Outcome::Success => info!("backup done in {duration}: {summary}"),
        Outcome::Partial => {
            error!(
                "backup partly done in {duration}: {summary}; what is stored is safe, see the errors for what is not"
            );
        }
        Outcome::Failure if saved => error!("backup failed its verification, after {duration}: {summary}"),
        Outcome::Failure => error!("backup failed after {duration}"),
    }
    exit_of(errors.0.iter(), saved)
}

/// An error as people are told of it, and what was being done.
pub fn failure(stage: &'static str, error: &Error) -> Failure {
    Failure { stage, cause: error.to_string(), hint: error.hint(), stderr: error.stderr().map(str::to_owned) }
}

impl Ready<'_> {
    /// An entry for a subject, with what is known of it beforehand.
    fn entry(&self, subject: Subject) -> Entry {
        let previous = self.previous.get(&subject).copied();
        Entry { previous, ..Entry::new(subject) }
    }
}
