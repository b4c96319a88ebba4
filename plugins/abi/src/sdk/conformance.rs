//! Checks that a backend fulfils the contract.
//!
//! [`check`] tries a backend on sample files and on damaged copies of them, and returns one [`Check`] for each claim
//! of the contract and each file. The command `backends check LIBRARY FILE…` prints them; a plugin's own tests assert
//! that none has failed:
//!
//! ```text
//! let backend = boundary::backend_object(MyBackend::create(Setup::default())?);
//! let checks = conformance::check(&MyBackend::manifest(), &backend, &samples, scratch_folder);
//! assert!(checks.iter().all(|check| !check.has_failed()), "{checks:#?}");
//! ```
//!
//! This is the crate's only module that touches files: it writes its damaged copies into the folder that the caller
//! gives.

mod description;
mod hostile;
mod reading;
mod running;
mod tools;

use crate::backend::BackendBox;
use crate::error::ErrorKind;
use crate::guard;
use crate::manifest::Manifest;
use crate::model::ModelInfo;
use std::fmt;
use std::path::{Path, PathBuf};
use tools::{Failure, Outcome};

/// One claim of the contract, tried on one file or on the backend itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What the contract says, as a sentence without a full stop.
    pub claim: &'static str,
    /// The name of the file it was tried on; empty when it was tried on the backend itself.
    pub subject: String,
    /// The outcome.
    pub verdict: Verdict,
}

/// The outcome of a [`Check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The claim holds.
    Passed,
    /// The claim does not hold, and why.
    Failed(String),
    /// The claim could not be tried, and why.
    Skipped(String),
}

impl Check {
    /// Whether the claim does not hold.
    pub fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, reason) = match &self.verdict {
            Verdict::Passed => ("ok", None),
            Verdict::Failed(reason) => ("FAILED", Some(reason)),
            Verdict::Skipped(reason) => ("skipped", Some(reason)),
        };
        write!(f, "{word:<8}{}", self.claim)?;
        if !self.subject.is_empty() {
            write!(f, " ({})", self.subject)?;
        }
        reason.map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// Whether a model's description fulfils the contract by itself: names, shapes, sizes, quantization parameters. For
/// tests that check many files, good and bad.
pub fn description(manifest: &Manifest, info: &ModelInfo) -> Verdict {
    match description::model(manifest, info) {
        Ok(()) => Verdict::Passed,
        Err(Failure::Breach(reason)) => Verdict::Failed(reason),
        Err(Failure::CannotTry(reason)) => Verdict::Skipped(reason),
    }
}

/// Tries every claim on the backend and on each of the sample files, which must be valid. Damaged copies are written
/// into the folder `scratch`, which must exist; the caller removes it.
pub fn check(manifest: &Manifest, backend: &BackendBox, samples: &[PathBuf], scratch: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    check_from(0, (manifest, backend), samples, scratch, &mut |step| {
        if let Step::Ended(check) = step {
            checks.push(check);
        }
    });
    checks
}

/// One step of a check, as it happens: a plugin may end the process in the middle of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A claim is about to be tried on this file; on the backend itself if the name is empty.
    Begins(&'static str, String),
    /// It was tried.
    Ended(Check),
}

/// As [`check`], without the first claims: step by step, so that another process can go on behind the claim that ended this one.
pub fn check_from(
    skipped: usize,
    (manifest, backend): (&Manifest, &BackendBox),
    samples: &[PathBuf],
    scratch: &Path,
    watch: &mut dyn FnMut(Step),
) {
    let mut suite = Suite { manifest, backend, scratch, skipped, watch };
    suite.backend_itself();
    for sample in samples {
        suite.sample(sample);
    }
}

/// What the claims are tried with.
struct Suite<'a> {
    manifest: &'a Manifest,
    backend: &'a BackendBox,
    scratch: &'a Path,
    /// How many claims are still to be left out.
    skipped: usize,
    watch: &'a mut dyn FnMut(Step),
}

impl Suite<'_> {
    fn claim(&mut self, claim: &'static str, subject: &str, attempt: impl FnOnce(&Self) -> Outcome) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        (self.watch)(Step::Begins(claim, subject.to_owned()));
        // A bug in a check itself counts as a failure of that check.
        let outcome = guard::catch_in("the check", || Ok(attempt(self)));
        let verdict = match outcome {
            Ok(Ok(())) => Verdict::Passed,
            Ok(Err(Failure::Breach(reason))) => Verdict::Failed(reason),
            Ok(Err(Failure::CannotTry(reason))) => Verdict::Skipped(reason),
            Err(panic) => Verdict::Failed(panic.message.into_string()),
        };
        (self.watch)(Step::Ended(Check { claim, subject: subject.to_owned(), verdict }));
    }

    fn backend_itself(&mut self) {
        self.claim("the manifest is complete", "", |suite| description::manifest(suite.manifest));
        self.claim("any head can be probed", "", hostile::any_head_can_be_probed);
        self.claim("asking for the runtime loads nothing and gives the same answer twice", "", |suite| {
            running::runtime_is_asked_twice(suite.backend)
        });
        self.claim("a missing file is NotFound", "", hostile::missing_file);
        self.claim("an empty file is rejected as corrupt or unsupported", "", hostile::empty_file);
        self.claim("a folder is rejected", "", hostile::folder);
        self.claim("a file of noise is rejected as corrupt or unsupported", "", hostile::noise);
        self.claim("an unknown request is UnsupportedOp", "", |suite| {
            let answer =
                suite.backend.request("no-such-feature/1".into(), "{}".into(), tools::indifferent().as_ref());
            tools::expect_error(answer, &[ErrorKind::UNSUPPORTED_OP])
        });
    }

    fn sample(&mut self, path: &Path) {
        let subject = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let subject = subject.as_str();
        self.claim("probe, inspect and open agree on the format", subject, |suite| {
            reading::formats_agree(suite, path)
        });
        self.claim("inspect and open give the same description, twice", subject, |suite| {
            reading::descriptions_agree(suite, path)
        });
        self.claim("the description is consistent", subject, |suite| {
            description::model(suite.manifest, &tools::inspect(suite.backend, path)?)
        });
        self.claim("every stored tensor arrives whole, as described, the same twice", subject, |suite| {
            reading::tensors_come_whole(suite, path)
        });
        self.claim("real values arrive whole, as float32, the same twice", subject, |suite| {
            reading::real_values_come(suite, path)
        });
        self.claim("an unknown tensor is NotFound", subject, |suite| reading::unknown_tensor(suite, path));
        self.claim("an error of the sink is returned unchanged", subject, |suite| {
            reading::refusal_comes_back(suite, path)
        });
        self.claim("several threads can read a model at once", subject, |suite| {
            reading::threads_read(suite, path)
        });
        self.claim("cancelled work ends as Cancelled", subject, |suite| reading::cancelled(suite, path));
        self.claim("an unknown request about a model is UnsupportedOp", subject, |suite| {
            reading::unknown_request(suite, path)
        });
        self.claim("a truncated file is rejected or read, without a panic", subject, |suite| {
            hostile::cut_short(suite, path)
        });
        self.claim("a damaged file is rejected or read, without a panic", subject, |suite| {
            hostile::damaged(suite, path)
        });
        self.claim("a run gives the outputs, the same twice", subject, |suite| {
            running::outputs_come(suite, path)
        });
        self.claim("a run with wrong inputs is InvalidInput", subject, |suite| {
            running::wrong_inputs(suite, path)
        });
        self.claim("a capture gives values, each once", subject, |suite| running::capture(suite, path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_prints_as_one_line() {
        let check = Check {
            claim: "an unknown tensor is NotFound",
            subject: "x.toy".into(),
            verdict: Verdict::Failed("it is Internal".into()),
        };
        assert_eq!(check.to_string(), "FAILED  an unknown tensor is NotFound (x.toy): it is Internal");
        assert!(check.has_failed());
    }
}
