//! Pure: the options of pg_dump, and what follows from each for a backup. From the manuals of PostgreSQL 14 to 18.
//!
//! One table says whether people may hand an option over, and what is missing from a dump that was made with it. An
//! option that is not in the table is refused: nobody here knows what follows from it.

use std::iter::Peekable;

/// One option.
#[derive(Debug)]
pub struct DumpOption {
    /// Its long name, without dashes.
    name: &'static str,
    letter: Option<char>,
    has_value: bool,
    may: May,
    leaves_out: LeavesOut,
}

/// Whether people may hand it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Yes,
    /// A setting of ours does it.
    BySetting(&'static str),
    /// It would spoil the backup, and this is how.
    No(&'static str),
}

/// What is not in a dump that was made with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LeavesOut {
    /// Nothing that a verification compares.
    #[default]
    Nothing,
    /// Rows, and no object.
    Rows,
    /// Objects with their rows.
    Objects,
}

const fn harmless(name: &'static str) -> DumpOption {
    DumpOption { name, letter: None, has_value: false, may: May::Yes, leaves_out: LeavesOut::Nothing }
}

const fn rows(name: &'static str) -> DumpOption {
    DumpOption { leaves_out: LeavesOut::Rows, ..harmless(name) }
}

const fn objects(name: &'static str) -> DumpOption {
    DumpOption { leaves_out: LeavesOut::Objects, has_value: true, ..harmless(name) }
}

const fn no(name: &'static str, why: &'static str) -> DumpOption {
    DumpOption { may: May::No(why), ..harmless(name) }
}

const fn by_setting(name: &'static str, setting: &'static str) -> DumpOption {
    DumpOption { may: May::BySetting(setting), ..harmless(name) }
}

impl DumpOption {
    const fn letter(self, letter: char) -> Self {
        Self { letter: Some(letter), ..self }
    }

    const fn value(self) -> Self {
        Self { has_value: true, ..self }
    }

    const fn leaving_out(self, leaves_out: LeavesOut) -> Self {
        Self { leaves_out, ..self }
    }
}

const PIPE: &str = "backup reads the dump from a pipe";
const CONNECTION: &str = "the settings say where the server is and which role connects";
const HALF: &str = "it would leave part of the database out";
const INSERTS: &str = "rows that are not written as COPY cannot be counted and compared";
const OURS: &str = "backup itself takes the snapshot";
const SCRIPT: &str = "it is not meant for backups";

const OPTIONS: &[DumpOption] = &[
    by_setting("format", "BACKUP_FORMAT").letter('F').value(),
    by_setting("compress", "BACKUP_COMPRESSION_LEVEL").letter('Z').value(),
    by_setting("lock-wait-timeout", "BACKUP_LOCK_TIMEOUT").value(),
    by_setting("exclude-table", "BACKUP_EXCLUDE_TABLES").letter('T').value().leaving_out(LeavesOut::Objects),
    by_setting("exclude-table-data", "BACKUP_EXCLUDE_TABLE_DATA").value().leaving_out(LeavesOut::Rows),
    by_setting("no-owner", "BACKUP_NO_OWNER").letter('O'),
    by_setting("no-privileges", "BACKUP_NO_PRIVILEGES").letter('x'),
    by_setting("no-acl", "BACKUP_NO_PRIVILEGES"),
    by_setting("dbname", "POSTGRES_DB").letter('d').value(),
    by_setting("host", "POSTGRES_HOST").letter('h').value(),
    by_setting("port", "POSTGRES_PORT").letter('p').value(),
    by_setting("username", "POSTGRES_USER").letter('U').value(),
    no("password", CONNECTION).letter('W'),
    no("no-password", CONNECTION).letter('w'),
    no("file", PIPE).letter('f').value(),
    no("no-sync", PIPE),
    no("sync-method", PIPE).value(),
    no("jobs", "pg_dump's parallel dumps need a directory").letter('j').value(),
    no("version", SCRIPT).letter('V'),
    no("help", SCRIPT).letter('?'),
    no("binary-upgrade", SCRIPT),
    no("restrict-key", SCRIPT).value(),
    no("create", "the backup could not be restored under another name").letter('C'),
    no("data-only", HALF).letter('a'),
    no("schema-only", HALF).letter('s'),
    no("statistics-only", HALF),
    no("no-data", HALF),
    no("no-schema", HALF),
    no("sequence-data", HALF),
    no("section", HALF).value(),
    no("inserts", INSERTS),
    no("column-inserts", INSERTS),
    no("attribute-inserts", INSERTS),
    no("rows-per-insert", INSERTS).value(),
    no("on-conflict-do-nothing", INSERTS),
    no("snapshot", OURS).value(),
    no("no-synchronized-snapshots", OURS),
    no("serializable-deferrable", "PostgreSQL refuses it together with an exported snapshot, which every dump uses"),
    no("include-foreign-data", "every restore would write the rows into the live foreign server").value(),
    no(
        "filter",
        "what such a file includes and excludes is not known to backup; use --schema, --table and the settings",
    )
    .value(),
    no("extra-float-digits", "numbers would be rounded").value(),
    objects("schema").letter('n'),
    objects("exclude-schema").letter('N'),
    objects("table").letter('t'),
    objects("table-and-children"),
    objects("exclude-table-and-children"),
    objects("extension").letter('e'),
    objects("exclude-extension"),
    DumpOption { has_value: false, ..objects("no-policies") },
    rows("exclude-table-data-and-children").value(),
    rows("no-unlogged-table-data"),
    rows("enable-row-security"),
    rows("no-blobs").letter('B'),
    rows("no-large-objects"),
    harmless("blobs").letter('b'),
    harmless("large-objects"),
    harmless("verbose").letter('v'),
    harmless("clean").letter('c'),
    harmless("if-exists"),
    harmless("encoding").letter('E').value(),
    harmless("superuser").letter('S').value(),
    harmless("role").value(),
    harmless("strict-names"),
    harmless("disable-dollar-quoting"),
    harmless("disable-triggers"),
    harmless("load-via-partition-root"),
    harmless("quote-all-identifiers"),
    harmless("use-set-session-authorization"),
    harmless("no-comments"),
    harmless("no-publications"),
    harmless("no-security-labels"),
    harmless("no-subscriptions"),
    harmless("no-table-access-method"),
    harmless("no-tablespaces"),
    harmless("no-toast-compression"),
    harmless("no-statistics"),
    harmless("statistics"),
];

/// An option as it was written.
enum Written {
    /// With its value; an option without one has none.
    Known(&'static DumpOption, String, String),
    Unknown(String),
    /// A word that is neither an option nor the value of one.
    Alone(String),
    /// The value of this one is missing.
    Unfinished(&'static DumpOption, String),
}

/// Reads arguments as getopt does: any unambiguous beginning of a long name, letters in a group, and values behind `=`,
/// behind their letter, or as the next word. Manifests of encrypted archives have no values at all, so that no word that
/// begins with a dash is taken for one.
fn read(words: &[String]) -> Vec<Written> {
    let mut written = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            match by_name(name) {
                Some(option) => {
                    let shown = format!("--{}", option.name);
                    let mut next = || words.next_if(is_value).map(String::as_str);
                    written.push(match value.or_else(|| if option.has_value { next() } else { Some("") }) {
                        Some(value) => Written::Known(option, shown, value.to_owned()),
                        None => Written::Unfinished(option, shown),
                    });
                }
                None => written.push(Written::Unknown(format!("--{name}"))),
            }
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            read_letters(letters, &mut words, &mut written);
        } else {
            written.push(Written::Alone(word.clone()));
        }
    }
    written
}

fn is_value(word: &&String) -> bool {
    !word.starts_with('-')
}

fn read_letters<'w>(letters: &str, words: &mut Peekable<impl Iterator<Item = &'w String>>, written: &mut Vec<Written>) {
    for (at, letter) in letters.char_indices() {
        let shown = format!("-{letter}");
        let Some(option) = OPTIONS.iter().find(|option| option.letter == Some(letter)) else {
            return written.push(Written::Unknown(shown));
        };
        if !option.has_value {
            written.push(Written::Known(option, shown, String::new()));
            continue;
        }
        let value = Some(&letters[at + letter.len_utf8()..]).filter(|rest| !rest.is_empty());
        return written.push(match value.or_else(|| words.next_if(is_value).map(String::as_str)) {
            Some(value) => Written::Known(option, shown, value.to_owned()),
            None => Written::Unfinished(option, shown),
        });
    }
}

fn by_name(name: &str) -> Option<&'static DumpOption> {
    let exact = OPTIONS.iter().find(|option| option.name == name);
    let mut beginning = OPTIONS.iter().filter(|option| !name.is_empty() && option.name.starts_with(name));
    exact.or_else(|| beginning.next().filter(|_| beginning.next().is_none()))
}

/// True for an encoding that clients may have and databases may not, however its name is written.
fn is_of_clients(encoding: &str) -> bool {
    let name: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    const NAMES: &str = "sjis shiftjis mskanji win932 windows932 shiftjis2004 big5 win950 windows950 gbk win936 windows936 \
                         uhc win949 windows949 johab gb18030";
    NAMES.split_whitespace().any(|other| other == name)
}

/// Why these options cannot be handed to pg_dump: what is allowed instead.
pub fn refuse(words: &[String]) -> Option<String> {
    let written = read(words);
    for one in &written {
        match one {
            Written::Known(DumpOption { may: May::BySetting(setting), .. }, shown, _) => {
                return Some(format!("anything but {shown}; use {setting}"));
            }
            Written::Known(DumpOption { may: May::No(why), .. }, shown, _) => {
                return Some(format!("anything but {shown}: {why}"));
            }
            Written::Known(DumpOption { name: "encoding", .. }, _, value) if is_of_clients(value) => {
                return Some(format!(
                    "any encoding but {value}: in it a byte of a letter can look like a quote, so the dump would not be \
                     safe to load; use UTF8, which has every letter"
                ));
            }
            Written::Known(..) => {}
            Written::Unknown(shown) => {
                return Some(format!("anything but {shown}, because its effect on a backup is not known"));
            }
            Written::Alone(word) => {
                return Some(format!("options only; `{word}` does not belong to one (write --option=value)"));
            }
            Written::Unfinished(_, shown) => return Some(format!("a value after {shown}")),
        }
    }
    None
}

/// Why these options cannot be handed to pg_dump unless `--clean --if-exists` goes with them anyway, as it does for a
/// whole server.
pub fn refuse_half_of_clean(words: &[String]) -> Option<String> {
    let written = read(words);
    match (has(&written, "clean"), has(&written, "if-exists")) {
        (true, false) => Some(
            "--clean only with --if-exists, because otherwise a restore into a new database fails at the first DROP"
                .to_owned(),
        ),
        (false, true) => Some("--if-exists only with --clean, as pg_dump requires".to_owned()),
        _ => None,
    }
}

fn has(written: &[Written], wanted: &str) -> bool {
    written.iter().any(|one| matches!(one, Written::Known(option, ..) if option.name == wanted))
}

/// What is not in a dump that was made with these arguments.
pub fn leaves_out(arguments: &[String]) -> LeavesOut {
    let one = |written: Written| match written {
        Written::Known(option, ..) | Written::Unfinished(option, _) => option.leaves_out,
        // made by another release of this program
        Written::Unknown(_) | Written::Alone(_) => LeavesOut::Objects,
    };
    read(arguments).into_iter().map(one).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        shlex::split(text).unwrap()
    }

    #[test]
    fn harmless_options_pass_in_every_spelling_and_leave_nothing_out() {
        for text in [
            "--clean --if-exists -v --no-comments --role=reader -b -E UTF8 -ELATIN1 --no-publications",
            "-vc --if-exists",
            "--verb --strict-names --load-via-partition-root",
            "",
        ] {
            assert_eq!((refuse(&words(text)), leaves_out(&words(text))), (None, LeavesOut::Nothing), "{text}");
            assert_eq!(refuse_half_of_clean(&words(text)), None, "{text}");
        }
    }

    #[test]
    fn clean_and_if_exists_go_together() {
        for (text, says) in [("--clean", "--if-exists"), ("-vc", "--if-exists"), ("--if-exists", "--clean")] {
            let refused = refuse_half_of_clean(&words(text)).unwrap_or_else(|| panic!("{text} was accepted"));
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_left_out_is_known_of_every_option_and_spelling() {
        for text in ["-n public", "-vnpublic", "--schema='my schema'", "--schema public", "-e x", "-tpublic.t", "-N x"]
        {
            assert_eq!((refuse(&words(text)), leaves_out(&words(text))), (None, LeavesOut::Objects), "{text}");
        }
        for text in ["--enable-row-security", "-B", "--no-unlogged-table-data -v"] {
            assert_eq!((refuse(&words(text)), leaves_out(&words(text))), (None, LeavesOut::Rows), "{text}");
        }
        assert_eq!(
            leaves_out(&words("--no-password --format=plain --snapshot=1 --lock-wait-timeout=1")),
            LeavesOut::Nothing
        );
        assert_eq!(leaves_out(&words("--no-password --exclude-table=x")), LeavesOut::Objects);
        // of an encrypted archive the values are not told
        let told = "--no-password --format --lock-wait-timeout --snapshot --exclude-table";
        assert_eq!(leaves_out(&words(told)), LeavesOut::Objects);
        assert_eq!(leaves_out(&words("--no-password --format --lock-wait-timeout --snapshot")), LeavesOut::Nothing);
        assert_eq!(leaves_out(&words("--something-new")), LeavesOut::Objects);
    }

    #[test]
    fn what_would_spoil_the_backup_is_refused_in_every_spelling_with_what_follows_or_helps() {
        for (text, says) in [
            ("-f /tmp/x", "pipe"),
            ("--file=/tmp/x", "pipe"),
            ("--fil=/tmp/x", "not known"),
            ("-vFc", "BACKUP_FORMAT"),
            ("-Ft", "BACKUP_FORMAT"),
            ("-j4", "directory"),
            ("-C", "another name"),
            ("--cre", "another name"),
            ("-Z1", "BACKUP_COMPRESSION_LEVEL"),
            ("--inserts", "COPY"),
            ("--section=data", "part of the database"),
            ("--snapshot=1", "snapshot"),
            ("--serializable-deferrable", "PostgreSQL refuses it"),
            ("--include-foreign-data=live", "foreign server"),
            ("--include-f live", "foreign server"),
            ("--filter=/x", "not known"),
            ("--extra-float-digits=0", "rounded"),
            ("-s", "part of the database"),
            ("-a", "part of the database"),
            ("otherdb", "does not belong"),
            ("-n", "a value"),
            ("--schema", "a value"),
            ("-v otherdb", "does not belong"),
            ("-d x", "POSTGRES_DB"),
            ("--", "not known"),
            ("-?", "backups"),
            ("--no", "not known"),
            ("--on-conflict", "COPY"),
            ("--something-new", "not known"),
            ("-q", "not known"),
        ] {
            let refused = refuse(&words(text)).unwrap_or_else(|| panic!("{text} was accepted"));
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
