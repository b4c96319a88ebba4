//! What a model may call: the list in `operators.txt`, and libtorch's registry made to agree with it.

use crate::error::failed;
use crate::shim;
use qp_abi::sdk::{BackendError, Result};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The list: groups with a heading each.
const LIST: &str = include_str!("../operators.txt");

/// What the list says of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It computes.
    Allowed,
    /// It is not for models, for this reason.
    Refused(&'static str),
    /// The same, and a file that calls it is unsafe.
    Unsafe(&'static str),
    /// It is not in the list.
    Unknown,
}

/// What the list says of the operator of that name, `aten::conv2d`.
pub(crate) fn verdict(name: &str) -> Verdict {
    static KNOWN: OnceLock<HashMap<String, Verdict>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| parse(LIST));
    let in_namespace = || known.get(&format!("{}::*", name.split("::").next()?));
    known.get(name).or_else(in_namespace).copied().unwrap_or(Verdict::Unknown)
}

fn parse(list: &'static str) -> HashMap<String, Verdict> {
    let mut known = HashMap::new();
    let mut group = Verdict::Unknown;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let Some(heading) = line.strip_prefix("= ") else {
            for name in line.split_whitespace() {
                let name = if name.contains("::") { name.to_owned() } else { format!("aten::{name}") };
                known.insert(name, group);
            }
            continue;
        };
        let (kind, title) = heading.split_once(' ').unwrap_or((heading, ""));
        group = match kind {
            "allowed" => Verdict::Allowed,
            "refused" => Verdict::Refused(title),
            "unsafe" => Verdict::Unsafe(title),
            _ => Verdict::Unknown,
        };
    }
    known
}

/// Makes libtorch refuse models everything that the list does not allow. To be called before any file is read.
///
/// # Errors
/// What libtorch says.
pub(crate) fn restrict() -> Result<()> {
    static DONE: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| shim::restrict(|name| verdict(name) == Verdict::Allowed));
    done.clone().map_err(|text| failed("libtorch could not be set up", text))
}

/// Why a file does not run that calls an operator at `place`.
pub(crate) fn refused(name: &str, place: &str) -> BackendError {
    let called = if place.is_empty() {
        format!("the file calls `{name}`")
    } else {
        format!("`{place}` calls `{name}`")
    };
    match verdict(name) {
        Verdict::Unsafe(reason) => {
            BackendError::unsafe_file(format!("{called}, which is no operator for a model"))
                .with_cause(reason)
                .with_help("Do not run this file.")
        }
        Verdict::Refused(reason) => BackendError::unsupported_op(format!("{called}, which qp does not run"))
            .with_cause(reason)
            .with_help("Save the model again without it."),
        Verdict::Unknown | Verdict::Allowed => BackendError::unsupported_op(format!(
            "qp does not know the operator `{name}` of this file"
        ))
        .with_help(
            "Replace it by what PyTorch has and save the model again; qp loads no libraries of operators.",
        ),
    }
}
