//! `PG_DUMP_EXTRA_ARGS`: what may be handed to `pg_dump` beside what we hand it ourselves.

/// Long options that would change where or how the dump is written, whom it is read from, or leave half of it out.
const REFUSED_LONG: &[&str] = &[
    "file",
    "format",
    "jobs",
    "create",
    "compress",
    "inserts",
    "column-inserts",
    "attribute-inserts",
    "rows-per-insert",
    "on-conflict-do-nothing",
    "section",
    "snapshot",
    "no-synchronized-snapshots",
    "dbname",
    "host",
    "port",
    "username",
    "password",
    "no-password",
    "lock-wait-timeout",
    "data-only",
    "schema-only",
    "statistics-only",
    "no-data",
    "no-schema",
    "binary-upgrade",
    "sequence-data",
    "restrict-key",
    "help",
    "version",
    "no-sync",
    "exclude-table",
    "exclude-table-data",
    "no-owner",
    "no-privileges",
    "no-acl",
];

/// Short options that are refused for the same reasons.
const REFUSED_SHORT: &str = "fFjCZdhpUwWasVTOx?";

/// Short options that take a value.
const SHORT_WITH_VALUE: &str = "fFjZdhpUnNtTESe";

/// Splits as a shell would, without running one, and refuses what would break the stream.
///
/// The error names the argument and says what to use instead, where a setting exists.
pub(super) fn parse(text: &str) -> Result<Vec<String>, String> {
    let words = shlex::split(text).ok_or("balanced quotes")?;
    let mut value_expected = false;
    for word in &words {
        if std::mem::take(&mut value_expected) {
            continue;
        }
        if let Some(long) = word.strip_prefix("--") {
            let name = long.split('=').next().unwrap_or_default();
            // getopt accepts any unambiguous beginning of a name
            let refused = REFUSED_LONG.iter().find(|refused| refused.starts_with(name) && name != "schema");
            if let Some(refused) = refused {
                return Err(instead(&format!("--{refused}")));
            }
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            value_expected = check_letters(letters)?;
        } else {
            return Err(format!("options only; `{word}` stands alone (write --option=value)"));
        }
    }
    if value_expected {
        return Err("a value after the last option".to_owned());
    }
    Ok(words)
}

/// Walks a group such as `-vn`; true when the next word is the last letter's value.
fn check_letters(letters: &str) -> Result<bool, String> {
    for (index, letter) in letters.char_indices() {
        if REFUSED_SHORT.contains(letter) {
            return Err(instead(&format!("-{letter}")));
        }
        if SHORT_WITH_VALUE.contains(letter) {
            return Ok(index + letter.len_utf8() == letters.len());
        }
    }
    Ok(false)
}

fn instead(option: &str) -> String {
    let setting = match option {
        "--format" | "-F" => "BACKUP_FORMAT",
        "--compress" | "-Z" => "BACKUP_COMPRESSION_LEVEL",
        "--lock-wait-timeout" => "BACKUP_LOCK_TIMEOUT",
        "--exclude-table" | "-T" => "BACKUP_EXCLUDE_TABLES",
        "--exclude-table-data" => "BACKUP_EXCLUDE_TABLE_DATA",
        "--no-owner" | "-O" => "BACKUP_NO_OWNER",
        "--no-privileges" | "--no-acl" | "-x" => "BACKUP_NO_PRIVILEGES",
        _ => return format!("no {option}, which would break the backup"),
    };
    format!("no {option}; use {setting}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_arguments_pass_in_every_spelling() {
        let text = "--clean --if-exists --schema='my schema' -n public -tpublic.t -v --no-comments --role=reader";
        let expected = [
            "--clean",
            "--if-exists",
            "--schema=my schema",
            "-n",
            "public",
            "-tpublic.t",
            "-v",
            "--no-comments",
            "--role=reader",
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn arguments_that_would_break_the_stream_are_refused_in_every_spelling() {
        for text in [
            "-f /tmp/x",
            "--file=/tmp/x",
            "--fil=/tmp/x",
            "-vFc",
            "-Ft",
            "-j4",
            "-C",
            "--cre",
            "-Z1",
            "--inserts",
            "--insert",
            "--section=data",
            "--snapshot=1",
            "-s",
            "-a",
            "otherdb",
            "-n",
            "-v otherdb",
            "-d x",
            "--",
            "-?",
            "--on-conflict",
            "'unbalanced",
        ] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
    }
}
