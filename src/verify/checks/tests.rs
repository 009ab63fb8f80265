use super::*;
use crate::record::facts::tests::head;
use crate::record::facts::{Catalogue, Kind, Objects, TableRows};
use serde_json::{Map, Value, json};

const TERMS: Terms = Terms { texts: true, owners: true, partial: false, rows_left_out: false };

/// A database, whole.
#[derive(Clone)]
struct Database {
    expected: Expected,
    catalogue: Catalogue,
}

fn objects(value: Value) -> Objects {
    serde_json::from_value(value).unwrap()
}

fn facts(tables: Value, rows: &[(&str, u64)]) -> Database {
    let catalogue = Catalogue { tables: objects(tables), ..Catalogue::default() };
    let mut contents = Contents::default();
    for (table, rows) in rows {
        contents.tables.insert((*table).to_owned(), TableRows { rows: *rows, ..TableRows::default() });
    }
    Database { expected: Expected { head: head("shop"), contents }, catalogue }
}

/// Holds a database against another, as one that was restored is held against the facts.
fn found(expected: &Database, there: &Database, terms: Terms) -> Found {
    let contents = &expected.expected.contents;
    let all = |side: &Database| {
        let of = |kind: Kind| side.catalogue.of(kind).clone().into_iter().map(move |(name, all)| (kind, name, all));
        Kind::ALL.into_iter().flat_map(of).collect::<Vec<_>>()
    };
    let mut matching = Matching::new(terms.texts, Excused::default());
    all(expected).iter().for_each(|(kind, name, all)| matching.expect(*kind, name.clone(), all, contents));
    all(there).into_iter().rev().for_each(|(kind, name, all)| matching.meet(kind, name, all));
    all(expected).into_iter().for_each(|(kind, name, all)| matching.recall(kind, name, all));
    assert!(matching.is_complete());
    let mut read = ReadBack::default();
    for (table, wanted) in &contents.tables {
        let found = there.expected.contents.tables.get(table).map(|found| (found.rows, found.fingerprint));
        read.tables += u64::from(found.is_some());
        read.rows += found.map_or(0, |(rows, _)| rows);
        if found != Some((wanted.rows, wanted.fingerprint)) {
            read.differing.insert(table.clone(), found);
        }
    }
    Found {
        objects: matching.finish(contents),
        has_texts: true,
        migrations: Vec::new(),
        contents: read,
        properties: expected.expected.head.properties.clone(),
        unapplied: Vec::new(),
        orphans: (0, BTreeMap::new()),
        health: None,
        queries: None,
        restore_seconds: 1.0,
    }
}

fn check(expected: &Database, there: &Database, terms: Terms, number: u8) -> Check {
    let found = found(expected, there, terms);
    compare(&expected.expected, &found, terms).checks.into_iter().find(|check| check.number == number).unwrap()
}

#[test]
fn what_a_dump_leaves_out_on_purpose_is_a_warning_unless_its_rows_are_there() {
    let expected = facts(json!({ "public.a": { "kind": "r" }, "public.b": { "kind": "r" } }), &[("public.a", 3)]);
    let without = |table: &str| {
        let mut there = expected.clone();
        there.catalogue.tables.remove(table);
        there
    };
    let partial = Terms { partial: true, ..TERMS };
    assert_eq!(check(&expected, &without("public.b"), partial, 3).verdict, Verdict::Warning);
    assert_eq!(check(&expected, &without("public.b"), TERMS, 3).verdict, Verdict::Failed);
    assert_eq!(check(&expected, &without("public.a"), partial, 3).verdict, Verdict::Failed);
    let rows = check(&expected, &expected, Terms { rows_left_out: true, ..TERMS }, 7);
    assert_eq!((rows.verdict, rows.details), (Verdict::Ok, vec!["public.b: excluded, no rows in the dump".to_owned()]));
    assert_eq!(check(&expected, &expected, TERMS, 7).verdict, Verdict::Failed);
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
    let excluded = found(&expected, &expected, TERMS).objects.excluded;
    assert_eq!(excluded, [("public.heir".to_owned(), true)], "an heir is no partition");
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
        assert_eq!(check(&expected, &other, TERMS, 3).verdict, verdict);
    }
}

#[test]
fn text_that_a_server_makes_of_its_trees_is_compared_between_equal_majors_alone() {
    let mut expected = facts(json!({}), &[]);
    expected.catalogue.views = objects(json!({ "public.v": { "kind": "v", "definition": "SELECT 1" } }));
    let mut other = expected.clone();
    other.catalogue.views = objects(json!({ "public.v": { "kind": "v", "definition": "SELECT 1 AS x" } }));
    assert_eq!(check(&expected, &other, TERMS, 11).verdict, Verdict::Failed);
    assert_eq!(check(&expected, &other, Terms { texts: false, ..TERMS }, 11).verdict, Verdict::Ok);
    other.catalogue.views = objects(json!({ "public.v": { "kind": "m", "definition": "SELECT 1" } }));
    assert_eq!(check(&expected, &other, Terms { texts: false, ..TERMS }, 11).verdict, Verdict::Failed);
}

#[test]
fn a_source_without_exported_snapshots_is_excused_for_its_catalogue_and_not_for_its_rows() {
    let mut expected = facts(json!({ "public.a": { "kind": "r" } }), &[("public.a", 3)]);
    expected.expected.head.snapshot.exported = false;
    let mut other = expected.clone();
    other.catalogue.tables.clear();
    other.expected.contents.tables.get_mut("public.a").unwrap().rows = 2;
    assert_eq!(check(&expected, &other, TERMS, 3).verdict, Verdict::Warning);
    assert_eq!(check(&expected, &other, TERMS, 7).verdict, Verdict::Failed);
}

#[test]
fn details_name_the_column_that_differs() {
    let table = |kind: &str| {
        let columns = json!([format!("a {kind}"), "b text"]);
        facts(json!({ "public.t": { "kind": "r", "columns": columns } }), &[])
    };
    let check = check(&table("integer"), &table("bigint"), TERMS, 3);
    assert_eq!(
        check.details,
        ["public.t: column \"a integer\" is missing", "public.t: column \"a bigint\" exists instead"]
    );
}

#[test]
fn what_is_unlike_is_found_however_many_there_are_and_the_first_of_it_is_named() {
    let tables = |names: &mut dyn Iterator<Item = u32>, other: u32| {
        let table = |number| (format!("public.t{number:05}"), json!({ "kind": "p", "x": number == other }));
        facts(Value::Object(names.map(table).collect()), &[])
    };
    let all = tables(&mut (0..5_000), u32::MAX);
    // the last one is different, and the first 2,000 are gone
    let there = tables(&mut (2_000..5_000), 4_999);
    let partial = Terms { partial: true, ..TERMS };
    let alike = tables(&mut (2_000..5_000), u32::MAX);
    // every one is different, or there and not wanted
    let other = tables(&mut (0..5_000), 4_999);
    let others = tables(&mut (1_000..1_001).chain(6_000..9_000), 1_000);
    for (there, terms, verdict, named) in [
        (&all, TERMS, Verdict::Ok, &[][..]),
        (&alike, TERMS, Verdict::Failed, &["besides those named, 1000 are missing", "public.t00000 is missing"]),
        (&alike, partial, Verdict::Warning, &["besides those named, 1000 are missing"]),
        (&there, TERMS, Verdict::Failed, &["besides those named, 1000 are missing"]),
        (
            &there,
            partial,
            Verdict::Failed,
            &["besides those named, 1000 are missing", "public.t04999: x is true, expected false"],
        ),
        (&other, partial, Verdict::Failed, &["public.t04999: x is true, expected false"]),
        (
            &others,
            partial,
            Verdict::Failed,
            &["besides those named, at least 2001 are missing, are different", "public.t01000: x is true"],
        ),
    ] {
        let check = check(&all, there, terms, 3);
        assert_eq!(check.verdict, verdict, "{:?}", check.details);
        for named in named {
            assert!(check.details.iter().any(|detail| detail.starts_with(named)), "{named}: {:?}", check.details);
        }
        assert_eq!(check.details.is_empty(), named.is_empty());
        assert!(check.details.len() <= 101);
    }
}

#[test]
fn a_long_source_is_the_same_whether_it_was_recorded_whole_or_as_its_digest() {
    let function = |source: &str| {
        let mut side = facts(json!({}), &[]);
        side.catalogue.functions = objects(json!({ "public.f()": { "source": source } }));
        side
    };
    let (long, other) = ("x".repeat(10_000), "y".repeat(10_000));
    let digest = crate::record::facts::shortened(&long).into_owned();
    assert!(digest.starts_with("sha256:") && digest.ends_with(", 10000 bytes"));
    assert_eq!(check(&function(&long), &function(&digest), TERMS, 11).verdict, Verdict::Ok);
    assert_eq!(check(&function(&other), &function(&digest), TERMS, 11).verdict, Verdict::Failed);
}

#[test]
fn names_that_are_not_utf8_may_be_those_of_several_objects() {
    let expected = facts(json!({ "public.\"caf\u{fffd}\"": { "kind": "p" } }), &[]);
    let mut matching = Matching::new(true, Excused::default());
    let each = |take: &mut dyn FnMut(Kind, String, Map<String, Value>)| {
        for (name, all) in &expected.catalogue.tables {
            take(Kind::Table, name.clone(), all.clone());
            take(Kind::Table, name.clone(), all.clone());
        }
    };
    each(&mut |kind, name, all| matching.expect(kind, name, &all, &Contents::default()));
    each(&mut |kind, name, all| matching.meet(kind, name, all));
    assert!(matching.is_complete());
    assert!(matching.finish(&Contents::default()).surplus.tables.is_empty());
}

#[test]
fn an_enum_that_is_missing_is_found_beside_an_invalid_index_of_its_name() {
    let mut expected = facts(json!({}), &[]);
    expected.catalogue.enums = objects(json!({ "public.x": { "labels": ["a"] } }));
    expected.catalogue.indexes = objects(json!({ "public.x": { "valid": false } }));
    let there = facts(json!({}), &[]);
    assert_eq!(check(&expected, &there, TERMS, 4).verdict, Verdict::Failed);
    assert_eq!(check(&expected, &there, TERMS, 5).verdict, Verdict::Warning);
}
