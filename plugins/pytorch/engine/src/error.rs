//! Errors of libtorch as the contract wants them: one line, and the rest for `--verbose`.

use qp_abi::sdk::BackendError;
use tch::TchError;

/// What libtorch said.
pub(crate) struct Said(String);

impl From<TchError> for Said {
    fn from(error: TchError) -> Self {
        match error {
            TchError::Torch(text) => Self(text),
            other => Self(other.to_string()),
        }
    }
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// An error of libtorch while it did `what`.
pub(crate) fn failed(what: &str, said: impl Into<Said>) -> BackendError {
    let Said(text) = said.into();
    BackendError::runtime_failed(what).with_cause(summary(&text)).with_detail(text)
}

/// An error of libtorch in the middle of a run. Of a program, TorchScript's traceback shows the place of the call as
/// its source: see `range` in shim/program.cpp.
pub(crate) fn failed_at(text: &str) -> BackendError {
    let place = text.lines().find_map(|line| line.strip_prefix("layer `")?.strip_suffix('`'));
    let what = match place {
        Some(place) => format!("libtorch failed to compute `{place}`"),
        None => "libtorch failed to run the model".to_owned(),
    };
    failed(&what, text.to_owned())
}

/// The line that says what went wrong: TorchScript puts its traceback before it, C++ its stack after it.
fn summary(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let named = lines().rev().find_map(|line| {
        let errors = ["RuntimeError: ", "ValueError: ", "IndexError: ", "NotImplementedError: "];
        errors.iter().find_map(|error| line.strip_prefix(error))
    });
    named.or_else(|| lines().next()).unwrap_or("no message").to_owned()
}
