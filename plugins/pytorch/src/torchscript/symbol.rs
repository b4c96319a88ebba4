//! What variables of TorchScript's code stand for while its data flow is followed.

use super::expression::{Expression, Parser};
use super::lexer::tokens;
use crate::tensor::StoredTensor;
use qp_abi::sdk::{QuantizationParameters, RString};

/// Types within types; what is deeper counts as no tensor.
const MAX_DEPTH: u32 = 16;
/// Types in a tuple; one of more counts as no tensor.
const MAX_PARTS: usize = 64;

/// What a variable stands for.
#[derive(Debug, Clone)]
pub(super) enum Symbol {
    /// A module, by its index.
    Module(usize),
    /// A tensor, or a list of tensors, that is computed; without a name where no layer has it as its output.
    Value { name: RString, quantization: Option<QuantizationParameters> },
    /// A tensor or none: its type is optional.
    Perhaps(Box<Symbol>),
    /// A tensor of the file.
    Stored(RString, Box<StoredTensor>),
    /// A number.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// A list.
    List(Vec<Symbol>),
    /// A tuple.
    Tuple(Vec<Symbol>),
    /// A dictionary with texts as its keys.
    Named(Vec<(String, Symbol)>),
    /// A function, by its qualified name.
    Function(String),
    /// Anything else.
    Other,
}

/// What a type says of the tensors in a value of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// A tensor, or a list of tensors.
    Tensor,
    /// Perhaps a tensor.
    Perhaps,
    /// A tuple.
    Tuple(Vec<Kind>),
    /// No tensor.
    #[default]
    Other,
}

impl Kind {
    /// The kind of an annotation: `Tuple[Tensor, Optional[Tensor]]`.
    pub(super) fn of(annotation: &str) -> Self {
        if annotation.trim() == "Tensor" {
            return Self::Tensor;
        }
        Self::of_type(&Parser::new(&tokens(annotation)).sequence(), 0)
    }

    fn of_type(annotation: &Expression, depth: u32) -> Self {
        match annotation {
            _ if depth > MAX_DEPTH => Self::Other,
            Expression::Name(name) if name == "Tensor" => Self::Tensor,
            Expression::Name(name) if name == "NoneType" => Self::Perhaps,
            Expression::Index(outer, inner) => match (&**outer, &**inner) {
                (Expression::Name(name), inner) if name == "Tuple" => match inner {
                    Expression::Tuple(parts) if parts.len() > MAX_PARTS => Self::Other,
                    Expression::Tuple(parts) => {
                        Self::Tuple(parts.iter().map(|part| Self::of_type(part, depth + 1)).collect())
                    }
                    part => Self::Tuple(vec![Self::of_type(part, depth + 1)]),
                },
                (Expression::Name(name), inner) if name == "List" => match Self::of_type(inner, depth + 1) {
                    Self::Tensor => Self::Tensor,
                    _ => Self::Other,
                },
                (Expression::Name(name), inner) if name == "Optional" => {
                    match Self::of_type(inner, depth + 1) {
                        Self::Other => Self::Other,
                        Self::Tensor => Self::Perhaps,
                        kind => kind,
                    }
                }
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    /// Whether a value of this kind may hold a tensor.
    pub(super) fn has_tensor(&self) -> bool {
        match self {
            Self::Tensor | Self::Perhaps => true,
            Self::Tuple(parts) => parts.iter().any(Self::has_tensor),
            Self::Other => false,
        }
    }

    /// Whether a value of this kind holds a tensor whatever happens.
    pub(super) fn is_sure(&self) -> bool {
        match self {
            Self::Tensor => true,
            Self::Tuple(parts) => parts.iter().any(Self::is_sure),
            Self::Perhaps | Self::Other => false,
        }
    }

    /// A value of this kind whose tensors have the names that `name` gives them by their number. What is perhaps no
    /// tensor has a number and no name.
    pub(super) fn to_symbol(&self, part: &mut usize, name: &mut dyn FnMut(usize) -> RString) -> Symbol {
        let number = *part;
        match self {
            Self::Tensor => {
                *part += 1;
                Symbol::Value { name: name(number), quantization: None }
            }
            Self::Perhaps => {
                *part += 1;
                Symbol::unnamed().perhaps()
            }
            Self::Tuple(parts) => {
                Symbol::Tuple(parts.iter().map(|kind| kind.to_symbol(part, name)).collect())
            }
            Self::Other => Symbol::Other,
        }
    }
}

impl Symbol {
    /// A tensor that no layer has as its output.
    pub(super) fn unnamed() -> Self {
        Self::Value { name: RString::new(), quantization: None }
    }

    /// The same as one that may be none.
    pub(super) fn perhaps(self) -> Self {
        match self {
            Self::Perhaps(_) => self,
            symbol if has_value(&symbol) => Self::Perhaps(Box::new(symbol)),
            _ => Self::Perhaps(Box::new(Self::unnamed())),
        }
    }

    /// The same as one that is not none.
    pub(super) fn surely(self) -> Self {
        match self {
            Self::Perhaps(inner) => *inner,
            symbol => symbol,
        }
    }

    /// The same with the parameters of the value, if it is one.
    pub(super) fn quantized(self, parameters: Option<QuantizationParameters>) -> Self {
        match self {
            Self::Value { name, .. } => Self::Value { name, quantization: parameters },
            other => other,
        }
    }
}

/// The names of the values among the arguments, those in lists too.
pub(super) fn names_of(arguments: &[Symbol]) -> Vec<RString> {
    let mut names = Vec::new();
    for argument in arguments {
        match argument {
            Symbol::Value { name, .. } if !name.is_empty() => names.push(name.clone()),
            Symbol::List(elements) | Symbol::Tuple(elements) => names.extend(names_of(elements)),
            Symbol::Perhaps(inner) => names.extend(names_of(std::slice::from_ref(inner))),
            Symbol::Named(entries) => {
                names.extend(entries.iter().flat_map(|(_, entry)| names_of(std::slice::from_ref(entry))));
            }
            _ => {}
        }
    }
    names
}

/// How many symbols a symbol is made of.
pub(super) fn elements(symbol: &Symbol) -> usize {
    match symbol {
        Symbol::List(all) | Symbol::Tuple(all) => all.iter().map(elements).sum::<usize>() + 1,
        Symbol::Named(all) => all.iter().map(|(_, symbol)| elements(symbol)).sum::<usize>() + 1,
        _ => 1,
    }
}

/// What it takes to copy a symbol: its elements, long names counting as several.
pub(super) fn weight(symbol: &Symbol) -> usize {
    /// Bytes of a name that count as one element.
    const BYTES: usize = 32;
    match symbol {
        Symbol::List(all) | Symbol::Tuple(all) => all.iter().map(weight).sum::<usize>() + 1,
        Symbol::Named(all) => {
            all.iter().map(|(key, symbol)| weight(symbol) + key.len() / BYTES).sum::<usize>() + 1
        }
        Symbol::Perhaps(inner) => weight(inner) + 1,
        Symbol::Value { name, .. } | Symbol::Stored(name, _) => 1 + name.len() / BYTES,
        Symbol::Function(name) => 1 + name.len() / BYTES,
        Symbol::Module(_) | Symbol::Number(_) | Symbol::Flag(_) | Symbol::Other => 1,
    }
}

/// Whether there is a tensor in it.
pub(super) fn has_value(symbol: &Symbol) -> bool {
    match symbol {
        Symbol::Value { .. } | Symbol::Stored(..) | Symbol::Perhaps(_) => true,
        Symbol::List(elements) | Symbol::Tuple(elements) => elements.iter().any(has_value),
        Symbol::Named(entries) => entries.iter().any(|(_, entry)| has_value(entry)),
        _ => false,
    }
}

/// Whether there is a tensor in it whatever happens.
pub(super) fn is_sure(symbol: &Symbol) -> bool {
    match symbol {
        Symbol::Value { .. } | Symbol::Stored(..) => true,
        Symbol::List(elements) | Symbol::Tuple(elements) => elements.iter().any(is_sure),
        Symbol::Named(entries) => entries.iter().any(|(_, entry)| is_sure(entry)),
        _ => false,
    }
}

/// The parameters of a value, or of the first of several.
pub(super) fn quantization_of(symbol: &Symbol) -> Option<QuantizationParameters> {
    match symbol {
        Symbol::Value { quantization, .. } => quantization.clone(),
        Symbol::Perhaps(inner) => quantization_of(inner),
        Symbol::List(elements) | Symbol::Tuple(elements) => elements.iter().find_map(quantization_of),
        _ => None,
    }
}

/// The same with other names for its tensors, which are numbered in order; what is perhaps none gets no name. A list
/// within another value has one number, which is that of its first tensor.
pub(super) fn relabelled(
    symbol: &Symbol,
    part: &mut usize,
    name: &mut dyn FnMut(usize) -> RString,
) -> Symbol {
    match symbol {
        Symbol::List(elements) if has_value(symbol) => {
            Symbol::List(elements.iter().map(|inner| relabelled_within(inner, part, name)).collect())
        }
        _ => relabelled_within(symbol, part, name),
    }
}

fn relabelled_within(symbol: &Symbol, part: &mut usize, name: &mut dyn FnMut(usize) -> RString) -> Symbol {
    match symbol {
        Symbol::Value { .. } | Symbol::Stored(..) => {
            let number = *part;
            *part += 1;
            let quantization = quantization_of(symbol);
            Symbol::Value { name: name(number), quantization }
        }
        Symbol::List(_) if has_value(symbol) => {
            let number = *part;
            *part += 1;
            Symbol::Value { name: name(number), quantization: None }
        }
        Symbol::Tuple(parts) if has_value(symbol) => {
            Symbol::Tuple(parts.iter().map(|inner| relabelled_within(inner, part, name)).collect())
        }
        Symbol::Named(entries) if has_value(symbol) => {
            let entries =
                entries.iter().map(|(key, inner)| (key.clone(), relabelled_within(inner, part, name)));
            Symbol::Named(entries.collect())
        }
        Symbol::List(_) | Symbol::Tuple(_) | Symbol::Named(_) => Symbol::Other,
        Symbol::Perhaps(_) => {
            *part += 1;
            Symbol::unnamed().perhaps()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn tensors_in_a_tuple_are_numbered_and_what_may_be_none_has_no_name() {
        let kind = Kind::of("Tuple[Tensor, Tuple[Optional[Tensor], int, List[Tensor]]]");
        let inner = Kind::Tuple(vec![Kind::Perhaps, Kind::Other, Kind::Tensor]);
        assert_eq!(kind, Kind::Tuple(vec![Kind::Tensor, inner]));
        let (mut part, mut numbers) = (0, Vec::new());
        kind.to_symbol(&mut part, &mut |number| {
            numbers.push(number);
            number.to_string().into()
        });
        assert_eq!((part, numbers.as_slice()), (3, &[0, 2][..]));
        assert_eq!(Kind::of("Optional[Tensor]"), Kind::Perhaps);
        assert_eq!(Kind::of("Dict[str, int]"), Kind::Other);
    }
}
