//! Layers that multiply with stored codes and round what they read at each run: `ConvInteger`, `MatMulInteger`, `Gather` of
//! codes, `DynamicQuantizeLSTM`; with the names that `onnxruntime.quantization.quantize_dynamic` gives.

use super::codes::{int, is_plain_product, whole};
use super::{CONTRIB, Editor, axis, values};
use crate::proto::NodeProto;
use qp_abi::sdk::{BackendError, DType, Edit, Result};
use std::collections::HashMap;

/// Integer operators are there from this version of ONNX's own operators on, the rounding of values from the next.
const OPSET: i64 = 11;

/// Stored codes, their scale and their zero point, by name.
type Names = [String; 3];

/// What one batch of changes has made so far. The nodes that round values and multiply scales stand behind the others until
/// all are put into place: whichever layer asks first.
#[derive(Default)]
pub(super) struct Dynamic {
    /// What values became, by value.
    rounded: HashMap<String, Names>,
    /// What tensors became, by tensor, and whether they lie the other way.
    stored: HashMap<(String, bool), Names>,
    /// Scales multiplied, by both.
    products: HashMap<[String; 2], String>,
}

impl Editor<'_> {
    /// Lets layers multiply with codes.
    pub(super) fn quantize_dynamic(&mut self, edit: &Edit) -> Result<()> {
        let target = self.known(&edit.target)?;
        if self.opset < OPSET {
            return Err(BackendError::unsupported_op(format!(
                "the model has opset {}, and values are rounded at each run from opset {OPSET} on",
                self.opset
            ))
            .with_help("Export it again with a newer opset."));
        }
        for value in values(edit) {
            let place = self.computing(&value)?;
            let node = self.graph.node[place].clone();
            let made = match node.op_type.as_deref().unwrap_or_default() {
                "MatMul" => self.integer_product(&node, edit, false)?,
                "Gemm" if is_plain_product(&node) => {
                    self.integer_product(&node, edit, int(&node, "transB").unwrap_or(0) != 0)?
                }
                "Conv" => self.integer_convolution(&node, edit)?,
                "Gather" => self.gather_of_codes(&node, edit)?,
                "LSTM" => {
                    self.dynamic_lstm(place, edit)?;
                    continue;
                }
                other => {
                    return Err(BackendError::unsupported_op(format!(
                        "`{other}` has no form that rounds what it reads at each run"
                    )));
                }
            };
            let count = made.len();
            self.graph.node.splice(place..=place, made);
            self.written += count - 1;
        }
        self.codes.leave(target);
        Ok(())
    }

    /// The codes of the edit, stored once for each way in which they are read.
    fn stored_codes(&mut self, edit: &Edit, is_transposed: bool) -> Result<Names> {
        let key = (edit.target.to_string(), is_transposed);
        if let Some(names) = self.dynamic.stored.get(&key) {
            return Ok(names.clone());
        }
        let axis = axis(edit.arguments.as_slice())?;
        let (scale, zero_point) = self.add_parameters(&edit.target, edit, axis)?;
        let codes = self.fresh(&format!("{}_quantized", edit.target));
        let (mut dims, mut bytes) = (edit.shape.to_vec(), edit.bytes.to_vec());
        if is_transposed {
            let [rows, columns] = dims[..] else {
                return Err(BackendError::invalid_input(format!("`{}` is not a matrix", edit.target)));
            };
            let size = |dim: i64| usize::try_from(dim).unwrap_or(0);
            if size(rows).checked_mul(size(columns)) != Some(bytes.len()) {
                return Err(BackendError::invalid_input(format!(
                    "the codes of `{}` do not fit it",
                    edit.target
                )));
            }
            bytes = transposed(&bytes, size(rows), size(columns));
            dims = vec![columns, rows];
        }
        self.add_tensor(codes.clone(), edit.dtype, dims, &bytes);
        let names = [codes, scale, zero_point];
        self.dynamic.stored.insert(key, names.clone());
        Ok(names)
    }

    /// The codes of a value at each run.
    fn rounded(&mut self, value: &str) -> Names {
        if let Some(names) = self.dynamic.rounded.get(value) {
            return names.clone();
        }
        let names = ["quantized", "scale", "zero_point"].map(|part| self.fresh(&format!("{value}_{part}")));
        self.graph.node.push(NodeProto {
            op_type: Some("DynamicQuantizeLinear".to_owned()),
            name: Some(format!("{value}_QuantizeLinear")),
            input: vec![value.to_owned()],
            output: names.to_vec(),
            ..NodeProto::default()
        });
        self.dynamic.rounded.insert(value.to_owned(), names.clone());
        names
    }

    /// From codes to real numbers: a product of integers, a cast, and the product of both scales.
    fn integers(
        &mut self,
        (of, name): (&NodeProto, &str),
        op_type: &str,
        edit: &Edit,
        (is_transposed, result): (bool, &str),
    ) -> Result<Vec<NodeProto>> {
        let input = of.input.first().cloned().unwrap_or_default();
        let [x, x_scale, x_zero_point] = self.rounded(&input);
        let [w, w_scale, w_zero_point] = self.stored_codes(edit, is_transposed)?;
        let output = of.output.first().filter(|_| op_type == "ConvInteger").map_or(result, String::as_str);
        let sums = self.fresh(&format!("{output}_output_quantized"));
        let real = self.fresh(&format!("{sums}_cast_output"));
        let attribute = match op_type {
            "ConvInteger" => of.attribute.clone(),
            _ => Vec::new(),
        };
        let mut made = vec![NodeProto {
            attribute,
            ..plain(op_type, &format!("{name}_quant"), vec![x, w, x_zero_point, w_zero_point], &sums)
        }];
        made.push(NodeProto {
            attribute: vec![whole("to", i64::from(DType::FLOAT32.0))],
            ..plain("Cast", &format!("{sums}_cast"), vec![sums.clone()], &real)
        });
        let scales = [x_scale, w_scale];
        let product = match self.dynamic.products.get(&scales) {
            Some(product) => product.clone(),
            None => {
                let product = self.fresh(&format!("{name}_quant_scales_mul:0"));
                let node = plain("Mul", &format!("{name}_quant_scales_mul"), scales.to_vec(), &product);
                self.graph.node.push(node);
                self.dynamic.products.insert(scales, product.clone());
                product
            }
        };
        made.push(plain("Mul", &format!("{name}_quant_output_scale_mul"), vec![real, product], result));
        Ok(made)
    }

    fn integer_product(
        &mut self,
        node: &NodeProto,
        edit: &Edit,
        is_transposed: bool,
    ) -> Result<Vec<NodeProto>> {
        let output = node.output.first().cloned().unwrap_or_default();
        let mut name = name_of(node);
        let bias = node.input.get(2).filter(|bias| !bias.is_empty()).cloned();
        let result = match &bias {
            Some(_) => self.fresh(&format!("{output}_MatMul")),
            None => output.clone(),
        };
        let added = format!("{name}_Add");
        if node.op_type.as_deref() == Some("Gemm") {
            name.push_str("_MatMul");
        }
        let mut made = self.integers((node, &name), "MatMulInteger", edit, (is_transposed, &result))?;
        if let Some(bias) = bias {
            made.push(plain("Add", &added, vec![result, bias], &output));
        }
        Ok(made)
    }

    fn integer_convolution(&mut self, node: &NodeProto, edit: &Edit) -> Result<Vec<NodeProto>> {
        let output = node.output.first().cloned().unwrap_or_default();
        let Some(bias) = node.input.get(2).filter(|bias| !bias.is_empty()).cloned() else {
            return self.integers((node, &name_of(node)), "ConvInteger", edit, (false, &output));
        };
        let result = self.fresh(&format!("{output}quant_scaled_output"));
        let mut made = self.integers((node, &name_of(node)), "ConvInteger", edit, (false, &result))?;
        let shape = self.fresh(&format!("{output}_bias_reshape_shape"));
        let reshaped = self.fresh(&format!("{output}_bias_reshape_output"));
        let dims: Vec<i64> = (0..edit.shape.len()).map(|axis| if axis == 1 { -1 } else { 1 }).collect();
        let bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        self.add_tensor(shape.clone(), DType::INT64, vec![dims.len() as i64], &bytes);
        made.push(plain("Reshape", &format!("{output}_bias_reshape"), vec![bias, shape], &reshaped));
        made.push(plain("Add", &format!("{output}_bias_add"), vec![result, reshaped], &output));
        Ok(made)
    }

    fn gather_of_codes(&mut self, node: &NodeProto, edit: &Edit) -> Result<Vec<NodeProto>> {
        let output = node.output.first().cloned().unwrap_or_default();
        let [codes, scale, zero_point] = self.stored_codes(edit, false)?;
        let picked = self.fresh(&format!("{output}_quantized"));
        let mut gather = node.clone();
        gather.input[0] = codes;
        gather.output = vec![picked.clone()];
        let name = format!("{output}_DequantizeLinear");
        Ok(vec![gather, plain("DequantizeLinear", &name, vec![picked, scale, zero_point], &output)])
    }

    /// Both weights of an LSTM come one after the other: with the first, the node reads codes where the weight was, and with
    /// the second it becomes the operator for them.
    fn dynamic_lstm(&mut self, place: usize, edit: &Edit) -> Result<()> {
        let key = (edit.target.to_string(), true);
        if !self.dynamic.stored.contains_key(&key) {
            let [directions, rows, columns] = edit.shape[..] else {
                return Err(BackendError::invalid_input(format!(
                    "`{}` is not the weight of an LSTM",
                    edit.target
                )));
            };
            let size = |dim: i64| usize::try_from(dim).unwrap_or(0);
            let matrix = size(rows).saturating_mul(size(columns));
            if matrix.checked_mul(size(directions)) != Some(edit.bytes.len()) || matrix == 0 {
                return Err(BackendError::invalid_input(format!(
                    "the codes of `{}` do not fit it",
                    edit.target
                )));
            }
            let axis = axis(edit.arguments.as_slice())?;
            let (scale, zero_point) = self.add_parameters(&edit.target, edit, axis)?;
            if axis == Some(1) {
                // Of the shape (directions, 4 · hidden size), with one direction.
                let own = [&scale, &zero_point];
                let is_own = |name: &String| own.contains(&name);
                let tensors = self.graph.initializer.iter_mut();
                for tensor in tensors.filter(|tensor| tensor.name.as_ref().is_some_and(is_own)) {
                    tensor.dims.insert(0, 1);
                }
            }
            let codes = self.fresh(&format!("{}_quantized", edit.target));
            let bytes: Vec<u8> = edit
                .bytes
                .chunks(matrix)
                .flat_map(|direction| transposed(direction, size(rows), size(columns)))
                .collect();
            self.add_tensor(codes.clone(), edit.dtype, vec![directions, columns, rows], &bytes);
            self.dynamic.stored.insert(key, [codes, scale, zero_point]);
        }
        let weights = [1, 2].map(|slot| {
            let name = self.graph.node[place].input.get(slot).cloned().unwrap_or_default();
            self.dynamic.stored.get(&(name, true)).cloned()
        });
        let [Some(weight), Some(recurrent)] = weights else { return Ok(()) };
        let node = &mut self.graph.node[place];
        let name = name_of(node);
        node.op_type = Some("DynamicQuantizeLSTM".to_owned());
        node.domain = Some(CONTRIB.to_owned());
        node.name = Some(format!("{name}_quant"));
        node.attribute.retain(|attribute| attribute.name.as_deref() != Some("layout"));
        node.input.resize(8, String::new());
        let [weight, weight_scale, weight_zero_point] = weight;
        let [recurrent, recurrent_scale, recurrent_zero_point] = recurrent;
        (node.input[1], node.input[2]) = (weight, recurrent);
        node.input.extend([weight_scale, weight_zero_point, recurrent_scale, recurrent_zero_point]);
        Ok(())
    }
}

/// A node's name, or what it computes.
fn name_of(node: &NodeProto) -> String {
    let name = node.name.clone().filter(|name| !name.is_empty());
    name.or_else(|| node.output.first().cloned()).unwrap_or_default()
}

fn plain(op_type: &str, name: &str, input: Vec<String>, output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.to_owned()),
        name: Some(name.to_owned()),
        input,
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// A matrix of bytes, the other way; in tiles, so that neither side is read far apart.
pub(super) fn transposed(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    const TILE: usize = 64;
    let mut turned = vec![0; rows * columns];
    for first_row in (0..rows).step_by(TILE) {
        for first_column in (0..columns).step_by(TILE) {
            for column in first_column..(first_column + TILE).min(columns) {
                for row in first_row..(first_row + TILE).min(rows) {
                    turned[column * rows + row] = bytes[row * columns + column];
                }
            }
        }
    }
    turned
}
