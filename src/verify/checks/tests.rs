use super::rows::excluded;
use super::*;
use crate::facts::{Catalogue, SnapshotRecord, TableRows, Totals};
use crate::manifest::tests::sample;
use serde_json::json;

const TERMS: Terms = Terms { texts: true, owners: true, partial: false, rows_left_out: false };

fn objects(value: Value) -> Objects {
    serde_json::from_value(value).unwrap()
}

fn facts(tables: Value, rows: &[(&str, u64)]) -> DatabaseFacts {
    let catalogue = Catalogue { tables: objects(tables), ..Catalogue::default() };
    let mut contents = Contents::default();
    for (table, rows) in rows {
        contents.tables.insert((*table).to_owned(), TableRows { rows: *rows, ..TableRows::default() });
    }
    DatabaseFacts {
        name: "shop".to_owned(),
        raw_offset: 0,
        snapshot: SnapshotRecord { taken: chrono::DateTime::UNIX_EPOCH, exported: true },
        totals: Totals::default(),
        properties: sample("x").properties.unwrap(),
        schema: Schema { catalogue, has_texts: true, ..Schema::default() },
        contents,
        left_out: Vec::new(),
        rewritten: Vec::new(),
        replaced: Vec::new(),
    }
}

fn found(facts: &DatabaseFacts) -> Found {
    Found {
        schema: facts.schema.clone(),
        contents: facts.contents.clone(),
        properties: facts.properties.clone(),
        unapplied: Vec::new(),
        orphans: (0, BTreeMap::new()),
        health: None,
        queries: None,
        restore_seconds: 1.0,
    }
}

fn check(expected: &DatabaseFacts, found: &Found, terms: Terms, number: u8) -> Check {
    compare(expected, found, terms).checks.into_iter().find(|check| check.number == number).unwrap()
}

#[test]
fn what_a_dump_leaves_out_on_purpose_is_a_warning_unless_its_rows_are_there() {
    let expected = facts(json!({ "public.a": { "kind": "r" }, "public.b": { "kind": "r" } }), &[("public.a", 3)]);
    let without = |table: &str| {
        let mut found = found(&expected);
        found.schema.catalogue.tables.remove(table);
        found
    };
    let partial = Terms { partial: true, ..TERMS };
    assert_eq!(check(&expected, &without("public.b"), partial, 3).verdict, Verdict::Warning);
    assert_eq!(check(&expected, &without("public.b"), TERMS, 3).verdict, Verdict::Failed);
    assert_eq!(check(&expected, &without("public.a"), partial, 3).verdict, Verdict::Failed);
    let rows = check(&expected, &found(&expected), Terms { rows_left_out: true, ..TERMS }, 7);
    assert_eq!((rows.verdict, rows.details), (Verdict::Ok, vec!["public.b: excluded, no rows in the dump".to_owned()]));
    assert_eq!(check(&expected, &found(&expected), TERMS, 7).verdict, Verdict::Failed);
}

#[test]
fn rows_of_partitions_may_be_those_of_the_root() {
    let tables = json!({
        "public.root": { "kind": "p", "key": "HASH (k)" },
        "public.middle": { "kind": "p", "is_partition": true, "parents": ["public.root"] },
        "public.leaf": { "kind": "r", "is_partition": true, "parents": ["public.middle"] },
        "public.heir": { "kind": "r", "parents": ["public.base"] }, "public.base": { "kind": "r" },
    });
    let expected = facts(tables, &[("public.root", 3), ("public.base", 1)]);
    let excluded: Vec<&str> = excluded(&expected).map(|(name, _)| name.as_str()).collect();
    assert_eq!(excluded, ["public.heir"], "an heir is no partition");
}

#[test]
fn the_order_of_columns_counts_except_where_a_table_inherits() {
    let columns = |names: [&str; 2]| json!(names.map(|name| format!("{name} integer")));
    for (parents, verdict) in [(json!(["public.p"]), Verdict::Ok), (Value::Null, Verdict::Failed)] {
        let table = |names| {
            let mut table = json!({ "public.t": { "kind": "r", "columns": columns(names) } });
            if !parents.is_null() {
                table["public.t"]["parents"] = parents.clone();
            }
            facts(table, &[])
        };
        let (expected, other) = (table(["a", "b"]), table(["b", "a"]));
        assert_eq!(check(&expected, &found(&other), TERMS, 3).verdict, verdict);
    }
}

#[test]
fn text_that_a_server_makes_of_its_trees_is_compared_between_equal_majors_alone() {
    let mut expected = facts(json!({}), &[]);
    expected.schema.catalogue.views = objects(json!({ "public.v": { "kind": "v", "definition": "SELECT 1" } }));
    let mut other = found(&expected);
    other.schema.catalogue.views = objects(json!({ "public.v": { "kind": "v", "definition": "SELECT 1 AS x" } }));
    assert_eq!(check(&expected, &other, TERMS, 11).verdict, Verdict::Failed);
    assert_eq!(check(&expected, &other, Terms { texts: false, ..TERMS }, 11).verdict, Verdict::Ok);
    other.schema.catalogue.views = objects(json!({ "public.v": { "kind": "m", "definition": "SELECT 1" } }));
    assert_eq!(check(&expected, &other, Terms { texts: false, ..TERMS }, 11).verdict, Verdict::Failed);
}

#[test]
fn a_source_without_exported_snapshots_is_excused_for_its_catalogue_and_not_for_its_rows() {
    let mut expected = facts(json!({ "public.a": { "kind": "r" } }), &[("public.a", 3)]);
    expected.snapshot.exported = false;
    let mut other = found(&expected);
    other.schema.catalogue.tables.clear();
    other.contents.tables.get_mut("public.a").unwrap().rows = 2;
    assert_eq!(check(&expected, &other, TERMS, 3).verdict, Verdict::Warning);
    assert_eq!(check(&expected, &other, TERMS, 7).verdict, Verdict::Failed);
}

#[test]
fn details_name_the_column_that_differs() {
    let table = |kind: &str| {
        let columns = json!([format!("a {kind}"), "b text"]);
        facts(json!({ "public.t": { "kind": "r", "columns": columns } }), &[])
    };
    let check = check(&table("integer"), &found(&table("bigint")), TERMS, 3);
    assert_eq!(
        check.details,
        ["public.t: column \"a integer\" is missing", "public.t: column \"a bigint\" is there instead"]
    );
}
