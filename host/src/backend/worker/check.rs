//! `backends check` in a process of its own: a plugin that ends it, or never comes to an end, is a claim that does not hold.

use super::Workers;
use super::link::Link;
use super::message::{Answer, Checking, Control};
use super::process::Process;
use crate::backend::check::{Event, try_claims};
use crate::backend::plugin::Start;
use crate::backend::python::Python;
use crate::backend::{CheckLine, CheckVerdict, Isolation, RuntimeFolder, RuntimeOrigin};
use crate::error::{Error, ErrorKind, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a claim may take, if no setting says so.
const CLAIM: Duration = Duration::from_secs(120);

/// Tries the claims in another process; in a new one behind each claim that ends it.
pub(in crate::backend) fn check(
    workers: &Workers,
    library: &Path,
    samples: &[PathBuf],
    start: &Start<'_>,
    tell: &mut dyn FnMut(Event),
) -> Result<()> {
    let limit = workers.time_limit.unwrap_or(CLAIM);
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut tried = 0;
    loop {
        let lost = |error: io::Error| {
            Error::new(ErrorKind::Io, "no process can be started for the check").with_cause(error.to_string())
        };
        let mut process = Process::start(workers, library, [None, None]).map_err(lost)?;
        let order = Control::Check(Checking {
            program: workers.program.clone(),
            skipped: tried,
            library: absolute(library),
            samples: samples.iter().map(|sample| absolute(sample)).collect(),
            runtime_folders: start.runtime_folders.iter().map(|folder| folder.path.clone()).collect(),
            settings: start.settings.clone(),
            python: start.python.places().clone(),
        });
        let mut attempted = None;
        let mut received = process.control.send(&order).and_then(|()| process.control.receive(Some(limit)));
        let reason = loop {
            match received {
                Ok(Some(Answer::Done)) => return Ok(()),
                Ok(Some(Answer::Plugin(id))) => tell(Event::Plugin(id)),
                Ok(Some(Answer::Begins(claim, subject))) => attempted = Some((claim, subject)),
                Ok(Some(Answer::Tried(line))) => {
                    tried += 1;
                    attempted = None;
                    tell(Event::Ended(line));
                }
                Ok(Some(Answer::Failed(fault))) => {
                    return Err(crate::backend::error::from_plugin("check", fault.into()));
                }
                Ok(None) => {
                    process.end();
                    break Some(format!("it takes longer than {} s", limit.as_secs()));
                }
                Ok(Some(_)) | Err(_) => break None,
            }
            received = process.control.receive(Some(limit));
        };
        let reason = reason.unwrap_or_else(|| format!("it ends the process: {}", process.end_in_words()));
        let Some((claim, subject)) = attempted else {
            return Err(Error::new(
                ErrorKind::Plugin,
                format!("the check of `{}` was cut short", library.display()),
            )
            .with_cause(reason));
        };
        tried += 1;
        tell(Event::Ended(CheckLine { claim, subject, verdict: CheckVerdict::Failed, reason: Some(reason) }));
    }
}

/// The other side: tries the claims and tells each. Models run as they do in a session: in a worker.
pub(super) fn serve(control: &mut Link, checking: &Checking) -> io::Result<()> {
    let folders = checking.runtime_folders.iter();
    let folders: Vec<RuntimeFolder> =
        folders.map(|path| RuntimeFolder::new(path, RuntimeOrigin::DataFolder)).collect();
    let workers =
        Workers { program: checking.program.clone(), memory_limit: None, time_limit: None, heard: None };
    let start = Start {
        runtime_folders: &folders,
        python: &Arc::new(Python::new(checking.python.clone())),
        isolation: &Isolation::Worker(workers),
        settings: &checking.settings,
    };
    let mut failure = None;
    let mut tell = |event| {
        let answer = match event {
            Event::Plugin(id) => Answer::Plugin(id),
            Event::Begins(claim, subject) => Answer::Begins(claim, subject),
            Event::Ended(line) => Answer::Tried(line),
        };
        if let Err(error) = control.send(&answer) {
            failure.get_or_insert(error);
        }
    };
    let outcome = try_claims(checking.skipped, &checking.library, &checking.samples, &start, &mut tell);
    if let Some(failure) = failure {
        return Err(failure);
    }
    control.send(&match outcome {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(qp_abi::BackendError::runtime_failed(error.one_line()).into()),
    })
}
