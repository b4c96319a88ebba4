//! How a model was run.

use crate::backend::RunReport;
use crate::model::Property;
use crate::render::record::{Field, Record, Unit};

/// The runtime of a run and the settings that took effect.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(in crate::commands) struct Ran {
    pub(in crate::commands) runtime: String,
    pub(in crate::commands) runtime_version: String,
    pub(in crate::commands) settings: Vec<Property>,
}

impl From<RunReport> for Ran {
    fn from(report: RunReport) -> Self {
        Self { runtime: report.runtime, runtime_version: report.runtime_version, settings: report.settings }
    }
}

impl Ran {
    /// As [`settings_line`].
    pub(in crate::commands) fn text(&self) -> String {
        settings_line(&self.runtime, &self.runtime_version, &self.settings)
    }
}

/// `ONNX Runtime 1.31.1: provider CPU, optimization disable, threads 2`.
pub(in crate::commands) fn settings_line(runtime: &str, version: &str, settings: &[Property]) -> String {
    let settings: Vec<String> =
        settings.iter().map(|setting| format!("{} {}", setting.name, setting.value)).collect();
    format!("{runtime} {version}: {}", settings.join(", "))
}

impl Record for Ran {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("runtime", Unit::Text, "The runtime that executed the model", |ran| {
                ran.runtime.clone()
            }),
            Self::field("runtime_version", Unit::Text, "Its version", |ran| ran.runtime_version.clone()),
            Self::list("settings", "The settings that took effect", |ran| &ran.settings),
        ]
    }
}
