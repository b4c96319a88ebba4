//! libtorch's errors in the contract's form: one line, and the rest for `--verbose`.

use qp_abi::sdk::{BackendError, ErrorKind};
use qp_pytorch_contract::operator_list::{Standing, standing};
use tch::TchError;

/// libtorch's message.
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

/// An error of libtorch while doing `what`.
pub(crate) fn failed(what: &str, said: impl Into<Said>) -> BackendError {
    let Said(text) = said.into();
    BackendError::runtime_failed(what).with_cause(summary(&text)).with_detail(text)
}

/// The shim's rejection, before libtorch executes any of it: `refuse` in shim/guard.h writes it.
pub(crate) fn refusal(text: &str) -> Option<BackendError> {
    let told = text.split_once("qp refuses\n")?.1;
    let mut lines = told.lines();
    let (reason, subject, place) = (lines.next()?, lines.next()?, lines.next().unwrap_or_default());
    let error = match reason {
        "operator" => refused_operator(subject, place),
        "class" => BackendError::unsupported_op(format!(
            "the file has an object of libtorch's class `{subject}`"
        ))
        .with_help(
            "Save the model again without it: of libtorch's classes, qp supports only those of packed weights.",
        ),
        "code" => BackendError::corrupt_file(format!("a call in `{place}` cannot be made: {subject}"))
            .with_help("Get the file from its source again."),
        "endless" => BackendError::unsafe_file(format!("a loop in `{place}` never ends"))
            .with_help("Do not run this file."),
        "calls" => BackendError::unsafe_file(format!("functions call each other too deeply below `{place}`"))
            .with_help("Do not run this file."),
        "blocks" => BackendError::unsafe_file(format!("`{place}` nests conditions and loops too deeply"))
            .with_help("Do not run this file."),
        "large" => {
            BackendError::unsafe_file(format!("`{place}` becomes too large when its calls are followed"))
                .with_help("Do not run this file.")
        }
        _ => return None,
    };
    Some(error.with_detail(text.to_owned()))
}

/// Why a file does not run that calls an operator at `place`.
pub(crate) fn refused_operator(name: &str, place: &str) -> BackendError {
    let called = if place.is_empty() {
        format!("the file calls `{name}`")
    } else {
        format!("`{place}` calls `{name}`")
    };
    match standing(name) {
        Standing::Unsafe(reason) => {
            BackendError::unsafe_file(format!("{called}, which is not an operator for a model"))
                .with_cause(reason)
                .with_help("Do not run this file.")
        }
        Standing::Refused(reason) => BackendError::unsupported_op(format!("{called}, which qp does not run"))
            .with_cause(reason)
            .with_help("Save the model again without it."),
        Standing::Unknown | Standing::Allowed => BackendError::unsupported_op(format!(
            "qp does not know the operator `{name}` of this file"
        ))
        .with_help(
            "Replace it by what PyTorch has and save the model again; qp loads no libraries of operators.",
        ),
    }
}

/// Why libtorch does not load the file at `path`: what it lacks is the file's affair.
pub(crate) fn not_loaded(path: &str, text: String) -> BackendError {
    if let Some(error) = refusal(&text) {
        return error;
    }
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let lacks = |what: String| {
        BackendError::unsupported_op(what)
            .with_help("Replace it with PyTorch's own operators and save the model again; qp does not load operator libraries.")
            .with_detail(text.clone())
    };
    if let Some(operator) = first.strip_prefix("Unknown builtin op: ") {
        return lacks(format!("libtorch has no operator `{}`", operator.trim_end_matches('.')));
    }
    if let Some(class) = first.strip_prefix("Unknown type name '__torch__.torch.classes.") {
        return lacks(format!("libtorch has no class `{}`", class.trim_end_matches([':', '\''])));
    }
    failed(&format!("libtorch cannot load `{path}`"), text)
        .with_help("Save the model again with the PyTorch that made it, or inspect it without running it.")
}

/// Why a run failed. `layer` is the one whose value was due next.
pub(crate) fn not_run(layer: Option<&str>, text: String) -> BackendError {
    if let Some(error) = refusal(&text) {
        return error;
    }
    if is_raised(&text) {
        return BackendError::new(ErrorKind::RUNTIME_FAILED, "the model raised an error")
            .with_cause(summary(&text))
            .with_detail(text);
    }
    // For a program, TorchScript's traceback shows the place of the call as its source: see `range` in
    // shim/program.cpp.
    let place = text.lines().find_map(|line| line.strip_prefix("layer `")?.strip_suffix('`'));
    let is_no_token = text.contains("index out of range in self");
    let error = match place.or(layer).map(str::to_owned) {
        Some(layer) => failed(&format!("libtorch failed to compute `{layer}`"), text),
        None => failed("libtorch failed to run the model", text),
    };
    if is_no_token {
        return error.with_help(
            "The embedding table has no such row: give token numbers, or generate small ones with `input random --max 100`.",
        );
    }
    error
}

const MARK: &str = "<--- HERE";

/// Whether the model's own code raises the error: whether the marked statement does.
fn is_raised(text: &str) -> bool {
    let mut before = "";
    for line in text.lines() {
        if line.contains(MARK) {
            return before.contains("ops.prim.RaiseException(");
        }
        before = line;
    }
    false
}

/// The line that says what went wrong. TorchScript puts its traceback before it, with indented lines of code; C++
/// puts its stack after it.
fn summary(text: &str) -> String {
    let behind = text.rfind(MARK).map(|at| &text[at + MARK.len()..]).unwrap_or_default();
    let is_statement = |line: &&str| !line.is_empty() && !line.starts_with(char::is_whitespace);
    let named = behind.lines().find(is_statement);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let prefixed = || lines().rev().find(|line| line.starts_with("RuntimeError: "));
    let line = named.or_else(prefixed).or_else(|| lines().next()).unwrap_or("no message").trim();
    let line = line.strip_prefix("builtins.").unwrap_or(line);
    line.strip_prefix("RuntimeError: ").unwrap_or(line).trim_end_matches(['.', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As written by libtorch 2.13 for `raise ValueError(…)` in a scripted module.
    const RAISED: &str = "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript, \
        serialized code (most recent call last):\n  File \"code/__torch__.py\", line 11, in forward\n    if \
        torch.lt(torch.size(x, 0), 100):\n      ops.prim.RaiseException(_0, \"builtins.ValueError\")\n      \
        ~~~~~~~~~~~~~~~~~~~~~~~ <--- HERE\n    else:\n      pass\n\nTraceback of TorchScript, original code (most \
        recent call last):\n  File \"net.py\", line 40, in forward\n        if x.size(0) < 100:\n            raise \
        ValueError(\"bad\")\n            ~~~~~~~~ <--- HERE\n        return self.inner(x)\nbuiltins.ValueError: bad \
        value: 5\nsecond line\n";

    #[test]
    fn what_a_model_raises_is_its_own_affair_and_one_line() {
        let error = not_run(Some("fc"), RAISED.to_owned());
        assert_eq!(error.message, "the model raised an error");
        assert_eq!(error.causes.as_slice(), ["ValueError: bad value: 5"]);
        assert_eq!(error.detail, RAISED);
    }

    #[test]
    fn the_layer_is_named_and_the_stack_of_cpp_is_detail() {
        let text = "mat1 and mat2 shapes cannot be multiplied (3x5 and 3x2)\nException raised from meta at x.cpp:1\n";
        let error = not_run(Some("inner.fc"), text.to_owned());
        assert_eq!(error.message, "libtorch failed to compute `inner.fc`");
        assert_eq!(error.causes.as_slice(), ["mat1 and mat2 shapes cannot be multiplied (3x5 and 3x2)"]);
    }

    #[test]
    fn what_libtorch_lacks_is_named() {
        let text = "Unknown builtin op: mylib::myop.\nCould not find any similar ops\n".to_owned();
        let error = not_loaded("net.pt", text);
        assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP);
        assert_eq!(error.message, "libtorch has no operator `mylib::myop`");
        let text = "\nUnknown type name '__torch__.torch.classes.quantized.Packed':\n  File".to_owned();
        assert_eq!(not_loaded("net.pt", text).message, "libtorch has no class `quantized.Packed`");
    }
}
