//! The process: runtime, signals, exit code.

use postgres_backup_job::cli::{self, Process};
use postgres_backup_job::error::Exit;
use postgres_backup_job::shutdown::{Shutdown, Stop};
use postgres_backup_job::{background, init};
use tokio::signal::unix::{SignalKind, signal};

fn main() {
    if init::is_needed() {
        let code = init::run().unwrap_or_else(|error| {
            eprintln!("backup: starting: {error}");
            Exit::Failed as i32
        });
        std::process::exit(code);
    }
    let outcome = std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        background::note_panics();
        let exit = runtime.block_on(async {
            let shutdown = Shutdown::default();
            tokio::spawn(listen(shutdown.clone())?);
            let arguments = std::env::args_os().collect();
            let exit = cli::run(Process { arguments, shutdown }).await;
            Ok::<_, std::io::Error>(match background::find().await {
                Some(left) => {
                    eprintln!("backup: {left}");
                    Exit::Bug
                }
                None => exit,
            })
        });
        // a thread that hangs on a dead file system must not keep the process
        runtime.shutdown_timeout(std::time::Duration::from_millis(100));
        exit
    });
    let exit = match outcome {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            eprintln!("backup: starting: {error}");
            Exit::Failed
        }
        Err(_) => {
            eprintln!("backup: this is a bug in backup; please report the lines above");
            Exit::Bug
        }
    };
    std::process::exit(exit as i32);
}

/// The first signal asks for an orderly end, the second does not wait for it. SIGHUP is one of them unless it was
/// ignored at the start, as `nohup` has it.
fn listen(shutdown: Shutdown) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = if init::is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(async move {
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let (stop, exit) = tokio::select! {
                _ = terminate.recv() => (Stop::Terminate, Exit::Terminated),
                _ = interrupt.recv() => (Stop::Interrupt, Exit::Interrupted),
                _ = hung_up => (Stop::Hangup, Exit::HungUp),
            };
            if shutdown.signal().is_some() {
                std::process::exit(exit as i32);
            }
            shutdown.request(stop);
        }
    })
}
