//! Codes with more bits. Each step is divided into a power of two, so that every real number that had a code keeps one: what was
//! rounded to a number nearby is nearer now, and the range is as it was.

use super::parameters::is_quantize;
use super::unquantize::is_dequantize;
use super::{CONTRIB, Editor, axis_attribute, int, needed, numbers, pack, real_bytes};
use crate::proto::NodeProto;
use crate::quant::operator;
use half::f16;
use qp_abi::sdk::{BackendError, DType, Edit, Result, lookup};

/// From this opset on ONNX has codes of 16 bits.
const OPSET_WITH_16_BITS: i64 = 21;

/// What an edit asks for.
#[derive(Clone, Copy)]
pub(super) struct Widening<'a> {
    edit: &'a Edit,
    bits: u32,
}

impl<'a> Widening<'a> {
    /// `None` for edits that do something else.
    pub(super) fn of(edit: &'a Edit) -> Result<Option<Self>> {
        if edit.action != "widen" {
            return Ok(None);
        }
        let bits = needed(edit.arguments.as_slice(), "bits")?;
        match bits.parse() {
            Ok(bits @ (8 | 16)) => Ok(Some(Self { edit, bits })),
            _ => Err(BackendError::invalid_input(format!("codes cannot be given `{bits}` bits"))
                .with_help("Codes get 8 or 16 bits.")),
        }
    }

    /// The stored codes that were given in place of these, and into how many each of their steps is divided.
    fn given(self, codes: &str) -> Result<Option<(&'a str, Vec<f64>)>> {
        let arguments = self.edit.arguments.as_slice();
        let Some(new) = lookup(arguments, &format!("codes:{codes}")) else { return Ok(None) };
        let steps = numbers(arguments, &format!("steps:{codes}"))?;
        match steps.iter().all(|steps| *steps >= 1.0 && steps.fract() == 0.0) {
            true => Ok(Some((new, steps))),
            false => Err(BackendError::invalid_input(format!("steps of `{codes}` cannot be divided so"))),
        }
    }
}

impl Editor<'_> {
    /// Lets the layer that computes the target read codes with more bits, and pass on its results so where nothing else needs
    /// them as they were.
    pub(super) fn widen(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        let place = self.computing(&target)?;
        let op = self.graph.node[place].op_type.clone().unwrap_or_default();
        let before = self.read_names();
        let target = match operator::form(&op) {
            Some(operator::Form::QOperator) => self.expand(&target, edit, true)?,
            None => target,
            Some(_) => {
                return Err(BackendError::unsupported_op(format!(
                    "`{op}` computes its scales anew for each input, or holds its weight in a form of its own"
                ))
                .with_help("Quantize the float model again, with more bits for this layer."));
            }
        };
        let changed = self.read_real_numbers(&target, edit)? + self.pass_on_real_numbers(&target, edit)?;
        if changed == 0 && lookup(edit.arguments.as_slice(), "if-any").is_none() {
            return Err(BackendError::invalid_input(format!(
                "nothing that `{}` is computed from has codes of fewer bits",
                edit.target
            )));
        }
        self.sweep(&before);
        Ok(())
    }

    /// The value that the codes' wider form stands for: of stored codes the one that was given, of what is rounded a rounding
    /// of its own. `None` if they have as many bits already.
    pub(super) fn wider_of(
        &mut self,
        dequantize: usize,
        codes: &str,
        widening: Widening<'_>,
    ) -> Result<Option<String>> {
        let old = self.graph.node[dequantize].clone();
        let given = widening.given(codes)?;
        let quantize = self.place_of(codes).filter(|place| is_quantize(&self.graph.node[*place]));
        let name = |slot: usize| old.input.get(slot).cloned().unwrap_or_default();
        let kind = self.dtype_of(&name(2)).unwrap_or(DType::UINT8);
        let (kind, steps) = match (&given, quantize) {
            (Some((new, steps)), _) => {
                let kind = self
                    .dtype_of(new)
                    .ok_or_else(|| BackendError::not_found(format!("the graph stores no codes `{new}`")))?;
                (kind, steps.clone())
            }
            (None, Some(_)) => match wider(kind, widening.bits) {
                Some((kind, steps)) => (kind, vec![steps]),
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let result = format!("{codes}_{}bit", widening.bits);
        // Another layer that reads the same has it already.
        if self.place_of(&result).is_some_and(|place| is_dequantize(&self.graph.node[place])) {
            return Ok(Some(result));
        }
        let result = self.claim(&result)?;
        let (scale, zero_point) = self.divided(&old, &result, kind, &steps)?;
        let from = match (given, quantize) {
            (Some((new, _)), _) => self.known(new)?,
            (None, Some(place)) => {
                let rounding = self.graph.node[place].clone();
                let source = rounding.input.first().cloned().unwrap_or_default();
                let made = self.claim(&format!("{result}_codes"))?;
                let inputs = [source, scale.clone(), zero_point.clone()];
                self.linear_like(&rounding, inputs, &made, kind);
                made
            }
            (None, None) => return Ok(None),
        };
        self.linear_like(&old, [from, scale, zero_point], &result, kind);
        Ok(Some(result))
    }

    /// Scale and zero point for steps that are divided, as stored tensors of the same shape.
    fn divided(
        &mut self,
        of: &NodeProto,
        result: &str,
        kind: DType,
        steps: &[f64],
    ) -> Result<(String, String)> {
        let name = |slot: usize| of.input.get(slot).map(String::as_str).unwrap_or_default();
        let computed = || BackendError::unsupported_op(format!("the scale `{}` is computed", name(1)));
        let scales = self.stored_numbers(name(1)).ok_or_else(computed)?;
        let tensor = self.stored(name(1)).ok_or_else(computed)?;
        let (real, dims) = (crate::proto::dtype(tensor.data_type), tensor.dims.clone());
        if steps.len() != 1 && steps.len() != scales.len() {
            return Err(BackendError::invalid_input(format!(
                "`{}` has {} scales, not {}",
                name(1),
                scales.len(),
                steps.len()
            )));
        }
        let steps_of = |place: usize| steps.get(place).or(steps.first()).copied().unwrap_or(1.0);
        let scales: Vec<f64> =
            scales.iter().enumerate().map(|(place, scale)| scale / steps_of(place)).collect();
        let least =
            if real == DType::FLOAT16 { f16::MIN_POSITIVE.to_f64() } else { f64::from(f32::MIN_POSITIVE) };
        if scales.iter().any(|scale| *scale < least) {
            return Err(BackendError::unsupported_op(format!(
                "the scale `{}` is too small to be divided: {real} has no such number",
                name(1)
            )));
        }
        let zero_points: Vec<f64> = match self.stored_numbers(name(2)) {
            Some(points) => points.iter().enumerate().map(|(place, point)| point * steps_of(place)).collect(),
            None => vec![0.0; scales.len()],
        };
        let (scale, zero_point) =
            (self.claim(&format!("{result}_scale"))?, self.claim(&format!("{result}_zero_point"))?);
        let bytes: Vec<u8> = scales.iter().flat_map(|scale| real_bytes(*scale, real)).collect();
        self.add_tensor(scale.clone(), real, dims.clone(), &bytes);
        self.add_tensor(zero_point.clone(), kind, dims, &pack(&zero_points, kind)?);
        Ok((scale, zero_point))
    }

    /// A node like this one, along the same axis and in the same blocks, in a domain that knows the codes.
    fn linear_like(&mut self, like: &NodeProto, inputs: [String; 3], output: &str, kind: DType) {
        let is_new = matches!(kind, DType::INT16 | DType::UINT16) && self.opset < OPSET_WITH_16_BITS;
        let (domain, attribute) = match is_new {
            true => (Some(CONTRIB.to_owned()), axis_attribute(int(like, "axis"))),
            false => {
                let says_type = |name: Option<&str>| matches!(name, Some("output_dtype"));
                let kept = like.attribute.iter().filter(|attribute| !says_type(attribute.name.as_deref()));
                (like.domain.clone(), kept.cloned().collect())
            }
        };
        self.graph.node.push(NodeProto {
            op_type: like.op_type.clone(),
            domain,
            name: Some(format!("{output}/{}", like.op_type.as_deref().unwrap_or_default())),
            input: inputs.to_vec(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }
}

/// The type of the same sign with this many bits, and into how many a step is divided; `None` if the type has as many already.
fn wider(kind: DType, bits: u32) -> Option<(DType, f64)> {
    let (own, is_signed) = match kind {
        DType::INT4 => (4, true),
        DType::UINT4 => (4, false),
        DType::INT8 => (8, true),
        DType::UINT8 => (8, false),
        _ => return None,
    };
    let new = match (bits, is_signed) {
        (8, true) => DType::INT8,
        (8, false) => DType::UINT8,
        (16, true) => DType::INT16,
        (16, false) => DType::UINT16,
        _ => return None,
    };
    (own < bits).then(|| (new, f64::from(1_u32 << (bits - own))))
}
