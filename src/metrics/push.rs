//! A Pushgateway. Each series goes into the group of its own source, database and target, by POST, which replaces only
//! the series that are pushed: a run that failed, or that included one database of many, removes none of the others.

use super::Metrics;
use super::families::{FAMILIES, FamilyOrigin};
use crate::delivery::{self, Undelivered};
use crate::settings::Secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;
use std::collections::BTreeMap;

/// Groups pushed at once.
const AT_ONCE: usize = 8;
/// Labels that make a group.
const GROUPING: [&str; 4] = ["source", "database", "target", "shard"];

/// Pushes all series.
pub(super) async fn push(url: &Secret, metrics: &Metrics) -> Result<(), Undelivered> {
    let client = &delivery::client()?;
    let mut groups: Vec<_> = groups(&metrics.families).into_iter().collect();
    // what the run did comes before what was there
    groups.sort_by_key(|(_, families)| !families.iter().any(|family| is_of_run(family.name())));
    let pushes = groups.into_iter().map(|(labels, families)| async move {
        let address = address(url, &labels).ok_or(Undelivered::Address)?;
        let text = TextEncoder::new().encode_to_string(&families).unwrap_or_default();
        let request = || client.post(&address).header("content-type", prometheus::TEXT_FORMAT).body(text.clone());
        delivery::attempt(request).await
    });
    // one that is refused keeps none of the others from being pushed
    let pushed: Vec<Result<(), Undelivered>> = stream::iter(pushes).buffer_unordered(AT_ONCE).collect().await;
    pushed.into_iter().collect()
}

fn is_of_run(name: &str) -> bool {
    FAMILIES
        .iter()
        .any(|family| family.name == name && matches!(family.origin, FamilyOrigin::Attempt | FamilyOrigin::Run))
}

/// Asks whether it is ready.
pub(super) async fn check(url: &Secret) -> Result<(), Undelivered> {
    let mut address = url::Url::parse(url.expose()).map_err(|_| Undelivered::Address)?;
    let path = format!("{}/-/ready", address.path().trim_end_matches('/'));
    address.set_path(&path);
    delivery::probe(address.as_str()).await
}

type Labels = Vec<(&'static str, String)>;

fn groups(families: &[MetricFamily]) -> BTreeMap<Labels, Vec<MetricFamily>> {
    let mut groups: BTreeMap<Labels, Vec<MetricFamily>> = BTreeMap::new();
    for family in families {
        let mut parts: BTreeMap<Labels, Vec<_>> = BTreeMap::new();
        for metric in family.get_metric() {
            let value = |name: &str| metric.get_label().iter().find(|label| label.name() == name);
            let labels = GROUPING.into_iter().filter_map(|name| Some((name, value(name)?.value().to_owned())));
            let labels = labels.filter(|(_, value)| !value.is_empty()).collect();
            parts.entry(labels).or_default().push(metric.clone());
        }
        for (labels, metrics) in parts {
            let mut part = family.clone();
            part.set_metric(metrics);
            groups.entry(labels).or_default().push(part);
        }
    }
    groups
}

/// The address of a group. A value with a slash is written in base64, as the Pushgateway asks for.
fn address(url: &Secret, labels: &Labels) -> Option<String> {
    let base = url::Url::parse(url.expose()).ok()?;
    if base.cannot_be_a_base() {
        return None;
    }
    let mut path = format!("{}/metrics/job/pg_backup", base.path().trim_end_matches('/'));
    for (name, value) in labels {
        let component = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        path += &match value.contains('/') || value == "." || value == ".." {
            true => format!("/{name}@base64/{}", URL_SAFE_NO_PAD.encode(value)),
            false => format!("/{name}/{}", component(value)),
        };
    }
    let mut address = base;
    address.set_path(&path);
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_address_of_its_own() {
        let url = Secret::from("http://user:word@gateway.example:9091/base/".to_owned());
        let address = |database: &str| {
            let labels = vec![("source", "db:5432".to_owned()), ("database", database.to_owned())];
            address(&url, &labels).unwrap()
        };
        let base = "http://user:word@gateway.example:9091/base/metrics/job/pg_backup/source/db%3A5432";
        assert_eq!(address("shop"), format!("{base}/database/shop"));
        assert_eq!(address("a b%/ü"), format!("{base}/database@base64/YSBiJS_DvA"));
        assert_eq!(address(".."), format!("{base}/database@base64/Li4"));
        assert_eq!(address("?#"), format!("{base}/database/%3F%23"));
    }
}
