//! A table that its own statement does not make, made with its columns alone, so that its rows have a place.

use super::Broken;
use crate::error::ServerError;
use crate::postgres::load::{create_table, plain_columns};
use crate::postgres::loading::LoadSession;
use crate::record::facts::Kind;
use crate::record::facts::reader::DatabaseFacts;
use serde_json::{Map, Value};

/// Makes it from what the facts tell of its columns; false where they do not, or the server does not take that either.
pub(super) async fn make(session: &LoadSession, facts: DatabaseFacts<'_>, table: &str) -> Result<bool, Broken> {
    let mut described: Option<Vec<String>> = None;
    let take = |kind, name: String, properties: Map<String, Value>| {
        if kind == Kind::Table && name == table {
            let columns = properties.get("columns").and_then(Value::as_array).into_iter().flatten();
            described = Some(columns.filter_map(Value::as_str).map(str::to_owned).collect());
        }
    };
    facts.each_object(take).map_err(crate::error::Error::from)?;
    let Some(described) = described else { return Ok(false) };
    // what is generated is a column like others here
    let plain = |column: &String| column.split(" generated ").next().unwrap_or(column).to_owned();
    let described: Vec<String> = described.iter().map(plain).collect();
    let names: Option<Vec<String>> = described.iter().map(|column| name_of(column)).collect();
    let Some(columns) = names.and_then(|names| plain_columns(&described, &names)) else { return Ok(false) };
    let statement = create_table(table, &columns);
    match session.run_text(&statement).await {
        Ok(()) => Ok(true),
        Err(error) if error.code().is_some() => Ok(false),
        Err(error) => Err(ServerError::Compare(error).into()),
    }
}

/// The name at the beginning of a described column.
fn name_of(column: &str) -> Option<String> {
    let Some(quoted) = column.strip_prefix('"') else { return column.split(' ').next().map(str::to_owned) };
    let mut name = String::new();
    let mut letters = quoted.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if letters.next_if_eq(&'"').is_some() => name.push('"'),
            '"' => return Some(name),
            letter => name.push(letter),
        }
    }
    None
}
