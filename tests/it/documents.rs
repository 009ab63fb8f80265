//! The documents: every link leads somewhere, and what they tell people to type exists.

use postgres_backup_job::config::settings;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Names in commands and settings that are not ours: those of the system, of PostgreSQL, of other programs, and the
/// placeholders that people replace.
const OF_OTHERS: &[&str] = &[
    "AWS_PROFILE",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
    "DEBIAN_FRONTEND",
    "DEEP_ARCHIVE",
    "HOME",
    "INSTA_UPDATE",
    "IS_TEMPLATE",
    "NO_COLOR",
    "ON_ERROR_STOP",
    "PATH",
    "PGHOST",
    "PGOPTIONS",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGPORT",
    "PGUSER",
    "PWD",
    "SSL_CERT_FILE",
    "STANDARD_IA",
    "TMPDIR",
    "UPDATE_GENERATED",
    // placeholders
    "DB",
    "NAME_FILE",
    "NEW_HOST",
    "NEW_PORT",
    "SETTING_FILE",
    "SOURCE",
    "SYSTEM_IDENTIFIER",
    "TABLE",
    "TIME",
];

/// Wordings that need reading twice, each with a plain one.
const ODD: &[(&str, &str)] = &[
    ("anew, and well", "stored a new good backup"),
    ("as long as it takes", "until the verification ends"),
    ("held against", "compared with"),
    ("made good for", "catches up"),
    ("makes good for", "catches up"),
    ("nobody watches", "say who is not told"),
    ("tells once", "sends once"),
    ("told once", "sent once"),
    ("whose matter", "what it counts against"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Pages below docs/, by their paths in the repository.
fn pages() -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 30, "{found:?}");
    found
}

/// Every document that people read; the changelog tells of names as they once were, so only its links are looked at.
fn documents() -> Vec<String> {
    let mut all = pages();
    all.extend(["README.md", "charts/postgres-backup/README.md"].map(str::to_owned));
    all
}

/// A document taken apart.
#[derive(Default)]
struct Document {
    /// The text outside blocks of code, with its lines.
    prose: String,
    /// Language and text of each block of code, fenced or indented.
    blocks: Vec<(String, String)>,
}

impl Document {
    fn read(path: &str) -> Self {
        Self::parse(&read(path))
    }

    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let (mut fenced, mut indented, mut after_blank) = (false, false, true);
        for line in text.lines() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                fenced = !fenced;
                if fenced {
                    document.blocks.push((language.to_owned(), String::new()));
                }
                indented = false;
            } else if fenced || line.starts_with("    ") && (indented || after_blank) {
                if !fenced && !indented {
                    document.blocks.push((String::new(), String::new()));
                    indented = true;
                }
                let block = &mut document.blocks.last_mut().unwrap().1;
                block.push_str(line);
                block.push('\n');
            } else {
                indented = indented && line.is_empty();
                document.prose.push_str(line);
                document.prose.push('\n');
            }
            after_blank = line.is_empty();
        }
        assert!(!fenced, "a block of code has no end");
        assert!(document.prose.matches('`').count().is_multiple_of(2), "a backquote stands alone");
        document
    }

    /// What stands between backquotes, line breaks taken as spaces.
    fn spans(&self) -> Vec<String> {
        let paragraphs = self.prose.split("\n\n");
        paragraphs.flat_map(|text| text.split('`').skip(1).step_by(2)).map(|span| span.replace('\n', " ")).collect()
    }

    /// Commands of blocks and spans, each as its words.
    fn commands(&self) -> Vec<Vec<String>> {
        let blocks = self.blocks.iter().map(|(_, block)| block.clone());
        blocks.chain(self.spans()).flat_map(|code| commands(&code)).collect()
    }

    /// Anchors that GitHub makes: of headings, and those that are written out.
    fn anchors(&self) -> BTreeSet<String> {
        let (mut anchors, mut times) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
        for heading in headings(&self.prose) {
            let anchor = anchor(heading);
            let before = times.entry(anchor.clone()).or_default();
            anchors.insert(if *before == 0 { anchor.clone() } else { format!("{anchor}-{before}") });
            *before += 1;
        }
        for attribute in ["<a id=\"", "<a name=\""] {
            let written = self.prose.split(attribute).skip(1);
            anchors.extend(written.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
        anchors
    }

    /// Where links and images lead, but for what is elsewhere.
    fn links(&self) -> Vec<String> {
        // a span of code has no links, and may be a link's text
        let code_as_text: Vec<&str> =
            self.prose.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "code" }).collect();
        let text = code_as_text.concat();
        let mut found = Vec::new();
        for (before, end) in [("](", &[')', ' '][..]), ("src=\"", &['"'][..]), ("href=\"", &['"'][..])] {
            found.extend(text.split(before).skip(1).map(|rest| rest.split(end).next().unwrap().to_owned()));
        }
        found.retain(|link| !link.contains("://") && !link.starts_with("mailto:"));
        found
    }
}

fn headings(prose: &str) -> impl Iterator<Item = &str> {
    prose.lines().filter_map(|line| {
        let text = line.trim_start_matches('#');
        (line.starts_with('#') && text.starts_with(' ')).then(|| text.trim())
    })
}

/// GitHub's rule: small letters, spaces as dashes, and of everything else only letters, digits, `-` and `_`.
fn anchor(heading: &str) -> String {
    // of a link, its text
    let mut text = String::new();
    for part in heading.split("](") {
        let visible = if text.is_empty() { part } else { part.split_once(')').map_or("", |(_, rest)| rest) };
        text.push_str(&visible.replace('[', ""));
    }
    let kept = text.to_lowercase().replace(' ', "-");
    kept.chars().filter(|letter| letter.is_alphanumeric() || ['-', '_'].contains(letter)).collect()
}

/// The commands of a script, each as its words: without comments, redirections, and what variables are set before it.
fn commands(script: &str) -> Vec<Vec<String>> {
    let script = script.replace("\\\n", " ");
    let (mut parts, mut quote, mut skipping) = (vec![String::new()], None, None);
    let mut letters = script.chars().peekable();
    let mut last = '\n';
    while let Some(letter) = letters.next() {
        let part = parts.last_mut().unwrap();
        match (quote, letter) {
            _ if skipping == Some('#') && letter != '\n' => {}
            (Some(open), _) => {
                quote = (letter != open).then_some(open);
                part.push(letter);
            }
            (None, '\'' | '"') if skipping.is_none() => {
                quote = Some(letter);
                part.push(letter);
            }
            (None, '#') if last.is_whitespace() => skipping = Some('#'),
            (None, '\n' | '|' | ';' | '&' | '(' | ')') => {
                skipping = None;
                parts.push(String::new());
            }
            (None, '<' | '>') => {
                // the number of what is redirected
                while part.ends_with(|end: char| end.is_ascii_digit()) {
                    part.pop();
                }
                while letters.next_if(|next| ['>', '<', '&', ' '].contains(next)).is_some() {}
                skipping = Some('>');
            }
            (None, ' ') if skipping == Some('>') => {
                skipping = None;
                part.push(letter);
            }
            _ if skipping.is_some() => {}
            _ => part.push(letter),
        }
        last = letter;
    }
    let is_assignment = |word: &String| word.split_once('=').is_some_and(|(name, _)| is_variable(name));
    let words = parts.iter().filter_map(|part| shlex::split(part));
    words
        .map(|words| words.into_iter().skip_while(is_assignment).collect())
        .filter(|words: &Vec<_>| !words.is_empty())
        .collect()
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Names of variables in code: those that are set, those that are used, and in YAML those that are keys.
fn variables(language: &str, code: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(is_part) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|before| is_part(before) || before == '-') {
            continue;
        }
        let rest = &code[at..];
        let (name, behind) = rest.split_at(rest.find(|letter| !is_part(letter)).unwrap_or(rest.len()));
        let is_used = before == Some('$') || code[..at].ends_with("${");
        let is_key = language == "yaml" && behind.starts_with(':');
        // one word by itself is no name of a variable
        let is_set = behind.starts_with('=') && name.len() > 1;
        if is_variable(name) && (is_used || is_key || is_set || name == code && name.contains('_')) {
            found.insert(name.to_owned());
        }
    }
    found
}

/// Names of the settings, and of those that give a secret as a file.
fn names_of_settings() -> BTreeSet<String> {
    settings::all().flat_map(|setting| [Some(setting.name.to_owned()), setting.file_name()]).flatten().collect()
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let (mut count, mut broken) = (0, Vec::new());
    for path in documents().into_iter().chain(["CHANGELOG.md".to_owned()]) {
        let folder = Path::new(&path).parent().unwrap().to_owned();
        for link in Document::read(&path).links() {
            count += 1;
            let (file, wanted) = link.split_once('#').unwrap_or((&link, ""));
            let mut target = PathBuf::new();
            let steps = if file.is_empty() { PathBuf::from(&path) } else { folder.join(file) };
            for step in steps.components() {
                let is_inside = if step == Component::ParentDir { target.pop() } else { true };
                assert!(is_inside, "{path}: {link} leads out of the repository");
                if step != Component::ParentDir {
                    target.push(step);
                }
            }
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            let leads = root().join(&target).exists()
                && (wanted.is_empty()
                    || is_page && Document::read(target.to_str().unwrap()).anchors().contains(wanted));
            if !leads {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
    assert!(count > 60, "only {count} links were found");
}

#[test]
fn the_readme_is_short_and_installing_comes_second() {
    let (text, readme) = (read("README.md"), Document::read("README.md"));
    assert!(text.lines().count() <= 200, "README.md has {} lines: move something to docs/", text.lines().count());
    for line in text.lines().filter(|line| !line.starts_with('|')) {
        assert!(line.chars().count() <= 124, "README.md has a long line: {line}");
    }
    assert_eq!(headings(&readme.prose).nth(1), Some("Install"), "the second heading of README.md");
    let linked: BTreeSet<String> =
        readme.links().iter().map(|link| link.split('#').next().unwrap().to_owned()).collect();
    for page in pages().into_iter().filter(|page| page.matches('/').count() == 1) {
        assert!(linked.contains(&page), "README.md has no link to {page}");
    }
}

#[test]
fn every_command_in_the_documents_is_one_that_the_program_takes() {
    let folder = tempfile::tempdir().unwrap();
    let takes = |words: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backup"));
        // help is printed only where everything before it could be parsed
        let output = command.args(words).arg("--help").env_clear().current_dir(folder.path()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
        if output.status.success() && !output.stdout.is_empty() { Ok(()) } else { Err(error) }
    };
    // prose names an option without its value, as in `backup prune --adopt`
    let takes_with_a_value = |words: &[String]| {
        takes(words).or_else(|error| {
            if error.contains("a value is required for") {
                takes(&[words, &["1".to_owned()]].concat())
            } else {
                Err(error)
            }
        })
    };
    for wrong in ["frobnicate", "run --frobnicate", "list one", "restore latest --into", "run --type"] {
        let words: Vec<String> = wrong.split(' ').map(str::to_owned).collect();
        assert!(takes(&words).is_err(), "`backup {wrong} --help` passes, so this test would find nothing");
    }
    let mut told: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for path in documents() {
        for words in Document::read(&path).commands() {
            let ours = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["backup", ..] => &words[1..],
                ["cargo", "run", "--", ..] => &words[3..],
                ["docker", "compose", "run", "--rm", "backup", ..] => &words[5..],
                _ => continue,
            };
            told.insert(ours.to_vec(), path.clone());
        }
    }
    assert!(told.len() > 40, "only {} commands were found", told.len());
    let refused: Vec<String> = told
        .iter()
        .filter_map(|(words, path)| {
            takes_with_a_value(words).err().map(|error| format!("{path}: backup {}: {error}", words.join(" ")))
        })
        .collect();
    assert!(refused.is_empty(), "commands that the program refuses: {refused:#?}");
}

#[test]
fn every_make_target_in_the_documents_exists_and_takes_the_variables_given() {
    let (makefile, script) = (read("Makefile"), read("charts/k8s.sh"));
    let is_target = |word: &str| makefile.lines().any(|line| line.starts_with(&format!("{word}:")));
    let is_taken = |name: &str| is_variable(name) && [&makefile, &script].iter().any(|text| text.contains(name));
    let (mut count, mut missing) = (0, Vec::new());
    for path in documents() {
        for words in Document::read(&path).commands().into_iter().filter(|words| words[0] == "make") {
            for word in words[1..].iter().filter(|word| *word != "k8s-…") {
                count += 1;
                if !word.split_once('=').map_or_else(|| is_target(word), |(name, _)| is_taken(name)) {
                    missing.push(format!("{path}: make {word}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "neither targets nor variables of the Makefile: {missing:#?}");
    assert!(count > 20, "only {count} targets and variables were found");
}

#[test]
fn every_variable_in_the_documents_is_a_setting_or_belongs_to_somebody_else() {
    let (settings, makefile, script) = (names_of_settings(), read("Makefile"), read("charts/k8s.sh"));
    let of_the_makefile = |name: &String| [&makefile, &script].iter().any(|text| text.contains(name.as_str()));
    let (mut known, mut unknown) = (BTreeSet::new(), Vec::new());
    // decisions tell of constants and of names that were given up
    for path in documents().into_iter().filter(|path| !path.starts_with("docs/decisions/")) {
        let document = Document::read(&path);
        let spans = document.spans().into_iter().map(|span| (String::new(), span));
        for (language, code) in document.blocks.iter().cloned().chain(spans) {
            for name in variables(&language, &code) {
                let is_known = settings.contains(&name) || OF_OTHERS.contains(&name.as_str()) || of_the_makefile(&name);
                if is_known {
                    known.insert(name);
                } else {
                    unknown.push(format!("{path}: {name}"));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "neither settings nor in the list of others' names: {unknown:#?}");
    assert!(known.len() > 60, "only {} names were found", known.len());
}

#[test]
fn the_first_backup_is_written_in_blocks_that_a_script_can_take_out() {
    let text = read("README.md");
    let blocks: Vec<&str> = text.split("<!-- run: first backup -->\n").skip(1).collect();
    assert!(blocks.len() >= 3, "{blocks:?}");
    for block in blocks {
        assert!(block.starts_with("```sh\n"), "a mark without a block behind it: {block}");
    }
}

#[test]
fn documents_have_no_wordings_that_need_reading_twice() {
    for path in pages().into_iter().chain(["README.md".to_owned()]) {
        let text = read(&path).to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        for (odd, plain) in ODD {
            assert!(!text.contains(odd), "{path} has `{odd}`; plainer: {plain}");
        }
    }
}

#[test]
fn documents_are_read_as_their_readers_see_them() {
    let document = Document::parse(
        "# The page, `/healthz` and a [link](docs/a.md)\n\n## Twice\n## Twice\n\n- [one](a.md#b \"title\")\n  continued\n\n    backup list  # comment\n\n<a id=\"c\"></a>`code [no](link.md)` and `backup\nstatus` [elsewhere](https://example.com)\n\n```sh\nPGHOST=x backup run --type daily 2>>log && cd \"$PWD\"; \\\n  backup verify | tee report\n```\n",
    );
    let anchors = ["c", "the-page-healthz-and-a-link", "twice", "twice-1"];
    assert_eq!(document.anchors().iter().collect::<Vec<_>>(), anchors);
    assert_eq!(document.links(), ["docs/a.md", "a.md#b"]);
    let commands: Vec<String> = document.commands().iter().map(|words| words.join(" ")).collect();
    for expected in ["backup list", "backup status", "backup run --type daily", "backup verify", "tee report"] {
        assert!(commands.iter().any(|command| command == expected), "no `{expected}` in {commands:?}");
    }
    let names = variables("sh", "A_B=1 backup run -e C_D=$E_F \"${G_H}\" --no-I_J=1 x.K");
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["A_B", "C_D", "E_F", "G_H"]);
    assert_eq!(variables("", "A_B").len(), 1);
}
