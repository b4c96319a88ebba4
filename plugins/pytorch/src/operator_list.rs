//! What a model may call: `engine/operators.txt`, every operator of libtorch's by its name, and why.

use qp_abi::sdk::{BackendError, Finding, ModelInfo, RSome, RString, Severity};
use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

/// The list: groups with a heading each.
const LIST: &str = include_str!("../engine/operators.txt");

/// Operators that reach files or other processes, of libraries that are not in the list.
const OTHERS: [&str; 5] = ["rpc_async", "rpc_sync", "rpc_remote", "write_file", "read_file"];

/// What the list says of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It computes.
    Allowed,
    /// It is not for models, for this reason.
    Refused(&'static str),
    /// The same, and a file that calls it is unsafe.
    Unsafe(&'static str),
    /// It is not in the list.
    Unknown,
}

/// Subjects that a finding lists at most.
const MAX_SUBJECTS: usize = 64;

/// What the list says of the operator of that name, `aten::conv2d`.
pub fn standing(name: &str) -> Standing {
    let known = known();
    if OTHERS.contains(&name.rsplit("::").next().unwrap_or_default()) {
        return Standing::Unsafe("they reach files or other processes");
    }
    let in_namespace = || known.get(&format!("{}::*", name.split("::").next()?));
    known.get(name).or_else(in_namespace).copied().unwrap_or(Standing::Unknown)
}

fn known() -> &'static HashMap<String, Standing> {
    static KNOWN: OnceLock<HashMap<String, Standing>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut known = HashMap::new();
        let mut group = Standing::Unknown;
        for line in LIST.lines().filter(|line| !line.starts_with('#')) {
            let Some(heading) = line.strip_prefix("= ") else {
                for name in line.split_whitespace() {
                    let name = if name.contains("::") { name.to_owned() } else { format!("aten::{name}") };
                    known.insert(name, group);
                }
                continue;
            };
            let (kind, title) = heading.split_once(' ').unwrap_or((heading, ""));
            group = match kind {
                "allowed" => Standing::Allowed,
                "refused" => Standing::Refused(title),
                "unsafe" => Standing::Unsafe(title),
                _ => Standing::Unknown,
            };
        }
        known
    })
}

/// The operator without its namespace, if one of that name is unsafe.
pub fn unsafe_name(name: &str) -> Option<&'static str> {
    static NAMES: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let listed = known().iter().filter(|(_, standing)| matches!(standing, Standing::Unsafe(_)));
        listed.filter_map(|(name, _)| name.rsplit("::").next()).chain(OTHERS).collect()
    });
    names.get(name).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_tells_what_computes_from_what_reaches() {
        assert_eq!(standing("aten::conv2d"), Standing::Allowed);
        assert_eq!(standing("quantized::conv2d"), Standing::Allowed);
        assert!(matches!(standing("aten::save"), Standing::Unsafe(_)));
        assert!(matches!(standing("aten::from_file"), Standing::Unsafe(_)));
        assert_eq!(standing("aten::no_such_operator"), Standing::Unknown);
    }
}
