//! The properties of an object as they can be compared.

use super::super::normalize_sql;
use crate::record::facts::{DEPARSED, shortened};
use serde_json::{Map, Value};

/// The properties that can be compared.
pub(super) fn comparable(properties: &Map<String, Value>, texts: bool) -> Map<String, Value> {
    let inherits = properties.contains_key("parents");
    let mut all = Map::new();
    for (name, value) in properties {
        let value = match (DEPARSED.contains(&name.as_str()), name.as_str(), value) {
            (true, _, _) if !texts => continue,
            (true, _, value) => normalize_sql::comparable(value.clone()),
            (false, "source", Value::String(source)) => Value::from(shortened(source)),
            // what was made to inherit later has its columns in another order once it is restored
            (false, "columns", Value::Array(columns)) if inherits => {
                let mut columns = columns.clone();
                columns.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                Value::Array(columns)
            }
            (false, _, value) => value.clone(),
        };
        if value.as_object().is_none_or(|value| !value.is_empty()) {
            all.insert(name.clone(), value);
        }
    }
    all
}
