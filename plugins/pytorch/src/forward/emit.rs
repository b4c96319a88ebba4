//! From values to calls of the program.

use super::call::takes_tensor;
use super::interpreter::{Frame, Interpreter, NAME_BYTES};
use super::unsupported::unsupported;
use super::value::Value;
use crate::quant::dtype::from_scalar_type;
use crate::tensor::numbers;
use crate::torchscript::operator::Operator;
use qp_abi::abi_stable::std_types::Tuple2;
use qp_abi::sdk::{DType, QuantizationParameters, RNone, RSome, RString, RVec, Result};
use qp_pytorch_contract::program::{Argument, Call, CallResult, Register, Results, Stored};

/// Ends the names of operators that pack weights: they are called once, before the first run.
const PACKS: &str = "prepack";

impl Interpreter<'_> {
    /// A call of an operator. If a container makes it and it computes a tensor, it is a layer.
    pub(super) fn emit(
        &mut self,
        operator: &str,
        overload: Option<&str>,
        positional: Vec<Value>,
        keywords: Vec<(String, Value)>,
        frame: &Frame,
    ) -> Result<Value> {
        let known = described(operator);
        let is_number = self.gives_number(&known, &positional, &keywords);
        let is_layer = frame.layer.is_none()
            && !is_number
            && known.gives_tensor()
            && takes_tensor(&positional, &keywords);
        let layer = match frame.layer {
            Some(layer) => Some(layer),
            None if is_layer => Some(self.function_layer(&known, frame, &positional, &keywords)?),
            None => None,
        };
        let place = layer.and_then(|layer| self.layers.get(layer)).map(|layer| layer.path.clone());
        let result = self.emitted(operator, overload, positional, keywords, place, layer)?;
        if is_number && let Value::Computed(register) = result {
            self.numbers.insert(register);
        }
        match layer.filter(|_| is_layer) {
            Some(layer) => self.computed_by(layer, result),
            None => Ok(result),
        }
    }

    /// A call that is never a layer: it takes a value apart, or looks at it.
    pub(super) fn emit_plain(&mut self, operator: &str, positional: Vec<Value>) -> Result<Value> {
        let is_number = self.gives_number(&described(operator), &positional, &[]);
        let result = self.emitted(operator, None, positional, Vec::new(), None, None)?;
        if is_number && let Value::Computed(register) = result {
            self.numbers.insert(register);
        }
        Ok(result)
    }

    fn emitted(
        &mut self,
        operator: &str,
        overload: Option<&str>,
        positional: Vec<Value>,
        keywords: Vec<(String, Value)>,
        place: Option<String>,
        layer: Option<usize>,
    ) -> Result<Value> {
        let known = described(operator);
        let quantization = self.quantization(&known, &positional, &keywords);
        let rank = self.rank(&known, &positional);
        let is_list = self.gives_list(&known, &positional, &keywords);
        let stored = match (known.name.as_str(), &positional[..]) {
            ("same", [Value::Stored(stored)]) => Some(stored.clone()),
            _ => None,
        };
        let wire = positional.iter().find_map(|value| self.wire_of(value));
        if let Some(layer) = layer {
            self.read_by(layer, &positional, &keywords);
        }
        let mut arguments = Vec::with_capacity(positional.len());
        for value in &positional {
            arguments.push(self.argument(value)?);
        }
        let mut named = Vec::with_capacity(keywords.len());
        for (name, value) in &keywords {
            named.push(Tuple2(name.as_str().into(), self.argument(value)?));
        }
        let place = place.unwrap_or_else(|| operator.to_owned());
        self.step(place.len() / NAME_BYTES)?;
        if self.program.calls.len() >= self.most {
            return Err(unsupported("the code is too long to be followed"));
        }
        let register = self.register();
        let call = Call {
            branches: RVec::new(),
            operator: operator.into(),
            overload: overload.map(RString::from).into(),
            place: place.into(),
            results: Results::One(CallResult { register, name: RNone }),
            arguments: arguments.into(),
            keywords: named.into(),
        };
        let read = call.arguments.iter().chain(call.keywords.iter().map(|Tuple2(_, argument)| argument));
        let is_fixed = read.flat_map(registers).all(|register| self.fixed.contains(&register));
        if is_fixed && known.name.ends_with(PACKS) {
            self.fixed.insert(register);
            self.program.setup.push(call);
        } else {
            self.producers.insert(register, (self.program.calls.len(), 0));
            self.program.calls.push(call);
        }
        if let Some(wire) = wire {
            self.wires.insert(register, wire);
        }
        self.lists.extend(is_list.then_some(register));
        self.passed_on.extend(stored.map(|stored| (register, stored)));
        self.ranks.extend(rank.map(|rank| (register, rank)));
        if let Some(quantization) = quantization {
            self.quantization.insert(register, quantization);
        }
        Ok(Value::Computed(register))
    }

    /// Names a result of a call.
    pub(super) fn name_result(&mut self, (call, result): (usize, usize), name: &str) {
        let results = self.program.calls.get_mut(call).map(|call| &mut call.results);
        let found = match results {
            Some(Results::One(one)) => Some(one),
            Some(Results::Each(each)) => each.get_mut(result),
            None => None,
        };
        if let Some(found) = found {
            found.name = RSome(name.into());
        }
    }

    /// Whether an operator gives a number or a list of numbers: by its name, or because it is given nothing else.
    fn gives_number(&self, operator: &Operator, positional: &[Value], keywords: &[(String, Value)]) -> bool {
        const NUMBERS: [&str; 13] = [
            "size",
            "dim",
            "numel",
            "len",
            "item",
            "stride",
            "Int",
            "Float",
            "Bool",
            "storage_offset",
            "is_floating_point",
            "result_type",
            "ints",
        ];
        if NUMBERS.contains(&operator.name.as_str()) {
            return true;
        }
        let is_number = |value: &Value| match value {
            Value::Computed(register) => self.numbers.contains(register),
            Value::Stored(_) => false,
            other => !other.is_computed(),
        };
        let computes_alone = matches!(
            operator.name.as_str(),
            "add"
                | "sub"
                | "mul"
                | "div"
                | "floordiv"
                | "remainder"
                | "pow"
                | "neg"
                | "eq"
                | "ne"
                | "lt"
                | "le"
                | "gt"
                | "ge"
                | "getitem"
                | "slice"
                | "max"
                | "min"
                | "__not__"
                | "abs"
                | "sqrt"
                | "floor"
                | "ceil"
        );
        let is_attribute = operator.name == "getattr"
            && matches!(positional.get(1), Some(Value::Text(name)) if matches!(name.as_str(), "shape" | "ndim" | "dtype" | "device"));
        is_attribute
            || (computes_alone
                && keywords.is_empty()
                && takes_tensor(positional, &[])
                && positional.iter().all(is_number))
    }

    /// Whether an operator that gives numbers gives a list of them.
    fn gives_list(&self, operator: &Operator, positional: &[Value], keywords: &[(String, Value)]) -> bool {
        let is_list =
            |value: &Value| matches!(value, Value::Computed(register) if self.lists.contains(register));
        match (operator.name.as_str(), positional) {
            ("size" | "stride", [_]) => keywords.is_empty(),
            ("getattr", [_, Value::Text(name)]) => name == "shape",
            ("ints", _) => true,
            ("add" | "mul" | "slice" | "same", _) => {
                positional.iter().any(is_list)
                    || (operator.name != "same" && positional.iter().any(|value| value.elements().is_some()))
            }
            _ => false,
        }
    }

    /// A value as an argument of a call.
    pub(super) fn argument(&mut self, value: &Value) -> Result<Argument> {
        Ok(match value {
            Value::None => Argument::None,
            Value::Bool(flag) => Argument::Bool(*flag),
            Value::Int(number) => Argument::Int(*number),
            Value::Float(number) => Argument::Float(*number),
            Value::Text(text) => Argument::Text(text.as_str().into()),
            Value::Dtype(number) | Value::Code(number) => Argument::Code(*number),
            Value::Device => Argument::Device,
            Value::Computed(register) => Argument::Value(*register),
            Value::Stored(name) => Argument::Value(self.stored(name)?),
            // Python's functions take a tuple wherever they take a list.
            Value::List(elements) | Value::Tuple(elements) => {
                let mut list = Vec::with_capacity(elements.len());
                for element in elements {
                    list.push(self.argument(element)?);
                }
                Argument::List(list.into())
            }
            other => return Err(unsupported(format!("the code passes {} to an operator", other.kind()))),
        })
    }

    /// The value of a stored tensor, which the program reads from then on.
    fn stored(&mut self, name: &RString) -> Result<Register> {
        if let Some(register) = self.stored.get(name) {
            return Ok(*register);
        }
        let (_, info) = self.tensor(name)?;
        let register = self.register();
        let is_quantized = info.quantization.is_some();
        if let RSome(parameters) = &info.quantization {
            self.quantization.insert(register, parameters.clone());
        }
        self.program.stored.push(Stored { register, name: name.clone(), is_quantized });
        self.stored.insert(name.clone(), register);
        self.fixed.insert(register);
        Ok(register)
    }

    /// The name that a value has in the description of the model: an input, or what a layer computes.
    fn wire_of(&self, value: &Value) -> Option<RString> {
        match value {
            Value::Computed(register) => self.wires.get(register).cloned(),
            Value::List(elements) | Value::Tuple(elements) => {
                elements.iter().find_map(|element| self.wire_of(element))
            }
            _ => None,
        }
    }

    /// The names of all values among the arguments.
    pub(super) fn wires_of(&self, positional: &[Value], keywords: &[(String, Value)]) -> Vec<RString> {
        let mut wires = Vec::new();
        let mut waiting: Vec<&Value> =
            positional.iter().chain(keywords.iter().map(|(_, value)| value)).collect();
        waiting.reverse();
        while let Some(value) = waiting.pop() {
            match value {
                Value::Computed(register) => wires.extend(self.wires.get(register).cloned()),
                Value::List(elements) | Value::Tuple(elements) => waiting.extend(elements.iter().rev()),
                _ => {}
            }
        }
        wires
    }

    /// Notes which stored tensors a layer reads.
    fn read_by(&mut self, layer: usize, positional: &[Value], keywords: &[(String, Value)]) {
        let Some(layer) = self.layers.get_mut(layer) else { return };
        let mut waiting: Vec<&Value> =
            positional.iter().chain(keywords.iter().map(|(_, value)| value)).collect();
        while let Some(value) = waiting.pop() {
            match value {
                Value::Stored(name) if !layer.tensors.contains(name) => layer.tensors.push(name.clone()),
                Value::List(elements) | Value::Tuple(elements) => waiting.extend(elements),
                _ => {}
            }
        }
    }

    /// The quantization parameters of what an operator computes.
    fn quantization(
        &self,
        operator: &Operator,
        arguments: &[Value],
        keywords: &[(String, Value)],
    ) -> Option<QuantizationParameters> {
        let named = |name: &str| keywords.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let own = |value: &Value| match value {
            Value::Computed(register) => self.quantization.get(register).cloned(),
            _ => None,
        };
        let first = || {
            let each = |value: &Value| {
                own(value).or_else(|| value.elements().and_then(|elements| elements.iter().find_map(own)))
            };
            arguments.iter().find_map(each)
        };
        match (operator.name.as_str(), arguments) {
            ("quantize_per_tensor", [_, scale, zero_point, Value::Dtype(dtype)]) => {
                let dtype = from_scalar_type(*dtype)?.dtype;
                Some(QuantizationParameters::per_tensor(dtype, self.number(scale)?, self.number(zero_point)?))
            }
            (_, _) if operator.is_quantized() && named("scale").is_some() => {
                let dtype = first().map_or(DType::UINT8, |parameters| parameters.dtype);
                let (scale, zero_point) = (self.number(named("scale")?)?, self.number(named("zero_point")?)?);
                Some(QuantizationParameters::per_tensor(dtype, scale, zero_point))
            }
            // Operators on codes end with the scale and the zero point of their result.
            (_, [_, .., scale, zero_point]) if operator.is_quantized() => {
                let dtype = first().map_or(DType::UINT8, |parameters| parameters.dtype);
                let numbers = self.number(scale).zip(self.number(zero_point));
                numbers
                    .map(|(scale, zero_point)| QuantizationParameters::per_tensor(dtype, scale, zero_point))
                    .or_else(first)
            }
            ("same" | "getitem", _) => first(),
            _ if operator.is_quantized() || operator.preserves_codes() => first(),
            _ => None,
        }
    }

    /// How many axes the result of an operator has, by its name or as what it is given.
    fn rank(&self, operator: &Operator, arguments: &[Value]) -> Option<i64> {
        const SAME: [&str; 24] = [
            "add",
            "sub",
            "mul",
            "div",
            "relu",
            "relu_",
            "relu6",
            "gelu",
            "silu",
            "silu_",
            "sigmoid",
            "tanh",
            "batch_norm",
            "instance_norm",
            "group_norm",
            "leaky_relu",
            "leaky_relu_",
            "hardswish",
            "hardswish_",
            "elu",
            "pad",
            "same",
            "cat",
            "add_",
        ];
        let name = operator.name.trim_end_matches('_');
        let spatial = [("1d", 3), ("2d", 4), ("3d", 5)];
        if let Some((_, rank)) = spatial.iter().find(|(end, _)| name.ends_with(end)) {
            return Some(*rank);
        }
        let own = |value: &Value| match value {
            Value::Computed(register) => self.ranks.get(register).copied(),
            _ => None,
        };
        let first = arguments.iter().find_map(|value| {
            own(value).or_else(|| value.elements().and_then(|elements| elements.iter().find_map(own)))
        });
        first.filter(|_| SAME.contains(&operator.name.as_str()))
    }

    /// A known number, or that of a stored tensor of one element.
    fn number(&self, value: &Value) -> Option<f64> {
        let Value::Stored(name) = value else { return value.real() };
        let (tensor, _) = self.tensor(name).ok()?;
        let is_one = tensor.element_count() == Some(1);
        is_one.then(|| numbers(tensor, &self.document.data).ok()?.first().copied()).flatten()
    }
}

/// An operator by its namespace and name.
fn described(operator: &str) -> Operator {
    let (namespace, name) = operator.split_once("::").unwrap_or(("", operator));
    Operator { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// The values in an argument.
fn registers(argument: &Argument) -> Vec<Register> {
    match argument {
        Argument::Value(register) => vec![*register],
        Argument::List(elements) | Argument::Tuple(elements) => elements.iter().flat_map(registers).collect(),
        _ => Vec::new(),
    }
}
