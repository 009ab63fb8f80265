//! What people see on a terminal of 80 and of 120 columns: no line is longer, unless it is one id or path.

use crate::support::backup::{Backup, Outcome, finish};
use crate::support::postgres::{Postgres, shared};
use crate::support::tool;
use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, Stdio};
use std::sync::LazyLock;

/// A server of its own, so that databases have the same names each time.
static SERVER: LazyLock<Postgres> = LazyLock::new(|| {
    let postgres = Postgres::start(&tool("PG_BIN"));
    for database in ["shop", "customer_orders", "stock"] {
        postgres.sql("postgres", &format!("CREATE DATABASE {database}"));
        postgres.sql(
            database,
            "CREATE TABLE orders AS SELECT n AS id, 'a customer with a name' AS customer, md5(n::text) AS token,
                    'a remark that takes most of a line' AS remark FROM generate_series(1, 500) AS n;
             CREATE TABLE customers (id integer PRIMARY KEY)",
        );
    }
    postgres
});

fn backup() -> Backup {
    Backup::of(&SERVER, "shop")
        .set("BACKUP_SOURCE", "shop-db")
        .set("BACKUP_DATABASES", "shop,customer_orders")
        .set("BACKUP_GLOBALS", "false")
        .set("NO_COLOR", "1")
}

/// A command on a terminal of that many columns. What it logs goes elsewhere.
fn on_terminal(backup: &Backup, columns: u32, arguments: &[&str], typed: &str) -> Outcome {
    on_terminal_with(&backup.with("LOG_LEVEL", "warn"), columns, arguments, typed, "2>log.txt")
}

fn on_terminal_with(backup: &Backup, columns: u32, arguments: &[&str], typed: &str, log: &str) -> Outcome {
    let shell = format!("exec script -qec \"stty cols {columns} rows 50 -echo; exec $* {log}\" /dev/null");
    let mut command = backup.with("TERM", "xterm").under(&["sh", "-c", &shell, "sh"]).command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let mut outcome = finish(child);
    outcome.stdout = outcome.stdout.replace("\r\n", "\n").replace("^D\u{8}\u{8}", "");
    outcome.log += &std::fs::read_to_string(backup.folder.path().join("log.txt")).unwrap_or_default();
    outcome
}

/// No line is longer than the terminal is wide, unless it is one word.
#[track_caller]
fn assert_fits(screen: &str, columns: u32) {
    for line in screen.lines() {
        let is_word = !line.trim().contains(' ');
        assert!(is_word || line.chars().count() <= columns as usize, "longer than {columns} columns: {line}\n{screen}");
    }
}

/// What differs each time or on another machine, replaced by something that does not; of the same width, but for the
/// server's version.
fn settled(screen: &str) -> String {
    let version = screen.split_once("(PostgreSQL ").and_then(|(_, rest)| rest.split(')').next()).unwrap_or("none");
    let screen = screen.replace(&format!("(PostgreSQL {version})"), "(PostgreSQL 18.0)");
    let mut letters: Vec<char> = screen.chars().collect();
    for shape in ["####-##-##_##-##-##", "####-##-##", "##:##:##", "127.0.0.1:#####"] {
        let shape: Vec<char> = shape.chars().collect();
        for at in 0..letters.len().saturating_sub(shape.len() - 1) {
            let found = &mut letters[at..at + shape.len()];
            let fits = |(shape, letter): (&char, &char)| shape == letter || *shape == '#' && letter.is_ascii_digit();
            if shape.iter().zip(found.iter()).all(fits) {
                found.iter_mut().filter(|letter| letter.is_ascii_digit()).for_each(|digit| *digit = '0');
            }
        }
    }
    for unit in [" KiB", " s"] {
        let unit: Vec<char> = unit.chars().collect();
        for end in 0..letters.len() {
            let is_unit = letters[end..].starts_with(&unit)
                && letters.get(end + unit.len()).is_none_or(|letter| !letter.is_alphanumeric());
            for at in (0..if is_unit { end } else { 0 }).rev() {
                match letters[at] {
                    '0'..='9' => letters[at] = '0',
                    '.' => {}
                    _ => break,
                }
            }
        }
    }
    letters.into_iter().collect()
}

/// Backups of these ages in days beside the one of now, as earlier runs would have left them.
fn add_older(backup: &Backup, database: &str, ages: &[i64]) {
    let (archive, manifest) = backup.archives()[database].clone();
    let id = manifest["id"].as_str().unwrap().to_owned();
    for age in ages {
        let started: chrono::DateTime<chrono::Utc> = manifest["started"].as_str().unwrap().parse().unwrap();
        let started = started - chrono::TimeDelta::days(*age);
        let older = format!("{}{}", &id[..id.len() - 19], started.format("%Y-%m-%d_%H-%M-%S"));
        for end in ["", ".sha256", ".facts.json.gz"] {
            let from = format!("{}{end}", archive.display());
            std::fs::copy(&from, from.replace(&id, &older)).unwrap();
        }
        let mut manifest = manifest.clone();
        (manifest["id"], manifest["started"]) = (older.clone().into(), started.to_rfc3339().into());
        let path = format!("{}.json", archive.display()).replace(&id, &older);
        std::fs::write(path, manifest.to_string()).unwrap();
    }
}

/// Makes the one backup of a database so many hours old, so that its age does not depend on how long a test takes.
fn set_age(backup: &Backup, database: &str, hours: i64) {
    let (archive, mut manifest) = backup.archives()[database].clone();
    let started = chrono::Utc::now() - chrono::TimeDelta::hours(hours) - chrono::TimeDelta::minutes(10);
    manifest["started"] = started.to_rfc3339().into();
    std::fs::write(format!("{}.json", archive.display()), manifest.to_string()).unwrap();
}

#[test]
fn list_status_and_prune_fit_the_terminal_and_never_cut_an_id() {
    let backup = backup();
    backup.run(&[]).exits(0);
    set_age(&backup, "shop", 2);
    set_age(&backup, "customer_orders", 3);
    add_older(&backup, "shop", &[1, 3, 9, 40]);
    let id = backup.archives()["shop"].1["id"].as_str().unwrap().to_owned();
    for columns in [80, 120] {
        for command in [&["list"][..], &["status"], &["prune", "--dry-run"]] {
            let screen = on_terminal(&backup, columns, command, "").exits(0).stdout;
            assert_fits(&screen, columns);
            assert!(columns == 80 && command[0] == "status" || screen.contains(&id), "{screen}");
            // the volume and the days of the calendar are those of this machine and of today
            let screen = screen.split("what is kept").next().unwrap();
            let screen = screen.split("\nthe folder's volume").next().unwrap();
            insta::assert_snapshot!(format!("{}-{columns}", command[0]), settled(screen));
        }
    }
    let calendar = on_terminal(&backup, 80, &["prune", "--dry-run"], "").exits(0);
    calendar.says("what is kept on the local side").says("a auto, d daily");
    // where not even what matters fits, a backup has lines of its own
    let narrow = on_terminal(&backup, 40, &["list"], "").exits(0).stdout;
    assert_fits(&narrow, 40);
    assert!(narrow.lines().any(|line| line.trim() == id), "{narrow}");
    // and whoever reads by a pipe gets all of it, a line for each backup
    let piped = backup.run(&["list"]).exits(0).stdout;
    assert_eq!(piped.lines().count(), 1 + 6, "{piped}");
    assert!(piped.starts_with(" ID ") && piped.contains("TIME (UTC)"), "{piped}");
    assert!(!backup.run(&["prune", "--dry-run"]).exits(0).stdout.contains("what is kept"));
}

#[test]
fn a_wide_terminal_and_a_pipe_show_the_same_and_columns_is_not_asked() {
    let backup = backup().set("COLUMNS", "20");
    backup.run(&[]).exits(0);
    let (wide, piped) = (on_terminal(&backup, 200, &["list"], "").stdout, backup.run(&["list"]).stdout);
    assert_eq!(settled(&wide), settled(&piped));
}

#[test]
fn show_diff_and_peek_fit_the_terminal() {
    // a database that no other test looks at, because it changes
    let backup = backup().set("BACKUP_DATABASES", "stock");
    backup.run(&["run", "--type", "manual"]).exits(0);
    let first = backup.json(&["list"], 0)["backups"][0]["id"].as_str().unwrap().to_owned();
    SERVER.sql("stock", "CREATE TABLE returns_of_goods_that_were_broken AS SELECT n FROM generate_series(1, 7) AS n");
    backup.run(&["run", "--type", "manual"]).exits(0);
    SERVER.sql("stock", "DROP TABLE returns_of_goods_that_were_broken");
    for columns in [80, 120] {
        assert_fits(&on_terminal(&backup, columns, &["show"], "").exits(0).stdout, columns);
        let diff = on_terminal(&backup, columns, &["diff", &first, "latest"], "").exits(0).stdout;
        assert_fits(&diff, columns);
        insta::assert_snapshot!(format!("diff-{columns}"), settled(&diff));
        let peek = ["peek", "latest", "--table", "orders", "--rows", "2"];
        let peek = on_terminal(&backup, columns, &peek, "").exits(0).stdout;
        assert_fits(&peek, columns);
        insta::assert_snapshot!(format!("peek-{columns}"), settled(&peek));
    }
}

#[test]
fn verify_and_restore_say_in_one_sentence_that_all_is_well_and_every_check_on_request() {
    let backup = backup().set("BACKUP_DATABASES", "shop");
    backup.run(&[]).exits(0);
    for columns in [80, 120] {
        let short = on_terminal(&backup, columns, &["verify"], "").exits(0).stdout;
        assert_fits(&short, columns);
        insta::assert_snapshot!(format!("verify-{columns}"), settled(&short));
        let long = on_terminal(&backup, columns, &["verify", "--verbose"], "").exits(0).stdout;
        assert_fits(&long, columns);
        assert!(long.contains("CHECK") && long.contains("orphan"), "{long}");
        let plan = ["restore", "latest", "--into", "shop_copy", "--dry-run"];
        let plan = on_terminal(&backup, columns, &plan, "").exits(0).stdout;
        assert_fits(&plan, columns);
        insta::assert_snapshot!(format!("restore-plan-{columns}"), settled(&plan));
    }
    assert_eq!(backup.run(&["verify"]).exits(0).stdout.lines().count(), 1);
    let queries = backup.folder.path().join("queries.sql");
    std::fs::write(&queries, "SELECT false").unwrap();
    let failing = backup.with("VERIFY_QUERIES_FILE", queries.to_str().unwrap());
    let failed = on_terminal(&failing, 80, &["verify"], "").exits(65).stdout;
    assert_fits(&failed, 80);
    insta::assert_snapshot!("verify-failed-80", settled(&failed));
    // the newest is no good one any more, and is asked for by its name
    let id = backup.archives()["shop"].1["id"].as_str().unwrap().to_owned();
    let restored = on_terminal(&backup, 80, &["restore", &id, "--into", "shop_restored"], "").exits(0).stdout;
    SERVER.sql("postgres", "DROP DATABASE shop_restored");
    assert_fits(&restored, 80);
    insta::assert_snapshot!("restore-80", settled(&restored));
}

#[test]
fn check_and_config_fit_the_terminal_and_check_says_what_to_do_next() {
    let backup = backup();
    for columns in [80, 120] {
        let screen = on_terminal(&backup, columns, &["check"], "").exits(0).stdout;
        assert_fits(&screen, columns);
        assert!(screen.ends_with("next: `backup run`\n"), "{screen}");
        assert_fits(&on_terminal(&backup, columns, &["config"], "").exits(0).stdout, columns);
    }
    let wrong = backup.set("POSTGRES_PASSWORD", "wrong");
    let screen = on_terminal(&wrong, 120, &["check"], "").exits(77).stdout;
    assert!(screen.lines().last().unwrap().contains("1 failed; next: "), "{screen}");
}

#[test]
fn short_help_is_one_screen() {
    let backup = backup();
    let short = on_terminal(&backup, 80, &["-h"], "").exits(0).stdout;
    assert_fits(&short, 80);
    assert!(short.lines().count() <= 40, "{short}");
    let section = short.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let listed = section.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    for command in listed.filter(|command| *command != "help") {
        let screen = on_terminal(&backup, 80, &[command, "-h"], "").exits(0).stdout;
        assert_fits(&screen, 80);
        assert!(screen.lines().count() <= 24, "{command}: {} lines\n{screen}", screen.lines().count());
    }
    insta::assert_snapshot!("help-restore-80", on_terminal(&backup, 80, &["restore", "-h"], "").stdout);
}

#[test]
fn a_refused_confirmation_says_what_was_typed_and_that_nothing_was_changed() {
    let name = shared().database("confirm");
    let backup = Backup::of(shared(), &name);
    backup.run(&[]).exits(0);
    add_older(&backup, &name, &[30]);
    let files = backup.files();
    on_terminal(&backup, 80, &["prune"], "delte\n").exits(64).says("typed `delte`, not `delete`: nothing was changed");
    on_terminal(&backup, 80, &["prune"], "\n").exits(64).says("nothing was typed where `delete` was expected");
    shared().sql(&name, "CREATE TABLE t (n integer)");
    let refused = on_terminal(&backup, 80, &["restore", "--into", &name, "--replace"], "shpo\n").exits(64);
    refused.says(&format!("typed `shpo`, not `{name}`: nothing was changed"));
    assert_eq!(backup.files(), files);
    on_terminal(&backup, 80, &["prune"], "delete\n").exits(0).says("deleted 1 backup");
}

/// A command on a terminal that has asked its question; then `act` is done, which may type.
fn at_prompt(backup: &Backup, arguments: &[&str], act: impl FnOnce(&mut ChildStdin)) -> (i32, String) {
    let shell = "exec script -qec \"stty cols 80 rows 50; exec $*\" /dev/null";
    let mut command = backup.with("TERM", "xterm").under(&["sh", "-c", shell, "sh"]).command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut screen, mut byte, mut act) = (Vec::new(), [0], Some(act));
    while stdout.read(&mut byte).unwrap() > 0 {
        screen.push(byte[0]);
        if screen.ends_with(b" to continue: ")
            && let Some(act) = act.take()
        {
            act(&mut stdin);
        }
    }
    (finish(child).code, String::from_utf8_lossy(&screen).into_owned())
}

#[test]
fn a_question_hears_signals_and_holds_up_no_run() {
    let name = shared().database("prompt");
    shared().sql(&name, "CREATE TABLE t (n integer)");
    let backup = Backup::of(shared(), &name);
    backup.run(&[]).exits(0);
    add_older(&backup, &name, &[30]);
    for arguments in [&["prune"][..], &["restore", "--into", &name, "--replace"]] {
        let (code, screen) = at_prompt(&backup, arguments, |stdin| stdin.write_all(b"\x03").unwrap());
        assert_eq!(code, 130, "{screen}");
        assert!(screen.contains("stopped by SIGINT"), "{screen}");
    }
    let (code, screen) = at_prompt(&backup, &["prune"], |stdin| {
        backup.with("RETENTION_DAYS", "0").run(&["run"]).exits(0);
        stdin.write_all(b"delete\n").unwrap();
    });
    assert!(code == 0 && screen.contains("deleted 1 backup"), "{screen}");
}

/// What is left on the terminal of what was written to it, as far as a bar of one line makes use of it.
fn left_of(written: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut rest = written;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\n' => lines.push(std::mem::take(&mut line)),
            '\r' => line.clear(),
            '\u{1b}' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match rest.as_bytes()[end] {
                    b'A' => line = lines.pop().unwrap_or_default(),
                    b'K' => line.clear(),
                    _ => {}
                }
                rest = &rest[end + 1..];
            }
            letter => line.push(letter),
        }
    }
    lines.push(line);
    lines.join("\n")
}

#[test]
fn the_bar_is_gone_when_the_run_is_over_and_lines_of_the_log_stand_whole() {
    // a row that makes the dump wait longer than the bar takes to appear
    let database = shared().database("bar");
    shared().sql(
        &database,
        "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 30) AS text FROM generate_series(1, 40000) AS n",
    );
    let backup = Backup::of(shared(), &database).set("BACKUP_COMPRESSION_LEVEL", "9").set("BACKUP_CONNECTIONS", "1");
    backup.run(&[]).exits(0);
    let written = on_terminal_with(&backup, 80, &["run"], "", "").exits(0).stdout;
    assert!(!written.contains(" 0 s left") && !written.contains(" 0s left"), "{written}");
    let left = left_of(&written);
    assert!(!left.contains(" MiB/s"), "{left}");
    let is_of_log = |line: &str| line.starts_with("20") && line.contains(" INFO ");
    assert!(left.lines().filter(|line| line.contains(" INFO ")).all(is_of_log), "{left}");
    assert!(written.contains(" of about "), "no bar was shown: {written}");
}
