//! `backends check LIBRARY`: whether a library is a plugin that keeps to the contract.

use super::plugin::{PluginEntry, PluginState, Start};
use super::runtime::Reach;
use crate::error::{Error, Result};
use crate::temporary::Scratch;
use qp_abi::sdk::conformance::{self, Verdict};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a check of a library found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// The library.
    pub library: PathBuf,
    /// The plugin's id, if the check got that far.
    pub plugin: Option<String>,
    /// What was tried, in order.
    pub lines: Vec<CheckLine>,
}

/// One claim that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckLine {
    /// What must hold, as a sentence without a full stop.
    pub claim: String,
    /// The model file it was tried on; `None` when it was tried on the plugin itself.
    pub subject: Option<String>,
    /// The outcome.
    pub verdict: CheckVerdict,
    /// Why, unless it passed.
    pub reason: Option<String>,
}

/// The outcome of trying a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckVerdict {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed,
    /// It could not be tried.
    Skipped,
}

/// Loads the library and tries every claim of the contract on it and on the samples.
pub(super) fn check(library: &Path, samples: &[PathBuf], start: &Start<'_>) -> Result<CheckReport> {
    if let Err(error) = std::fs::metadata(library) {
        return Err(Error::io("read", library, &error));
    }
    let entry = PluginEntry::read(library.to_owned());
    let mut report = CheckReport { library: library.to_owned(), plugin: None, lines: Vec::new() };
    let refusal = match entry.state() {
        PluginState::Broken(error) => Some(error),
        PluginState::Known | PluginState::Loaded => None,
    };
    report.lines.push(own_line("the library opens as a plugin of this qp", refusal.as_ref()));
    if refusal.is_some() {
        return Ok(report);
    }
    report.plugin = Some(entry.id().to_owned());
    let made = entry.backend(start);
    report.lines.push(own_line("its backend can be made", made.as_ref().err()));
    let Ok(backend) = made else { return Ok(report) };
    // Models run with the runtime that other sessions would find.
    let _ = backend.runtime(Reach::Python);
    let manifest = entry.ask_manifest()?;
    let scratch = Scratch::new()?;
    let checks = conformance::check(&manifest, backend, samples, scratch.path());
    report.lines.extend(checks.into_iter().map(line));
    Ok(report)
}

fn own_line(claim: &str, error: Option<&Error>) -> CheckLine {
    CheckLine {
        claim: claim.to_owned(),
        subject: None,
        verdict: if error.is_some() { CheckVerdict::Failed } else { CheckVerdict::Passed },
        reason: error.map(Error::one_line),
    }
}

fn line(check: conformance::Check) -> CheckLine {
    let (verdict, reason) = match check.verdict {
        Verdict::Passed => (CheckVerdict::Passed, None),
        Verdict::Failed(reason) => (CheckVerdict::Failed, Some(reason)),
        Verdict::Skipped(reason) => (CheckVerdict::Skipped, Some(reason)),
    };
    CheckLine {
        claim: check.claim.to_owned(),
        subject: (!check.subject.is_empty()).then_some(check.subject),
        verdict,
        reason,
    }
}
