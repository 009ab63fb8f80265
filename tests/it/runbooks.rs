//! The scripts of `docs/runbooks.md`, run as they stand.

use crate::support;

use std::path::PathBuf;
use std::process::Command;
use support::backup::Backup;
use support::postgres::{PASSWORD, Postgres, USER};
use support::tool;

/// The scripts below a heading, in their order.
fn scripts(heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md")).unwrap();
    let section =
        text.split("\n## ").find(|section| section.starts_with(heading)).unwrap_or_else(|| panic!("no {heading}"));
    let scripts = section.split("```bash\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let scripts: Vec<String> = scripts.collect();
    assert!(!scripts.is_empty(), "{heading} has no script");
    scripts
}

struct Scene {
    source: Postgres,
    backup: Backup,
}

impl Scene {
    fn new() -> Self {
        let source = Postgres::start(&tool("PG_BIN"));
        source.sql("postgres", "CREATE ROLE app LOGIN");
        source.sql("postgres", "CREATE DATABASE shop OWNER app");
        source.sql("shop", "CREATE TABLE orders (id serial PRIMARY KEY, price numeric); ALTER TABLE orders OWNER TO app; INSERT INTO orders (price) SELECT g FROM generate_series(1, 100) g");
        let backup = Backup::of(&source, "postgres").set("BACKUP_DATABASES", "all").set("BACKUP_SOURCE", "lost");
        backup.run(&[]).exits(0);
        Self { source, backup }
    }

    fn run(&self, script: &str, variables: &[(&str, &str)]) -> String {
        let mut command: Command = self.backup.command(&[]);
        let program = command.get_program().to_owned();
        let folder = PathBuf::from(&program).parent().unwrap().to_owned();
        let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
        let environment: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
        command = Command::new("bash");
        // settings of whoever runs the tests are none of the runbook's
        command.env_clear().args(["-euo", "pipefail", "-c", script]);
        command.current_dir(self.backup.folder.path()).envs(environment);
        command.env("PATH", format!("{}:{}", folder.display(), path.to_str().unwrap()));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.source.port.to_string())
            .env("PGUSER", USER)
            .env("PGPASSWORD", PASSWORD);
        command.envs(variables.iter().copied()).envs([("DB", "shop"), ("TABLE", "public.orders"), ("SOURCE", "lost")]);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{script}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn orders(&self) -> String {
        self.source.sql("shop", "SELECT count(*), sum(price) FROM orders")
    }
}

const GOOD: &str = "100|5050";

#[test]
fn one_database() {
    let scene = Scene::new();
    let time =
        scene.source.sql("postgres", "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.USZ')");
    let [newest, earlier, clean_up] = &scripts("One database is lost")[..] else { panic!() };
    scene.source.sql("shop", "DROP TABLE orders");
    scene.run(newest, &[]);
    assert_eq!(scene.orders(), GOOD);
    scene.source.sql("postgres", "DROP DATABASE shop");
    scene.run(newest, &[]);
    assert_eq!(scene.orders(), GOOD);
    scene.source.sql("shop", "UPDATE orders SET price = 0");
    scene.backup.run(&[]).exits(0);
    scene.run(earlier, &[("TIME", &time)]);
    assert_eq!(scene.orders(), GOOD);
    scene.run(clean_up, &[]);
    assert_eq!(scene.source.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop_before%'"), "0");
}

#[test]
fn one_table() {
    let scene = Scene::new();
    let [gone, beside, place] = &scripts("One table is lost")[..] else { panic!() };
    scene.source.sql("shop", "DROP TABLE orders");
    scene.run(gone, &[]);
    assert_eq!(scene.orders(), GOOD);
    scene.source.sql("shop", "DELETE FROM orders");
    assert!(scene.run(beside, &[]).contains("orders_restored_"));
    assert_eq!(scene.orders(), "0|");
    scene.run(place, &[]);
    assert_eq!(scene.orders(), GOOD);
}

#[test]
fn a_lost_server_and_one_that_moves_to_a_newer_major() {
    let scene = Scene::new();
    for (heading, bin) in [("The server is lost", tool("PG_BIN")), ("The server moves", tool("PG18_BIN"))] {
        let server = Postgres::start(&bin);
        let port = server.port.to_string();
        let [script] = &scripts(heading)[..] else { panic!() };
        scene.run(script, &[("NEW_HOST", "127.0.0.1"), ("NEW_PORT", &port)]);
        assert_eq!(server.sql("shop", "SELECT count(*), sum(price) FROM orders"), GOOD);
        assert_eq!(server.sql("shop", "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'"), "app");
    }
}

#[test]
fn a_drill() {
    let scene = Scene::new();
    let server = Postgres::start(&tool("PG_BIN"));
    let port = server.port.to_string();
    let place = [("NEW_HOST", "127.0.0.1"), ("NEW_PORT", port.as_str()), ("PGPORT", port.as_str())];
    for script in scripts("A drill") {
        scene.run(&script, &place);
    }
    assert!(scene.backup.folder.path().join("shop.report.json").exists());
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop%'"), "0");
}

#[test]
fn by_hand() {
    let scene = Scene::new();
    for script in scripts("By hand") {
        scene.run(&script, &[]);
    }
    assert_eq!(scene.source.sql("shop_by_hand", "SELECT count(*), sum(price) FROM orders"), GOOD);
}
