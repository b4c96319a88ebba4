//! What a program computes with numbers: sizes of tensors, and what follows from them. A number that is known becomes part of
//! the graph; the others are computed by nodes.

use super::composer::Composer;
use super::schema::Schema;
use super::size::Size;
use super::value::{Known, Number, Shape, Source, Tensor};
use qp_abi::abi_stable::std_types::RNone;
use qp_abi::sdk::{RVec, Result};
use qp_pytorch_contract::program::{Argument, Call};
use serde_json::{Value, json};

impl Composer<'_> {
    /// A call that gives a number or a list of some; `None` when it gives a tensor.
    pub(super) fn number(&mut self, call: &Call) -> Result<Option<Known>> {
        let name = call.operator.strip_prefix("aten::").unwrap_or_default();
        let Some(first) = call.arguments.first().filter(|_| call.keywords.is_empty()) else {
            return Ok(None);
        };
        let rest = call.arguments.as_slice().get(1..).unwrap_or_default();
        if let Some(tensor) = self.tensor_of(first) {
            return Ok(match (name, rest) {
                ("size", []) => self.shape(&tensor).map(Known::Numbers),
                ("size", [Argument::Int(axis)]) => {
                    let shape = self.shape(&tensor);
                    shape
                        .and_then(|shape| Some(Known::Number(shape.get(index(*axis, shape.len())?)?.clone())))
                }
                ("dim", []) => self.known_sizes(&tensor).map(|sizes| count(sizes.len())),
                _ => None,
            });
        }
        if let (Some(left), [right]) = (self.number_of(first), rest)
            && let Some(right) = self.number_of(right)
        {
            return self.computed(name, left, right);
        }
        Ok(match (name, self.list_of(first), rest) {
            ("Int", _, []) => self.number_of(first).map(Known::Number),
            ("len", Some(list), []) => Some(count(list.len())),
            ("slice", Some(list), [start, stop, Argument::Int(1)]) => {
                let bound = |argument: &Argument, otherwise: usize| match argument {
                    Argument::None => Some(otherwise),
                    Argument::Int(at) => Some(clamped(*at, list.len())),
                    _ => None,
                };
                let bounds = bound(start, 0).zip(bound(stop, list.len()));
                bounds.map(|(start, stop)| Known::Numbers(list.get(start..stop).unwrap_or_default().to_vec()))
            }
            ("add", Some(mut list), [other]) => self.list_of(other).map(|other| {
                list.extend(other);
                Known::Numbers(list)
            }),
            _ => None,
        })
    }

    /// A call of what Python does with any value; `None` when it cannot be written.
    pub(super) fn of_python(&mut self, operator: &str, call: &Call, name: &str) -> Result<Option<Known>> {
        let arguments = call.arguments.as_slice();
        let Some(Argument::Value(register)) = arguments.first() else { return Ok(None) };
        let Some(known) = self.values.get(register).cloned() else { return Ok(None) };
        Ok(match (operator, known, arguments.get(1)) {
            ("getitem", Known::Tensors(list), Some(Argument::Int(at))) => {
                index(*at, list.len()).and_then(|at| list.get(at).cloned()).map(Known::Tensor)
            }
            ("getitem", Known::Numbers(list), Some(Argument::Int(at))) => {
                index(*at, list.len()).and_then(|at| list.get(at).cloned()).map(Known::Number)
            }
            // A row of a tensor.
            ("getitem", Known::Tensor(_), Some(at @ Argument::Int(_))) => {
                let select = Call {
                    operator: "aten::select".into(),
                    overload: RNone,
                    arguments: [arguments[0].clone(), Argument::Int(0), at.clone()].into_iter().collect(),
                    keywords: RVec::new(),
                    ..call.clone()
                };
                match Schema::of(&select, &self.values) {
                    Some((schema, arguments)) => Some(self.written(schema, &arguments, name, call)?),
                    None => None,
                }
            }
            ("getattr", Known::Tensor(tensor), Some(Argument::Text(attribute))) => match attribute.as_str() {
                "shape" => self.shape(&tensor).map(Known::Numbers),
                "ndim" => self.known_sizes(&tensor).map(|sizes| count(sizes.len())),
                _ => None,
            },
            ("ints", known @ Known::Numbers(_), _) => Some(known),
            _ => None,
        })
    }

    /// The sizes of a tensor as numbers.
    fn shape(&mut self, tensor: &Tensor) -> Option<Vec<Number>> {
        // An input whose dimensions are counted only later may still have any number of them.
        if let Shape::OfInput(_) = tensor.shape
            && self.known_sizes(tensor).is_none()
        {
            return None;
        }
        let sizes = self.known_sizes(tensor)?;
        let numbers = sizes.iter().zip(0_i64..).map(|(size, axis)| Number {
            size: self.symbols.resolved(size),
            source: Source::Size(tensor.name.clone(), axis),
        });
        Some(numbers.collect())
    }

    /// The numbers of a list.
    pub(super) fn list_of(&self, argument: &Argument) -> Option<Vec<Number>> {
        match argument {
            Argument::List(list) => list.iter().map(|element| self.number_of(element)).collect(),
            Argument::Value(register) => match self.values.get(register) {
                Some(Known::Numbers(list)) => Some(list.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// The result of two numbers.
    fn computed(&mut self, name: &str, left: Number, right: Number) -> Result<Option<Known>> {
        // What was checked when the graph was traced, as far as nothing else reads it.
        if matches!(name, "eq" | "ne" | "lt" | "le" | "gt" | "ge") {
            return Ok(Some(Known::Truth));
        }
        let size = match (name, &right.size) {
            ("add", size) => self.symbols.sum(&left.size, size),
            ("sub", size) => {
                let negative = self.symbols.product(size, &Size::Fixed(-1));
                self.symbols.sum(&left.size, &negative)
            }
            ("mul", size) => self.symbols.product(&left.size, size),
            ("floordiv", Size::Fixed(by)) if *by > 0 => self.symbols.quotient(&left.size, *by),
            _ => return Ok(None),
        };
        if let Size::Fixed(number) = size {
            return Ok(Some(Known::Number(Number::known(number))));
        }
        let inputs =
            [("a", left), ("b", right)].map(|(name, number)| Ok((name, self.written_number(&number)?)));
        let inputs: Vec<Value> = inputs
            .into_iter()
            .map(|pair: Result<(&str, Value)>| {
                pair.map(|(name, number)| json!({"name": name, "arg": number_argument(number), "kind": 1}))
            })
            .collect::<Result<_>>()?;
        let own = self.claim(name)?;
        let output = json!([{"as_sym_int": {"as_name": own}}]);
        self.node(format!("_operator.{name}"), inputs, output, own.clone());
        self.numbers.push((own.clone(), size.clone()));
        Ok(Some(Known::Number(Number { size, source: Source::Node(own) })))
    }

    /// A number in a graph: `{"as_int": 1}` or `{"as_name": "sym_size_int"}`, with the node that computes it.
    pub(super) fn written_number(&mut self, number: &Number) -> Result<Value> {
        if let Size::Fixed(number) = self.symbols.resolved(&number.size) {
            return Ok(json!({"as_int": number}));
        }
        let (tensor, axis) = match &number.source {
            Source::Node(name) => return Ok(json!({"as_name": name})),
            Source::Size(tensor, axis) => (tensor.clone(), *axis),
            Source::Known => return Ok(json!({"as_int": 0})),
        };
        if let Some(name) = self.asked.get(&(tensor.clone(), axis)) {
            return Ok(json!({"as_name": name}));
        }
        let own = self.claim("sym_size_int")?;
        let inputs = vec![
            json!({"name": "self", "arg": {"as_tensor": {"name": tensor}}, "kind": 1}),
            json!({"name": "dim", "arg": {"as_int": axis}, "kind": 1}),
        ];
        let output = json!([{"as_sym_int": {"as_name": own}}]);
        self.node("torch.ops.aten.sym_size.int".to_owned(), inputs, output, own.clone());
        self.numbers.push((own.clone(), number.size.clone()));
        self.asked.insert((tensor, axis), own.clone());
        Ok(json!({"as_name": own}))
    }
}

/// A number as an argument of its own.
pub(super) fn number_argument(number: Value) -> Value {
    match number.get("as_int") {
        Some(_) => number,
        None => json!({"as_sym_int": number}),
    }
}

fn count(number: usize) -> Known {
    Known::Number(Number::known(i64::try_from(number).unwrap_or(0)))
}

/// A place in a list, counted from the end if negative.
pub(super) fn index(at: i64, count: usize) -> Option<usize> {
    let count = i64::try_from(count).ok()?;
    let at = if at < 0 { at + count } else { at };
    usize::try_from(at).ok().filter(|_| at < count)
}

/// A bound of a slice, as Python takes it.
fn clamped(at: i64, count: usize) -> usize {
    let count_i = i64::try_from(count).unwrap_or(i64::MAX);
    let at = if at < 0 { at.saturating_add(count_i).max(0) } else { at.min(count_i) };
    usize::try_from(at).unwrap_or(count)
}
