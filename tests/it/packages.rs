//! What people install: manual pages, the files of `make dist`, and the workflow that releases them.

use crate::support;

use postgres_backup_job::config::settings;
use postgres_backup_job::error::Exit;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use support::tool;

const BINARY: &str = env!("CARGO_BIN_EXE_backup");
const CHART: &str = "charts/postgres-backup";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a command in the repository, with neither settings nor a configuration of our own.
#[track_caller]
fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// What a command prints; it must succeed and complain of nothing.
#[track_caller]
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments);
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaints.is_empty(), "{program} {arguments:?}: {complaints}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `-h` lists, but for help itself.
fn commands() -> Vec<String> {
    let help = printed(BINARY, &["-h"]);
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = section.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

#[test]
fn every_command_has_a_manual_page_that_groff_takes_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.1")).to_str().unwrap().to_owned();
    printed(BINARY, &["man", "--output", folder.path().to_str().unwrap()]);
    let pages = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(pages, commands().len() + 1);
    // plain ASCII, without bold, which would be backspaces
    let rendered = |name: &str| printed("groff", &["-man", "-ww", "-Tascii", "-P-cbou", &path(name)]);
    let overview = rendered("backup");
    for command in commands() {
        let name = format!("backup-{command}");
        assert!(overview.contains(&format!("{name}(1)")), "backup.1 does not name {name}:\n{overview}");
        let page = rendered(&name);
        assert!(page.contains(&format!("backup {command}")) && page.contains("EXIT STATUS"), "{page}");
        assert_eq!(printed(BINARY, &["man", &command]), std::fs::read_to_string(path(&name)).unwrap());
    }
    assert_eq!(printed(BINARY, &["man"]), std::fs::read_to_string(path("backup")).unwrap());
    for (code, _) in Exit::MEANINGS {
        let is_named = overview.lines().any(|line| line.split_whitespace().next() == Some(&(code as i32).to_string()));
        assert!(is_named, "backup.1 does not name exit code {}", code as i32);
    }
    for setting in settings::all() {
        assert!(overview.contains(&format!("{} [", setting.name)), "backup.1 does not name {}", setting.name);
    }
}

#[test]
fn a_manual_page_of_an_alias_is_that_of_its_command_and_of_nothing_there_is_none() {
    assert_eq!(printed(BINARY, &["man", "test"]), printed(BINARY, &["man", "check"]));
    let refused = output(BINARY, &["man", "frobnicate"]);
    assert_eq!(refused.status.code(), Some(Exit::Usage as i32));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no command `frobnicate`"), "{refused:?}");
}

#[test]
fn the_bill_of_materials_names_every_locked_package_with_licence_and_checksum() {
    let bill: serde_json::Value = serde_json::from_str(&printed("python3", &["tests/tools/dist/sbom.py"])).unwrap();
    let all = bill["components"].as_array().unwrap().iter().chain([&bill["metadata"]["component"]]);
    let mut scopes = BTreeMap::new();
    for component in all {
        let purl = component["purl"].as_str().unwrap();
        assert!(component["licenses"][0].is_object(), "{purl} has no licence");
        if let Some(scope) = component["scope"].as_str() {
            assert_eq!(component["hashes"][0]["content"].as_str().map(str::len), Some(64), "{purl}");
            scopes.insert(component["name"].as_str().unwrap(), scope);
        }
    }
    let purls: BTreeSet<String> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&bill["metadata"]["component"]])
        .map(|component| component["purl"].as_str().unwrap().to_owned())
        .collect();
    let lock = read("Cargo.lock");
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")).map(str::to_owned));
        line.unwrap().trim_end_matches('"').to_owned()
    };
    let locked = lock.split("[[package]]\n").skip(1);
    let locked = locked.map(|block| format!("pkg:cargo/{}@{}", value(block, "name"), value(block, "version")));
    assert_eq!(purls, locked.collect::<BTreeSet<_>>());
    assert_eq!((scopes["tokio"], scopes["cc"], scopes["proptest"]), ("required", "required", "excluded"));
}

/// The files of `make dist` from the binary under test, made for all tests.
static PACKAGES: LazyLock<PathBuf> = LazyLock::new(|| packages("packages"));

/// Makes them in a folder of that name, with the binary but for what a debugger would need of it.
fn packages(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let stripped = tempfile::tempdir().unwrap();
    let binary = stripped.path().join("backup");
    printed("strip", &["-o", binary.to_str().unwrap(), BINARY]);
    let made = Command::new(root().join("tests/tools/dist.sh"))
        .env("BINARY", &binary)
        .env("DIST", &folder)
        .env("LEVEL", "1")
        .env("SOURCE_DATE_EPOCH", "1767225600")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

/// The one file there whose name has that beginning and that end.
#[track_caller]
fn only(folder: &Path, begin: &str, end: &str) -> String {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: Vec<String> = names.filter(|name| name.starts_with(begin) && name.ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{begin}…{end}: {found:?}");
    folder.join(&found[0]).to_str().unwrap().to_owned()
}

/// Mode, owner and path of each entry of a tarball's listing, without sizes, times and all but one of the pages.
fn entries(listing: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let lines = listing.lines().filter(|line| !line.contains("/backup-")).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {} {}\n", words[0], words[1], words[5]).replace(version, "VERSION")
    });
    lines.collect()
}

/// How many pages of commands a listing has.
fn pages_of_commands(listing: &str) -> usize {
    listing.lines().filter(|line| line.contains("/backup-")).count()
}

#[test]
fn tarball_and_debian_package_hold_what_is_recorded_and_are_made_alike_twice() {
    let (folder, scratch) = (PACKAGES.as_path(), tempfile::tempdir().unwrap());
    let at = |begin: &str, end: &str| only(folder, begin, end);
    let text = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    assert_eq!(text(folder.join("SHA256SUMS")), text(packages("packages-again").join("SHA256SUMS")));
    let check = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(folder).output().unwrap();
    assert!(check.status.success(), "{check:?}");

    let tarball = at("postgres-backup-job-", ".tar.gz");
    let listing = printed("tar", &["-tvzf", &tarball]);
    insta::assert_snapshot!("tarball", entries(&listing));
    assert_eq!(pages_of_commands(&listing), commands().len());

    let package = at("postgres-backup-job_", ".deb");
    let listing = printed("dpkg-deb", &["--contents", &package]);
    insta::assert_snapshot!("debian-package", entries(&listing));
    assert_eq!(pages_of_commands(&listing), commands().len());
    assert_eq!(printed("dpkg-deb", &["--field", &package, "Version"]).trim(), env!("CARGO_PKG_VERSION"));
    assert_eq!(printed("dpkg-deb", &["--field", &package, "Recommends"]).trim(), "ca-certificates, postgresql-client");
    let unpacked = scratch.path().join("unpacked");
    printed("dpkg-deb", &["--raw-extract", &package, unpacked.to_str().unwrap()]);
    let check = Command::new("md5sum").args(["-c", "DEBIAN/md5sums"]).current_dir(&unpacked).output().unwrap();
    assert!(check.status.success(), "{check:?}");
    let installed = unpacked.join("usr/bin/backup");
    assert!(printed(installed.to_str().unwrap(), &["--version"]).contains(env!("CARGO_PKG_VERSION")));
    // nothing is set up that the administrator has not asked for
    assert!(!unpacked.join("etc").exists() && !unpacked.join("DEBIAN/postinst").exists());

    // the pages that say what to install name files that are made
    for page in ["README.md", "docs/install.md"] {
        let text = read(page);
        let words = text.split(|letter: char| letter.is_whitespace() || letter == '`');
        let files = words.map(|word| word.trim_start_matches("./"));
        let is_package = |word: &&str| [".deb", ".tar.gz", ".tgz", ".cdx.json"].iter().any(|end| word.ends_with(end));
        let named: Vec<&str> = files.filter(|word| word.starts_with("postgres-backup")).filter(is_package).collect();
        assert!(named.len() >= 2, "{page}: {named:?}");
        for name in named {
            // the binary under test is not a static one
            let pattern = name.replace("VERSION", "*").replace("ARCH", "*").replace("linux.tar", "linux*.tar");
            let mut found = glob::glob(&format!("{}/{pattern}", folder.display())).unwrap();
            assert!(found.next().is_some(), "{page}: make dist makes no {name}");
        }
    }
}

#[test]
fn the_charts_package_is_what_helm_would_make_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let ours = only(&PACKAGES, "postgres-backup-", ".tgz");
    let script = "import helm_python, sys; helm_python.package(sys.argv[1], destination=sys.argv[2])";
    let helms = folder.path().join("helm");
    std::fs::create_dir(&helms).unwrap();
    let python = tool("PYTHON");
    printed(&python, &["-c", script, CHART, helms.to_str().unwrap()]);
    let helms = only(&helms, "postgres-backup-", ".tgz");
    assert_eq!(Path::new(&ours).file_name(), Path::new(&helms).file_name());
    let files = |package: &str| -> BTreeSet<String> {
        let listing = printed("tar", &["-tzf", package]);
        listing.lines().filter(|name| !name.ends_with('/')).map(str::to_owned).collect()
    };
    assert_eq!(files(&ours), files(&helms));
    assert!(files(&ours).iter().all(|name| !name.contains("/ci/")));
    printed("tar", &["-xzf", &ours, "-C", folder.path().to_str().unwrap()]);
    for name in files(&ours) {
        let of_the_chart = root().join("charts").join(&name);
        assert_eq!(std::fs::read(folder.path().join(&name)).unwrap(), std::fs::read(of_the_chart).unwrap(), "{name}");
    }
}

#[test]
fn the_release_workflow_makes_what_make_dist_makes_and_names_no_registry() {
    let path = ".github/workflows/release.yml";
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let workflow: serde_json::Value = serde_json::from_str(&printed(&tool("PYTHON"), &["-c", script, path])).unwrap();
    let jobs = workflow["jobs"].as_object().unwrap().values();
    let steps: Vec<&str> =
        jobs.flat_map(|job| job["steps"].as_array().unwrap()).filter_map(|s| s["run"].as_str()).collect();
    assert!(steps.iter().any(|step| step.lines().any(|line| line == "make dist")), "{steps:?}");
    assert_eq!(workflow["env"]["REGISTRY"], "${{ vars.REGISTRY }}");
    assert!(steps.iter().any(|step| step.contains("\"oci://$REGISTRY\"")), "{steps:?}");
}

#[test]
fn cargo_finds_one_package_in_a_clone_and_installs_that() {
    let outside = ["(", "-path", "./target", "-o", "-path", "./.git", ")", "-prune", "-o"];
    let found = printed("find", &[&["."][..], &outside, &["-name", "Cargo.toml", "-print"]].concat());
    assert_eq!(found, "./Cargo.toml\n", "with another one, `cargo install --git` asks which package is meant");
}
