//! What a model may call: `operators.txt` lists every operator of libtorch by name, with a reason.

use crate::table::{Slot, Table};

/// The list: groups, each with a heading.
const LIST: &str = include_str!("../operators.txt");

/// Operators that reach files or other processes, from libraries that are not in the list.
pub const OTHERS: [&str; 5] = ["rpc_async", "rpc_sync", "rpc_remote", "write_file", "read_file"];

/// What the list says about an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Allowed: it only computes.
    Allowed,
    /// Not meant for models, for this reason.
    Refused(&'static str),
    /// The same, and a file that calls it is unsafe.
    Unsafe(&'static str),
    /// It is not in the list.
    Unknown,
}

/// Groups of the list.
const MAX_GROUPS: usize = 64;
/// The mark of a namespace, `quantized::`; operators are marked with the numbers of their groups.
const NAMESPACE: u16 = MAX_GROUPS as u16;

/// The list as parsed at compile time.
struct Listed {
    /// The names, without `aten::`, and the other namespaces.
    names: Table<4096>,
    /// Where the headings of the groups begin.
    headings: [usize; MAX_GROUPS],
}

#[allow(long_running_const_eval, reason = "the list is long")]
static LISTED: Listed = read();

/// Reads the list, line by line.
const fn read() -> Listed {
    let text = LIST.as_bytes();
    let (mut names, mut headings) = (Table::new(), [0; MAX_GROUPS]);
    let (mut at, mut groups) = (0, 0);
    while at < text.len() {
        let is_heading = text[at] == b'=';
        if is_heading {
            headings[groups] = at;
            groups += 1;
        }
        let is_skipped = is_heading || text[at] == b'#';
        while at < text.len() && text[at] != b'\n' {
            let start = at;
            while at < text.len() && !text[at].is_ascii_whitespace() {
                if text[at] == b':' && text[at + 1] == b':' && !is_skipped {
                    names.add(text, start, at + 2, NAMESPACE);
                }
                at += 1;
            }
            if !is_skipped && start < at {
                names.add(text, start, at, groups as u16 - 1);
            }
            if at < text.len() && text[at] != b'\n' {
                at += 1;
            }
        }
        at += 1;
    }
    Listed { names, headings }
}

/// What the list says about the operator with this name, `aten::conv2d`.
pub fn standing(name: &str) -> Standing {
    let (namespace, short) = name.rsplit_once("::").unwrap_or(("", name));
    if OTHERS.contains(&short) {
        return Standing::Unsafe("they reach files or other processes");
    }
    let own = match namespace {
        "" => None,
        "aten" => LISTED.names.find(LIST, &[short]),
        _ => LISTED.names.find(LIST, &[name]).filter(|slot| slot.mark != NAMESPACE),
    };
    let in_namespace = || LISTED.names.find(LIST, &[name.split("::").next()?, "::*"]);
    own.or_else(in_namespace).map_or(Standing::Unknown, |slot| of_group(slot.mark))
}

/// Whether operators are listed under this namespace.
pub fn is_namespace(name: &str) -> bool {
    name == "aten" || LISTED.names.find(LIST, &[name, "::"]).is_some()
}

/// The names of all unsafe operators, without their namespaces.
pub fn unsafe_names() -> impl Iterator<Item = &'static str> {
    let are_unsafe: Vec<bool> =
        (0..NAMESPACE).map(|group| matches!(of_group(group), Standing::Unsafe(_))).collect();
    let is_unsafe = move |slot: &&Slot| are_unsafe.get(usize::from(slot.mark)).is_some_and(|is| *is);
    let listed = LISTED.names.keys().filter(is_unsafe);
    listed.filter_map(|slot| slot.key(LIST).rsplit("::").next()).chain(OTHERS)
}

/// The meaning of a group's heading.
fn of_group(number: u16) -> Standing {
    let heading =
        LISTED.headings.get(usize::from(number)).and_then(|start| LIST.get(*start..)?.lines().next());
    let Some((kind, title)) = heading.and_then(|heading| heading.strip_prefix("= ")?.split_once(' ')) else {
        return Standing::Unknown;
    };
    match kind {
        "allowed" => Standing::Allowed,
        "refused" => Standing::Refused(title),
        "unsafe" => Standing::Unsafe(title),
        _ => Standing::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_list_tells_what_computes_from_what_reaches() {
        assert_eq!(standing("aten::conv2d"), Standing::Allowed);
        assert_eq!(standing("quantized::conv2d"), Standing::Allowed);
        assert!(matches!(standing("aten::save"), Standing::Unsafe(_)));
        assert!(matches!(standing("aten::from_file"), Standing::Unsafe(_)));
        assert_eq!(standing("aten::no_such_operator"), Standing::Unknown);
        assert!(matches!(standing("cuda::any"), Standing::Refused(_)));
        for name in
            ["", "conv2d", "aten::", "aten::quantized::conv2d", "quantized::", "quantized", "aten::conv2"]
        {
            assert_eq!(standing(name), Standing::Unknown, "{name}");
        }
    }

    /// The list by full names, read at once.
    fn whole() -> BTreeMap<String, Standing> {
        let mut whole = BTreeMap::new();
        let mut group = Standing::Unknown;
        for line in LIST.lines().filter(|line| !line.starts_with('#')) {
            let Some(heading) = line.strip_prefix("= ") else {
                for name in line.split_whitespace() {
                    let name = if name.contains("::") { name.to_owned() } else { format!("aten::{name}") };
                    assert!(whole.insert(name.clone(), group).is_none(), "{name} stands twice");
                }
                continue;
            };
            let (kind, title) = heading.split_once(' ').unwrap();
            group = match kind {
                "allowed" => Standing::Allowed,
                "refused" => Standing::Refused(title),
                "unsafe" => Standing::Unsafe(title),
                _ => panic!("{heading}"),
            };
        }
        whole
    }

    #[test]
    fn every_operator_of_the_list_is_found() {
        let whole = whole();
        assert!(whole.len() > 2000);
        let mut names = BTreeSet::from(OTHERS);
        for (name, known) in &whole {
            let (namespace, short) = name.split_once("::").unwrap();
            assert!(is_namespace(namespace), "{name}");
            if matches!(known, Standing::Unsafe(_)) {
                names.insert(short);
            }
            if !OTHERS.contains(&short) {
                assert_eq!(standing(name), *known, "{name}");
            }
        }
        assert_eq!(unsafe_names().collect::<BTreeSet<_>>(), names);
        assert!(!is_namespace("mylib") && !is_namespace("") && !is_namespace("conv2d"));
    }
}
