//! Pure: the rows of a table as one number, whatever their order.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The sum modulo 2^128 of the 128-bit XXH3 hashes (seed 0) of rows, each in COPY's text format without its line break.
///
/// One row changed, missing, doubled or added changes it; another order does not. It guards against accidents, not
/// against somebody who makes up rows on purpose. Written as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of these rows and the others together.
    pub fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Rows that pass, counted and summed up. A row of any length takes no memory.
#[derive(Default)]
pub struct RowSum {
    rows: u64,
    fingerprint: Fingerprint,
    /// A row that came in parts, as far as it was there; boxed because it is rare and large.
    partial: Option<Box<Xxh3>>,
}

impl RowSum {
    /// Takes a row, or the next part of one; it `ends` with the last.
    #[inline]
    pub fn take(&mut self, bytes: &[u8], ends: bool) {
        if ends && self.partial.is_none() {
            self.add(xxh3_128(bytes));
            return;
        }
        let partial = self.partial.get_or_insert_with(|| Box::new(Xxh3::new()));
        partial.update(bytes);
        if ends {
            let hash = partial.digest128();
            self.partial = None;
            self.add(hash);
        }
    }

    fn add(&mut self, hash: u128) {
        self.rows += 1;
        self.fingerprint.0 = self.fingerprint.0.wrapping_add(hash);
    }

    /// Forgets the parts of a row that turned out to be none.
    pub fn forget_part(&mut self) {
        self.partial = None;
    }

    /// A large object, as if it were a row: its number in decimal digits, a tab, and then its bytes in parts.
    pub fn of_large_object(number: u32) -> Self {
        let mut sum = Self::default();
        sum.take(format!("{number}\t").as_bytes(), false);
        sum
    }

    /// The fingerprint of a large object whose bytes were all taken.
    pub fn finish_large_object(mut self) -> Fingerprint {
        self.take(&[], true);
        self.fingerprint
    }

    /// Number of rows and their fingerprint.
    pub fn finish(self) -> (u64, Fingerprint) {
        (self.rows, self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[&str]) -> (u64, Fingerprint) {
        let mut sum = RowSum::default();
        rows.iter().for_each(|row| sum.take(row.as_bytes(), true));
        sum.finish()
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let all = sum(&["1\ta", "2\tb", "2\tb"]);
        assert_eq!(sum(&["2\tb", "1\ta", "2\tb"]), all);
        for other in
            [&["1\ta", "2\tb"][..], &["1\ta", "1\ta", "2\tb"], &["1\ta", "2\tb", "2\tc"], &["1\ta", "2\tb", "2"]]
        {
            assert_ne!(sum(other).1, all.1);
        }
    }

    #[test]
    fn a_row_in_parts_is_the_same_row() {
        let long = "x".repeat(5000);
        let whole = sum(&[&long]);
        for at in [0, 1, 100, 4999, 5000] {
            let mut parts = RowSum::default();
            parts.take(&long.as_bytes()[..at], false);
            parts.take(&long.as_bytes()[at..], true);
            assert_eq!(parts.finish(), whole);
        }
    }

    #[test]
    fn the_number_is_written_as_digits_that_never_change() {
        // XXH3_128bits of the empty string and of "a", from the reference implementation
        assert_eq!(sum(&[""]).1.to_string(), "99aa06d3014798d86001c324468d497f");
        let text = serde_json::to_string(&sum(&["a"]).1).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), sum(&["a"]).1);
        assert_eq!(text, "\"a96faf705af16834e6c632b61e964e1f\"");
    }
}
