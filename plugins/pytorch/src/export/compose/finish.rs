//! What a graph is once all calls are written: its outputs, the shapes of its values, an example of its sizes.

use super::composer::Composer;
use super::size::Size;
use super::unsupported;
use super::value::{Known, Shape, Tensor, Type};
use qp_abi::abi_stable::std_types::Tuple2;
use qp_abi::sdk::{DType, Result};
use qp_pytorch_contract::program::Argument;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Sizes that have to be positive in an example.
const MAX_SIZES: usize = 1 << 8;
/// A graph that was written.
pub struct Graph {
    pub nodes: Vec<Value>,
    /// The inputs: names, shapes and types.
    pub inputs: Vec<Described>,
    /// Stored tensors: the names in the graph and in the file.
    pub stored: Vec<(String, String)>,
    pub outputs: Vec<String>,
    /// All tensors that are computed or given.
    pub values: Vec<Described>,
    /// Numbers that nodes compute.
    pub numbers: Vec<(String, Size)>,
    /// An example for each symbol.
    pub example: HashMap<usize, i64>,
    /// The names in the graph by those of the eager model.
    pub names: HashMap<String, String>,
}

/// A tensor with all that is known of it.
#[derive(Clone)]
pub struct Described {
    pub name: String,
    pub dtype: DType,
    pub sizes: Vec<Size>,
}

impl Composer<'_> {
    /// The graph, with what its operators tell of the inputs.
    ///
    /// # Errors
    /// `UnsupportedOp` for an input without a known number of dimensions, and for outputs that are no tensors.
    pub fn finish(mut self) -> Result<Graph> {
        let mut outputs = Vec::new();
        for Tuple2(name, argument) in &self.program.outputs {
            let Argument::Value(register) = argument else {
                return Err(unsupported(format!("the output `{}` is no tensor", name.escape_debug())));
            };
            match self.values.get(register) {
                Some(Known::Tensor(tensor)) => outputs.push(tensor.clone()),
                _ => return Err(unsupported(format!("the output `{}` is no tensor", name.escape_debug()))),
            }
        }
        // What is given or stored is returned under a name of its own, and so is what is returned twice.
        let mut seen: HashSet<String> = self.stored.iter().map(|(name, _)| name.clone()).collect();
        seen.extend(self.given.iter().map(|given| given.name.clone()));
        self.place = "";
        for output in &mut outputs {
            if !seen.insert(output.name.clone()) {
                *output = self.passed_on(output.clone(), "")?;
            }
        }
        for given in &self.given {
            if given.sizes.is_none() {
                return Err(unsupported(format!(
                    "nothing in the file says how many dimensions its input `{}` has",
                    given.name
                )));
            }
        }
        let outputs: Vec<String> = outputs.into_iter().map(|tensor| tensor.name).collect();
        let tensors = std::mem::take(&mut self.tensors);
        let given: Vec<Tensor> = (self.given.iter().enumerate())
            .map(|(index, given)| Tensor {
                name: given.name.clone(),
                shape: Shape::OfInput(index),
                dtype: Type::OfInput(index),
            })
            .collect();
        let inputs: Vec<Described> = given.iter().map(|tensor| self.described(tensor)).collect();
        let mut values = inputs.clone();
        values.extend(tensors.iter().map(|tensor| self.described(tensor)));
        let numbers: Vec<(String, Size)> = std::mem::take(&mut self.numbers);
        let numbers: Vec<(String, Size)> =
            numbers.into_iter().map(|(name, size)| (name, self.symbols.resolved(&size))).collect();
        let example = self.example(&inputs, &values);
        let returned = outputs.iter().map(String::as_str).collect();
        let nodes = self.layers.finish(&returned, &self.by_name);
        let (stored, names) = (self.stored, self.by_name);
        Ok(Graph { nodes, inputs, stored, outputs, values, numbers, example, names })
    }

    fn described(&mut self, tensor: &Tensor) -> Described {
        let sizes = self.known_sizes(tensor).unwrap_or_default();
        let sizes = sizes.iter().map(|size| self.symbols.resolved(size)).collect();
        Described { name: tensor.name.clone(), dtype: self.dtype(tensor).unwrap_or(DType::FLOAT32), sizes }
    }

    /// An example for all symbols: first dimensions of inputs are batches.
    fn example(&mut self, inputs: &[Described], values: &[Described]) -> HashMap<usize, i64> {
        let mut batch = Vec::new();
        inputs.iter().filter_map(|input| input.sizes.first()).for_each(|size| size.symbols(&mut batch));
        let computed = values.iter().flat_map(|value| &value.sizes);
        let distinct: HashSet<&Size> = computed.filter(|size| !matches!(size, Size::Fixed(_))).collect();
        let mut symbols = Vec::new();
        distinct.iter().for_each(|size| size.symbols(&mut symbols));
        let sizes: Vec<Size> = distinct.into_iter().take(MAX_SIZES).cloned().collect();
        self.symbols.example(&symbols, &batch, &sizes, &self.samples)
    }
}
