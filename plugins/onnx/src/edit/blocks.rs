//! Matrices of codes with scales for blocks of their rows or columns: `DequantizeLinear` with a block size before the
//! layer, or `MatMulNBits` in its place.

use super::codes::{int, is_plain_product, real_type, whole};
use super::dynamic::transposed;
use super::{Affine, CONTRIB, Editor, axis, needed, pack, real_bytes, values};
use crate::proto::{AttributeProto, NodeProto};
use qp_abi::sdk::{BackendError, DType, Edit, Result, element_count, lookup};

/// `DequantizeLinear` has a block size from this version of ONNX's own operators on.
pub(super) const OPSET: i64 = 21;

/// Whether the edit makes what older versions of ONNX's own operators have not.
pub(super) fn need_their_opset(edit: &Edit) -> bool {
    edit.action == "quantize-blocks" && lookup(edit.arguments.as_slice(), "to") != Some("product")
}

/// A matrix (inputs K, outputs N) of unsigned codes.
struct Blocks {
    inputs: usize,
    outputs: usize,
    block_size: usize,
    bits: usize,
    /// Of the shape (N, K).
    codes: Vec<u8>,
    /// Of the shape (N, blocks), both.
    scales: Vec<f64>,
    zero_points: Vec<u8>,
}

impl Editor<'_> {
    /// Stores a matrix in blocks.
    pub(super) fn quantize_blocks(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        let arguments = edit.arguments.as_slice();
        let input_axis = axis(arguments)?.filter(|axis| matches!(axis, 0 | 1));
        let input_axis = input_axis.ok_or_else(|| invalid(&target, "needs the axis 0 or 1"))?;
        let block_size = needed(arguments, "block-size")?.parse().ok().filter(|size| *size > 0_usize);
        let block_size = block_size.ok_or_else(|| invalid(&target, "needs a block size of 1 or more"))?;
        match lookup(arguments, "to") {
            Some("product") => {
                let blocks = Blocks::of(edit, input_axis == 0, block_size)?;
                self.blocked_product(&target, &blocks, edit)?;
            }
            _ => self.blocked_tensor(&target, (input_axis, block_size), edit)?,
        }
        self.codes.leave(target);
        Ok(())
    }

    fn blocked_tensor(&mut self, target: &str, (axis, size): (i64, usize), edit: &Edit) -> Result<()> {
        let affine = Affine::of(edit.arguments.as_slice(), "scales", "zero-points", target)?;
        let mut dims = edit.shape.to_vec();
        if let Some(dim) = dims.get_mut(axis as usize) {
            *dim = usize::try_from(*dim).unwrap_or(0).div_ceil(size) as i64;
        }
        if dims.len() != 2 || element_count(&dims) != Some(affine.scales.len() as u64) {
            return Err(invalid(target, "needs a scale for each block of a matrix"));
        }
        let names = ["quantized", "scale", "zero_point", "DequantizeLinear_Output"]
            .map(|part| self.fresh(&format!("{target}_{part}")));
        let [codes, scale, zero_point, result] = names;
        let real = real_type(edit);
        let bytes: Vec<u8> = affine.scales.iter().flat_map(|scale| real_bytes(*scale, real)).collect();
        self.add_tensor(scale.clone(), real, dims.clone(), &bytes);
        self.add_tensor(codes.clone(), edit.dtype, edit.shape.to_vec(), &edit.bytes);
        let mut inputs = vec![codes, scale];
        if affine.zero_points.iter().any(|zero_point| *zero_point != 0.0) {
            self.add_tensor(zero_point.clone(), edit.dtype, dims, &pack(&affine.zero_points, edit.dtype)?);
            inputs.push(zero_point);
        }
        self.linear_node("DequantizeLinear", target, &inputs, &result, Some(axis));
        if let Some(node) = self.graph.node.last_mut() {
            node.attribute.push(whole("block_size", size as i64));
        }
        for value in values(edit) {
            let place = self.computing(&value)?;
            let own = self.graph.node[place].input.iter_mut().filter(|input| **input == target);
            own.for_each(|input| input.clone_from(&result));
        }
        Ok(())
    }

    fn blocked_product(&mut self, target: &str, blocks: &Blocks, edit: &Edit) -> Result<()> {
        let real = real_type(edit);
        let [codes, scale, zero_point] = [format!("Q{}", blocks.bits), "scales".into(), "zero_points".into()]
            .map(|part| self.fresh(&format!("{target}_{part}")));
        let count = blocks.inputs.div_ceil(blocks.block_size);
        let (outputs, per_byte) = (blocks.outputs as i64, 8 / blocks.bits);
        let row_bytes = count * blocks.block_size / per_byte;
        let dims = vec![outputs, count as i64, (blocks.block_size / per_byte) as i64];
        self.add_tensor(codes.clone(), DType::UINT8, dims, &blocks.packed_codes(row_bytes));
        let bytes: Vec<u8> = blocks.scales.iter().flat_map(|scale| real_bytes(*scale, real)).collect();
        self.add_tensor(scale.clone(), real, vec![outputs, count as i64], &bytes);
        let mut tensors = vec![codes, scale];
        if let Some(bytes) = blocks.packed_zero_points(count) {
            let dims = vec![outputs, count.div_ceil(per_byte) as i64];
            self.add_tensor(zero_point.clone(), DType::UINT8, dims, &bytes);
            tensors.push(zero_point);
        }
        let level = lookup(edit.arguments.as_slice(), "accuracy-level").map(str::parse).transpose();
        let level: Option<i64> =
            level.map_err(|_| invalid(target, "needs a whole number as its accuracy level"))?;
        for value in values(edit) {
            let place = self.computing(&value)?;
            let node = self.graph.node[place].clone();
            let op_type = node.op_type.as_deref().unwrap_or_default();
            let is_transposed = int(&node, "transB").unwrap_or(0) != 0;
            let is_product = op_type == "MatMul" || op_type == "Gemm" && is_plain_product(&node);
            let is_this = node.input.get(1).is_some_and(|name| name == target);
            if !is_product || !is_this || (axis(edit.arguments.as_slice())? == Some(1)) != is_transposed {
                return Err(BackendError::unsupported_op(format!(
                    "the layer that computes `{value}` is no product with `{target}` in blocks"
                )));
            }
            let output = node.output.first().cloned().unwrap_or_default();
            let bias = node.input.get(2).filter(|bias| !bias.is_empty()).cloned();
            let name = node.name.clone().unwrap_or_default();
            let result =
                if bias.is_some() { self.fresh(&format!("{output}_MatMul")) } else { output.clone() };
            let numbers = [
                ("K", blocks.inputs as i64),
                ("N", outputs),
                ("bits", blocks.bits as i64),
                ("block_size", blocks.block_size as i64),
            ];
            let mut attribute: Vec<AttributeProto> =
                numbers.into_iter().map(|(name, number)| whole(name, number)).collect();
            attribute.extend(level.map(|level| whole("accuracy_level", level)));
            let mut input = vec![node.input[0].clone()];
            input.extend(tensors.iter().cloned());
            let product = NodeProto {
                op_type: Some("MatMulNBits".to_owned()),
                domain: Some(CONTRIB.to_owned()),
                name: Some(if name.is_empty() { name.clone() } else { format!("{name}_Q{}", blocks.bits) }),
                input,
                output: vec![result.clone()],
                attribute,
                ..NodeProto::default()
            };
            let sum = bias.map(|bias| NodeProto {
                op_type: Some("Add".to_owned()),
                name: Some(if name.is_empty() { name } else { format!("{name}_Add") }),
                input: vec![result, bias],
                output: vec![output],
                ..NodeProto::default()
            });
            let count = 1 + usize::from(sum.is_some());
            self.graph.node.splice(place..=place, std::iter::once(product).chain(sum));
            self.written += count - 1;
        }
        Ok(())
    }
}

impl Blocks {
    /// The codes of an edit; those stored as (K, N) are turned.
    fn of(edit: &Edit, is_by_inputs: bool, block_size: usize) -> Result<Self> {
        let target = edit.target.as_str();
        let (bits, is_signed) = match edit.dtype {
            DType::INT4 => (4, true),
            DType::UINT4 => (4, false),
            DType::INT8 => (8, true),
            DType::UINT8 => (8, false),
            other => return Err(invalid(target, &format!("cannot have blocks of {other}"))),
        };
        let [rows, columns] = edit.shape[..] else { return Err(invalid(target, "is not a matrix")) };
        let (rows, columns) = (usize::try_from(rows).unwrap_or(0), usize::try_from(columns).unwrap_or(0));
        let all = rows.saturating_mul(columns);
        let fits = all > 0 && edit.bytes.len() == (all.saturating_mul(bits)).div_ceil(8);
        if !fits || !block_size.is_power_of_two() || block_size < 16 {
            return Err(invalid(target, "needs codes that fit it, and blocks of a power of two from 16 on"));
        }
        let most = (1_u16 << bits) - 1;
        let middle = 1_u8 << (bits - 1);
        // Signed codes and the middle taken for 0 are the same numbers.
        let unsigned = |code: u8| if is_signed { code ^ middle } else { code };
        let codes: Vec<u8> = match bits {
            8 => edit.bytes.iter().map(|byte| unsigned(*byte)).collect(),
            _ => (0..all).map(|at| unsigned(edit.bytes[at / 2] >> (at % 2 * 4) & most as u8)).collect(),
        };
        let (inputs, outputs) = if is_by_inputs { (rows, columns) } else { (columns, rows) };
        let count = inputs.div_ceil(block_size);
        let affine = Affine::of(edit.arguments.as_slice(), "scales", "zero-points", target)?;
        if affine.scales.len() != outputs.saturating_mul(count) {
            return Err(invalid(target, "needs a scale for each block"));
        }
        let shift = if is_signed { f64::from(middle) } else { 0.0 };
        let bytes = affine.zero_points.iter().map(|zero_point| zero_point + shift);
        let zero_points: Vec<u8> = bytes.map(|byte| byte.clamp(0.0, f64::from(most)) as u8).collect();
        let by_output = |at: usize| if is_by_inputs { at % count * outputs + at / count } else { at };
        Ok(Self {
            inputs,
            outputs,
            block_size,
            bits,
            codes: if is_by_inputs { transposed(&codes, rows, columns) } else { codes },
            scales: (0..outputs * count).map(|at| affine.scales[by_output(at)]).collect(),
            zero_points: (0..outputs * count).map(|at| zero_points[by_output(at)]).collect(),
        })
    }

    /// Rows of bytes, the first code in the lowest bits; codes beyond the inputs are 0.
    fn packed_codes(&self, row_bytes: usize) -> Vec<u8> {
        let mut packed = Vec::with_capacity(self.outputs * row_bytes);
        for (row, codes) in self.codes.chunks(self.inputs).enumerate() {
            pack_row(codes, self.bits, 0, &mut packed);
            packed.resize((row + 1) * row_bytes, 0);
        }
        packed
    }

    /// Rows of bytes, filled up with the middle; `None` if all are the middle, which is the operator's default.
    fn packed_zero_points(&self, count: usize) -> Option<Vec<u8>> {
        let middle = 1_u8 << (self.bits - 1);
        if self.zero_points.iter().all(|zero_point| *zero_point == middle) {
            return None;
        }
        let mut packed = Vec::new();
        for row in self.zero_points.chunks(count) {
            pack_row(row, self.bits, middle, &mut packed);
        }
        Some(packed)
    }
}

fn pack_row(codes: &[u8], bits: usize, fill: u8, packed: &mut Vec<u8>) {
    let per_byte = 8 / bits;
    for pack in codes.chunks(per_byte) {
        let code = |at: usize| pack.get(at).copied().unwrap_or(fill);
        packed.push((0..per_byte).fold(0, |byte, at| byte | code(at) << (at * bits)));
    }
}

fn invalid(target: &str, lacks: &str) -> BackendError {
    BackendError::invalid_input(format!("`{target}` {lacks}"))
}
