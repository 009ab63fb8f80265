//! Pure: text that a server made of its own trees, made comparable.
//!
//! A server reads its own text back into another tree now and then: `x IN ('a', 'b')` on a varchar is written as
//! `(ARRAY['a'::character varying, …])::text[]` where people typed it, and as
//! `ARRAY[('a'::character varying)::text, …]` once that was restored. What differs are casts, and parentheses around a
//! single thing; neither is compared. And a literal that had no name in a nested list, `NULL::text`, has that of its
//! type there once that was read back: `NULL::text AS text`.

use serde_json::Value;

/// Words that may follow the first one of a type's name.
const TYPE_WORDS: &[&str] = &["varying", "precision", "with", "without", "time", "zone"];

/// A pair of parentheses or brackets that is open.
struct Open {
    at: usize,
    is_call: bool,
    has_space: bool,
    is_round: bool,
}

/// The text without casts, without parentheses that hold a single thing, and with single spaces.
pub(super) fn plain(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let (mut output, mut open, mut at): (String, Vec<Open>, usize) = (String::new(), Vec::new(), 0);
    while at < letters.len() {
        let letter = letters[at];
        match letter {
            '\'' | '"' => {
                let end = end_of_quote(&letters, at);
                output.extend(&letters[at..end]);
                at = end;
                continue;
            }
            ':' if letters.get(at + 1) == Some(&':') => {
                let end = end_of_type(&letters, at + 2);
                at = end + length_of_alias(&letters[at + 2..end], &letters[end..]);
                continue;
            }
            '(' | '[' => {
                let is_call = output.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
                open.push(Open { at: output.len(), is_call, has_space: false, is_round: letter == '(' });
                output.push(letter);
            }
            ')' | ']' => match open.pop() {
                Some(pair) if pair.is_round && !pair.is_call && !pair.has_space => drop(output.remove(pair.at)),
                _ => output.push(letter),
            },
            letter if letter.is_whitespace() => {
                if !output.ends_with(' ') {
                    output.push(' ');
                }
                open.iter_mut().last().into_iter().for_each(|pair| pair.has_space = true);
            }
            letter => output.push(letter),
        }
        at += 1;
    }
    output.trim().to_owned()
}

fn end_of_quote(letters: &[char], begin: usize) -> usize {
    let quote = letters[begin];
    let escapes = begin > 0 && letters[begin - 1] == 'E' && quote == '\'';
    let mut at = begin + 1;
    while at < letters.len() {
        match letters[at] {
            '\\' if escapes => at += 1,
            letter if letter == quote && letters.get(at + 1) == Some(&quote) => at += 1,
            letter if letter == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    letters.len()
}

fn end_of_type(letters: &[char], begin: usize) -> usize {
    let mut at = begin;
    loop {
        match letters.get(at) {
            Some('"') => at = end_of_quote(letters, at),
            Some(letter) if letter.is_alphanumeric() || *letter == '_' || *letter == '.' => at += 1,
            Some('(') => at += letters[at..].iter().position(|letter| *letter == ')').map_or(1, |end| end + 1),
            Some('[') if letters.get(at + 1) == Some(&']') => at += 2,
            Some(' ') => {
                let word: String = letters[at + 1..].iter().take_while(|letter| letter.is_alphanumeric()).collect();
                if !TYPE_WORDS.contains(&word.as_str()) {
                    return at;
                }
                at += 1 + word.len();
            }
            _ => return at,
        }
    }
}

/// What a server calls a type where it names a column by it, and writes otherwise.
const INTERNAL: &[(&str, &str)] = &[
    ("integer", "int4"),
    ("bigint", "int8"),
    ("smallint", "int2"),
    ("boolean", "bool"),
    ("real", "float4"),
    ("double precision", "float8"),
    ("character varying", "varchar"),
    ("character", "bpchar"),
    ("bit varying", "varbit"),
    ("timestamp with time zone", "timestamptz"),
    ("timestamp without time zone", "timestamp"),
    ("time with time zone", "timetz"),
    ("time without time zone", "time"),
];

const AS: [char; 4] = [' ', 'A', 'S', ' '];

/// Letters of ` AS name` behind a cast, where the name is only that of the type.
fn length_of_alias(kind: &[char], rest: &[char]) -> usize {
    let Some(name) = rest.strip_prefix(&AS) else { return 0 };
    let length = match name.first() {
        Some('"') => end_of_quote(name, 0),
        _ => name.iter().take_while(|letter| letter.is_alphanumeric() || **letter == '_').count(),
    };
    let text: String = kind.iter().collect();
    // `numeric(10,2)`, `text[]`, `timestamp(3) with time zone`
    let (mut plain, mut depth) = (String::new(), 0);
    for letter in text.chars() {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            letter if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    let internal = INTERNAL.iter().find(|(written, _)| *written == plain).map(|(_, internal)| *internal);
    let last = internal.unwrap_or_else(|| plain.rsplit('.').next().unwrap_or_default()).trim_matches('"');
    let alias: String = name[..length].iter().collect();
    if length > 0 && alias.trim_matches('"') == last { AS.len() + length } else { 0 }
}

/// The same for every text in a value. A default of NULL is none.
pub(super) fn comparable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(plain(&text)),
        Value::Object(all) => {
            let all = all.into_iter().map(|(name, value)| (name, comparable(value)));
            Value::Object(all.filter(|(_, value)| value.as_str() != Some("NULL")).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_writes_before_and_after_a_restore_is_the_same() {
        for (before, after) in [
            (
                "CHECK (((st)::text = ANY ((ARRAY['a'::character varying, 'b (c)'::character varying])::text[])))",
                "CHECK (((st)::text = ANY (ARRAY[('a'::character varying)::text, ('b (c)'::character varying)::text])))",
            ),
            ("'x'::character varying(10)", "'x'"),
            ("(a)::timestamp without time zone > now()", "a > now()"),
            ("SELECT NULL::text FROM a b", "SELECT NULL::text AS text FROM a b"),
            (
                "SELECT '1'::numeric(10,2), 'x'::character varying(3)",
                "SELECT '1'::numeric(10,2) AS \"numeric\", 'x'::character varying(3) AS \"varchar\"",
            ),
            ("SELECT NULL::s.\"My type\"[]", "SELECT NULL::s.\"My type\"[] AS \"My type\""),
        ] {
            assert_eq!(plain(before), plain(after));
        }
    }

    #[test]
    fn what_means_something_else_stays_different() {
        for (one, other) in [
            ("(a + b) * c", "a + (b * c)"),
            ("x = 'a::b'", "x = 'a::c'"),
            ("sum(o.total)", "(sum(o.total) + 1)"),
            ("f(a)", "f(b)"),
            ("SELECT NULL::text AS text", "SELECT NULL::text AS other"),
            ("SELECT a AS text", "SELECT a"),
            ("\"a (b)\" = 1", "\"a b\" = 1"),
        ] {
            assert_ne!(plain(one), plain(other));
        }
    }
}
