//! Pure: names of columns in little memory, because there are as many lists of them as tables.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names of columns in their order, written as a list.
///
/// In memory they are one text with a NUL behind each, which no name can have in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns(Box<str>);

impl Columns {
    /// Each name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator('\0')
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Columns {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut all = String::new();
        for name in names {
            all.push_str(name.as_ref());
            all.push('\0');
        }
        Self(all.into())
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<String>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        for names in [&[][..], &["id"], &["id", "Order", "a,b", "ä \"x\""]] {
            let columns: Columns = names.iter().collect();
            assert_eq!(columns.names().collect::<Vec<_>>(), names);
            assert_eq!(columns.is_empty(), names.is_empty());
            let text = serde_json::to_string(&columns).unwrap();
            assert_eq!(text, serde_json::to_string(names).unwrap());
            assert_eq!(serde_json::from_str::<Columns>(&text).unwrap(), columns);
        }
    }
}
