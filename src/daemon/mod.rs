//! The daemon: scheduled runs, uploads of backups that are not yet remote, and a page, health and metrics over HTTP.

mod http;
mod page;
mod plot;
mod problems;
mod state;
mod timer;

use crate::background::AbortOnDrop;
use crate::config::{self, Config, Target};
use crate::error::{Error, Exit, SettingsError};
use crate::inventory::overview::Overview;
use crate::inventory::sides::{self, new_run_id};
use crate::inventory::status::Status;
use crate::inventory::upload;
use crate::job::identity::identify;
use crate::job::{self, Context, ScheduledRun, presence};
use crate::metrics::{self, DatabaseAttempt, Metrics, MetricsInput};
use crate::pipeline::Workers;
use crate::progress::Counters;
use crate::repository::{Repository, Side, Whose};
use crate::schedule::{self, Due, History};
use crate::shutdown::Shutdown;
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use state::{CurrentRun, Shared, State};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use timer::Work;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, watch};
use tracing::{Instrument, error, error_span, info, warn};

/// Time between two checks of the storage, besides those after runs and uploads.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// How long a side may take to answer such a check.
const LOOK_LIMIT: Duration = Duration::from_secs(120);
/// How much older than the longest time between two runs the newest backup may be.
const GRACE: TimeDelta = TimeDelta::hours(1);

/// Everything the daemon needs from outside.
pub struct Daemon {
    config: Config,
    shutdown: Shutdown,
    now: fn() -> DateTime<Utc>,
    /// How old the newest good backup of a database may be.
    max_age: TimeDelta,
    state: Shared,
    /// The sides that are checked; they remember the manifests that they have read.
    sides: Mutex<Vec<Repository>>,
    running: watch::Sender<bool>,
    /// Asks for another check of the storage.
    look_soon: Notify,
    /// The exit code of a run that a signal ended.
    cut: OnceLock<Exit>,
}

impl Daemon {
    /// A daemon for these settings; without `max_age` the schedule says how old backups may be.
    pub fn new(
        config: Config,
        max_age: Option<TimeDelta>,
        shutdown: Shutdown,
        now: fn() -> DateTime<Utc>,
    ) -> Arc<Self> {
        let max_age = max_age.unwrap_or_else(|| config.daemon.schedule.longest_gap(now()) + GRACE);
        let (state, sides, running) = (Shared::default(), Mutex::default(), watch::Sender::new(false));
        let (look_soon, cut) = (Notify::new(), OnceLock::new());
        Arc::new(Self { config, shutdown, now, max_age, state, sides, running, look_soon, cut })
    }

    /// Works until it is asked to stop. A stop between runs is a clean exit; one during a run has the exit code of that run.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener) -> Exit {
        let schedule = &self.config.daemon.schedule;
        for due in schedule.next_of_each((self.now)()) {
            self.announce(due);
        }
        let answering = AbortOnDrop::spawn(http::answer(listener, self.clone()));
        let looking = async {
            loop {
                self.look().await;
                // a run does not wait for it
                let pause = tokio::time::timeout(LOOK_EVERY, self.look_soon.notified());
                if self.shutdown.guard(pause).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(timer::drive(schedule, &**self, &self.shutdown), self.upload_at_intervals(), looking);
        drop(answering);
        info!("stopped");
        self.cut.get().copied().unwrap_or(Exit::Done)
    }

    fn announce(&self, due: Due) {
        info!("next {} run: {}", due.backup_type.as_str(), schedule::show(due.time, self.config.daemon.schedule.zone));
    }

    /// Looks at the storage.
    async fn look(&self) {
        let work = async {
            let mut sides = self.sides.lock().await;
            let mut unusable = Vec::new();
            if sides.len() < self.config.target.sides().len() {
                (*sides, unusable) = sides::open_some(&self.config, self.config.target, &new_run_id()).await;
            }
            let server = identify(&self.config, sides.iter()).await;
            let now = (self.now)();
            let mut overview = Overview::look(&self.config, &sides, &self.config.source.name, now, LOOK_LIMIT).await;
            if let Some(before) = &self.state.now().overview {
                overview.miss_lost_folder(&self.config.local.folder, before);
            }
            let gone = server.map(|server| overview.gone(&self.config, &server)).unwrap_or_default();
            overview.warnings.extend(gone);
            let store = |error| (Side::Remote, "the store".to_owned(), error);
            overview.unread.extend(unusable.into_iter().map(store));
            for (_, place, error) in &overview.unread {
                warn!("{place} cannot be read: {error}");
            }
            // there may be no backup of what the latest run could not save
            if let Some(report) = &self.state.now().last_run {
                overview.expect(report.entries.iter().map(|entry| &entry.subject));
            }
            let remembered = match &self.state.now().last_run {
                None => job::remembered(&self.config, &sides).await,
                Some(_) => None,
            };
            self.state.see(overview, remembered, now);
        };
        let _ = self.shutdown.guard(work).await;
    }

    /// Uploads what is not yet remote, at the start and then at every interval, but never begins during a run.
    async fn upload_at_intervals(&self) {
        let Some(interval) = self.config.daemon.sync_interval.filter(|_| self.config.target == Target::All) else {
            return;
        };
        let mut running = self.running.subscribe();
        loop {
            // a missed run comes first
            let idle = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = running.wait_for(|running| !running).await;
            };
            if self.shutdown.guard(idle).await.is_err() {
                return;
            }
            match self.upload().await {
                Ok(()) => {}
                Err(Error::Stopped(_)) => return,
                Err(error) => {
                    warn!("uploading backups that are not yet remote: {error}");
                    self.state.uploaded(vec![error.to_string()]);
                }
            }
            if self.shutdown.guard(tokio::time::sleep(interval)).await.is_err() {
                return;
            }
        }
    }

    async fn upload(&self) -> Result<(), Error> {
        let (config, shutdown, run_id) = (&self.config, &self.shutdown, new_run_id());
        let open = |target| sides::open(config, target, &run_id);
        let wanted = async {
            let mut wanted = Vec::new();
            let local = open(Target::Local).await?;
            identify(config, &local).await;
            for repository in local {
                let backups = repository.catalog().await?.backups.into_iter();
                let own = backups.filter(|backup| backup.whose == Whose::Ours);
                wanted.extend(own.map(|backup| (repository.clone(), backup)));
            }
            Ok::<_, Error>((wanted, open(Target::Remote).await?))
        };
        let (wanted, store) = shutdown.guard(wanted).await??;
        let Some(store) = store.into_iter().next() else { return Ok(()) };
        let chosen = upload::choose(config, wanted, &store, &config.source.name, false, (self.now)());
        let mut choice = shutdown.guard(chosen).await??;
        let mut sent = 0;
        if !choice.missing.is_empty() {
            let _session = shutdown.guard(presence::announce(config, &run_id, &store, (self.now)())).await??;
            let span = error_span!("run", run_id, source = config.source.name);
            let counters = Counters::default();
            sent = upload::send_all(shutdown, &counters, &mut choice, &store).instrument(span).await?;
        }
        self.state.uploaded(choice.errors.iter().map(ToString::to_string).collect());
        if sent > 0 {
            info!(
                "uploaded {} that {} not yet remote",
                text::count(sent, "backup"),
                if sent == 1 { "was" } else { "were" }
            );
        }
        if sent > 0 || self.state.now().overview.is_none_or(|overview| !overview.unread.is_empty()) {
            self.look_soon.notify_one();
        }
        Ok(())
    }

    /// How well each database is kept, as far as known; none before any side could be read.
    fn status(&self, state: &State) -> Option<Status> {
        let overview = state.overview.as_ref().filter(|overview| !overview.read.is_empty())?;
        Some(overview.status(&self.config.source.name, self.max_age, (self.now)()))
    }

    /// The page for people.
    fn page(&self, filter: &str) -> String {
        let state = self.state.now();
        page::render(&page::View {
            source: &self.config.source.name,
            status: self.status(&state).as_ref(),
            next: &self.config.daemon.schedule.next_of_each((self.now)()),
            zone: self.config.daemon.schedule.zone,
            now: (self.now)(),
            state: &state,
            filter,
        })
    }

    /// What is wrong; empty when all is well.
    fn complaints(&self) -> Vec<String> {
        let state = self.state.now();
        let Some(status) = self.status(&state) else {
            let unread = problems::unread(&state);
            return if unread.is_empty() { vec!["the storage has not been checked yet".to_owned()] } else { unread };
        };
        let mut complaints = problems::too_old(&status);
        if complaints.is_empty() && !status.ok {
            let several = |overview: &Arc<Overview>| overview.is_ambiguous;
            complaints.push(match state.overview.as_ref().is_some_and(several) {
                true => "several servers have backups under this source's name, and which one is meant is not known"
                    .to_owned(),
                false => "nothing that is selected has ever been backed up".to_owned(),
            });
        }
        complaints
    }

    /// The text for Prometheus; none before the storage was first checked.
    fn metrics(&self) -> Option<String> {
        let state = self.state.now();
        // where no side can be read, that is what is known
        let overview = state.overview.as_ref()?;
        let status = overview.status(&self.config.source.name, self.max_age, (self.now)());
        let attempts: Vec<DatabaseAttempt> = state
            .attempts
            .iter()
            .filter_map(|(subject, report)| {
                let entry = report.entries.iter().find(|entry| entry.subject == *subject)?;
                Some(DatabaseAttempt { entry, report })
            })
            .collect();
        let next = self.config.daemon.schedule.next_of_each((self.now)());
        let unread = |side: &&Side| !overview.unread.iter().any(|(kind, ..)| kind == *side);
        let sides = self.config.target.sides();
        let readable: Vec<Side> = sides.iter().filter(unread).copied().collect();
        let daemon = metrics::DaemonState {
            next: &next,
            running: state.running.is_some(),
            looked: state.looked,
            readable: &readable,
        };
        let metrics = Metrics::of(&MetricsInput {
            status: &status,
            inventory: &overview.inventory,
            read: &overview.read,
            sides,
            attempts: &attempts,
            last_run: state.last_run.as_deref(),
            is_whole: false,
            daemon: Some(daemon),
        });
        Some(metrics.text())
    }
}

impl Work for Daemon {
    fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }

    async fn history(&self) -> Option<History> {
        self.state.now().overview?.history(&self.config, (self.now)())
    }

    async fn run(&self, due: Due) {
        let (config, counters, run_id) = (self.config.clone(), Counters::default(), new_run_id());
        let running = CurrentRun { due, begun: (self.now)(), since: Instant::now(), counters: counters.clone() };
        let failing_since = self.state.begin(running);
        self.running.send_replace(true);
        // a deadline ends the run, not the daemon
        let (shutdown, now) = (self.shutdown.part(), self.now);
        let run = async {
            let (sides, unusable) = sides::open_some(&config, config.target, &run_id).await;
            let context = Context {
                backup_type: due.backup_type,
                workers: Workers::new(config.dump.jobs, config.selection.jobs),
                config,
                run_id,
                sides,
                unusable,
                scheduled: Some(ScheduledRun { failing_since }),
                shutdown,
                now,
                terminal: false,
                counters,
            };
            job::run(&context).await
        };
        // a bug in one run is not the end of all
        let ended = AssertUnwindSafe(run).catch_unwind().await;
        let report = match ended {
            Ok((report, exit)) => {
                if self.shutdown.signal().is_some() {
                    let _ = self.cut.set(exit);
                }
                Some(report)
            }
            Err(_) => {
                error!("the run was lost to a bug in backup; please report the details, which are on stderr");
                None
            }
        };
        self.state.end(report, (self.now)());
        self.running.send_replace(false);
        self.look_soon.notify_one();
        if self.shutdown.reason().is_none()
            && let Some(next) = self.config.daemon.schedule.next((self.now)())
        {
            self.announce(next);
        }
    }
}

/// Opens the daemon's HTTP address.
pub async fn listen(daemon: &config::DaemonSettings) -> Result<TcpListener, Error> {
    let address = daemon.listen;
    TcpListener::bind(address).await.map_err(|cause| {
        let problem = format!("LISTEN_ADDR: cannot listen on {address}: {cause}; choose another address or port");
        Error::Settings(SettingsError::Config(config::Problems(vec![problem])))
    })
}
