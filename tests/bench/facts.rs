//! Processor time of a backup with facts and without: the same dump through the same pipeline, one after the other.
//!
//! `PG_DUMP` is the program, `PG*` variables say what it dumps, `BENCH_RUNS` how often, `SERVER_PID` is the server.
//! Counted is everything that works for the backup: this process, pg_dump, and the server's sessions that have ended.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use postgres_backup_job::pipeline::{CopyFacts, Encoding, Gzip, Workers, stream};
use postgres_backup_job::progress::Counters;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Seconds of processor time that a process and its children that have ended have used so far.
fn processor_time_of(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime, stime, cutime, cstime in hundredths of a second
    fields[11..15].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

fn processor_time() -> f64 {
    processor_time_of("self") + processor_time_of(&std::env::var("SERVER_PID").unwrap())
}

/// Waits until the session that pg_dump had is over, and counts.
async fn processor_time_after(children: usize) -> f64 {
    let server = std::env::var("SERVER_PID").unwrap();
    while sessions(&server) > children {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    processor_time()
}

fn sessions(server: &str) -> usize {
    std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap().split_whitespace().count()
}

async fn run(format: &str, facts: CopyFacts, encoding: &Encoding) -> f64 {
    let (before, children) = (processor_time(), sessions(&std::env::var("SERVER_PID").unwrap()));
    let mut child = tokio::process::Command::new(std::env::var("PG_DUMP").unwrap())
        .args(format.split(' '))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, mut receiver) = mpsc::channel::<bytes::Bytes>(4);
    let store = tokio::spawn(async move {
        let mut file = tokio::fs::File::from_std(tempfile::tempfile().unwrap());
        while let Some(chunk) = receiver.recv().await {
            file.write_all(&chunk).await.unwrap();
        }
        file.flush().await.unwrap();
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (workers, counters) = (Workers::new(cores, 1), Counters::default());
    let stdout = child.stdout.take().unwrap();
    stream(stdout, facts, encoding, &workers, vec![sender], &counters).await.unwrap();
    assert!(child.wait().await.unwrap().success());
    store.await.unwrap();
    processor_time_after(children).await - before
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2] + times[(times.len() - 1) / 2]) / 2.0
}

#[tokio::main]
async fn main() {
    let runs: usize = std::env::var("BENCH_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    println!(
        "\n{:<32} {:>12} {:>12} {:>8} {:>8}",
        "processor time of a backup", "without s", "with s", "ratio", "at most"
    );
    for format in ["--format=plain", "--format=custom --compress=9"] {
        let is_plain = format.contains("plain");
        let facts = || if is_plain { CopyFacts::of_sql() } else { CopyFacts::of_custom() };
        let encoding =
            || if is_plain { Encoding { gzip: Some(Gzip::new(6)), recipients: None } } else { Encoding::default() };
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            without.push(run(format, CopyFacts::None, &encoding()).await);
            with.push(run(format, facts(), &encoding()).await);
        }
        let (without, with) = (median(&mut without), median(&mut with));
        println!("{format:<32} {without:>12.2} {with:>12.2} {:>8.3} {:>8}", with / without, "1.05");
    }
}
