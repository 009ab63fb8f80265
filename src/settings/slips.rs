//! Pure: kinds of slips by which a value misses what its setting takes, each with what to write instead.

use super::kind::{Lapse, typed};
use super::{Setting, SettingGroup, ValueKind};
use std::collections::BTreeSet;

/// A kind of slip: what to write instead, where the value is one of it. A new kind is a function and its line in [`ALL`].
type SlipKind = fn(&Setting, &str, &[SettingGroup]) -> Option<String>;

const ALL: [SlipKind; 4] = [number_with_unit, share_in_percent, word_of_another, misspelt_word];

/// What to write instead of a value that was refused; none where nobody can tell. It may repeat the value.
pub(super) fn hint(setting: &Setting, text: &str, table: &[SettingGroup]) -> Option<String> {
    ALL.iter().find_map(|kind| kind(setting, text.trim(), table))
}

/// The setting that a name is meant for which is none: in small letters, with a word too many before it, without its last
/// word, or misspelt.
pub(super) fn meant_name<'k>(name: &str, known: &'k BTreeSet<String>) -> Option<&'k String> {
    let upper = name.to_ascii_uppercase();
    let distance = |candidate: &&String| strsim::damerau_levenshtein(&upper, candidate);
    let has_more_before =
        |candidate: &&String| upper.strip_suffix(candidate.as_str()).is_some_and(|more| more.ends_with('_'));
    let has_more_behind =
        |candidate: &&String| candidate.strip_prefix(&upper).is_some_and(|more| more.starts_with('_'));
    known
        .get(&upper)
        .or_else(|| known.iter().filter(has_more_before).max_by_key(|candidate| candidate.len()))
        .or_else(|| known.iter().filter(|_| name.contains('_')).filter(has_more_behind).min_by_key(|known| known.len()))
        .or_else(|| known.iter().min_by_key(distance).filter(|nearest| distance(nearest) <= 3.min(name.len() / 4)))
}

/// `7d` where the setting is in days, or where it has no unit at all.
fn number_with_unit(setting: &Setting, text: &str, _: &[SettingGroup]) -> Option<String> {
    let ValueKind::Number(least, most) = setting.kind else { return None };
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - unit.len()];
    let is_unit = !unit.is_empty() && unit.trim_start().chars().all(char::is_alphabetic);
    if number.is_empty() || !is_unit {
        return None;
    }
    let name = setting.name;
    let (seconds, unit) = match name.rsplit('_').next()? {
        "DAYS" => (86_400, "days"),
        "SECONDS" => (1, "seconds"),
        _ => {
            let number: u32 = number.parse().ok().filter(|number| (least..=most).contains(number))?;
            return Some(format!("it takes a number without a unit: write {name}={number}"));
        }
    };
    let Lapse(given) = typed(&text.to_ascii_lowercase())?;
    let whole = u32::try_from(given.as_secs() / seconds).ok().filter(|_| given.as_secs().is_multiple_of(seconds));
    Some(match whole.filter(|number| (least..=most).contains(number)) {
        Some(number) => format!("it takes a number of {unit}: write {name}={number}"),
        None => format!("it takes a whole number of {unit}, without the unit"),
    })
}

/// `50%` or `50` for a half.
fn share_in_percent(setting: &Setting, text: &str, _: &[SettingGroup]) -> Option<String> {
    let ValueKind::Share = setting.kind else { return None };
    let percent: f64 = typed(text.trim_end_matches('%').trim_end())?;
    let is_percent = percent > 1.0 && percent <= 100.0 || percent == 1.0 && text.ends_with('%');
    is_percent.then(|| format!("for {percent} percent write {}={}", setting.name, percent / 100.0))
}

/// `s3` for where backups go, which is a kind of remote store.
fn word_of_another(setting: &Setting, text: &str, table: &[SettingGroup]) -> Option<String> {
    let ValueKind::Words(own) = setting.kind else { return None };
    let has_it = |other: &&Setting| match other.kind {
        ValueKind::Words(words) => words().iter().any(|word| word.eq_ignore_ascii_case(text)),
        _ => false,
    };
    let others: Vec<&Setting> = table.iter().flat_map(|group| &group.settings).filter(has_it).collect();
    let (name, word) = (setting.name, text.to_ascii_lowercase());
    // the setting's own word for the other one's subject, such as remote for REMOTE_KIND
    let subject = |other: &&Setting| {
        let first = other.name.split('_').next()?;
        own()
            .iter()
            .find(|word| word.eq_ignore_ascii_case(first))
            .map(|word| (other.name, other.default.words(), *word))
    };
    match (others.iter().find_map(subject), others.as_slice()) {
        (Some((other, default, subject)), _) if default.split([',', ' ']).next() == Some(word.as_str()) => {
            Some(format!("{word} is the default of {other}: write {name}={subject}"))
        }
        (Some((other, _, subject)), _) => {
            Some(format!("{word} is a value of {other}: write {name}={subject} and {other}={word}"))
        }
        (None, [other]) => Some(format!("{word} is a value of {}", other.name)),
        // a word that many have, such as auto, says nothing
        (None, _) => None,
    }
}

/// `remot`
fn misspelt_word(setting: &Setting, text: &str, _: &[SettingGroup]) -> Option<String> {
    let ValueKind::Words(words) = setting.kind else { return None };
    let text = text.to_ascii_lowercase();
    let distance = |word: &&&str| strsim::damerau_levenshtein(&text, word);
    let nearest = words().iter().min_by_key(distance)?;
    (distance(&nearest) <= 2.min(nearest.len() / 2)).then(|| format!("did you mean {nearest}?"))
}
