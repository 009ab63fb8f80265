//! Pure: sizes, durations and names as people read them.

use chrono::TimeDelta;
use std::borrow::Cow;

/// A size, such as `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// A duration: `42 s`, `7 min 3 s`, `5 h 2 min`, `3 days`.
pub fn duration(duration: TimeDelta) -> String {
    let seconds = duration.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How far two clocks are apart, to the minute where that is enough.
pub fn apart(skew: TimeDelta) -> String {
    let seconds = skew.num_milliseconds().abs() / 1000;
    duration(if seconds < 90 { TimeDelta::seconds(seconds) } else { TimeDelta::minutes((seconds + 30) / 60) })
}

/// How something changed that is now `ratio` times what it was, such as `+12 %`; none where that rounds to nothing.
pub fn change(ratio: f64) -> Option<String> {
    // a little is not nothing
    let percent = ((ratio - 1.0) * 100.0).max(if ratio > 0.0 { -99.0 } else { -100.0 });
    (percent.abs() >= 0.5).then(|| format!("{percent:+.0} %"))
}

/// How long ago something was; what is to come is the work of a wrong clock, and is said.
pub fn age(age: TimeDelta) -> String {
    if age < TimeDelta::seconds(-60) { format!("in {}", duration(-age)) } else { duration(age) }
}

/// How long ago something was, in one unit and never rounded up: `2 s`, `7 min`, `47 h`, `5 d`; `in 3 h` is to come.
pub fn short_age(age: TimeDelta) -> String {
    let seconds = age.num_seconds();
    let ahead = if seconds < -60 { "in " } else { "" };
    match if seconds < -60 { -seconds } else { seconds.max(0) } {
        seconds @ 0..60 => format!("{ahead}{seconds} s"),
        seconds @ 60..3600 => format!("{ahead}{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{ahead}{} h", seconds / 3600),
        seconds => format!("{ahead}{} d", seconds / 86_400),
    }
}

/// A number of things: `1 database`, `40 databases`, `3 queries`, `2 foreign keys`. One below 0 is 0.
pub fn count(number: impl TryInto<u64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(0);
    let stem = thing.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (number, stem) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) if thing.ends_with('x') => format!("{number} {thing}es"),
        (_, None) => format!("{number} {thing}s"),
    }
}

/// One of such things: `policy` of `policies`, and what [`count`] turns into that again.
pub fn singular(things: &str) -> String {
    match (things.strip_suffix("ies"), things.strip_suffix("xes")) {
        (Some(stem), _) => format!("{stem}y"),
        (_, Some(stem)) => format!("{stem}x"),
        _ => things.strip_suffix('s').unwrap_or(things).to_owned(),
    }
}

/// Text from elsewhere on one line: control characters are escaped, so that no name can forge a line of a log.
pub fn one_line(text: &str) -> Cow<'_, str> {
    // direction marks do not count as control characters, and can make a line read as another
    let is_harmful = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if is_harmful(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// A word of a command line that a shell reads as it is, on one line: quoted where it needs that.
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,./:=@_-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('-') {
        return Cow::Borrowed(word);
    }
    Cow::Owned(match one_line(word) {
        Cow::Borrowed(word) => format!("'{}'", word.replace('\'', "'\\''")),
        // the escapes that `one_line` would make are not those of shells
        Cow::Owned(_) => {
            let escape = |c: char| match c {
                '\'' | '\\' => format!("\\{c}"),
                c if one_line(c.encode_utf8(&mut [0; 4])) == c.to_string() => c.to_string(),
                c => c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
            };
            format!("$'{}'", word.chars().map(escape).collect::<String>())
        }
    })
}

/// SQL without what may be a secret, and all that follows it.
pub fn without_secrets(sql: &str) -> Cow<'_, str> {
    let upper = sql.to_ascii_uppercase();
    match ["PASSWORD", "OPTIONS", "CONNECTION"].iter().filter_map(|word| upper.find(word)).min() {
        Some(at) => Cow::Owned(format!("{}…", &sql[..at])),
        None => Cow::Borrowed(sql),
    }
}

/// The first names of many, such as `a, b and 3 more`, on one line.
pub fn some<'n, N: AsRef<str> + 'n>(
    names: impl IntoIterator<Item = &'n N, IntoIter: ExactSizeIterator>,
    most: usize,
) -> String {
    let mut names = names.into_iter();
    let listed: Vec<Cow<'_, str>> = names.by_ref().take(most).map(|name| one_line(name.as_ref())).collect();
    let more = match names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", listed.join(", "))
}

/// Names and a verb, such as `a, b and 3 more were`.
pub fn were(tables: &[String]) -> String {
    format!("{} {}", some(tables, 5), if tables.len() == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let words = [0, 59, 60, 423, 18_120, 172_800].map(|seconds| duration(TimeDelta::seconds(seconds)));
        assert_eq!(words, ["0 s", "59 s", "1 min 0 s", "7 min 3 s", "5 h 2 min", "2 days"]);
    }

    #[test]
    fn short_ages_have_one_unit() {
        let words = [0, 59, 60, 3599, 3600, 172_799, 172_800, 34_560_000].map(|age| short_age(TimeDelta::seconds(age)));
        assert_eq!(words, ["0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d", "400 d"]);
        // clocks may differ by a little
        assert_eq!([-30, -7200].map(|age| short_age(TimeDelta::seconds(age))), ["0 s", "in 2 h"]);
    }

    #[test]
    fn one_of_many_things_is_one() {
        let all = ["tables", "indexes", "policies", "foreign keys", "rows"];
        let one = ["1 table", "1 index", "1 policy", "1 foreign key", "1 row"];
        assert_eq!(all.map(|things| count(1_u64, &singular(things))), one);
        assert_eq!(all.map(|things| count(2_u64, &singular(things))), all.map(|things| format!("2 {things}")));
    }

    #[test]
    fn no_change_is_plus_or_minus_nothing() {
        assert_eq!([1.0, 1.004, 0.996].map(change), [None, None, None]);
        let changes = ["-1 %", "+1 %", "-99 %", "-100 %"];
        assert_eq!([0.99, 1.006, 0.001, 0.0].map(change), changes.map(|change| Some(change.to_owned())));
    }

    #[test]
    fn a_shell_reads_a_word_as_it_is() {
        for name in ["shop", "x;touch PWNED;", "it's", "", "-x", "~", "a\nb\\'c\u{202e}", "Ünï \"q\" 😀 $HOME `id` \\"]
        {
            let script = format!("printf %s {}", shell_word(name));
            assert!(!script.contains('\n'), "{script}");
            let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), name, "{script}");
        }
        assert_eq!(shell_word("backup_shop~1_2026-01-28"), "'backup_shop~1_2026-01-28'");
        assert_eq!(shell_word("backup_a%20b_2026-01-28_02-05-00"), "backup_a%20b_2026-01-28_02-05-00");
    }

    #[test]
    fn no_name_breaks_a_line() {
        assert_eq!(one_line("a b ünï 🐘"), "a b ünï 🐘");
        assert_eq!(one_line("x\n2026 ERROR forged\u{202e}\u{1b}[2J"), "x\\n2026 ERROR forged\\u{202e}\\u{1b}[2J");
    }
}
