//! The operators that a written program may call, and what their arguments are called.

use super::value::{Known, Values};
use qp_abi::abi_stable::std_types::Tuple2;
use qp_pytorch_contract::program::{Argument, Call};
use std::collections::HashMap;
use std::sync::LazyLock;

/// A line for each operator.
const TEXT: &str = include_str!("schemas.txt");

static TABLE: LazyLock<HashMap<&'static str, Vec<Schema>>> = LazyLock::new(|| {
    let mut table: HashMap<&'static str, Vec<Schema>> = HashMap::new();
    for schema in TEXT.lines().filter(|line| !line.starts_with('#')).filter_map(Schema::parse) {
        table.entry(schema.name).or_default().push(schema);
    }
    table
});

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tensor,
    Tensors,
    Int,
    /// With how many a single number stands for.
    Ints(Option<usize>),
    Float,
    Floats,
    Bool,
    Text,
    Scalar,
    Dtype,
    MemoryFormat,
}

/// A parameter of an operator.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether it may be `None`.
    pub is_optional: bool,
    /// Whether it is given by name alone.
    pub is_keyword: bool,
    has_default: bool,
}

/// An operator with its overload.
#[derive(Debug)]
pub struct Schema {
    pub name: &'static str,
    pub overload: &'static str,
    pub parameters: Vec<Parameter>,
    /// Whether it gives a list of tensors.
    pub gives_list: bool,
}

/// The arguments of a call, by parameter.
pub type Arguments<'a> = Vec<(&'static Parameter, &'a Argument)>;

impl Schema {
    /// `name.overload(Tensor self, int[2] stride=[], *, …) -> Tensor`
    fn parse(line: &'static str) -> Option<Self> {
        let (head, rest) = line.split_once('(')?;
        let (list, result) = rest.rsplit_once(") -> ")?;
        let (name, overload) = head.split_once('.').unwrap_or((head, ""));
        let mut parameters = Vec::new();
        let mut is_keyword = false;
        let mut left = list;
        while !left.is_empty() {
            // A default may be a list.
            let bracket =
                left.find('=').filter(|at| left.get(at + 1..).is_some_and(|rest| rest.starts_with('[')));
            let from = match bracket.filter(|at| left.find(", ").is_none_or(|comma| *at < comma)) {
                Some(at) => at + left.get(at..)?.find(']')?,
                None => 0,
            };
            let end = left.get(from..)?.find(", ").map_or(left.len(), |comma| from + comma);
            let one = left.get(..end)?;
            left = left.get(end..)?.trim_start_matches(", ");
            if one == "*" {
                is_keyword = true;
                continue;
            }
            let (what, default) =
                one.split_once('=').map_or((one, None), |(what, value)| (what, Some(value)));
            let (kind, name) = what.split_once(' ')?;
            let is_optional = kind.ends_with('?');
            let has_default = default.is_some();
            let kind = Kind::parse(kind.trim_end_matches('?'))?;
            parameters.push(Parameter { name, kind, is_optional, is_keyword, has_default });
        }
        Some(Self { name, overload, parameters, gives_list: result.ends_with("[]") })
    }

    /// The schema for a call of `aten::NAME`, with its arguments; `None` when no known one takes them.
    pub fn of<'a>(call: &'a Call, values: &Values) -> Option<(&'static Self, Arguments<'a>)> {
        let name = call.operator.strip_prefix("aten::")?;
        let overload = call.overload.as_ref().into_option().map(|overload| overload.as_str());
        let known = TABLE.get(name)?.iter();
        let mut asked = known.filter(|schema| overload.is_none_or(|overload| overload == schema.overload));
        asked.find_map(|schema| Some((schema, schema.arguments(call, values)?)))
    }

    fn arguments<'a>(&'static self, call: &'a Call, values: &Values) -> Option<Arguments<'a>> {
        let mut given: Vec<Option<&Argument>> = vec![None; self.parameters.len()];
        for (at, argument) in call.arguments.iter().enumerate() {
            *given.get_mut(at)? = Some(argument);
        }
        for Tuple2(name, argument) in &call.keywords {
            let at = self.parameters.iter().position(|parameter| parameter.name == name.as_str())?;
            let place = given.get_mut(at)?;
            if place.replace(argument).is_some() {
                return None;
            }
        }
        let mut arguments = Vec::with_capacity(given.len());
        for (parameter, argument) in self.parameters.iter().zip(given) {
            match argument {
                Some(argument) if parameter.takes(argument, values) => arguments.push((parameter, argument)),
                None if parameter.has_default => {}
                _ => return None,
            }
        }
        Some(arguments)
    }
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Tensor" => Self::Tensor,
            "Tensor[]" => Self::Tensors,
            "int" => Self::Int,
            "float" => Self::Float,
            "float[]" => Self::Floats,
            "bool" => Self::Bool,
            "str" => Self::Text,
            "Scalar" => Self::Scalar,
            "ScalarType" => Self::Dtype,
            "MemoryFormat" => Self::MemoryFormat,
            _ => {
                let count = text.strip_prefix("int[")?.strip_suffix(']')?;
                Self::Ints(count.parse().ok())
            }
        })
    }
}

impl Parameter {
    fn takes(&self, argument: &Argument, values: &Values) -> bool {
        let known = |argument: &Argument| match argument {
            Argument::Value(register) => values.get(register),
            _ => None,
        };
        let is_tensor = |argument: &Argument| matches!(known(argument), Some(Known::Tensor(_)));
        let is_int = |argument: &Argument| {
            matches!(argument, Argument::Int(_)) || matches!(known(argument), Some(Known::Number(_)))
        };
        match (self.kind, argument) {
            (_, Argument::None) => self.is_optional,
            // Python's numbers are operands of the overloads for tensors.
            (Kind::Tensor, Argument::Int(_) | Argument::Float(_)) => self.name == "other",
            (Kind::Tensor, argument) => is_tensor(argument),
            (Kind::Tensors, Argument::List(list)) => !list.is_empty() && list.iter().all(is_tensor),
            (Kind::Int, argument) => is_int(argument),
            (Kind::Ints(_), Argument::List(list)) => list.iter().all(is_int),
            (Kind::Ints(count), argument) => {
                matches!(known(argument), Some(Known::Numbers(_))) || count.is_some() && is_int(argument)
            }
            (Kind::Float, argument) => matches!(argument, Argument::Float(_) | Argument::Int(_)),
            (Kind::Floats, Argument::List(list)) => {
                list.iter().all(|one| matches!(one, Argument::Float(_) | Argument::Int(_)))
            }
            (Kind::Bool, argument) => matches!(argument, Argument::Bool(_)),
            (Kind::Text, argument) => matches!(argument, Argument::Text(_)),
            (Kind::Scalar, argument) => {
                matches!(argument, Argument::Int(_) | Argument::Float(_) | Argument::Bool(_))
            }
            (Kind::Dtype | Kind::MemoryFormat, argument) => matches!(argument, Argument::Code(_)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_schema() {
        let lines = TEXT.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(TABLE.values().map(Vec::len).sum::<usize>(), lines);
        let pool = &TABLE["avg_pool2d"][0];
        let names: Vec<&str> = pool.parameters.iter().map(|parameter| parameter.name).collect();
        let expected = [
            "self",
            "kernel_size",
            "stride",
            "padding",
            "ceil_mode",
            "count_include_pad",
            "divisor_override",
        ];
        assert_eq!(names, expected);
        assert_eq!(pool.parameters[1].kind, Kind::Ints(Some(2)));
        assert!(TABLE["add"][0].parameters[2].is_keyword && TABLE["chunk"][0].gives_list);
    }
}
