//! Layers that read codes of more bits.
//!
//! Every step is divided into a power of two, so that the range stays and every real number that had a code keeps one. A bias
//! follows, whose scale is that of input times weight. Where that leaves its codes no room in 32 bits, the steps of the weight
//! are divided into fewer: onnxruntime rounds biases so even where the file holds real numbers, and lets them overflow.

use super::line::{Action, Change};
use super::plan::{Planner, coded, free_name, product, quantized_layer, real};
use crate::backend::{Edit, Progress};
use crate::error::Result;
use crate::inspect::Elements;
use crate::inspect::suspicion::Wiring;
use crate::model::{DType, LayerInfo, QuantizationParameters, TensorInfo};
use crate::playground::{self, Loaded};

/// The largest code of a bias.
const MOST: f64 = i32::MAX as f64;

impl Planner<'_> {
    /// What gives a layer codes of this many bits.
    ///
    /// # Errors
    /// `InvalidInput` for a layer that is not quantized; those of reading weights.
    pub(super) fn widen(
        &self,
        target: &str,
        bits: u32,
        model: &Loaded,
        progress: &dyn Progress,
    ) -> Result<playground::Change> {
        let info = model.info();
        let (layer, output) = quantized_layer(target, info)?;
        let mut arguments = vec![("bits".to_owned(), bits.to_string())];
        let (mut edits, mut sources) = (Vec::new(), Vec::new());
        let mut store = |tensor: &TensorInfo,
                         new: &QuantizationParameters,
                         steps: &[f64],
                         values: &[f64]|
         -> Result<()> {
            let name = free_name(&format!("{}.{bits}bit", tensor.name), info);
            let elements = Some(coded(tensor, new, values)?);
            edits.push(Edit { action: "store", target: name.clone(), arguments: Vec::new(), elements });
            arguments.push((format!("codes:{}", tensor.name), name));
            let steps: Vec<String> = steps.iter().map(f64::to_string).collect();
            arguments.push((format!("steps:{}", tensor.name), steps.join(",")));
            Ok(())
        };
        let bias = self.bias(layer, bits, model, progress)?;
        // Into how many each step of the product of input and weight is divided.
        let mut of_product = bias.as_ref().map_or_else(Vec::new, |bias| vec![bias.input_steps]);
        for used in layer.weights.iter().filter(|used| !used.is_bias) {
            let coarse = info.tensor(&used.tensor).filter(|tensor| !tensor.dtype.is_float());
            let Some((tensor, old)) = coarse.and_then(|tensor| Some((tensor, tensor.quantization.as_ref()?)))
            else {
                continue;
            };
            let Some((dtype, most)) = finer(old, bits) else { continue };
            let mut steps = vec![most; old.scales.len()];
            if let Some(bias) = &bias {
                bias.limit(&mut steps);
                of_product = steps.iter().map(|steps| steps * bias.input_steps).collect();
            }
            let source = self.values(model, tensor, progress)?;
            store(tensor, &divided(old, dtype, &steps), &steps, &source.values)?;
            sources.push(source.from);
        }
        if let Some(bias) = bias.filter(|bias| bias.tensor.dtype == DType::INT32)
            && let Some(old) = &bias.tensor.quantization
        {
            let steps: Vec<f64> = match (of_product.len() == old.scales.len(), &of_product[..]) {
                (true, _) => of_product,
                (false, [one]) => vec![*one; old.scales.len()],
                (false, several) => {
                    vec![several.iter().copied().fold(f64::INFINITY, f64::min); old.scales.len()]
                }
            };
            let new = divided(old, DType::INT32, &steps);
            let stays = steps.iter().all(|steps| *steps <= 1.0);
            if stays {
                // Nothing that its scale depends on has changed.
            } else if bias.fits(&new.scales) {
                store(bias.tensor, &new, &steps, &bias.values)?;
            } else {
                let name = free_name(&format!("{}.float", bias.tensor.name), info);
                edits.push(real(&name, bias.tensor, &bias.values, info)?);
                arguments.push((format!("real:{}", bias.tensor.name), name));
            }
        }
        edits.push(Edit { action: "widen", target: output.to_owned(), arguments, elements: None });
        sources.dedup();
        let mut effect = format!("reads codes of {bits} bits");
        if let [from, ..] = &sources[..] {
            effect += &format!("; weight from {from}");
        }
        let line = Change { target: layer.path.clone(), action: Action::Bits(bits) };
        Ok(playground::Change { line: line.to_string(), subject: layer.path.clone(), effect, edits })
    }

    fn bias<'a>(
        &self,
        layer: &LayerInfo,
        bits: u32,
        model: &'a Loaded,
        progress: &dyn Progress,
    ) -> Result<Option<Bias<'a>>> {
        let info = model.info();
        let stored = layer.weights.iter().find(|used| used.is_bias);
        let Some(tensor) = stored.and_then(|used| info.tensor(&used.tensor)) else { return Ok(None) };
        let wiring = Wiring::of(info);
        let own = tensor.quantization.as_ref().map(|codes| codes.scales.clone());
        let Some(scales) = own.or_else(|| product(layer, info, &wiring)) else { return Ok(None) };
        let values = match tensor.dtype.is_float() {
            false => self.values(model, tensor, progress)?.values,
            true => {
                let mut values = Vec::new();
                Elements::values(model, tensor, progress)?.each_block(progress, &mut |_, numbers| {
                    values.extend_from_slice(numbers);
                    Ok(())
                })?;
                values
            }
        };
        let input_steps = input_codes(layer, &wiring).and_then(|codes| finer(codes, bits));
        Ok(Some(Bias { tensor, scales, values, input_steps: input_steps.map_or(1.0, |(_, steps)| steps) }))
    }
}

/// The bias of a layer.
struct Bias<'a> {
    tensor: &'a TensorInfo,
    /// Those of input times weight, before the change.
    scales: Vec<f64>,
    values: Vec<f64>,
    /// Into how many each step of the layer's input is divided.
    input_steps: f64,
}

impl Bias<'_> {
    /// Divides steps of the weight into fewer where the bias needs it: in as many as leave its codes room, and never into less
    /// than one.
    fn limit(&self, steps: &mut [f64]) {
        let has_channels = steps.len() == self.values.len();
        let count = steps.len();
        for (channel, value) in self.values.iter().enumerate() {
            let (Some(scale), Some(steps)) = (
                self.scales.get(if self.scales.len() > 1 { channel } else { 0 }),
                steps.get_mut(if has_channels { channel } else { 0 }),
            ) else {
                continue;
            };
            while *steps > 1.0 && value.abs() / scale * self.input_steps * *steps >= MOST {
                *steps /= 2.0;
            }
        }
        if !has_channels && count > 1 {
            let least = steps.first().copied().unwrap_or(1.0);
            steps.fill(least);
        }
    }

    fn fits(&self, scales: &[f64]) -> bool {
        let scale = |place: usize| scales.get(if scales.len() > 1 { place } else { 0 });
        self.values
            .iter()
            .enumerate()
            .all(|(place, value)| scale(place).is_some_and(|scale| value.abs() / scale < MOST))
    }
}

/// What the layer's first input is rounded with.
fn input_codes<'a>(layer: &'a LayerInfo, wiring: &Wiring<'a>) -> Option<&'a QuantizationParameters> {
    let (place, input) = layer.data().next()?;
    layer.codes_of_input(place).or_else(|| wiring.parameters(input))
}

/// The type of codes of the same sign with this many bits, and into how many a step can be divided; `None` if the codes have as
/// many already.
fn finer(old: &QuantizationParameters, bits: u32) -> Option<(DType, f64)> {
    let dtype = match (old.dtype, bits) {
        (DType::INT4, 8) => DType::INT8,
        (DType::UINT4, 8) => DType::UINT8,
        (DType::INT4 | DType::INT8, 16) => DType::INT16,
        (DType::UINT4 | DType::UINT8, 16) => DType::UINT16,
        _ => return None,
    };
    Some((dtype, f64::from(1_u32 << bits.saturating_sub(old.dtype.bits()))))
}

/// The parameters after each step was divided.
fn divided(old: &QuantizationParameters, dtype: DType, steps: &[f64]) -> QuantizationParameters {
    let steps_of = |place: usize| steps.get(place).copied().unwrap_or(1.0);
    QuantizationParameters {
        dtype,
        scales: old.scales.iter().enumerate().map(|(place, scale)| scale / steps_of(place)).collect(),
        zero_points: (0..old.scales.len()).map(|place| old.zero_point(place) * steps_of(place)).collect(),
        code_range: None,
        ..old.clone()
    }
}
