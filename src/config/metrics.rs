//! Where numbers go.

use crate::settings::{RawSettings, Secret};
use std::path::PathBuf;

/// Where metrics go.
#[derive(Debug, Clone)]
pub struct MetricsSettings {
    /// File for the node exporter's textfile collector.
    pub textfile: Option<PathBuf>,
    pub pushgateway: Option<Secret>,
}

impl MetricsSettings {
    /// True when somebody wants them.
    pub fn is_wanted(&self) -> bool {
        self.textfile.is_some() || self.pushgateway.is_some()
    }
}

pub(super) fn read(raw: &mut RawSettings) -> MetricsSettings {
    let pushgateway = raw.secret("PUSHGATEWAY_URL");
    let textfile = raw.path("METRICS_TEXTFILE");
    if let Some(path) = textfile.as_ref().filter(|path| path.extension().is_none_or(|ending| ending != "prom")) {
        let path = path.display();
        raw.warnings.push(format!(
            "METRICS_TEXTFILE: {path} does not end in .prom, and the node exporter reads only such files"
        ));
    }
    MetricsSettings { textfile, pushgateway }
}
