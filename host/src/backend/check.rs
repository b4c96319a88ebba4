//! `backends check LIBRARY`: whether a library is a plugin that keeps to the contract.

use super::plugin::{PluginEntry, PluginState, Start};
use super::runtime::Reach;
use super::worker::{self, Isolation};
use crate::error::{Error, Result};
use crate::temporary::Scratch;
use qp_abi::sdk::conformance::{self, Step, Verdict};
use serde::{Deserialize, Serialize};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckVerdict {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed,
    /// It could not be tried.
    Skipped,
}

/// What happens in a check.
pub(super) enum Event {
    /// The plugin's id is known.
    Plugin(String),
    /// A claim is about to be tried on this file, if on one.
    Begins(String, Option<String>),
    /// It was tried.
    Ended(CheckLine),
}

/// Loads the library and tries every claim of the contract on it and on the samples.
pub(super) fn check(library: &Path, samples: &[PathBuf], start: &Start<'_>) -> Result<CheckReport> {
    if let Err(error) = std::fs::metadata(library) {
        return Err(Error::io("read", library, &error));
    }
    let mut report = CheckReport { library: library.to_owned(), plugin: None, lines: Vec::new() };
    let mut note = |event| report.note(event);
    match start.isolation {
        Isolation::None => try_claims(0, library, samples, start, &mut note)?,
        #[cfg(unix)]
        Isolation::Worker(workers) => worker::check(workers, library, samples, start, &mut note)?,
    }
    Ok(report)
}

impl CheckReport {
    fn note(&mut self, event: Event) {
        match event {
            Event::Plugin(id) => self.plugin = Some(id),
            Event::Begins(..) => {}
            Event::Ended(line) => self.lines.push(line),
        }
    }
}

/// Tries the claims in this process, without the first ones.
pub(super) fn try_claims(
    skipped: usize,
    library: &Path,
    samples: &[PathBuf],
    start: &Start<'_>,
    tell: &mut dyn FnMut(Event),
) -> Result<()> {
    let own = |place: usize, claim: &str, error: &dyn Fn() -> Option<Error>, tell: &mut dyn FnMut(Event)| {
        if skipped <= place {
            tell(Event::Begins(claim.to_owned(), None));
        }
        let error = error();
        if skipped <= place {
            tell(Event::Ended(own_line(claim, error.as_ref())));
        }
        error.is_none()
    };
    let entry = std::cell::OnceCell::new();
    let is_open = own(
        0,
        "the library opens as a plugin of this qp",
        &|| match entry.get_or_init(|| PluginEntry::read(library.to_owned())).state() {
            PluginState::Broken(error) => Some(error),
            PluginState::Known | PluginState::Loaded => None,
        },
        tell,
    );
    let Some(entry) = entry.get().filter(|_| is_open) else { return Ok(()) };
    tell(Event::Plugin(entry.id().to_owned()));
    if !own(1, "its backend can be made", &|| entry.backend(start).err(), tell) {
        return Ok(());
    }
    let backend = entry.backend(start)?;
    // Models run with the runtime that other sessions would find.
    let _ = backend.runtime(Reach::Python);
    let manifest = entry.ask_manifest()?;
    let scratch = Scratch::new()?;
    let skipped = skipped.saturating_sub(2);
    conformance::check_from(skipped, (&manifest, &backend), samples, scratch.path(), &mut |step| {
        tell(match step {
            Step::Begins(claim, subject) => {
                Event::Begins(claim.to_owned(), (!subject.is_empty()).then_some(subject))
            }
            Step::Ended(check) => Event::Ended(line(check)),
        });
    });
    Ok(())
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
