//! The code holds to its own map, and the documents to the one table of settings.
//!
//! `UPDATE_GENERATED=1 cargo test --test it consistency` rewrites `.env.example`, the tables in docs/, and the chart's.

use postgres_backup_job::config::{Config, settings};
use postgres_backup_job::metrics::FAMILIES;
use postgres_backup_job::settings::{ChartUse, DefaultValue, ValueKind};
use postgres_backup_job::storage::backends;
use postgres_backup_job::storage::store::Backend;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// Holds a file to its generated text, or writes it.
fn assert_generated(path: &str, expected: &str) {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(root().join(path), expected).unwrap();
    }
    assert!(
        read(path) == expected,
        "{path} differs from the settings table: UPDATE_GENERATED=1 cargo test --test it consistency"
    );
}

#[test]
fn env_example_lists_every_setting_with_its_default() {
    assert_generated(".env.example", &settings::template());
}

#[test]
fn env_example_means_the_same_to_us_to_docker_and_to_kubectl() {
    for line in read(".env.example").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) =
            line.split_once('=').unwrap_or_else(|| panic!("`{line}` takes its value from the environment"));
        assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{line}");
        assert_eq!(value, value.trim(), "`{line}`: readers differ in what they do with spaces at the ends");
        assert!(!value.contains(['"', '\'', '$', '#', '\\', '`']), "`{line}`: readers differ in what this means");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(root().join(".env.example"), folder.path().join(".env")).unwrap();
    let from_file = Config::load([], folder.path()).unwrap();
    let bare = Config::load([], Path::new("/nonexistent")).unwrap();
    assert!(from_file.warnings.is_empty(), "{:?}", from_file.warnings);
    for (with, without) in from_file.effective.iter().zip(&bare.effective) {
        assert_eq!(with.value, without.value, "{}", with.name);
    }
}

#[test]
fn the_documents_have_the_tables_of_settings_and_metrics() {
    let mut table = String::new();
    for group in settings::groups() {
        write!(table, "\n**{}**\n\n| variable | default | meaning |\n|---|---|---|\n", group.title).unwrap();
        for setting in &group.settings {
            let default = match setting.default {
                DefaultValue::Is(text) | DefaultValue::Where(text, _) => format!("`{text}`"),
                other => other.words().to_owned(),
            };
            let secret = if setting.secret { " Secret." } else { "" };
            let meaning = setting.describe().replace('|', "\\|").replace('<', "&lt;");
            let default = default.replace('<', "&lt;");
            writeln!(table, "| `{}` | {default} | {meaning}{secret} |", setting.name).unwrap();
        }
    }
    let path = "docs/reference.md";
    assert_generated(path, &between(&read(path), "<!-- settings -->\n", &table, "\n<!-- /settings -->"));

    let mut table = String::from("| metric | labels | meaning |\n|---|---|---|\n");
    for family in FAMILIES {
        writeln!(table, "| `{}` | {} | {} |", family.name, family.labels.join(", "), family.help).unwrap();
    }
    let path = "docs/metrics.md";
    assert_generated(path, &between(&read(path), "<!-- metrics -->\n", &table, "<!-- /metrics -->"));
}

/// The text with what stands between two marks replaced.
#[track_caller]
fn between(text: &str, begin: &str, what: &str, end: &str) -> String {
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("there is no {begin}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("there is no {end} after {begin}"));
    format!("{before}{begin}{what}{end}{after}")
}

#[test]
fn the_charts_values_take_every_setting_and_know_which_are_secret() {
    let of_the_chart = || settings::all().filter(|setting| setting.chart != ChartUse::Withholds);
    let mut properties = Vec::new();
    for setting in of_the_chart() {
        let meaning = serde_json::to_string(&setting.describe()).unwrap();
        let mut allowed = String::from(r#""type": ["string", "number", "boolean", "null"]"#);
        if let (ChartUse::Reads, ValueKind::Words(words)) = (setting.chart, setting.kind) {
            let words: Vec<String> = words().iter().map(|word| format!("{word:?}")).collect();
            allowed = format!(r#""enum": [{}, "", null]"#, words.join(", "));
        }
        properties.push(format!(r#"        "{}": {{{allowed}, "description": {meaning}}}"#, setting.name));
        if let Some(file) = setting.file_name() {
            let meaning = format!("Path of a file with {}, mounted by extraVolumes.", setting.name);
            properties.push(format!(r#"        "{file}": {{"type": ["string", "null"], "description": "{meaning}"}}"#));
        }
    }
    let path = "charts/postgres-backup/values.schema.json";
    let generated = "\"$comment\": \"generated from the settings table\",\n      ";
    let schema = between(
        &read(path),
        &format!("{generated}\"properties\": {{\n"),
        &properties.join(",\n"),
        "\n      }\n    },\n    \"settingName\"",
    );
    let names: Vec<String> = of_the_chart().map(|setting| format!("        \"{}\"", setting.name)).collect();
    let schema = between(&schema, &format!("{generated}\"enum\": [\n"), &names.join(",\n"), "\n      ]\n");
    assert_generated(path, &schema);
    let secrets = of_the_chart().filter(|setting| setting.secret).map(|setting| format!("{}\n", setting.name));
    assert_generated("charts/postgres-backup/files/secret-settings.txt", &secrets.collect::<String>());
    let describe = |backend: &Backend| {
        let chosen_by = backend.chosen_by.unwrap_or_default();
        (backend.name.to_owned(), json!({ "chosenBy": chosen_by, "needed": backend.needed }))
    };
    let kinds: serde_json::Map<String, Value> = backends::ALL.iter().map(describe).collect();
    let stores = json!({ "default": backends::ALL[0].name, "kinds": kinds });
    let stores = format!("{}\n", serde_json::to_string_pretty(&stores).unwrap());
    assert_generated("charts/postgres-backup/files/stores.json", &stores);
}

/// Keys of values.yaml that have a comment of the form `# --`, with default and comment, as a documentation generator
/// reads them.
fn documented_values() -> Vec<(String, String, String)> {
    let text = read("charts/postgres-backup/values.yaml");
    let (mut found, mut path, mut comment): (Vec<_>, Vec<(usize, String)>, String) = Default::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(begun) = line.strip_prefix("# -- ") {
            begun.clone_into(&mut comment);
        } else if let Some(more) = line.strip_prefix("# ").filter(|more| !comment.is_empty() && !more.starts_with('@'))
        {
            comment = format!("{comment} {more}");
        } else if let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with(['#', '-'])) {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key.to_owned()));
            let has_children = lines.peek().is_some_and(|next| next.len() - next.trim_start().len() > indent);
            if !comment.is_empty() {
                let name = path.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
                let default = if has_children { "see values.yaml".to_owned() } else { format!("`{}`", value.trim()) };
                found.push((name, default, std::mem::take(&mut comment)));
            }
        }
    }
    found
}

#[test]
fn the_charts_readme_has_every_value_and_every_alert() {
    let path = "charts/postgres-backup/README.md";
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    for (name, default, meaning) in documented_values() {
        writeln!(table, "| `{name}` | {default} | {} |", meaning.replace('|', "\\|")).unwrap();
    }
    let readme = between(&read(path), "<!-- values -->\n", &table, "<!-- /values -->");
    assert_generated(path, &readme);
    let alerts = read("charts/postgres-backup/templates/_alerts.tpl");
    for alert in alerts.lines().filter_map(|line| line.strip_prefix("- alert: Postgres")) {
        assert!(readme.contains(&format!("\n### Postgres{alert}\n")), "the chart's README does not explain {alert}");
    }
}

#[test]
fn the_charts_app_version_is_the_programs() {
    let chart = read("charts/postgres-backup/Chart.yaml");
    assert!(chart.contains(&format!("\nappVersion: {}\n", env!("CARGO_PKG_VERSION"))), "{chart}");
}

#[test]
fn the_readmes_test_command_is_the_one_ci_runs() {
    let is_the_command = |line: &str| line.split('#').next().is_some_and(|words| words.trim() == "make test");
    assert!(read("README.md").lines().any(is_the_command));
    assert!(read(".ci/run").lines().any(is_the_command));
}

/// Rust files below a folder with their text, comments and test modules left out.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\n").next().unwrap().to_owned();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code = code.collect::<Vec<_>>().join("\n");
                found.push((path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned(), code));
            }
        }
    }
    found
}

/// Whom each room may know, in the order of the map. An arrow that is not here fails until somebody writes it down.
const ARROWS: &[(&str, &str)] = &[
    ("settings", ""),
    ("config", "settings dump_format encryption record storage notify schedule"),
    ("postgres", "config dump_format record background text"),
    ("dump_format", "hex"),
    ("pipeline", "dump_format encryption record progress hex"),
    ("encryption", ""),
    ("record", "text hex"),
    ("storage", "settings record background text hex"),
    ("repository", "encryption record storage progress text hex"),
    ("inventory", "config postgres record storage repository report schedule error shutdown progress text"),
    (
        "loader",
        "config postgres dump_format pipeline encryption record storage repository error background shutdown progress hex text",
    ),
    ("verify", "config postgres dump_format pipeline encryption record repository loader error shutdown text"),
    ("restore", "config postgres dump_format record repository loader verify error shutdown text"),
    ("inspection", "dump_format encryption record repository storage"),
    ("report", "record storage text"),
    ("notify", "settings storage report delivery shutdown background text"),
    ("delivery", "settings"),
    ("metrics", "settings config record repository inventory report delivery schedule"),
    (
        "job",
        "config postgres pipeline encryption record storage repository inventory verify report notify metrics error shutdown background progress text hex",
    ),
    ("schedule", "record"),
    (
        "daemon",
        "config pipeline record repository inventory report metrics job schedule error shutdown background progress text",
    ),
    (
        "cli",
        "config postgres pipeline record storage repository inventory verify restore inspection report notify metrics job schedule daemon error shutdown progress logging text",
    ),
    ("error", "config postgres pipeline encryption storage repository shutdown text"),
    ("shutdown", ""),
    ("background", ""),
    ("progress", "background text"),
    ("logging", "config progress text"),
    ("text", ""),
    ("hex", ""),
    ("init", ""),
];

/// Rooms without async, I/O and clock: what they need of these arrives as parameters.
const PURE: &[&str] = &[
    "daemon/page/",
    "daemon/plot.rs",
    "daemon/problems.rs",
    "dump_format/",
    "inventory/forecast.rs",
    "inventory/mod.rs",
    "inventory/retention/",
    "inventory/shrink.rs",
    "inventory/status.rs",
    "inspection/difference.rs",
    "inspection/row_reader.rs",
    "inspection/summary.rs",
    "record/",
    "report.rs",
    "restore/plan.rs",
    "schedule/",
    "verify/checks/",
    "verify/report.rs",
];

#[test]
fn rooms_know_only_whom_the_map_allows() {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, code) in sources("src").iter().filter(|(path, _)| !["lib.rs", "main.rs"].contains(&path.as_str())) {
        let room = path.split('/').next().unwrap().trim_end_matches(".rs");
        let known = code.split("crate::").skip(1).map(|rest| {
            rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap().to_owned()
        });
        arrows.entry(room.to_owned()).or_default().extend(known.filter(|name| name != room && !name.is_empty()));
    }
    let allowed: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(room, known)| ((*room).to_owned(), known.split_whitespace().map(str::to_owned).collect()))
        .collect();
    for (room, known) in &arrows {
        let allowed =
            allowed.get(room).unwrap_or_else(|| panic!("{room} is not in the list of arrows: it knows {known:?}"));
        assert_eq!(known, allowed, "what {room} knows is not what the list of arrows says");
    }
    assert_eq!(arrows.len(), allowed.len(), "the list of arrows has a room that is not there");
    assert_eq!(circle(&allowed), None, "rooms know each other in a circle");
}

/// Rooms that know each other in a circle.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut left = arrows.clone();
    while let Some(leaf) = left.iter().find(|(_, known)| known.iter().all(|name| !left.contains_key(name))) {
        let leaf = leaf.0.clone();
        left.remove(&leaf);
    }
    (!left.is_empty()).then(|| left.into_keys().collect())
}

#[test]
fn no_two_rooms_have_a_type_of_one_name() {
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, code) in sources("src") {
        let room = path.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        // the types of a trait's implementation are further in
        for line in code.lines().filter(|line| !line.starts_with(' ')) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let kind = words.iter().position(|word| ["struct", "enum", "trait", "type"].contains(word));
            let is_first = kind.is_some_and(|at| {
                words[..at].iter().all(|w| ["pub", "crate", "super", "in", "", "storage", "notify"].contains(w))
            });
            if let Some(name) = kind.filter(|_| is_first).and_then(|at| words.get(at + 1)) {
                rooms.entry((*name).to_owned()).or_default().insert(room.clone());
            }
        }
    }
    assert!(rooms.len() > 300, "{}", rooms.len());
    let shared: Vec<_> = rooms.iter().filter(|(_, rooms)| rooms.len() > 1).collect();
    assert!(shared.is_empty(), "one name for one thing: {shared:?}");
}

#[test]
fn what_is_pure_does_no_io_and_asks_no_clock() {
    for room in PURE {
        let files = sources("src").into_iter().filter(|(path, _)| path.starts_with(room)).collect::<Vec<_>>();
        assert!(!files.is_empty(), "there is no src/{room}");
        for (path, code) in files {
            for word in ["async ", "tokio", "Utc::now", "Instant::now", "std::fs", "std::env"] {
                assert!(!code.contains(word), "src/{path} is pure, and has `{word}`");
            }
        }
    }
}

#[test]
fn every_task_that_is_spawned_is_counted() {
    for (path, code) in sources("src") {
        let is_task = |line: &&str| line.contains("tokio::spawn(") || line.contains(".spawn(async");
        for line in code.lines().filter(is_task).filter(|_| path != "main.rs") {
            assert!(line.contains("spawn(counted("), "src/{path}: {line}");
        }
    }
}

#[test]
fn only_cli_prints_and_only_main_exits_and_only_config_and_cli_read_the_environment() {
    for (path, code) in sources("src") {
        if path != "main.rs" {
            assert!(!code.contains("process::exit"), "src/{path} exits");
        }
        if path != "main.rs" && !path.starts_with("cli") {
            for word in ["println!", "eprintln!", "print!(", "use clap", "io::stdout", "env::vars", "env::var("] {
                // a daemon's log goes to stdout
                let is_log = path == "logging.rs" && word == "io::stdout";
                assert!(is_log || !code.contains(word), "src/{path} has `{word}`");
            }
        }
    }
}

#[test]
fn the_map_in_lib_names_every_module_and_no_file_is_too_long() {
    let map = read("src/lib.rs");
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        if !["lib", "main"].contains(&module) {
            assert!(map.contains(&format!("pub mod {module};")), "src/lib.rs lacks {module}");
        }
    }
    for (path, _) in sources("src") {
        let text = read(&format!("src/{path}"));
        let (lines, head) = (text.lines().count(), text.lines().take_while(|line| line.starts_with("//!")));
        let has_reason = head.clone().any(|line| line.contains("Longer than other files, because"));
        assert!(lines <= 400 || has_reason && lines <= 550, "src/{path} has {lines} lines, and no reason at its head");
    }
}
