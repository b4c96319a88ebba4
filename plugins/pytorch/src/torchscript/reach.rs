//! What the code of a TorchScript file calls, by its names alone: libtorch's parser is not ours, and a statement that
//! we read otherwise than it does must not hide a call. Every name that a bracket follows counts, whatever stands
//! around it; names of operators that reach files count even in comments and texts.

use crate::judge::{Judgement, unsafe_name};
use qp_pytorch_contract::operator_list::{Standing, is_namespace, standing};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Names in the code records of an archive.
#[derive(Debug, Default)]
pub struct Reach {
    /// What is called, with what stands before it: `aten` for `ops.aten.add(`, nothing for `torch.add(`.
    called: BTreeMap<String, BTreeSet<String>>,
    /// What is defined: classes, functions, methods.
    defined: HashSet<String>,
    /// Operators that reach files or other processes, wherever their names are.
    mentioned: BTreeSet<&'static str>,
}

/// What TorchScript's language itself calls.
const LANGUAGE: [&str; 25] = [
    "Any",
    "Dict",
    "Future",
    "List",
    "NoneType",
    "Optional",
    "RRef",
    "Tensor",
    "Tuple",
    "Union",
    "__new__",
    "and",
    "annotate",
    "elif",
    "if",
    "in",
    "is",
    "isinstance",
    "not",
    "or",
    "print",
    "return",
    "unchecked_cast",
    "uninitialized",
    "while",
];
/// Functions of Python's that TorchScript has under other names, and the method of packed weights.
const BUILTIN: [&str; 17] = [
    "bool",
    "complex",
    "dict",
    "enumerate",
    "float",
    "getattr",
    "hasattr",
    "int",
    "list",
    "range",
    "set",
    "sorted",
    "str",
    "super",
    "tuple",
    "unpack",
    "zip",
];
/// Bytes of a name that is looked at.
const MAX_NAME: usize = 256;

impl Reach {
    /// Adds a code record.
    pub fn add(&mut self, source: &str) {
        let is_apart = |letter: char| !letter.is_alphanumeric() && letter != '_';
        for name in source.split(is_apart) {
            self.mentioned.extend(unsafe_name(name));
        }
        let mut scanner = Scanner { rest: source };
        // The name before what is looked at, with what stands before its point.
        let mut last: Option<(&str, &str)> = None;
        let mut is_after_point = false;
        let mut is_definition = false;
        let mut is_start = false;
        while let Some(piece) = scanner.next() {
            match piece {
                Piece::Name(name) => {
                    if is_definition {
                        self.define(shortened(name));
                    }
                    is_definition = matches!(name, "def" | "class");
                    is_start = last.is_none() && !is_after_point;
                    let space =
                        last.take().filter(|_| is_after_point).map(|(_, name)| name).unwrap_or_default();
                    last = Some((space, shortened(name)));
                    is_after_point = false;
                }
                Piece::Symbol('.') => is_after_point = true,
                // A variable may be a function of the file's.
                Piece::Symbol('=') if is_start => {
                    if let Some((_, name)) = last.take() {
                        self.define(name);
                    }
                }
                Piece::Symbol(symbol) => {
                    if let Some((space, name)) = last.take().filter(|_| symbol == '(' && !is_after_point) {
                        self.call(name, space);
                    }
                    is_after_point = false;
                }
            }
        }
    }

    fn define(&mut self, name: &str) {
        if !self.defined.contains(name) {
            self.defined.insert(name.to_owned());
        }
    }

    fn call(&mut self, name: &str, space: &str) {
        match self.called.get_mut(name) {
            Some(spaces) if spaces.contains(space) => {}
            Some(spaces) => drop(spaces.insert(space.to_owned())),
            None => drop(self.called.insert(name.to_owned(), BTreeSet::from([space.to_owned()]))),
        }
    }

    /// What it amounts to.
    pub fn judge(&self) -> Judgement {
        let mut judgement = Judgement::default();
        for (name, spaces) in &self.called {
            let is_of_file = self.defined.contains(name) || LANGUAGE.contains(&name.as_str());
            for space in spaces {
                let operator = format!("{}::{name}", if is_namespace(space) { space } else { "aten" });
                match standing(&operator) {
                    Standing::Unsafe(_) => judgement.dangers.push(operator),
                    Standing::Allowed => {}
                    _ if is_of_file || is_language(name) => {}
                    Standing::Refused(_) | Standing::Unknown => {
                        judgement.doubts.push(if is_namespace(space) { operator } else { name.clone() });
                    }
                }
            }
        }
        for name in &self.mentioned {
            let is_called = judgement.dangers.iter().any(|danger| danger.ends_with(&format!("::{name}")));
            if !is_called {
                judgement.doubts.push((*name).to_owned());
            }
        }
        judgement.doubts.dedup();
        judgement
    }
}

fn is_language(name: &str) -> bool {
    BUILTIN.contains(&name) || matches!(standing(&format!("prim::{name}")), Standing::Allowed)
}

fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(MAX_NAME).map(|(end, _)| end);
    end.and_then(|end| name.get(..end)).unwrap_or(name)
}

enum Piece<'a> {
    Name(&'a str),
    Symbol(char),
}

/// Takes names and symbols out of a text. White space, continued lines, comments and texts are nothing.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            let first = self.rest.chars().next()?;
            if first.is_alphanumeric() || first == '_' {
                let end =
                    self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                let (name, after) = self.rest.split_at(end);
                self.rest = after;
                return Some(Piece::Name(name));
            }
            match first {
                '#' => self.skip(self.rest.find('\n').unwrap_or(self.rest.len())),
                '"' | '\'' => self.skip_text(first),
                _ => {
                    self.skip(first.len_utf8());
                    if !first.is_whitespace() && first != '\\' {
                        return Some(Piece::Symbol(first));
                    }
                }
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn skip_text(&mut self, quote: char) {
        let is_long = self.rest.chars().take(3).filter(|letter| *letter == quote).count() == 3;
        let quotes = if is_long { 3 } else { 1 };
        self.skip(quotes);
        let mut is_escaped = false;
        let mut run = 0;
        for (at, letter) in self.rest.char_indices() {
            run = if letter == quote && !is_escaped { run + 1 } else { 0 };
            is_escaped = letter == '\\' && !is_escaped;
            if run == quotes {
                return self.skip(at + letter.len_utf8());
            }
        }
        self.rest = "";
    }
}

#[cfg(test)]
mod tests {
    use super::{Judgement, Reach};

    fn judged(source: &str) -> Judgement {
        let mut reach = Reach::default();
        reach.add(source);
        reach.judge()
    }

    #[test]
    fn calls_that_reach_files_are_dangers_however_they_are_written() {
        for source in [
            "  _0 = torch.save(x, \"f\")",
            "  _0 = torch.\\\nsave(x, \"f\")",
            "  _0 = torch.# a comment\n  save (x, \"f\")",
            "  y = ops.aten.from_file (\"f\", True, 4)",
            "  y = x.save(\"f\")",
            "  y = ops.image.write_file(\"f\", x)",
        ] {
            assert!(!judged(source).dangers.is_empty(), "{source}: {:?}", judged(source));
        }
    }

    #[test]
    fn their_names_alone_are_doubts() {
        for source in ["  save = torch.relu(x)", "  x = \".save(\"", "  # save", "  x = self.save"] {
            let judgement = judged(source);
            assert!(judgement.dangers.is_empty() && judgement.doubts == ["save"], "{source}: {judgement:?}");
        }
    }

    #[test]
    fn what_computes_or_is_defined_is_neither() {
        let source = "class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    _0 = \
                      uninitialized(Tensor)\n    y = torch.conv2d(x, annotate(List[int], []))\n    z = ops.quantized.add(\
                      y, y, 0.1, 0)\n    w = (self.inner).forward(z, )\n    if torch.gt(torch.len(w), 1):\n      \
                      ops.prim.RaiseException(\"expected input (got x)\")\n    return torch.add_(w, 1)\n";
        assert_eq!(judged(source), Judgement::default());
        assert_eq!(judged("  y = ops.mylib.f(x)").doubts, ["f"]);
    }
}
