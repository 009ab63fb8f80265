use super::*;

/// A head of a facts file.
pub(crate) fn facts_head() -> FactsHead {
    let version = |text: &str| text.to_owned();
    let versions = Versions { server: version("15.18"), client: version("15.18"), tool: version("1") };
    FactsHead { version: 1, id: "backup_1".to_owned(), subject: Subject::Cluster, versions }
}

/// The head of an empty database.
pub(crate) fn head(name: &str) -> DatabaseHead {
    DatabaseHead {
        name: name.to_owned(),
        raw_offset: 0,
        snapshot: SnapshotRecord { taken: DateTime::UNIX_EPOCH, exported: true },
        totals: Totals::default(),
        properties: crate::record::manifest::tests::sample("x").properties.unwrap(),
        has_texts: true,
        migrations: Vec::new(),
        roles: Vec::new(),
        lc_monetary: "C".to_owned(),
        left_out: Vec::new(),
        roles_in_rows: Vec::new(),
        materialized: BTreeMap::new(),
        rewritten: Vec::new(),
    }
}
