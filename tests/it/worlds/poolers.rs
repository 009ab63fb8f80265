//! PgBouncer between us and the server.

use super::filled;
use crate::support::backup::Backup;
use crate::support::postgres::{PASSWORD, Postgres, USER};
use crate::support::{Server, free_port, tool, unprivileged_folder, wait_for};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// PgBouncer in that mode, which takes these startup parameters without looking at them.
fn pooler(postgres: &Postgres, mode: &str, ignored: &str) -> (Server, u16) {
    let (folder, port) = (unprivileged_folder(), free_port(0));
    let path = folder.path().display().to_string();
    let config = format!(
        "[databases]\n* = host=127.0.0.1 port={} user={USER} password={PASSWORD}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 4\n\
         ignore_startup_parameters = {ignored}\nserver_reset_query = DISCARD ALL\nlogfile = {path}/pgbouncer.log\n",
        postgres.port
    );
    std::fs::write(folder.path().join("pgbouncer.ini"), config).unwrap();
    let command = format!("exec '{}' '{path}/pgbouncer.ini'", tool("PGBOUNCER"));
    let server = Server::start(folder, "INT", &command);
    let answers = || psql(postgres, port, "SELECT 1").status.success();
    wait_for("PgBouncer", answers);
    (server, port)
}

fn psql(postgres: &Postgres, port: u16, sql: &str) -> std::process::Output {
    let mut client = Command::new(format!("{}/psql", postgres.bin));
    client.args(["-XqtA", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", USER, "-d", "shop", "-c", sql]);
    client.env("PGPASSWORD", PASSWORD).output().unwrap()
}

#[test]
fn a_pooler_that_shares_sessions_is_refused_before_anything_is_set_in_them() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    filled(&postgres, "shop", 1000);
    for (mode, ignored) in [
        ("transaction", "extra_float_digits"),
        ("transaction", "extra_float_digits,options"),
        ("statement", "extra_float_digits,options"),
        ("session", "extra_float_digits"),
    ] {
        let (_pooler, port) = pooler(&postgres, mode, ignored);
        let backup = Backup::of(&postgres, "shop").set("POSTGRES_PORT", &port.to_string());
        // an application beside, whose tables must be found whatever session it gets
        let (stop, strange, asked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let answer = psql(&postgres, port, "SELECT count(*) FROM t");
                    asked.fetch_add(1, Ordering::Relaxed);
                    if String::from_utf8_lossy(&answer.stdout).trim() != "1000" {
                        strange.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            for command in [&["check"][..], &["run"], &["run", "--dry-run"], &["prune", "--yes"]] {
                let outcome = backup.run(command).exits(78);
                let all = format!("{}{}", outcome.stdout, outcome.log);
                assert!(all.contains("pooler") && all.contains("POSTGRES_HOST"), "{mode} {ignored}: {all}");
            }
            // restores and verifications, too
            let direct = backup.with("POSTGRES_PORT", &postgres.port.to_string());
            direct.run(&["run"]).exits(0);
            let verifying = direct.with("VERIFY_PORT", &port.to_string());
            verifying.run(&["verify"]).exits(78).says("VERIFY_HOST");
            let before = asked.load(Ordering::Relaxed);
            wait_for("the application", || asked.load(Ordering::Relaxed) > before + 6);
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(strange.load(Ordering::Relaxed), 0, "{mode} {ignored}");
        let paths = psql(&postgres, port, "SHOW search_path");
        assert_eq!(String::from_utf8_lossy(&paths.stdout).trim(), "\"$user\", public", "{mode} {ignored}");
    }
}

#[test]
fn a_pooler_that_gives_sessions_away_for_good_is_no_hindrance() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    filled(&postgres, "shop", 1000);
    postgres.sql("shop", "CREATE TABLE times AS SELECT now() AS at; ALTER DATABASE shop SET timezone = 'Asia/Tokyo'");
    let (_pooler, port) = pooler(&postgres, "session", "extra_float_digits,options");
    let backup = Backup::of(&postgres, "shop").set("POSTGRES_PORT", &port.to_string());
    backup.run(&["check"]).exits(0);
    backup.run(&["run"]).exits(0);
    let direct = backup.with("VERIFY_PORT", &postgres.port.to_string());
    direct.verify(&[], 0);
}
