//! Statements that make something of the rows of a table: those that take time, and that can run beside others.

use super::statement::{Charset, ForeignKey, qualified};
use super::words::Words;

/// What a statement makes of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildKind {
    /// An index, or a constraint that is one.
    Index,
    /// A foreign key, which wants the keys that it refers to.
    ForeignKey,
}

/// A statement that reads the rows of a table and makes something of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub kind: BuildKind,
    /// The table whose rows are read, as [`qualified`] writes it.
    pub table: String,
    /// The table that a foreign key refers to.
    pub references: Option<String>,
    /// Another of these may read the same table at the same time: `CREATE INDEX` takes SHARE, what alters the table
    /// more.
    pub shares: bool,
}

impl Build {
    /// Reads a statement that begins with its first word; none for any that is not one of these.
    pub fn parse(statement: &[u8], charset: Charset) -> Option<Self> {
        let mut words = Words::new(statement, charset);
        if words.keyword("create").is_some() {
            return Self::index(&mut words);
        }
        if let Some(ForeignKey { table, references }) = ForeignKey::parse(statement, charset) {
            return Some(Self { kind: BuildKind::ForeignKey, table, references: Some(references), shares: false });
        }
        words.keyword("alter")?;
        words.keyword("table")?;
        let _ = words.keyword("only");
        let (schema, table) = words.two_names()?;
        words.keyword("add")?;
        words.keyword("constraint")?;
        words.name()?;
        ["primary", "unique", "exclude"].iter().find_map(|word| words.keyword(word))?;
        Some(Self { kind: BuildKind::Index, table: qualified(&schema, &table), references: None, shares: false })
    }

    fn index(words: &mut Words<'_>) -> Option<Self> {
        let _ = words.keyword("unique");
        words.keyword("index")?;
        words.name()?;
        words.keyword("on")?;
        let _ = words.keyword("only");
        let (schema, table) = words.two_names()?;
        Some(Self { kind: BuildKind::Index, table: qualified(&schema, &table), references: None, shares: true })
    }

    /// True when both cannot run at the same time, because one would wait for the other's lock, or both for each other.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let tables = |one: &Self| [Some(one.table.clone()), one.references.clone()];
        let is_common =
            tables(self).iter().flatten().any(|table| tables(other).iter().flatten().any(|one| one == table));
        is_common && !(self.shares && other.shares)
    }
}

/// True for what pg_dump writes behind an index or a constraint and says of it alone: a comment, statistics of a column of
/// the index, that the table is clustered by it, that its rows are known by it. Attaching it to that of a partitioned
/// table is none of these.
pub fn is_said_of_build(statement: &[u8]) -> bool {
    let mut words = Words::new(statement, Charset::default());
    let mut read = || {
        if words.keyword("comment").is_some() {
            words.keyword("on")?;
            return words.keyword("index").or_else(|| words.keyword("constraint"));
        }
        words.keyword("alter")?;
        if words.keyword("index").is_some() {
            words.qualified_name()?;
            return words.keyword("alter");
        }
        words.keyword("table")?;
        let _ = words.keyword("only");
        words.qualified_name()?;
        words.keyword("cluster").or_else(|| words.keyword("replica"))
    };
    read().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(statement: &str) -> Option<Build> {
        Build::parse(statement.as_bytes(), Charset::default())
    }

    #[test]
    fn what_is_made_of_rows_names_its_tables() {
        for (statement, kind, table, references, shares) in [
            ("CREATE INDEX i ON s.t USING btree (a);", BuildKind::Index, "s.t", None, true),
            ("CREATE UNIQUE INDEX \"I\" ON ONLY s.\"T\" USING btree (a);", BuildKind::Index, "s.\"T\"", None, true),
            ("ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k PRIMARY KEY (a);", BuildKind::Index, "s.t", None, false),
            (
                "ALTER TABLE s.t\n ADD CONSTRAINT k EXCLUDE USING gist (a WITH &&);",
                BuildKind::Index,
                "s.t",
                None,
                false,
            ),
            (
                "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (a, b) REFERENCES s.u(a, b);",
                BuildKind::ForeignKey,
                "s.t",
                Some("s.u"),
                false,
            ),
        ] {
            let (table, references) = (table.to_owned(), references.map(str::to_owned));
            assert_eq!(build(statement), Some(Build { kind, table, references, shares }), "{statement}");
        }
        for statement in [
            "CREATE TABLE s.t (a integer);",
            "CREATE TRIGGER i ON s.t;",
            "ALTER TABLE s.t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;",
            "ALTER TABLE s.t CLUSTER ON i;",
            "ALTER INDEX s.i ATTACH PARTITION s.j;",
        ] {
            assert_eq!(build(statement), None, "{statement}");
        }
    }

    #[test]
    fn only_indexes_share_a_table() {
        let (one, other) = ("CREATE INDEX i ON s.t USING btree (a);", "CREATE INDEX j ON s.t USING btree (b);");
        let key = "ALTER TABLE ONLY s.t ADD CONSTRAINT k PRIMARY KEY (a);";
        let refers = "ALTER TABLE ONLY s.u ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES s.t(a);";
        let to_another = "ALTER TABLE ONLY s.v ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES s.t(a);";
        let conflicts = |one, other| build(one).unwrap().conflicts_with(&build(other).unwrap());
        assert!(!conflicts(one, other));
        assert!(conflicts(one, key));
        assert!(conflicts(key, refers));
        assert!(conflicts(refers, to_another));
        assert!(!conflicts(key, "CREATE INDEX i ON s.u USING btree (a);"));
    }

    #[test]
    fn what_is_said_of_an_index_stays_with_it() {
        for (statement, is_said) in [
            ("COMMENT ON INDEX s.i IS 'x';", true),
            ("COMMENT ON CONSTRAINT k ON s.t IS 'x';", true),
            ("ALTER INDEX s.i ALTER COLUMN 1 SET STATISTICS 100;", true),
            ("ALTER TABLE s.t CLUSTER ON i;", true),
            ("ALTER TABLE ONLY s.t REPLICA IDENTITY USING INDEX i;", true),
            ("ALTER INDEX s.i ATTACH PARTITION s.j;", false),
            ("COMMENT ON TABLE s.t IS 'x';", false),
            ("ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;", false),
        ] {
            assert_eq!(is_said_of_build(statement.as_bytes()), is_said, "{statement}");
        }
    }
}
