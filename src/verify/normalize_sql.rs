//! Pure: text that a server made of its own trees, made comparable.
//!
//! A server reads its own text back into another tree now and then: `x IN ('a', 'b')` on a varchar is written as
//! `(ARRAY['a'::character varying, …])::text[]` where people typed it, and as
//! `ARRAY[('a'::character varying)::text, …]` once that was restored. What differs are casts, and parentheses around a
//! single thing; neither is compared.

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
                at = end_of_type(&letters, at + 2);
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
            ("\"a (b)\" = 1", "\"a b\" = 1"),
        ] {
            assert_ne!(plain(one), plain(other));
        }
    }
}
