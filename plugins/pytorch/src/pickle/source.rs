//! The Python source that pickles of fx modules hold. PyTorch runs it when it loads them: the imports, the
//! definition of `forward`, and `forward` itself, which it traces again. No file with such a source is safe; what
//! the source names decides between unknown and dangerous.

mod judgement;
mod known;
mod statement;

use super::list::{self, Form};
use super::subjects::Subjects;
use super::value::{Object, Pickle, Ref, Value};
use crate::python::{Kind, tokens};
use judgement::Judgement;
use statement::{Reader, Verdict};
use std::collections::HashSet;

/// What stands for a source that the pickle does not hold as plain text: no traced graph has that.
const COMPUTED_SOURCE: &str = "<computed source>";
/// Bytes of source that are judged; a pickle may have one long source called a million times.
const MAX_SOURCE_BYTES: usize = 8 << 20;

/// The sources of a pickle.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Whether there is one.
    pub(super) are_there: bool,
    /// Lines that no traced graph has, or that run, write, load or connect.
    pub(super) dangers: Subjects,
    /// What they call that is neither a module's own nor one of PyTorch's computing functions.
    pub(super) unknown: Subjects,
    /// The functions of PyTorch that run them.
    pub(super) reducers: HashSet<Ref>,
}

/// Judges what `reduce_graph_module(body, import_block)` would run: the imports, then `forward`. Whatever would
/// hide it, a name or a text that is computed or a call by another's hand, is dangerous too.
pub(super) fn sources(pickle: &Pickle) -> Sources {
    let is_reducer = |value: &Value| matches!(value, Value::Global(global) if list::form(global).is_some_and(|form| *form == Form::Source));
    let reducers: HashSet<Ref> =
        pickle.enumerated().filter(|(_, value)| is_reducer(value)).map(|(at, _)| at).collect();
    let mut sources = Sources { reducers, ..Sources::default() };
    if sources.reducers.is_empty() {
        return sources;
    }
    let mut left = MAX_SOURCE_BYTES;
    let mut judgement = Judgement::default();
    for value in pickle.values() {
        if value.mentions(|at| sources.reducers.contains(&at)) {
            judgement.danger(COMPUTED_SOURCE);
        }
        if let Value::Object(object) = value
            && sources.reducers.contains(&object.callable)
        {
            if judge_call(pickle, object, &mut left, &mut judgement).is_none() {
                judgement.danger(COMPUTED_SOURCE);
            }
            sources.are_there = true;
        }
    }
    sources.are_there |= !judgement.dangers.is_empty();
    (sources.dangers, sources.unknown) = (judgement.dangers, judgement.unknown);
    sources
}

/// Judges the sources of one call; `None` when they are not there as texts.
fn judge_call(pickle: &Pickle, object: &Object, left: &mut usize, judgement: &mut Judgement) -> Option<()> {
    let [body, imports @ ..] = pickle.arguments(object) else { return None };
    let imports = imports.iter().map(|&import| pickle.text(import)).collect::<Option<Vec<_>>>()?;
    let mut is_there = false;
    // A name may be set twice, and the first may be the one that counts when the call happens.
    for (name, value) in pickle.entries(*body)? {
        if !matches!(pickle.text(name)?, "_code" | "code" | "_graphmodule_code") {
            continue;
        }
        let code = pickle.text(value)?;
        let length = imports.iter().map(|import| import.len()).sum::<usize>() + code.len();
        *left = left.checked_sub(length)?;
        add(format!("{}{code}", imports.concat()), judgement);
        is_there = true;
    }
    is_there.then_some(())
}

/// Judges a source, once.
fn add(source: String, judgement: &mut Judgement) {
    if !judgement.sources.contains(&source) {
        judge(&source, judgement);
        judgement.sources.insert(source);
    }
}

fn judge(source: &str, judgement: &mut Judgement) {
    let lines: Vec<&str> = source.lines().collect();
    let line = |number: usize| lines.get(number.saturating_sub(1)).copied().unwrap_or_default();
    // Python ends a line, and a comment, at a carriage return too.
    if let Some(hiding) = source.split('\n').find(|line| line.contains(['\r', '\x0c', '\0'])) {
        return judgement.danger(&hiding.escape_debug().to_string());
    }
    let tokens = match tokens(source) {
        Ok(tokens) => tokens,
        Err((number, _)) => return judgement.danger(line(number)),
    };
    let mut reader = Reader::new(judgement);
    let mut rest = tokens.as_slice();
    while !rest.is_empty() {
        let end = rest.iter().position(|token| token.kind == Kind::Newline).map_or(rest.len(), |end| end + 1);
        let (statement, after) = rest.split_at(end);
        let number = statement.iter().map(|token| token.line).min().unwrap_or(0);
        if reader.statement(statement) == Verdict::Danger {
            reader.danger(line(number));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::{Judgement, add};

    fn judged(source: &str) -> Judgement {
        let mut judgement = Judgement::default();
        add(source.to_owned(), &mut judgement);
        judgement
    }

    #[test]
    fn what_a_traced_graph_has_is_harmless() {
        for source in [
            "import torch\nfrom builtins import getattr as getattr\nfrom math import sqrt as math_sqrt\n",
            "from _operator import abs as _operator_abs\ntorch.fx._symbolic_trace.wrap(\"math_sqrt\")\n",
            "NoneType = type(None)\n",
            "import torch\ndef forward(self, x : torch.Tensor, y = None) -> torch.Tensor:\n    conv = self.conv(x);  x = None\n    add = torch.add(conv, 1);  conv = None\n    getattr_1 = getattr(getattr(self.layer1, \"0\").conv, \"1\")(add)\n    size = add.size(0)\n    relu = torch.nn.functional.relu(getattr_1, inplace = False)\n    return torch.flatten(relu, 1)\n",
            "def forward(self, input, max = None):\n    input_1 = input\n    return input_1 + max\n",
            "import torch\ndef forward(self, x):\n    a = torch.ops.aten.add.Tensor(x, 1)\n    return a\n",
        ] {
            let judgement = judged(source);
            assert!(judgement.dangers.is_empty() && judgement.unknown.is_empty(), "{judgement:?}");
        }
    }

    #[test]
    fn what_runs_or_hides_is_a_danger() {
        for line in [
            "import os",
            "import torch.utils.collect_env",
            "from builtins import eval as eval",
            "from builtins import exec as getattr",
            "torch.fx._symbolic_trace.wrap(\"a\" + print(\"b\"))",
            "torch.hub.load(\"a\")",
            "torch.save(x, \"a\")",
            "y = torch",
            "y = torch.nn",
            "y = getattr(torch, \"save\")",
            "y = x.__class__",
            "y = x.numpy().tofile(\"a\")",
            "y = f\"{x}\"",
            "open(\"a\", \"w\")",
            "y = operator.attrgetter(\"a\")",
            "y = (lambda: eval)()",
            "import \\",
            "@torch.jit.script",
            "def forward(self, x : exec(\"a\")):",
            "y = torch.ops.load_library(\"a\")",
            "y = torch.classes.load_library(\"a\")",
            "y = __builtins__",
            "y = eval",
            "y = x; import os",
            "# a comment\rimport os",
            "y = ｏｓ.system(x)",
            "def forward(self, x, y = eval):\n    y(x)",
            "def forward(self, x): import os",
        ] {
            assert!(!judged(line).dangers.is_empty(), "{line}: {:?}", judged(line));
        }
    }

    #[test]
    fn what_is_neither_is_named() {
        let judgement =
            judged("import onnx2torch.utils\ny = onnx2torch.utils.f(x)\nz = torch.jit.script(y)\ng(x)\n");
        assert!(judgement.dangers.is_empty());
        assert_eq!(
            judgement.unknown.to_list(),
            ["onnx2torch.utils", "onnx2torch.utils.f", "torch.jit.script", "g"]
        );
    }
}
