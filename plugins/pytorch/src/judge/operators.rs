//! What the operators that a file calls amount to: part of its verdict.

use qp_abi::sdk::{BackendError, Finding, ModelInfo, RSome, RString, Severity};
use qp_pytorch_contract::operator_list::{Standing, standing, unsafe_names};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Subjects that a finding lists at most.
const MAX_SUBJECTS: usize = 64;

/// The operator without its namespace, if one with that name is unsafe.
pub fn unsafe_name(name: &str) -> Option<&'static str> {
    static NAMES: OnceLock<UnsafeNames> = OnceLock::new();
    NAMES.get_or_init(UnsafeNames::new).find(name)
}

/// The unsafe names. Every word of a file's code is looked up here, and nearly none is one.
struct UnsafeNames {
    /// Sorted.
    names: Vec<&'static str>,
    /// Whether one begins with this byte.
    firsts: [bool; 256],
}

impl UnsafeNames {
    fn new() -> Self {
        let mut names: Vec<&'static str> = unsafe_names().collect();
        names.sort_unstable();
        let mut firsts = [false; 256];
        for first in names.iter().filter_map(|name| name.bytes().next()) {
            firsts[usize::from(first)] = true;
        }
        Self { names, firsts }
    }

    fn find(&self, name: &str) -> Option<&'static str> {
        let first = name.bytes().next()?;
        if !self.firsts[usize::from(first)] {
            return None;
        }
        self.names.binary_search(&name).ok().and_then(|at| self.names.get(at)).copied()
    }
}

/// What the operators of a file amount to, without regard to what it does with them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Operators that reach files, other processes or memory that is not theirs.
    pub dangers: Vec<String>,
    /// What is called and not known to compute.
    pub doubts: Vec<String>,
}

/// The finding that a file calls what is not known to compute: it makes a verdict of safe one of unknown.
pub const UNKNOWN: &str = "code.unknown-operator";

impl Judgement {
    /// The judgement on operators, each as `aten::add`.
    pub fn of<'a>(operators: impl IntoIterator<Item = &'a str>) -> Self {
        let operators: BTreeSet<&str> = operators.into_iter().collect();
        let mut judgement = Self::default();
        for operator in operators {
            match standing(operator) {
                Standing::Unsafe(_) => judgement.dangers.push(operator.to_owned()),
                Standing::Refused(_) | Standing::Unknown => judgement.doubts.push(operator.to_owned()),
                Standing::Allowed => {}
            }
        }
        judgement
    }

    /// Says it of a file: what is dangerous is not run.
    pub fn report(&self, info: &mut ModelInfo) {
        let subjects = |names: &[String]| {
            names.iter().take(MAX_SUBJECTS).map(|name| RString::from(name.as_str())).collect()
        };
        if !self.dangers.is_empty() {
            let names: Vec<String> = self.dangers.iter().take(3).map(|name| format!("`{name}`")).collect();
            let message = format!("the file calls {}, which does more than compute", names.join(", "));
            info.findings.push(Finding {
                severity: Severity::DANGER,
                code: "code.reaches-out".into(),
                message: message.as_str().into(),
                subjects: subjects(&self.dangers),
            });
            let help = "Do not load it with PyTorch; `info --code` shows what it does.";
            info.run_obstacle = RSome(BackendError::unsafe_file(message).with_help(help));
        }
        if !self.doubts.is_empty() {
            info.findings.push(Finding {
                severity: Severity::WARNING,
                code: UNKNOWN.into(),
                message: "the file calls what is not on the list of operators that compute".into(),
                subjects: subjects(&self.doubts),
            });
        }
    }
}
