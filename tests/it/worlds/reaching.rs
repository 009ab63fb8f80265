//! How the server is reached: URLs as libpq reads them, passwords that change, certificates, standbys.

use super::filled;
use crate::support::backup::Backup;
use crate::support::postgres::{PASSWORD, Postgres, USER};
use crate::support::{free_port, tool, unprivileged, wait_for};
use std::process::Command;

/// Every spelling that libpq takes, and every one that it refuses, with the same answer from psql.
#[test]
fn a_url_means_to_us_what_it_means_to_psql() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    postgres.sql(
        "postgres",
        "CREATE ROLE u LOGIN SUPERUSER PASSWORD 'a+b'; CREATE ROLE \"u:s\" LOGIN SUPERUSER PASSWORD 'p?q#r&s=t'",
    );
    for name in ["my#db", "a b", "q=1"] {
        postgres.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
    }
    let (port, socket) = (postgres.port, postgres.path(""));
    let socket = socket.trim_end_matches('/');
    let encoded = socket.replace('/', "%2F");
    for (url, is_taken) in [
        (format!("postgres://u:a+b@127.0.0.1:{port}/my#db"), true),
        (format!("postgresql://u:a%2Bb@127.0.0.1:{port}/a%20b"), true),
        (format!("postgres://u@127.0.0.1:{port}/postgres?password=a+b"), true),
        (format!("postgres://u@127.0.0.1:{port}/postgres?password=a%20b"), false),
        (format!("postgres://u%3As:p?q#r&s=t@127.0.0.1:{port}/q=1"), true),
        (format!("postgres://127.0.0.1:{port}/postgres?user=u&password=a%2bb"), true),
        (format!("postgres://u:a+b@/postgres?host={socket}&port={port}"), true),
        (format!("postgres://u:a+b@{encoded}:{port}/postgres"), true),
        (format!("postgres://u:a+b@127.0.0.1/postgres?port={port}"), true),
        (format!("postgres://u:a+b@127.0.0.1:{port}?dbname=my%23db"), true),
        (format!("postgres://u:a+b@127.0.0.1:{port}/postgres?dbname=my%23db"), true),
        (format!("postgres://u:wrong@127.0.0.1:{port}/postgres"), false),
        (format!("postgres://u:a+b@127.0.0.1:{port}/none"), false),
        (format!("postgres://u:a+b@127.0.0.1:{port}/postgres?nonsense=1"), false),
        (format!("postgres://u:a+b@127.0.0.1:{port}/postgres?sslmode"), false),
        (format!("postgres://u:a%2@127.0.0.1:{port}/postgres"), false),
        (format!("postgres://u:a+b@[127.0.0.1/postgres?port={port}"), false),
        (format!("mysql://u:a+b@127.0.0.1:{port}/postgres"), false),
        (format!("postgres://u:a+b@127.0.0.1:abc/postgres?x={port}"), false),
    ] {
        let who = "SELECT current_user || '@' || current_database()";
        let psql = Command::new(format!("{}/psql", postgres.bin))
            .args([&url, "-XqtA", "-w", "-c", who])
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(psql.status.success(), is_taken, "psql on {url}: {}", String::from_utf8_lossy(&psql.stderr));
        let backup = bare(&postgres, &url);
        let outcome = backup.run(&["run", "--dry-run"]);
        assert_eq!(outcome.code == 0, is_taken, "{url}: {}", outcome.log);
        if is_taken {
            let who = String::from_utf8(psql.stdout).unwrap();
            let (user, database) = who.trim().split_once('@').unwrap();
            assert!(outcome.stdout.contains(&format!("would dump {database} ")), "{url}: {}", outcome.stdout);
            let config = backup.json(&["config"], 0);
            let of = |name: &str| {
                config["settings"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
            };
            assert_eq!(of("POSTGRES_USER")["value"], user, "{url}");
            assert_eq!(of("POSTGRES_DB")["value"], database, "{url}");
            assert_eq!(of("POSTGRES_DB")["source"], "DATABASE_URL", "{url}");
        }
    }
}

/// Nothing but the URL says where the server is.
fn bare(postgres: &Postgres, url: &str) -> Backup {
    let mut backup = Backup::of(postgres, "postgres").set("DATABASE_URL", url);
    for name in ["HOST", "PORT", "USER", "PASSWORD", "DB"] {
        backup = backup.set(&format!("POSTGRES_{name}"), "");
    }
    backup
}

#[test]
fn no_part_of_a_password_is_shown_whatever_is_wrong_with_the_url() {
    let postgres = Postgres::prepare(&tool("PG_BIN"));
    let nobody = free_port(0);
    for url in [
        "postgres://u:12?s3cr3t@db.invalid/x".to_owned(),
        "postgres://u:12/s3cr3t@db.invalid/x".to_owned(),
        "postgres://u:12@s3cr3t@db.invalid/x".to_owned(),
        "postgres://u:12#s3cr3t@db.invalid/x".to_owned(),
        format!("postgres://u:s3cr3t@127.0.0.1:{nobody}/x"),
        "postgres://u:s3cr3t@db:port/x".to_owned(),
        "postgres://u:s3cr3t@db:0/x".to_owned(),
        "postgres://u:s3cr3t@db/x?port=abc".to_owned(),
        "postgres://u:s3cr3t@db/x?sslmode=s3cr3t".to_owned(),
        "postgres://u:%zzs3cr3t@db/x".to_owned(),
        "postgres://db/x?passwort=s3cr3t".to_owned(),
        "postgres://db/x?s3cr3t".to_owned(),
        "s3cr3t".to_owned(),
    ] {
        let backup = bare(&postgres, &url).set("RETRY_COUNT", "1");
        for command in [&["run"][..], &["check"], &["config"]] {
            let outcome = backup.run(command);
            let all = format!("{}{}", outcome.stdout, outcome.log);
            assert!(!all.contains("s3cr3t"), "{url}: {all}");
            if outcome.code == 78 {
                assert!(all.contains("DATABASE_URL"), "{url}: {all}");
            }
        }
    }
    for url in ["postgres://u:x@db/x?port=abc", "postgres://u:x@db:0/x", "postgres://db:99999/x"] {
        bare(&postgres, url).run(&["run"]).exits(78).says("DATABASE_URL").says("a number from 1 to 65535");
    }
}

#[test]
fn a_password_file_is_read_at_each_connection_and_once_more_after_a_refusal() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    filled(&postgres, "shop", 1000);
    postgres.sql("postgres", "CREATE ROLE token LOGIN SUPERUSER PASSWORD 'first'");
    let backup = Backup::of(&postgres, "shop").set("POSTGRES_USER", "token").set("POSTGRES_PASSWORD", "");
    let file = backup.folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let backup = backup.set("POSTGRES_PASSWORD_FILE", file.to_str().unwrap());
    // the token changes in the middle of the run: the rest of it connects with the new one
    let lock = postgres.lock_table("shop");
    let child = backup.set("VERIFY_ENABLED", "true");
    let running = child.spawn(&["run"]);
    lock.wait_for_waiter();
    postgres.sql("postgres", "ALTER ROLE token PASSWORD 'second'");
    std::fs::write(&file, "second\n").unwrap();
    drop(lock);
    crate::support::backup::finish(running).exits(0).says("verified");
    // the server has the new one already, and the file gets it a moment later
    postgres.sql("postgres", "ALTER ROLE token PASSWORD 'third'");
    let running = child.spawn(&["run"]);
    wait_for("a refusal", || postgres.log().contains("password authentication failed for user \"token\""));
    std::fs::write(&file, "third\n").unwrap();
    crate::support::backup::finish(running).exits(0);
    // and one that stays wrong is refused
    postgres.sql("postgres", "ALTER ROLE token PASSWORD 'fourth'");
    child.run(&["run"]).exits(77).says("POSTGRES_PASSWORD");
    // libpq's own file
    let passfile = backup_passfile(&child, "fourth");
    child.with("POSTGRES_PASSWORD_FILE", "").set("PGPASSFILE", &passfile).run(&["run"]).exits(0);
}

fn backup_passfile(backup: &Backup, password: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = backup.folder.path().join("pgpass");
    std::fs::write(&path, format!("*:*:*:token:{password}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_systems_authorities_serve_client_tools_that_do_not_know_the_word() {
    let mut postgres = Postgres::prepare(&tool("PG_BIN"));
    let authority = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = postgres.private_file("server.crt", &authority.cert.pem());
    let key = postgres.private_file("server.key", &authority.signing_key.serialize_pem());
    for (name, value) in [("ssl", "on"), ("ssl_cert_file", &cert), ("ssl_key_file", &key)] {
        postgres.configure(name, value);
    }
    postgres.launch();
    let backup = Backup::of(&postgres, "postgres");
    let bundle = backup.folder.path().join("bundle.pem");
    std::fs::write(&bundle, authority.cert.pem()).unwrap();
    let system = backup
        .set("POSTGRES_HOST", "localhost")
        .set("POSTGRES_SSLMODE", "verify-full")
        .set("POSTGRES_SSLROOTCERT", "system")
        .set("SSL_CERT_FILE", bundle.to_str().unwrap());
    for bin in ["PG_BIN", "PG17_BIN"] {
        let system = system.with("PG_BIN_DIR", &tool(bin));
        system.run(&["check"]).exits(0);
        system.run(&["run"]).exits(0);
    }
}

#[test]
fn a_standby_that_cancels_the_dump_is_tried_once_more_and_named_with_its_settings() {
    let mut primary = Postgres::prepare(&tool("PG_BIN"));
    let hba = primary.private_file("hba", "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n");
    for (name, value) in [("wal_level", "replica"), ("hba_file", &hba), ("max_wal_senders", "4")] {
        primary.configure(name, value);
    }
    primary.launch();
    filled(&primary, "shop", 1000);
    let data = primary.path("standby");
    let copied =
        unprivileged(&format!("{}/pg_basebackup", primary.bin), &["-D", &data, "-R", "-X", "stream", "-c", "fast"])
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", primary.port.to_string())
            .env("PGUSER", USER)
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let port = free_port(0);
    let folder = crate::support::unprivileged_folder();
    let command = format!(
        "exec '{}/postgres' -D '{data}' -p {port} -k '{}' -c listen_addresses=127.0.0.1 -c hot_standby=on \
         -c max_standby_streaming_delay=0 -c max_connections=60 -c max_prepared_transactions=2 -c hba_file='{hba}'",
        primary.bin,
        folder.path().display()
    );
    let _standby = crate::support::Server::start(folder, "INT", &command);
    let backup = Backup::of(&primary, "shop").set("POSTGRES_PORT", &port.to_string()).set("RETRY_COUNT", "50");
    backup.run(&["run", "--dry-run"]).exits(0);
    let check = backup.run(&["check"]).exits(0).stdout;
    assert!(check.contains("hot_standby_feedback") && check.contains("max_standby_streaming_delay"), "{check}");
    // a pg_dump that waits in the middle, so that its rows go meanwhile: once, then always
    for (times, code) in [(1, 0), (9, 74)] {
        let count = backup.folder.path().join(format!("count-{times}"));
        let sql = "UPDATE t SET n = n + 1; DELETE FROM t WHERE n % 7 = 0; VACUUM t; SELECT pg_switch_wal()";
        let statements = sql.split("; ").map(|one| format!("-c '{one}'")).collect::<Vec<_>>().join(" ");
        let script = format!(
            "echo x >>'{count}'\nif [ $(wc -l <'{count}') -le {times} ]; then\n\
             PGPASSWORD={PASSWORD} PGOPTIONS= PGAPPNAME=x {bin}/psql -Xq -h 127.0.0.1 -p {primary} -U {USER} -d shop {statements} >/dev/null\n\
             sleep 3\nfi\nexec $real \"$@\"",
            count = count.display(),
            bin = primary.bin,
            primary = primary.port,
        );
        let outcome = backup.with_pg_dump(&primary.bin, &script).run(&["run"]).exits(code);
        if code != 0 {
            assert!(
                outcome.log.contains("conflict with recovery") && outcome.log.contains("hot_standby_feedback"),
                "{}",
                outcome.log
            );
        }
        assert!(outcome.log.contains("trying once more"), "{}", outcome.log);
    }
}
