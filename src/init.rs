//! The first process of a container: the program runs as its child, signals are handed on to that, and what others leave
//! behind is reaped, as nobody else would.

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use rustix::termios::tcsetpgrp;
use std::io::{IsTerminal, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// True when this process is the first one.
pub fn is_needed() -> bool {
    std::process::id() == 1
}

/// Runs the program as a child, and returns its exit code.
pub fn run() -> Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(supervise())
}

async fn supervise() -> Result<i32> {
    // before there is a child that could end unnoticed
    let mut ended = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "backup".into());
    // a group of its own, or a terminal's signal would reach the child twice, and a second one means haste
    let child = Command::new("/proc/self/exe").arg0(name).args(arguments).process_group(0).spawn()?;
    let child = Pid::from_child(&child);
    if std::io::stdin().is_terminal() {
        let _ = tcsetpgrp(std::io::stdin(), child);
        // it may have asked the terminal for something before it was in front
        hand_on(child, Signal::CONT);
    }
    loop {
        tokio::select! {
            _ = ended.recv() => {
                if let Some(code) = reap(child) {
                    return Ok(code);
                }
            }
            _ = terminate.recv() => hand_on(child, Signal::TERM),
            _ = interrupt.recv() => hand_on(child, Signal::INT),
            _ = hangup.recv() => hand_on(child, Signal::HUP),
        }
    }
}

/// True when SIGHUP was ignored at the start of this process; false where the system does not tell.
pub fn is_hangup_ignored() -> bool {
    // the first of all signals
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HANGUP != 0)
}

fn hand_on(child: Pid, signal: Signal) {
    // it may have ended just now
    let _ = kill_process(child, signal);
}

/// Reaps everything that has ended; the exit code once that is the program itself.
fn reap(child: Pid) -> Option<i32> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            return Some(code(status));
        }
    }
    None
}

/// As a shell says it: 128 and the signal for what was killed.
fn code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(70)
}
