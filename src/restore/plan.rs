//! Pure: what a restore is asked for, and what it says before it does anything.

use crate::restore_filter::Rows;
use crate::sql_lexer::{parts, qualified};
use std::collections::BTreeSet;

/// What somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The database to restore to.
    pub into: Option<String>,
    /// The database of a whole server's archive that is meant.
    pub source_database: Option<String>,
    /// Only these tables, `schema.table`.
    pub tables: Vec<String>,
    /// Which half of the database.
    pub content: Content,
    /// What is there may be replaced.
    pub replace: bool,
    /// Sessions of what is replaced are ended.
    pub disconnect: bool,
    /// Roles are made first.
    pub globals: bool,
    /// Passwords of roles that are there become those of the backup.
    pub reset_passwords: bool,
    /// Every database of the backup's run, under their own names.
    pub cluster: bool,
    /// Owners and privileges are left out.
    pub no_owner: bool,
    /// The restored database is not compared with the facts.
    pub skip_checks: bool,
    /// Workers of pg_restore.
    pub jobs: Option<usize>,
}

/// Which half of a database is restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Content {
    /// Both.
    #[default]
    All,
    /// Objects and no rows.
    Schema,
    /// Rows into objects that are there.
    Data,
}

impl Request {
    /// The rows of a new database.
    pub fn rows(&self, tables: &BTreeSet<String>) -> Rows {
        match self.content {
            Content::Schema => Rows::None,
            _ if self.tables.is_empty() => Rows::All,
            _ => Rows::Of(tables.clone()),
        }
    }
}

/// What will be done, for people.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Pairs of what and how.
    pub lines: Vec<(&'static str, String)>,
    /// What has to be typed before it is done; none where nothing is replaced.
    pub confirm: Option<String>,
}

impl Plan {
    /// Adds a line.
    pub fn say(&mut self, what: &'static str, how: impl Into<String>) {
        self.lines.push((what, how.into()));
    }
}

/// What was done, for people.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Sentences.
    pub lines: Vec<String>,
    /// What the restored databases came to.
    pub checks: Vec<crate::verify::report::DatabaseResult>,
}

/// The table that somebody means by `name`, as the facts write it: `shop.orders`, or `orders` for that of `public`.
pub fn find_table(name: &str, known: &BTreeSet<&String>) -> Result<String, String> {
    let whole = if name.contains('.') { name.to_owned() } else { format!("public.{name}") };
    // as it is written in SQL, or as it is
    let spelled = parts(&whole).map(|(schema, name)| qualified(&schema, &name));
    let literal = whole.split_once('.').map(|(schema, name)| qualified(schema, name));
    let found = [spelled, literal].into_iter().flatten().find(|name| known.contains(name));
    found.ok_or_else(|| {
        let named: Vec<&str> = known.iter().take(20).map(|name| name.as_str()).collect();
        let more = if known.len() > 20 { ", …" } else { "" };
        format!("the backup has no rows of a table {name}; it has those of {}{more}", named.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_however_it_is_spelled() {
        let known = ["public.orders", "shop.\"Order Items\"", "public.\"a.b\""].map(str::to_owned);
        let known: BTreeSet<&String> = known.iter().collect();
        for (name, found) in [
            ("orders", "public.orders"),
            ("public.orders", "public.orders"),
            ("PUBLIC.Orders", "public.orders"),
            ("shop.Order Items", "shop.\"Order Items\""),
            ("shop.\"Order Items\"", "shop.\"Order Items\""),
            ("public.a.b", "public.\"a.b\""),
        ] {
            assert_eq!(find_table(name, &known).as_deref(), Ok(found), "{name}");
        }
        assert!(find_table("nothing", &known).unwrap_err().contains("public.orders"));
    }
}
