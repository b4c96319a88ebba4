//! The whole program in another form: with real numbers only.

use super::super::json;
use super::super::wiring::Wiring;
use super::editor::{Editor, set_reads};
use super::parameters::{input_of, is_dequantize, is_quantize};
use super::store::Fresh;
use qp_abi::sdk::{BackendError, DType, Edit, Result, element_count};

impl Editor<'_> {
    /// Lets nothing be rounded any more: values keep their real numbers, and stored codes become what they stand for.
    pub(super) fn convert(&mut self, edit: &Edit) -> Result<()> {
        match super::needed(edit, "to")? {
            "float" => self.make_float(),
            "qdq" => Ok(()),
            other => Err(BackendError::unsupported_op(format!(
                "an exported program is not written in the form `{}`: PT2E's is `qdq`",
                other.escape_debug()
            ))),
        }
    }

    fn make_float(&mut self) -> Result<()> {
        let wiring = Wiring::of(&self.nodes, None);
        // What was dequantized, and what stands for it.
        let (mut rounded, mut stored) = (Vec::new(), Vec::new());
        for (place, node) in self.nodes.iter().enumerate().filter(|(_, node)| is_dequantize(node)) {
            let (Some(codes), Some(result)) = (input_of(node), json::results(node).next()) else { continue };
            let source = wiring.made_by(codes).filter(|maker| is_quantize(maker)).and_then(input_of);
            match source {
                Some(source) => rounded.push((result.to_owned(), source.to_owned())),
                None if self.stored_name(codes).is_some() => stored.push((place, result.to_owned())),
                None => {}
            }
        }
        for (place, result) in stored {
            let Some(real) = self.real_numbers(place)? else { continue };
            rounded.push((result, real));
        }
        for (result, source) in rounded.iter().filter(|(result, _)| !self.returned.contains(result)) {
            self.nodes.iter_mut().for_each(|node| set_reads(node, result, source));
        }
        self.remove_unread_quantizers();
        Ok(())
    }

    /// Stores the real numbers of what a node dequantizes; gives back their name in the graph. `None` if its parameters are
    /// computed.
    fn real_numbers(&mut self, place: usize) -> Result<Option<String>> {
        let Some(node) = self.nodes.get(place) else { return Ok(None) };
        let Some(name) = input_of(node).and_then(|codes| self.stored_name(codes)) else { return Ok(None) };
        let (dtype, shape) = self.store.describe(name)?;
        let codes = integers(&self.store.bytes(name)?, dtype)?;
        let axis = json::argument(node, "axis").and_then(json::number).map(|axis| axis as i64);
        let parameters = |one: &str, many: &str| -> Result<Option<Vec<f64>>> {
            let Some(argument) = json::argument(node, one).or_else(|| json::argument(node, many)) else {
                return Ok(None);
            };
            if let Some(number) = json::number(argument) {
                return Ok(Some(vec![number]));
            }
            let names = json::tensor_names(argument);
            let Some(stored) = names.first().and_then(|name| self.stored_name(name)) else { return Ok(None) };
            let (dtype, _) = self.store.describe(stored)?;
            numbers(&self.store.bytes(stored)?, dtype).map(Some)
        };
        let (Some(scales), Some(points)) =
            (parameters("scale", "scales")?, parameters("zero_point", "zero_points")?)
        else {
            return Ok(None);
        };
        let Ok(axis) = usize::try_from(axis.unwrap_or(0)) else { return Ok(None) };
        let inner = element_count(shape.get(axis + 1..).unwrap_or_default()).unwrap_or(1).max(1);
        let inner = usize::try_from(inner).unwrap_or(usize::MAX);
        let at = |list: &[f64], index: usize| {
            let place = if list.len() == 1 { 0 } else { index / inner % list.len().max(1) };
            list.get(place).copied().unwrap_or(0.0)
        };
        let real = |(index, code): (usize, &i64)| {
            let difference = (*code as f64 - at(&points, index)) as f32;
            (difference * at(&scales, index) as f32).to_le_bytes()
        };
        let bytes: Vec<u8> = codes.iter().enumerate().flat_map(real).collect();
        let fresh = Fresh { dtype: DType::FLOAT32, shape, bytes: bytes.into(), is_parameter: true };
        let name = format!("{name}_float");
        self.add_stored(&name, fresh).map(Some)
    }
}

fn unwritten(dtype: DType) -> BackendError {
    BackendError::unsupported_op(format!("codes of {dtype} are not read here"))
}

fn integers(bytes: &[u8], dtype: DType) -> Result<Vec<i64>> {
    Ok(match dtype {
        DType::INT8 => bytes.iter().map(|byte| i64::from(*byte as i8)).collect(),
        DType::UINT8 => bytes.iter().map(|byte| i64::from(*byte)).collect(),
        DType::INT16 => bytes.as_chunks().0.iter().map(|code| i64::from(i16::from_le_bytes(*code))).collect(),
        DType::UINT16 => {
            bytes.as_chunks().0.iter().map(|code| i64::from(u16::from_le_bytes(*code))).collect()
        }
        DType::INT32 => bytes.as_chunks().0.iter().map(|code| i64::from(i32::from_le_bytes(*code))).collect(),
        DType::INT64 => bytes.as_chunks().0.iter().map(|code| i64::from_le_bytes(*code)).collect(),
        other => return Err(unwritten(other)),
    })
}

fn numbers(bytes: &[u8], dtype: DType) -> Result<Vec<f64>> {
    Ok(match dtype {
        DType::FLOAT32 => bytes.as_chunks().0.iter().map(|one| f64::from(f32::from_le_bytes(*one))).collect(),
        DType::FLOAT64 => bytes.as_chunks().0.iter().map(|one| f64::from_le_bytes(*one)).collect(),
        other => integers(bytes, other)?.into_iter().map(|code| code as f64).collect(),
    })
}
