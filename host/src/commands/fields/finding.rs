//! Findings, by how serious they are.

use crate::catalog::Digest;
use crate::model::Severity;
use crate::render::report::Report;
use crate::render::style::Tone;

/// A line for each model with a serious finding.
pub(in crate::commands) fn push_alerts<'a>(
    report: Report,
    models: impl Iterator<Item = (&'a str, Option<&'a Digest>)>,
) -> Report {
    let alerts = models.filter_map(|(name, digest)| Some((name, digest?.alert.as_ref()?)));
    alerts.fold(report, |report, (name, finding)| {
        let tone = severity_tone(finding.severity);
        report.toned_line([
            (tone, format!("{}: ", severity_word(finding.severity))),
            (Tone::Name, name.to_owned()),
            (Tone::Plain, format!(": {}", finding.message)),
        ])
    })
}

/// The word for a severity, and its color.
pub(in crate::commands) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Danger => "danger",
    }
}

pub(in crate::commands) fn severity_tone(severity: Severity) -> Tone {
    match severity {
        Severity::Note => Tone::Dim,
        Severity::Warning => Tone::Warning,
        Severity::Danger => Tone::Bad,
    }
}
