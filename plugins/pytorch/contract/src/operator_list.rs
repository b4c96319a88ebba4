//! What a model may call: `operators.txt`, every operator of libtorch's by its name, and why.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The list: groups with a heading each.
const LIST: &str = include_str!("../operators.txt");

/// Operators that reach files or other processes, of libraries that are not in the list.
pub const OTHERS: [&str; 5] = ["rpc_async", "rpc_sync", "rpc_remote", "write_file", "read_file"];

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

/// What the list says of the operator of that name, `aten::conv2d`.
pub fn standing(name: &str) -> Standing {
    let known = known();
    if OTHERS.contains(&name.rsplit("::").next().unwrap_or_default()) {
        return Standing::Unsafe("they reach files or other processes");
    }
    let in_namespace = || known.get(&format!("{}::*", name.split("::").next()?));
    known.get(name).or_else(in_namespace).copied().unwrap_or(Standing::Unknown)
}

/// The list by full names.
pub fn known() -> &'static HashMap<String, Standing> {
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
