//! The list of what a pickle may name in a file that is called safe: `names.tsv`, each name by itself.

use super::value::Global;
use qp_pytorch_contract::table::Table;
use std::sync::OnceLock;

/// The rows: module, name, form, and why the name does nothing but build.
const ROWS: &str = include_str!("names.tsv");

/// What may be done with a listed name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A constant.
    Value,
    /// A class that may be named.
    Type,
    /// A function that may be named.
    Function,
    /// The type of a storage, in a persistent id.
    Storage,
    /// Built without arguments, then given attributes.
    Class,
    /// The same with a `__setstate__` that sets attributes.
    Module,
    /// The same with attributes that are data and tensors.
    Optimizer,
    /// Built without arguments, then given a state of data and tensors.
    Plain,
    /// Called with data: looks a member up.
    Enum,
    /// A subclass of `Tensor`.
    Subclass,
    /// Called with arguments of these kinds.
    Call(Signature),
    /// Called in a form that code describes.
    Own,
    /// Called with Python source.
    Source,
}

/// What a listed function takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// In order.
    pub parameters: Vec<Parameter>,
    /// What it gives.
    pub result: Sort,
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// What it takes.
    pub kind: Kind,
    /// How often.
    pub count: Count,
}

/// How many arguments a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// One.
    One,
    /// One or none; those after it likewise.
    Optional,
    /// Any number, to the end.
    Many,
}

/// What an argument has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Numbers, texts, bytes, constants, and what contains nothing else.
    Data,
    /// Data, tensors, storages, and what contains nothing else.
    Plain,
    /// Any value that is proved itself.
    Any,
    /// A text.
    Text,
    /// A whole number.
    Int,
    /// A number.
    Number,
    /// A boolean.
    Bool,
    /// A sequence of whole numbers.
    Ints,
    /// A tensor.
    Tensor,
    /// A storage.
    Storage,
    /// An array of NumPy's.
    Array,
    /// A listed subclass of `Tensor`, by its name.
    Subclass,
    /// A list, tuple or set of Python's own.
    List,
    /// A list of pairs, or a dictionary, of Python's own.
    Pairs,
    /// A dictionary of attributes.
    Attributes,
}

/// What a call gives, as far as it matters where it is an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Inert, like a number.
    Data,
    /// A tensor.
    Tensor,
    /// A storage, or a tensor: what a file within the pickle holds.
    Loaded,
    /// An array of NumPy's.
    Array,
    /// Packed weights.
    Packed,
    /// A type of elements of NumPy's.
    ElementType,
    /// A dictionary of Python's own.
    Mapping,
    /// A list of Python's own.
    Sequence,
    /// A set of Python's own.
    Set,
    /// Any value.
    Any,
}

/// What the list says of a name; `None` when it is not listed.
pub fn form(global: &Global) -> Option<&'static Form> {
    form_of(&global.module, &global.name)
}

/// The same for a name in two parts.
pub fn form_of(module: &str, name: &str) -> Option<&'static Form> {
    static FORMS: [OnceLock<Option<Form>>; MAX_ROWS] = [const { OnceLock::new() }; MAX_ROWS];
    let row = LISTED.find(ROWS, &[module, "\t", name])?;
    let form = FORMS.get(usize::from(row.mark))?.get_or_init(|| {
        let rest = ROWS.get(row.end() + 1..)?;
        parse(rest.split(['\t', '\n']).next()?)
    });
    form.as_ref()
}

/// Rows of the list at most.
const MAX_ROWS: usize = 2048;

/// The names in the list, module and name with a tab between, and the numbers of their rows.
#[allow(long_running_const_eval, reason = "the list is long")]
static LISTED: Table<4096> = read();

const fn read() -> Table<4096> {
    let text = ROWS.as_bytes();
    let mut listed = Table::new();
    let (mut at, mut row) = (0, 0);
    let mut is_head = true;
    while at < text.len() {
        let start = at;
        let mut tabs = 0;
        while at < text.len() && text[at] != b'\n' {
            if text[at] == b'\t' {
                tabs += 1;
                if tabs == 2 && text[start] != b'#' {
                    if !is_head {
                        assert!(row < MAX_ROWS);
                        listed.add(text, start, at, row as u16);
                        row += 1;
                    }
                    is_head = false;
                }
            }
            at += 1;
        }
        at += 1;
    }
    listed
}

fn parse(text: &str) -> Option<Form> {
    Some(match text {
        "value" => Form::Value,
        "type" => Form::Type,
        "function" => Form::Function,
        "storage" => Form::Storage,
        "class" => Form::Class,
        "module" => Form::Module,
        "optimizer" => Form::Optimizer,
        "plain" => Form::Plain,
        "enum" => Form::Enum,
        "subclass" => Form::Subclass,
        "own" => Form::Own,
        "source" => Form::Source,
        _ => {
            let (parameters, result) = text.strip_prefix("call ")?.split_once('=')?;
            let parameters = parameters.split_whitespace().map(parameter).collect::<Option<_>>()?;
            Form::Call(Signature { parameters, result: sort(result.trim())? })
        }
    })
}

fn parameter(text: &str) -> Option<Parameter> {
    let (text, count) = if let Some(text) = text.strip_suffix('?') {
        (text, Count::Optional)
    } else if let Some(text) = text.strip_suffix('*') {
        (text, Count::Many)
    } else {
        (text, Count::One)
    };
    let kind = match text {
        "data" => Kind::Data,
        "plain" => Kind::Plain,
        "any" => Kind::Any,
        "text" => Kind::Text,
        "int" => Kind::Int,
        "number" => Kind::Number,
        "bool" => Kind::Bool,
        "ints" => Kind::Ints,
        "tensor" => Kind::Tensor,
        "storage" => Kind::Storage,
        "array" => Kind::Array,
        "subclass" => Kind::Subclass,
        "list" => Kind::List,
        "pairs" => Kind::Pairs,
        "attributes" => Kind::Attributes,
        _ => return None,
    };
    Some(Parameter { kind, count })
}

fn sort(text: &str) -> Option<Sort> {
    Some(match text {
        "data" => Sort::Data,
        "tensor" => Sort::Tensor,
        "mapping" => Sort::Mapping,
        "sequence" => Sort::Sequence,
        "set" => Sort::Set,
        "any" => Sort::Any,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_has_four_fields_and_a_form_and_stands_once() {
        let mut seen = HashSet::new();
        let lines: Vec<&str> = ROWS.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.first(), Some(&"module\tname\tform\twhy"));
        for line in lines.iter().skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            assert!(fields.len() == 4 && fields.iter().all(|field| !field.is_empty()), "{line}");
            assert!(parse(fields[2]).is_some(), "{line}");
            assert_eq!(form_of(fields[0], fields[1]), parse(fields[2]).as_ref(), "{line}");
            assert!(seen.insert((fields[0], fields[1])), "{line}");
        }
    }

    #[test]
    fn names_are_exact() {
        let listed = |module: &str, name: &str| form(&Global::new(module, name)).is_some();
        assert!(listed("torch.nn.modules.conv", "Conv2d"));
        assert!(listed("__builtin__", "set"));
        // A re-export, a submodule, a path of attributes, another case, a prefix.
        for (module, name) in [
            ("torch.nn", "Conv2d"),
            ("torch.nn.modules.conv.Conv2d", "forward"),
            ("torch", "nn.modules.conv.Conv2d"),
            ("torch.nn.modules.conv", "conv2d"),
            ("torch.nn.modules.conv", "Conv2"),
            ("torch.fx.experimental.symbolic_shapes", "S"),
            ("torch.fx._symbolic_trace", "FunctionType"),
            ("torch.optim.lr_scheduler", "partial"),
        ] {
            assert!(!listed(module, name), "{module} {name}");
        }
    }
}
