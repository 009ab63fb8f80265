//! Which values a setting takes: one kind, one Rust type, one sentence that says what is allowed.

use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use std::cell::Cell;
use std::time::Duration;
use url::Url;

/// What a duration looks like.
const DURATION: &str = "seconds, or a duration such as 90s, 10m or 2h";

/// Which values a setting takes.
#[derive(Debug, Clone, Copy)]
pub enum ValueKind {
    /// Any text; whoever reads it may still refuse it.
    Text,
    /// Yes or no.
    Flag,
    /// A whole number from the first to the last.
    Number(u32, u32),
    /// A share from 0 to 1.
    Share,
    /// Seconds, or a number with a unit.
    Duration,
    /// The same, but not none at all.
    PositiveDuration,
    /// One of these words, in any case: those of an enum, by [`words_of`].
    Words(fn() -> &'static [&'static str]),
    /// A web address.
    Url,
    /// Names between commas.
    List,
    /// A file that is read.
    File,
    /// What fits, said in words.
    Form(&'static str, fn(&str) -> bool),
}

/// Why a value is refused.
pub(super) enum Misfit {
    /// Something else is allowed.
    Allowed(String),
    /// It is a file, and cannot be read.
    Unreadable(std::io::Error),
}

impl ValueKind {
    /// What is allowed, for messages and documents; none where anything is.
    pub fn allowed(self) -> Option<String> {
        match self {
            Self::Text | Self::List | Self::File => None,
            Self::Flag => Some("true or false".to_owned()),
            Self::Number(least, most) => Some(format!("a number from {least} to {most}")),
            Self::Share => Some("a share from 0 to 1, such as 0.5".to_owned()),
            Self::Duration => Some(DURATION.to_owned()),
            Self::PositiveDuration => Some("a duration above zero".to_owned()),
            Self::Words(words) => Some(either(words())),
            Self::Url => Some("an http or https URL".to_owned()),
            Self::Form(allowed, _) => Some(allowed.to_owned()),
        }
    }

    /// The same for documents, where it is not said by the meaning anyway.
    pub(super) fn form(self) -> Option<String> {
        match self {
            Self::Flag | Self::Url | Self::Form(..) => None,
            Self::PositiveDuration => Self::Duration.allowed(),
            other => other.allowed(),
        }
    }

    /// True where the value is one that the kind takes.
    pub fn takes(self, text: &str) -> bool {
        self.check(text).is_ok()
    }

    pub(super) fn check(self, text: &str) -> Result<(), Misfit> {
        let fits = match self {
            Self::Text | Self::List => true,
            Self::Flag => typed::<Flag>(&text.to_ascii_lowercase()).is_some(),
            Self::Number(least, most) => typed(text).is_some_and(|number: u32| (least..=most).contains(&number)),
            Self::Share => typed(text).is_some_and(|share: f64| (0.0..=1.0).contains(&share)),
            Self::Duration => typed::<Lapse>(text).is_some(),
            Self::PositiveDuration => match typed::<Lapse>(text) {
                Some(Lapse(duration)) => !duration.is_zero(),
                None => return Self::Duration.check(text),
            },
            Self::Words(words) => words().iter().any(|word| word.eq_ignore_ascii_case(text)),
            Self::Url => Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https")),
            Self::File => return std::fs::File::open(text).map(drop).map_err(Misfit::Unreadable),
            Self::Form(_, fits) => fits(text),
        };
        if fits { Ok(()) } else { Err(Misfit::Allowed(self.allowed().unwrap_or_default())) }
    }
}

/// The value as `T`, read by envy.
pub(super) fn typed<T: DeserializeOwned>(text: &str) -> Option<T> {
    #[derive(Deserialize)]
    struct One<T> {
        value: T,
    }
    let one = envy::from_iter::<_, One<T>>([("value".to_owned(), text.to_owned())]);
    one.ok().map(|one| one.value)
}

/// Yes or no, as people write it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Flag {
    #[serde(alias = "1", alias = "yes", alias = "on")]
    True,
    #[serde(alias = "0", alias = "no", alias = "off")]
    False,
}

/// A duration, as people write it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Lapse(pub(super) Duration);

impl TryFrom<String> for Lapse {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_duration(&text).map(Self)
    }
}

/// A duration as settings and command line take it: seconds, or `25h`, `8days`, `1h 30m`; the error says what is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    seconds.or_else(|_| humantime::parse_duration(text)).map_err(|_| format!("allowed: {DURATION}"))
}

fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} or {last}", all.join(", ")),
    }
}

/// The words of an enum without content, as serde reads them.
pub fn words_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let words = Cell::new(&[] as &[&str]);
    // it asks for one of its words, and gets none
    let _ = T::deserialize(WordProbe(&words));
    words.get()
}

/// Notes which words are asked for.
struct WordProbe<'a>(&'a Cell<&'static [&'static str]>);

impl<'de> de::Deserializer<'de> for WordProbe<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.set(words);
        visitor.visit_enum("".into_deserializer())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Fruit {
        RedApple,
        #[serde(alias = "pear-tree")]
        Pear,
    }

    #[test]
    fn the_words_of_an_enum_are_what_it_reads() {
        assert_eq!(words_of::<Fruit>(), ["red-apple", "pear", "pear-tree"]);
        assert_eq!(ValueKind::Words(words_of::<Fruit>).allowed().unwrap(), "red-apple, pear or pear-tree");
        assert_eq!(typed("red-apple"), Some(Fruit::RedApple));
    }

    #[test]
    fn a_duration_is_seconds_or_has_a_unit() {
        let seconds = |text| typed(text).map(|Lapse(lapse)| lapse.as_secs());
        assert_eq!(["90", "2m", "1h", "often", "-1"].map(seconds), [Some(90), Some(120), Some(3600), None, None]);
    }
}
