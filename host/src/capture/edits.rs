//! The graph edits that build the emulated layers, as the backends accept them; they are documented at the top of
//! `plugins/onnx/src/edit/mod.rs`.

use crate::backend::{Edit, Progress, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::graph::Rounding;
use crate::model::{DType, QuantizationParameters, Tensor};

/// Limit of bytes of elements that wait for the backend.
const WAITING_BYTES: usize = 64 << 20;

/// A session that is edited step by step. The backend copies the elements it is given; all at once they would be held twice.
pub struct Editing<'a> {
    original: &'a Session,
    edited: Option<Session>,
    waiting: Vec<Edit>,
    waiting_bytes: usize,
}

impl<'a> Editing<'a> {
    /// Edits of this session, which itself stays unchanged.
    pub fn of(original: &'a Session) -> Self {
        Self { original, edited: None, waiting: Vec::new(), waiting_bytes: 0 }
    }

    /// Adds edits, applied now or later.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn add(&mut self, edits: impl IntoIterator<Item = Edit>, progress: &dyn Progress) -> Result<()> {
        for edit in edits {
            self.waiting_bytes += edit.elements.as_ref().map_or(0, |(_, _, bytes)| bytes.len());
            self.waiting.push(edit);
        }
        if self.waiting_bytes >= WAITING_BYTES { self.make(progress) } else { Ok(()) }
    }

    /// Applies the waiting edits.
    fn make(&mut self, progress: &dyn Progress) -> Result<()> {
        self.waiting_bytes = 0;
        let base = self.edited.as_ref().unwrap_or(self.original);
        self.edited = Some(base.edit(std::mem::take(&mut self.waiting), progress)?);
        Ok(())
    }

    /// The edited session.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn finish(mut self, progress: &dyn Progress) -> Result<Session> {
        if self.edited.is_none() || !self.waiting.is_empty() {
            self.make(progress)?;
        }
        self.edited.ok_or_else(|| Error::internal("an edit left no session"))
    }
}

/// Codes, and the real numbers they stand for as `result`.
pub fn dequantized(result: &str, codes: Tensor, parameters: &QuantizationParameters) -> [Edit; 2] {
    let name = format!("{result}.codes");
    let (scales, zero_points) = affine_texts(parameters);
    let mut arguments =
        vec![argument("as", result), argument("scales", &scales), argument("zero-points", &zero_points)];
    if let Some(axis) = parameters.axis.filter(|_| parameters.scales.len() > 1) {
        arguments.push(argument("axis", &axis.to_string()));
    }
    let elements = Some((codes.dtype, codes.shape, codes.bytes));
    [
        Edit { action: "store", target: name.clone(), arguments: Vec::new(), elements },
        Edit {
            action: "dequantize",
            target: name,
            arguments,
            elements: Some((codes.dtype, Vec::new(), Vec::new())),
        },
    ]
}

/// Scales and zero points, separated by commas.
fn affine_texts(codes: &QuantizationParameters) -> (String, String) {
    let join = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
    };
    let zero_points = join(&mut (0..codes.scales.len()).map(|index| codes.zero_point(index)));
    (join(&mut codes.scales.iter().copied()), zero_points)
}

/// An argument of an edit.
pub fn argument(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

/// Real numbers as a stored tensor.
///
/// # Errors
/// `UnsupportedOp` for a type without real numbers.
pub fn store(name: &str, values: &[f64], dtype: DType, shape: &[u64]) -> Result<Edit> {
    let element = dtype.element_type().filter(|_| dtype.is_float()).ok_or_else(|| {
        Error::new(ErrorKind::UnsupportedOp, format!("weights of {dtype} are not emulated"))
    })?;
    let mut bytes = Vec::with_capacity(element.packed_bytes(values.len()));
    for value in values {
        element.push(&mut bytes, *value).ok_or_else(|| Error::internal("a weight has no such type"))?;
    }
    let elements = Some((dtype, shape.to_vec(), bytes));
    Ok(Edit { action: "store", target: name.to_owned(), arguments: Vec::new(), elements })
}

/// `value` rounded several times in a row, as `result`; returns the name of the outcome.
///
/// # Errors
/// `UnsupportedOp` for scales that are unknown or per block.
pub fn round(
    value: &str,
    result: &str,
    roundings: &[Rounding<'_>],
    real: DType,
    edits: &mut Vec<Edit>,
) -> Result<String> {
    let mut rounded = value.to_owned();
    for (index, rounding) in roundings.iter().enumerate() {
        let next = match index + 1 == roundings.len() {
            true => result.to_owned(),
            false => format!("{result}.{index}"),
        };
        edits.push(quantize(&rounded, &next, rounding, real)?);
        rounded = next;
    }
    Ok(rounded)
}

/// `value` rounded to codes and back, as `result`.
fn quantize(value: &str, result: &str, rounding: &Rounding<'_>, real: DType) -> Result<Edit> {
    let codes = rounding.quantize;
    let mut arguments = vec![argument("as", result)];
    if codes.is_dynamic {
        arguments.push(argument("dynamic", "true"));
    } else {
        let text = |codes: &QuantizationParameters| {
            if codes.scales.is_empty() || codes.block_size.is_some() {
                return Err(Error::new(
                    ErrorKind::UnsupportedOp,
                    format!("the scales of `{value}` are unknown or per block"),
                ));
            }
            Ok(affine_texts(codes))
        };
        let count = codes.scales.len();
        let (scales, zero_points) = text(codes)?;
        arguments.push(argument("scales", &scales));
        arguments.push(argument("zero-points", &zero_points));
        if rounding.rescales() {
            let (scales, zero_points) = text(rounding.dequantize)?;
            arguments.push(argument("read-scales", &scales));
            arguments.push(argument("read-zero-points", &zero_points));
        }
        if let Some(axis) = codes.axis.filter(|_| count > 1) {
            arguments.push(argument("axis", &axis.to_string()));
        }
        if real == DType::FLOAT16 {
            arguments.push(argument("real", "float16"));
        }
        if let Some((low, high)) = codes.code_range.filter(|_| count == 1) {
            arguments.push(argument("codes", &format!("{low},{high}")));
        }
    }
    let elements = Some((codes.dtype, Vec::new(), Vec::new()));
    Ok(Edit { action: "quantize", target: value.to_owned(), arguments, elements })
}
