//! Stored tensors that become codes.

use super::super::json;
use super::super::operator::takes_codes;
use super::editor::{Editor, set_reads};
use super::parameters::{Affine, is_dequantize};
use super::store::Fresh;
use qp_abi::sdk::{BackendError, DType, Edit, Result};
use serde_json::{Value, json};
use std::sync::Arc;

impl Editor<'_> {
    /// Stores codes in the place of a tensor, for the nodes that take them.
    pub(super) fn quantize_tensor(&mut self, edit: &Edit) -> Result<()> {
        let name = edit.target.to_string();
        let (dtype, shape) = self.store.describe(&name)?;
        let affine = Affine::of(edit)?;
        if dtype != DType::FLOAT32 {
            return Err(BackendError::invalid_input(format!("`{name}` holds {dtype}, not float32")));
        }
        if edit.shape.as_slice() != shape.as_slice() {
            return Err(BackendError::invalid_input(format!(
                "`{name}` has the shape {shape:?}, its codes {:?}",
                edit.shape
            )));
        }
        if let Some(axis) = affine.axis
            && shape.get(axis).and_then(|size| usize::try_from(*size).ok()) != Some(affine.scales.len())
        {
            return Err(BackendError::invalid_input(format!(
                "`{name}` {shape:?} gets {} scales along the axis {axis}",
                affine.scales.len()
            )));
        }
        let bytes: Arc<[u8]> = match edit.dtype {
            DType::INT4 | DType::UINT4 => unpacked(&edit.bytes, &shape, edit.dtype == DType::INT4)?.into(),
            _ => edit.bytes.as_slice().into(),
        };
        let fresh = Fresh { dtype: affine.dtype, shape: shape.clone(), bytes, is_parameter: false };
        let names: Vec<String> = self.in_graph(&name).map(str::to_owned).collect();
        let (takers, has_others) = self.takers(&names, shape.len());
        let Some(first) = takers.first().map(|(place, _)| *place) else {
            let message = format!("no layer of the program takes `{name}` as codes");
            return Err(BackendError::unsupported_op(message));
        };
        // Who needs the real numbers keeps them: the codes are then another tensor.
        let codes = match names.as_slice() {
            [only] if !has_others => {
                self.store.put(&name, fresh)?;
                self.rebind(only, &name)?;
                only.clone()
            }
            _ => self.add_stored(&format!("{name}_codes"), fresh)?,
        };
        let (node, result) = self.stored_dequantizer(&name, &codes, &affine)?;
        let meta = super::editor::meta(DType::FLOAT32, &shape)?;
        self.values.insert(result.clone(), meta);
        for (place, in_graph) in takers {
            if let Some(node) = self.nodes.get_mut(place) {
                set_reads(node, &in_graph, &result);
            }
        }
        self.nodes.insert(first, node);
        Ok(())
    }

    /// The nodes that take a stored tensor as codes, each with the name that it reads, and whether others read it.
    fn takers(&self, names: &[String], rank: usize) -> (Vec<(usize, String)>, bool) {
        let wiring = self.wiring();
        let mut takers = Vec::new();
        let mut has_others = names.iter().any(|name| self.returned.contains(name));
        for name in names {
            for place in wiring.readers(name) {
                match self.nodes.get(*place) {
                    Some(node) if takes_codes(node, name, rank) => takers.push((*place, name.clone())),
                    _ => has_others = true,
                }
            }
        }
        takers.sort();
        (takers, has_others)
    }

    /// The node that makes real numbers of stored codes; its scales are stored beside them if there are several.
    fn stored_dequantizer(&mut self, name: &str, codes: &str, affine: &Affine) -> Result<(Value, String)> {
        let Some(axis) = affine.axis else {
            return self.quantizer("dequantize_per_tensor", codes, affine, None);
        };
        let count = vec![i64::try_from(affine.scales.len()).unwrap_or(i64::MAX)];
        let part = |dtype: DType, bytes: Vec<u8>| Fresh {
            dtype,
            shape: count.clone(),
            bytes: bytes.into(),
            is_parameter: false,
        };
        let scales = affine.scales.iter().flat_map(|scale| (*scale as f32).to_le_bytes()).collect();
        let points = affine.zero_points.iter().flat_map(|point| point.to_le_bytes()).collect();
        let scales = self.add_stored(&format!("{name}_scale"), part(DType::FLOAT32, scales))?;
        let points = self.add_stored(&format!("{name}_zero_point"), part(DType::INT64, points))?;
        let parameters = [
            ("scales", json!({"as_tensor": {"name": scales}})),
            ("zero_points", json!({"as_tensor": {"name": points}})),
            ("axis", json!({"as_int": axis})),
        ];
        self.quantizer_with("dequantize_per_channel", codes, &parameters, affine, None)
    }

    /// The node that makes real numbers of stored codes for a value; `None` if the value is made otherwise.
    pub(super) fn stored_codes_behind(&self, value: &str) -> Option<&str> {
        let maker = self.nodes.iter().find(|node| json::results(node).any(|result| result == value))?;
        let input = super::parameters::input_of(maker).filter(|_| is_dequantize(maker))?;
        self.stored_name(input)
    }
}

/// Codes of 4 bits, the first in the low bits, as bytes of their own.
fn unpacked(packed: &[u8], shape: &[i64], is_signed: bool) -> Result<Vec<u8>> {
    let count = qp_abi::sdk::element_count(shape).and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| count.div_ceil(2) == packed.len()).ok_or_else(|| {
        BackendError::invalid_input(format!("{} bytes of 4-bit codes do not fill {shape:?}", packed.len()))
    })?;
    let both = packed.iter().flat_map(|byte| [byte & 15, byte >> 4]);
    let code = |code: u8| if is_signed && code > 7 { code.wrapping_sub(16) } else { code };
    Ok(both.map(code).take(count).collect())
}

#[cfg(test)]
mod tests {
    use super::unpacked;

    #[test]
    fn codes_of_four_bits_get_bytes_of_their_own() {
        // NumPy: np.array([1, -2, 7, -8, 3], np.int8) packed low nibble first.
        let packed = [0xe1, 0x87, 0x03];
        let signed = unpacked(&packed, &[5], true).unwrap();
        assert_eq!(signed.iter().map(|code| *code as i8).collect::<Vec<_>>(), [1, -2, 7, -8, 3]);
        assert_eq!(unpacked(&packed, &[5], false).unwrap(), [1, 14, 7, 8, 3]);
        assert!(unpacked(&packed, &[7], true).is_err());
    }
}
