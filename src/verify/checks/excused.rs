//! Objects that are not compared, because the loader has left them out and said so.

use crate::dump_format::sql_lexer::{DumpedObject, ObjectKind};
use crate::loader::exception::Omission;
use crate::record::facts::Kind;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What is not compared.
#[derive(Debug, Clone, Default)]
pub struct Excused {
    objects: BTreeSet<(Kind, String)>,
    /// How many functions of that name, whatever their arguments.
    functions: BTreeMap<String, usize>,
    /// Parts of tables: the property, and the name in it.
    parts: BTreeMap<String, Vec<(&'static str, String)>>,
}

impl Excused {
    /// Objects that were left out, or made in part.
    pub(crate) fn of(left_out: &[Omission]) -> Self {
        let mut excused = Self::default();
        left_out.iter().filter_map(|one| one.object.as_ref()).for_each(|object| excused.add(object));
        excused
    }

    fn add(&mut self, object: &DumpedObject) {
        let kind = match object.kind {
            ObjectKind::View | ObjectKind::MaterializedView => Kind::View,
            ObjectKind::Index | ObjectKind::Constraint => Kind::Index,
            ObjectKind::ForeignKey => Kind::ForeignKey,
            ObjectKind::Trigger | ObjectKind::EventTrigger => Kind::Trigger,
            ObjectKind::Policy => Kind::Policy,
            ObjectKind::Extension => Kind::Extension,
            ObjectKind::Sequence => Kind::Sequence,
            ObjectKind::Type => Kind::Enum,
            ObjectKind::Table | ObjectKind::ForeignTable => Kind::Table,
            ObjectKind::Function => {
                *self.functions.entry(object.name.clone()).or_default() += 1;
                return;
            }
            ObjectKind::Check => return self.add_part("checks", &object.name),
            ObjectKind::Default => return self.add_part("defaults", &object.name),
            ObjectKind::Schema
            | ObjectKind::Collation
            | ObjectKind::Language
            | ObjectKind::Rule
            | ObjectKind::Publication
            | ObjectKind::Other => return,
        };
        self.objects.insert((kind, object.name.clone()));
    }

    /// `schema.table.part`
    fn add_part(&mut self, property: &'static str, name: &str) {
        let at = match name.strip_suffix('"').and_then(|rest| rest.replace("\"\"", "xx").rfind('"')) {
            Some(quote) => quote.checked_sub(1),
            None => name.rfind('.'),
        };
        let Some((table, part)) = at.and_then(|at| Some((name.get(..at)?, name.get(at + 1..)?))) else { return };
        let part = match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => part.to_owned(),
        };
        self.parts.entry(table.to_owned()).or_default().push((property, part));
    }

    /// True for an object that is not compared at all.
    pub(super) fn has(&self, kind: Kind, name: &str) -> bool {
        let is_function = || self.functions.contains_key(without_arguments(name));
        self.objects.contains(&(kind, name.to_owned())) || kind == Kind::Function && is_function()
    }

    /// True for a function that was left out; each is excused for one that is not as it was.
    pub(super) fn spend(&mut self, kind: Kind, name: &str) -> bool {
        let left = self.functions.get_mut(without_arguments(name)).filter(|left| kind == Kind::Function && **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    /// The properties of an object without what is not compared of them.
    pub(super) fn rest(&self, kind: Kind, name: &str, properties: &mut Map<String, Value>) {
        let Some(parts) = self.parts.get(name).filter(|_| kind == Kind::Table) else { return };
        for (property, part) in parts {
            if let Some(Value::Object(all)) = properties.get_mut(*property) {
                all.remove(part);
                if all.is_empty() {
                    properties.remove(*property);
                }
            }
        }
    }
}

fn without_arguments(function: &str) -> &str {
    function.split('(').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_of_tables_are_excused_by_their_own_names() {
        let mut excused = Excused::default();
        for (kind, name) in [
            (ObjectKind::Check, "public.t.c"),
            (ObjectKind::Check, "public.\"a.b\".\"c \"\"d\""),
            (ObjectKind::Default, "public.t.n"),
            (ObjectKind::Function, "public.f"),
        ] {
            excused.add(&DumpedObject { kind, name: name.to_owned() });
        }
        let all = json!({ "checks": { "c": 1, "d": 2 }, "defaults": { "n": 3 } });
        let Value::Object(mut all) = all else { panic!() };
        excused.rest(Kind::Table, "public.t", &mut all);
        assert_eq!(Value::Object(all), json!({ "checks": { "d": 2 } }));
        let Value::Object(mut all) = json!({ "checks": { "c \"d": 1 } }) else { panic!() };
        excused.rest(Kind::Table, "public.\"a.b\"", &mut all);
        assert!(all.is_empty());
        assert!(excused.has(Kind::Function, "public.f(integer)") && !excused.has(Kind::Function, "public.ff()"));
        assert!(excused.spend(Kind::Function, "public.f(text)") && !excused.spend(Kind::Function, "public.f(integer)"));
    }
}
