//! An open model: reads its tensors and runs itself.

use crate::edit;
use crate::listing;
use crate::misbehaviour::Misbehaviour;
use crate::network::{Input, Network, Operator};
use qp_abi::sdk::boundary;
use qp_abi::sdk::*;
use std::collections::HashMap;
use std::time::Instant;

/// An open `.toy` file.
pub struct ToyModel {
    network: Network,
    misbehaviour: Option<Misbehaviour>,
}

/// Real numbers with a shape.
#[derive(Clone, Debug)]
struct Array {
    shape: Vec<i64>,
    reals: Vec<f64>,
}

impl ToyModel {
    pub(crate) fn new(network: Network, misbehaviour: Option<Misbehaviour>) -> Self {
        Self { network, misbehaviour }
    }

    /// The inputs and the stored tensors, by name.
    fn start(&self, request: &RunRequest<'_>) -> Result<HashMap<String, Array>> {
        let mut arrays: HashMap<String, Array> = HashMap::new();
        for view in request.inputs.iter() {
            let input = self.network.inputs.iter().find(|input| input.name == view.name);
            let input = input.ok_or_else(|| {
                BackendError::invalid_input(format!("the model has no input `{}`", view.name))
            })?;
            arrays.insert(input.name.clone(), accept(input, view)?);
        }
        if let Some(missing) = self.network.inputs.iter().find(|input| !arrays.contains_key(&input.name)) {
            return Err(BackendError::invalid_input(format!("the input `{}` is missing", missing.name)));
        }
        for stored in &self.network.tensors {
            let array = Array { shape: stored.shape.clone(), reals: stored.reals() };
            arrays.insert(stored.name.clone(), array);
        }
        Ok(arrays)
    }

    /// The names of the values to deliver.
    fn wanted(&self, request: &RunRequest<'_>) -> Result<Vec<String>> {
        let computed = || self.network.layers.iter().map(|layer| layer.output.clone());
        match request.fetch {
            Fetch::OUTPUTS => Ok(self.network.outputs.clone()),
            Fetch::LAYERS => Ok(computed().collect()),
            Fetch::NAMED => {
                let names = request.names.iter().map(|name| name.to_string());
                names
                    .map(|name| {
                        let error = || BackendError::not_found(format!("no layer computes `{name}`"));
                        computed().find(|value| *value == name).ok_or_else(error)
                    })
                    .collect()
            }
            _ => Err(BackendError::unsupported_op("a toy cannot fetch that")),
        }
    }

    fn deliver(&self, name: &str, array: &Array, sink: &mut Sink<'_>) -> Result<()> {
        let affine = self.network.affine(name);
        let bytes: Vec<u8> = match affine {
            Some(affine) => array.reals.iter().map(|real| affine.quantize(*real) as u8).collect(),
            None => array.reals.iter().flat_map(|real| (*real as f32).to_le_bytes()).collect(),
        };
        let parameters = affine.map(|affine| affine.parameters());
        let dtype = if parameters.is_some() { DType::INT8 } else { DType::FLOAT32 };
        let view = TensorView {
            quantization: parameters.as_ref().map_or(RNone, RSome),
            ..TensorView::whole(name, dtype, &array.shape, &bytes)
        };
        Misbehaviour::deliver(self.misbehaviour, sink, view)
    }
}

impl Model for ToyModel {
    fn info(&self) -> Result<ModelInfo> {
        Ok(Misbehaviour::distort(self.misbehaviour, self.network.info()))
    }

    fn read_tensor(&self, name: &str, sink: &mut Sink<'_>, progress: &Progress<'_>) -> Result<()> {
        Misbehaviour::PanicInRead.strikes(self.misbehaviour);
        Misbehaviour::dawdle(self.misbehaviour, progress)?;
        let stored = self.network.tensors.iter().find(|tensor| tensor.name == name);
        let stored = stored
            .ok_or_else(|| BackendError::not_found(format!("the model has no stored tensor `{name}`")))?;
        progress.update("reading", 0, stored.bytes.len() as u64)?;
        let parameters = stored.quantization.map(|affine| affine.parameters());
        let view = TensorView {
            quantization: parameters.as_ref().map_or(RNone, RSome),
            ..TensorView::whole(name, stored.dtype, &stored.shape, &stored.bytes)
        };
        Misbehaviour::deliver(self.misbehaviour, sink, view)
    }

    fn read_real(&self, name: &str, sink: &mut Sink<'_>, progress: &Progress<'_>) -> Result<()> {
        let stored = self.network.tensors.iter().find(|tensor| tensor.name == name);
        let stored = stored
            .ok_or_else(|| BackendError::not_found(format!("the model has no stored tensor `{name}`")))?;
        let book = stored.book.as_ref().ok_or_else(|| {
            BackendError::unsupported_op(format!(
                "the elements of `{name}` need no conversion beyond their dtype"
            ))
        })?;
        progress.update("reading", 0, stored.bytes.len() as u64)?;
        let bytes: Vec<u8> = book.reals(&stored.bytes).iter().flat_map(|real| real.to_le_bytes()).collect();
        let dtype = Misbehaviour::dtype_of_reals(self.misbehaviour);
        Misbehaviour::deliver(self.misbehaviour, sink, TensorView::whole(name, dtype, &stored.shape, &bytes))
    }

    fn run(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        Misbehaviour::PanicInRun.strikes(self.misbehaviour);
        Misbehaviour::PanicWithNoText.strikes(self.misbehaviour);
        Misbehaviour::dawdle(self.misbehaviour, progress)?;
        if let Some(option) = request.options.first() {
            return Err(BackendError::invalid_input(format!("a toy has no option `{}`", option.0)));
        }
        let wanted = self.wanted(request)?;
        let mut arrays = self.start(request)?;
        let begin = Instant::now();
        for (index, layer) in self.network.layers.iter().enumerate() {
            progress.update("running", index as u64, self.network.layers.len() as u64)?;
            // The reader has checked that everything a layer reads comes before it.
            let operands: Vec<&Array> = layer.inputs.iter().filter_map(|name| arrays.get(name)).collect();
            let result = compute(layer.operator, &operands)
                .map_err(|error| error.with_cause(format!("in the layer `{}`", layer.path)))?;
            arrays.insert(layer.output.clone(), result);
        }
        let elapsed = begin.elapsed();
        for name in &wanted {
            if let Some(array) = arrays.get(name) {
                self.deliver(name, array, sink)?;
            }
        }
        Ok(RunReport {
            runtime: "toy".into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            settings: vec![pair("threads", "1")].into(),
        })
    }

    fn edit(&self, edits: &[Edit], _progress: &Progress<'_>) -> Result<ModelBox> {
        let changed = edit::apply(&self.network, edits)?;
        Ok(boundary::model_object(Self::new(changed, self.misbehaviour)))
    }

    fn request(
        &self,
        name: &str,
        payload: &str,
        _sink: &mut Sink<'_>,
        _progress: &Progress<'_>,
    ) -> Result<String> {
        match name {
            "code/1" => listing::answer(&self.network, payload, self.misbehaviour),
            _ => Err(unknown_request(name)),
        }
    }
}

impl Drop for ToyModel {
    fn drop(&mut self) {
        Misbehaviour::PanicInDrop.strikes(self.misbehaviour);
    }
}

/// An input as an array, if it fits the model.
fn accept(input: &Input, view: &TensorView<'_>) -> Result<Array> {
    let fits = view.dtype == input.dtype
        && view.shape.len() == input.shape.len()
        && input.shape.iter().zip(view.shape.iter()).all(|(due, size)| due.size == -1 || due.size == *size);
    let elements = view.element_count().filter(|_| fits).ok_or_else(|| {
        let found = format!("{} {:?}", view.dtype, view.shape.as_slice());
        BackendError::invalid_input(format!("the input `{}` cannot be {found}", input.name))
    })?;
    if input.dtype == DType::BOOL {
        return Ok(Array {
            shape: Vec::new(),
            reals: view.bytes.iter().map(|byte| f64::from(*byte)).collect(),
        });
    }
    let (numbers, rest) = view.bytes.as_slice().as_chunks::<4>();
    if numbers.len() as u64 != elements || !rest.is_empty() {
        return Err(BackendError::invalid_input(format!(
            "the input `{}` has {} bytes for {elements} elements",
            input.name,
            view.bytes.len()
        )));
    }
    let reals = numbers.iter().map(|number| f64::from(f32::from_le_bytes(*number))).collect();
    Ok(Array { shape: view.shape.to_vec(), reals })
}

/// Applies an operator, element by element; the shorter of two operands repeats.
fn compute(operator: Operator, operands: &[&Array]) -> Result<Array> {
    let unary = |array: &Array, function: &dyn Fn(f64) -> f64| Array {
        shape: array.shape.clone(),
        reals: array.reals.iter().map(|real| function(*real)).collect(),
    };
    match (operator, operands) {
        (Operator::Relu, [array]) => Ok(unary(array, &|real| real.max(0.0))),
        (Operator::Quantize(affine), [array]) => {
            Ok(unary(array, &|real| affine.dequantize(affine.quantize(real))))
        }
        (Operator::Add, [first, second]) => binary(first, second, |a, b| a + b),
        (Operator::Select, [switch, then, other]) => {
            Ok(if switch.reals.iter().all(|on| *on == 0.0) { (*other).clone() } else { (*then).clone() })
        }
        (Operator::Mul, [first, second]) => binary(first, second, |a, b| a * b),
        _ => Err(BackendError::internal(format!("{} has {} operands", operator.name(), operands.len()))),
    }
}

fn binary(first: &Array, second: &Array, function: impl Fn(f64, f64) -> f64) -> Result<Array> {
    let (long, short) =
        if first.reals.len() >= second.reals.len() { (first, second) } else { (second, first) };
    if short.reals.is_empty() != long.reals.is_empty() || !long.shape.ends_with(&short.shape) {
        return Err(BackendError::invalid_input(format!(
            "incompatible shapes {:?} and {:?}",
            first.shape, second.shape
        )));
    }
    // Both operators are commutative, so the order of the operands does not matter.
    let reals = long.reals.iter().zip(short.reals.iter().cycle()).map(|(a, b)| function(*a, *b)).collect();
    Ok(Array { shape: long.shape.clone(), reals })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Affine;

    fn array(shape: &[i64], reals: &[f64]) -> Array {
        Array { shape: shape.to_vec(), reals: reals.to_vec() }
    }

    #[test]
    fn the_shorter_operand_repeats_along_the_last_axes() {
        let (x, w) = (array(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), array(&[2], &[10.0, 100.0]));
        assert_eq!(compute(Operator::Mul, &[&x, &w]).unwrap().reals, [10.0, 200.0, 30.0, 400.0]);
        assert_eq!(compute(Operator::Add, &[&w, &x]).unwrap().shape, [2, 2]);
        assert!(compute(Operator::Add, &[&x, &array(&[3], &[1.0; 3])]).is_err());
    }

    #[test]
    fn quantizing_rounds_half_to_even_and_clips() {
        let affine = Affine { scale: 0.5, zero_point: 0.0 };
        let x = array(&[4], &[0.25, 0.75, 100.0, -100.0]);
        let rounded = compute(Operator::Quantize(affine), &[&x]).unwrap();
        assert_eq!(rounded.reals, [0.0, 1.0, 63.5, -64.0]);
    }
}
