//! Writes a program node by node.

use super::layer::Layers;
use super::schema::Schema;
use super::size::{Size, Symbols};
use super::unsupported;
use super::value::{Known, Number, Shape, Tensor, Type, Values};
use crate::document::Document;
use qp_abi::sdk::{BackendError, DType, Names, Result, TensorRole};
use qp_pytorch_contract::program::{Argument, Call, PYTHON, Program, Register};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Dimensions of a tensor.
pub const MAX_RANK: usize = 16;
/// Tensors that a list of results has at most.
const MAX_RESULTS: usize = 1 << 12;
/// Bytes of the names and arguments in a graph.
const MAX_GRAPH_BYTES: usize = 64 << 20;
/// Symbols of a program: one has a few for each input.
const MAX_SYMBOLS: usize = 1 << 10;
/// What to do with a model that is quantized by eager modules.
const QUANTIZE_FLOAT: &str = "Quantize the float model instead.";
/// The operator that passes on what it is given under another name.
const ALIAS: &str = "torch.ops.aten.alias.default";

/// What is known of an input.
#[derive(Default)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) sizes: Option<Vec<Size>>,
    pub(super) dtype: Option<DType>,
}

/// A program while it is written.
pub struct Composer<'a> {
    pub(super) program: &'a Program,
    pub(super) symbols: Symbols,
    pub(super) values: Values,
    pub(super) given: Vec<Given>,
    /// The sizes of samples.
    pub(super) samples: Vec<(Size, i64)>,
    pub(super) stored: Vec<(String, String)>,
    pub(super) names: Names,
    pub(super) by_name: HashMap<String, String>,
    pub(super) graph_bytes: usize,
    pub(super) layers: Layers<'a>,
    /// The layer of the call that is written.
    pub(super) place: &'a str,
    pub(super) tensors: Vec<Tensor>,
    pub(super) numbers: Vec<(String, Size)>,
    /// Nodes that ask for a size, by the tensor and the axis.
    pub(super) asked: HashMap<(String, i64), String>,
}

impl<'a> Composer<'a> {
    /// Takes the inputs and stored tensors of a program.
    ///
    /// # Errors
    /// `UnsupportedOp` for tensors of PyTorch's quantized types.
    pub fn new(
        document: &'a Document,
        program: &'a Program,
        samples: &HashMap<&str, Vec<i64>>,
    ) -> Result<Self> {
        if !program.setup.is_empty() || program.stored.iter().any(|stored| stored.is_quantized) {
            return Err(unsupported(
                "the weights of the model are packed for quantized kernels, which no program stores",
            )
            .with_help(QUANTIZE_FLOAT));
        }
        let mut composer = Self {
            program,
            symbols: Symbols::default(),
            values: Values::new(),
            given: Vec::new(),
            samples: Vec::new(),
            stored: Vec::new(),
            names: Names::default(),
            by_name: HashMap::new(),
            graph_bytes: 0,
            layers: Layers::of(&document.info),
            place: "",
            tensors: Vec::new(),
            numbers: Vec::new(),
            asked: HashMap::new(),
        };
        for (index, input) in program.inputs.iter().enumerate() {
            let name = composer.named(&input.name, "input")?;
            let sample = samples.get(input.name.as_str()).filter(|sizes| sizes.len() <= MAX_RANK).cloned();
            let sizes = sample.map(|sizes| {
                let symbols = sizes.iter().map(|size| (composer.symbols.fresh(), *size));
                let symbols: Vec<(Size, i64)> = symbols.collect();
                composer.samples.extend(symbols.iter().cloned());
                symbols.into_iter().map(|(symbol, _)| symbol).collect()
            });
            // Before an operator tells it, the code may ask for the shape.
            let told = |composer: &mut Self| {
                let rank = program.calls.iter().find_map(|call| rank_of_input(call, input.register))?;
                Some((0..rank).map(|_| composer.symbols.fresh()).collect())
            };
            let sizes = sizes.or_else(|| told(&mut composer));
            composer.given.push(Given { name: name.clone(), sizes, dtype: None });
            let tensor = Tensor { name, shape: Shape::OfInput(index), dtype: Type::OfInput(index) };
            composer.values.insert(input.register, Known::Tensor(tensor));
        }
        for stored in &program.stored {
            let (tensor, info) = document.tensor(&stored.name)?;
            if info.quantization.is_some() || tensor.shape.len() > MAX_RANK {
                return Err(unsupported(format!("`{}` is no plain tensor", stored.name.escape_debug())));
            }
            let kind = if info.role == TensorRole::PARAMETER { "p" } else { "b" };
            let name = composer.claim(&format!("{kind}_{}", stored.name))?;
            composer.stored.push((name.clone(), stored.name.to_string()));
            let shape = Shape::Sizes(tensor.shape.iter().map(|size| Size::Fixed(*size)).collect());
            let tensor = Tensor { name, shape, dtype: Type::Is(tensor.dtype) };
            composer.values.insert(stored.register, Known::Tensor(tensor));
        }
        Ok(composer)
    }

    /// A name like this one, in letters that Python's names have, that no value has.
    pub(super) fn claim(&mut self, like: &str) -> Result<String> {
        self.spend(like.len())?;
        let letters = like.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
        let plain: String = letters.collect();
        let is_number = plain.starts_with(|first: char| first.is_ascii_digit());
        Ok(self.names.claim(&if is_number { format!("_{plain}") } else { plain }, '_', 1))
    }

    /// Counts what names and arguments take in the graph.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<()> {
        self.graph_bytes += bytes;
        match self.graph_bytes > MAX_GRAPH_BYTES {
            true => Err(unsupported("the program would be far larger than the file")),
            false => Ok(()),
        }
    }

    /// The same for a value that the eager model's description calls `name`, if it has a name there.
    fn named(&mut self, name: &str, otherwise: &str) -> Result<String> {
        let own = self.claim(if name.is_empty() { otherwise } else { name })?;
        if !name.is_empty() {
            self.by_name.insert(name.to_owned(), own.clone());
        }
        Ok(own)
    }

    /// Writes one call.
    ///
    /// # Errors
    /// `UnsupportedOp` for an operator that no schema here takes.
    pub fn call(&mut self, call: &'a Call) -> Result<()> {
        let [result] = call.results.all() else {
            return Err(self.unknown(call));
        };
        let name = result.name.as_ref().map(|name| name.as_str()).unwrap_or_default();
        self.place = self.layers.path(&call.place, name);
        let known = match call.operator.strip_prefix(PYTHON).and_then(|name| name.strip_prefix("::")) {
            Some("same") => self.alias(call, name)?,
            Some(other) => self.of_python(other, call, name)?,
            None => match self.number(call)? {
                Some(known) => Some(known),
                None => Some(self.operator(call, name)?),
            },
        };
        let known = known.ok_or_else(|| self.unknown(call))?;
        self.values.insert(result.register, known);
        Ok(())
    }

    /// The error of a call that no schema takes.
    pub(super) fn unknown(&self, call: &Call) -> BackendError {
        let mut place = String::new();
        if !call.place.is_empty() && call.place != call.operator {
            place = format!("`{}`: ", call.place.escape_debug());
        }
        let operator = call.operator.escape_debug();
        if call.operator.contains("quant") {
            return unsupported(format!("{place}the model computes with codes already, by `{operator}`"))
                .with_help(QUANTIZE_FLOAT);
        }
        unsupported(format!("{place}a program cannot be written with `{operator}` and these arguments"))
    }

    fn alias(&mut self, call: &Call, name: &str) -> Result<Option<Known>> {
        let Some(Argument::Value(register)) = call.arguments.first() else { return Ok(None) };
        match self.values.get(register).cloned() {
            Some(Known::Tensor(tensor)) => Ok(Some(Known::Tensor(self.passed_on(tensor, name)?))),
            other => Ok(other),
        }
    }

    /// A tensor under another name.
    pub(super) fn passed_on(&mut self, tensor: Tensor, name: &str) -> Result<Tensor> {
        let inputs = vec![json!({"name": "self", "arg": {"as_tensor": {"name": tensor.name}}, "kind": 1})];
        let name = self.named(name, "alias")?;
        let output = json!([{"as_tensor": {"name": name}}]);
        self.node(ALIAS.to_owned(), inputs, output, name.clone());
        let tensor = Tensor { name, ..tensor };
        self.tensors.push(tensor.clone());
        Ok(tensor)
    }

    fn operator(&mut self, call: &Call, name: &str) -> Result<Known> {
        let gathered = self.gathered(call);
        let call = gathered.as_ref().unwrap_or(call);
        let found = Schema::of(call, &self.values);
        let (schema, arguments) = found.ok_or_else(|| self.unknown(call))?;
        self.written(schema, &arguments, name, call)
    }

    /// A call of a method that takes sizes one by one, `x.view(2, -1)`, with a list of them.
    fn gathered(&self, call: &Call) -> Option<Call> {
        const METHODS: [&str; 5] =
            ["aten::view", "aten::reshape", "aten::permute", "aten::expand", "aten::repeat"];
        let [tensor, sizes @ ..] = call.arguments.as_slice() else { return None };
        let is_apart = !sizes.is_empty() && sizes.iter().all(|size| self.number_of(size).is_some());
        (is_apart && METHODS.contains(&call.operator.as_str())).then(|| {
            let list = Argument::List(sizes.iter().cloned().collect());
            Call { arguments: [tensor.clone(), list].into_iter().collect(), ..call.clone() }
        })
    }

    /// Writes the node of an operator.
    pub(super) fn written(
        &mut self,
        schema: &'static Schema,
        arguments: &super::schema::Arguments<'_>,
        name: &str,
        call: &Call,
    ) -> Result<Known> {
        let results = self.results(schema, arguments)?.ok_or_else(|| self.unknown(call))?;
        if results.len() > MAX_RESULTS
            || self.symbols.count() > MAX_SYMBOLS
            || results.iter().any(|(shape, _)| matches!(shape, Shape::Sizes(sizes) if sizes.len() > MAX_RANK))
        {
            return Err(self.unknown(call));
        }
        let inputs = self.inputs(arguments)?;
        let mut tensors = Vec::with_capacity(results.len());
        let own = if schema.gives_list { self.claim(schema.name)? } else { self.named(name, schema.name)? };
        for (shape, dtype) in results {
            let name = if schema.gives_list { self.claim("getitem")? } else { own.clone() };
            tensors.push(Tensor { name, shape, dtype });
        }
        self.tensors.extend(tensors.iter().cloned());
        let reference = |tensor: &Tensor| json!({"name": tensor.name});
        let outputs = match (schema.gives_list, tensors.first()) {
            (true, _) => json!([{"as_tensors": tensors.iter().map(reference).collect::<Vec<_>>()}]),
            (false, Some(tensor)) => json!([{"as_tensor": reference(tensor)}]),
            (false, None) => return Err(self.unknown(call)),
        };
        let overload = if schema.overload.is_empty() { "default" } else { schema.overload };
        self.node(format!("torch.ops.aten.{}.{overload}", schema.name), inputs, outputs, own);
        Ok(match (schema.gives_list, tensors.pop()) {
            (false, Some(tensor)) => Known::Tensor(tensor),
            (_, last) => {
                tensors.extend(last);
                Known::Tensors(tensors)
            }
        })
    }

    /// Adds a node to the layer that is written.
    pub(super) fn node(&mut self, target: String, inputs: Vec<Value>, outputs: Value, name: String) {
        let node = json!({
            "target": target,
            "inputs": inputs,
            "outputs": outputs,
            "metadata": {},
            "is_hop_single_tensor_return": null,
            "name": name,
        });
        self.layers.add(node, self.place);
    }

    /// The tensor that is an argument.
    pub(super) fn tensor_of(&self, argument: &Argument) -> Option<Tensor> {
        let Argument::Value(register) = argument else { return None };
        match self.values.get(register) {
            Some(Known::Tensor(tensor)) => Some(tensor.clone()),
            _ => None,
        }
    }

    /// The number that is an argument.
    pub(super) fn number_of(&self, argument: &Argument) -> Option<Number> {
        match argument {
            Argument::Int(number) => Some(Number::known(*number)),
            Argument::Value(register) => match self.values.get(register) {
                Some(Known::Number(number)) => Some(number.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// The sizes of a tensor, if its number of dimensions is known by now.
    pub(super) fn known_sizes(&self, tensor: &Tensor) -> Option<Vec<Size>> {
        match &tensor.shape {
            Shape::Sizes(sizes) => Some(sizes.clone()),
            Shape::OfInput(index) => self.given.get(*index)?.sizes.clone(),
        }
    }

    /// The type of a tensor, if it is known by now.
    pub(super) fn dtype(&self, tensor: &Tensor) -> Option<DType> {
        match tensor.dtype {
            Type::Is(dtype) => Some(dtype),
            Type::OfInput(index) => self.given.get(index)?.dtype,
        }
    }
}

/// How many dimensions an operator on signals, pictures or volumes reads from this value.
fn rank_of_input(call: &Call, input: Register) -> Option<usize> {
    const FAMILIES: [&str; 5] = ["conv", "max_pool", "avg_pool", "adaptive_avg_pool", "upsample"];
    let name = call.operator.strip_prefix("aten::")?;
    let is_read = call.arguments.first() == Some(&Argument::Value(input));
    let is_known = is_read && FAMILIES.iter().any(|family| name.starts_with(family));
    let ends = [("1d", 3), ("2d", 4), ("3d", 5)];
    ends.into_iter().find(|(end, _)| is_known && name.ends_with(end)).map(|(_, rank)| rank)
}
