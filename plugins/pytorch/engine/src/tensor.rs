//! Tensors across the boundary: views from the host in, dense tensors out.

use crate::error::failed;
use crate::graph;
use crate::shim;
use qp_abi::sdk::{BackendError, DType, QuantizationParameters, ROption, Result, Sink, TensorView};
use tch::{Kind, TchError, Tensor};

/// The types that both sides support.
const KINDS: [(Kind, DType); 17] = [
    (Kind::Uint8, DType::UINT8),
    (Kind::Int8, DType::INT8),
    (Kind::Int16, DType::INT16),
    (Kind::Int, DType::INT32),
    (Kind::Int64, DType::INT64),
    (Kind::Half, DType::FLOAT16),
    (Kind::Float, DType::FLOAT32),
    (Kind::Double, DType::FLOAT64),
    (Kind::ComplexHalf, DType::COMPLEX32),
    (Kind::ComplexFloat, DType::COMPLEX64),
    (Kind::ComplexDouble, DType::COMPLEX128),
    (Kind::Bool, DType::BOOL),
    (Kind::BFloat16, DType::BFLOAT16),
    (Kind::Float8e5m2, DType::FLOAT8_E5M2),
    (Kind::Float8e4m3fn, DType::FLOAT8_E4M3FN),
    (Kind::Float8e5m2fnuz, DType::FLOAT8_E5M2FNUZ),
    (Kind::Float8e4m3fnuz, DType::FLOAT8_E4M3FNUZ),
];

/// A libtorch tensor with the elements of `view`.
///
/// # Errors
/// `InvalidInput` when the view is incomplete, contradicts itself, or has a type that libtorch lacks.
pub(crate) fn input(view: &TensorView<'_>) -> Result<Tensor> {
    let name = view.name;
    let known = KINDS.iter().find(|(_, dtype)| *dtype == view.dtype).map(|(kind, _)| *kind);
    let kind = known.ok_or_else(|| {
        BackendError::invalid_input(format!("input `{name}` is {}, which libtorch lacks", view.dtype))
    })?;
    let expected = view.element_count().and_then(|count| view.dtype.packed_bytes(count));
    if view.first_element != 0 || expected != Some(view.bytes.len() as u64) {
        let message = format!(
            "input `{name}` has {} bytes, but its shape {:?} of {} needs {}",
            view.bytes.len(),
            view.shape.as_slice(),
            view.dtype,
            expected.map_or_else(|| "no possible number of them".to_owned(), |bytes| bytes.to_string())
        );
        return Err(BackendError::invalid_input(message));
    }
    Tensor::f_from_data_size(view.bytes.as_slice(), view.shape.as_slice(), kind)
        .map_err(|error| failed(&format!("libtorch refused input `{name}`"), error))
}

/// A stored tensor: like [`input`], but a quantized one if the view has quantization parameters.
///
/// # Errors
/// As [`input`], and `RuntimeFailed` when libtorch lacks such a quantized tensor.
pub(crate) fn stored(view: &TensorView<'_>) -> Result<Tensor> {
    let codes = input(view)?;
    let ROption::RSome(parameters) = view.quantization else { return Ok(codes) };
    let scales = Tensor::f_from_slice(parameters.scales.as_slice());
    let zero_points = zero_points(parameters);
    let axis = match parameters.axis {
        ROption::RSome(axis) => Some(axis),
        ROption::RNone => None,
    };
    let made = scales.and_then(|scales| Ok((scales, zero_points?)));
    let made = made.map_err(|error| error.to_string());
    made.and_then(|(scales, zero_points)| graph::quantized(&codes, &scales, &zero_points, axis))
        .map_err(|text| failed(&format!("libtorch refused the quantized tensor `{}`", view.name), text))
}

/// One zero point per scale: whole numbers, except for tables and if the file has fractions.
fn zero_points(parameters: &QuantizationParameters) -> Result<Tensor, TchError> {
    let listed = parameters.zero_points.as_slice();
    let all: Vec<f64> = match listed {
        [] => vec![0.0; parameters.scales.len()],
        [one] => vec![*one; parameters.scales.len()],
        several => several.to_vec(),
    };
    // For unsigned codes, PyTorch has per-channel scales only in embedding tables, with real zero points.
    let is_table = parameters.dtype == DType::UINT8 && parameters.axis.is_some();
    if is_table || all.iter().any(|zero_point| zero_point.fract() != 0.0) {
        return Tensor::f_from_slice(&all)?.f_to_kind(Kind::Float);
    }
    Tensor::f_from_slice(&all)?.f_to_kind(Kind::Int64)
}

/// A separate tensor with the current elements of `tensor`.
///
/// # Errors
/// `RuntimeFailed` when libtorch fails.
pub(crate) fn copied(name: &str, tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor
        .f_empty_like()
        .map_err(|error| failed(&format!("libtorch has no memory for a copy of `{name}`"), error))?;
    copy.f_copy_(tensor).map_err(|error| failed(&format!("libtorch cannot copy `{name}`"), error))?;
    Ok(copy)
}

/// Delivers a libtorch tensor: dense, a quantized one as its codes.
///
/// # Errors
/// `UnsupportedOp` for a tensor without a dense form, `RuntimeFailed`, and those of the sink.
pub(crate) fn deliver(name: &str, tensor: &Tensor, sink: &mut Sink<'_>) -> Result<()> {
    let refused =
        |error: TchError| failed(&format!("libtorch cannot give the elements of output `{name}`"), error);
    if shim::is_nested(tensor) {
        let message = format!("output `{name}` is a nested tensor, which has no single shape");
        return Err(BackendError::unsupported_op(message).with_help("Capture other layers by their names."));
    }
    let quantization = parameters(tensor).map_err(refused)?;
    let dense = if quantization.is_some() { tensor.f_int_repr() } else { tensor.f_resolve_conj() };
    let dense = dense
        .and_then(|dense| dense.f_resolve_neg())
        .and_then(|dense| dense.f_contiguous())
        .map_err(refused)?;
    let kind = dense.f_kind().map_err(refused)?;
    let Some((_, dtype)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return Err(BackendError::unsupported_op(format!(
            "output `{name}` has the type {kind:?}, which has no dense form"
        )));
    };
    let shape = dense.size();
    let count = dense.numel();
    let bytes = dtype.packed_bytes(count as u64).and_then(|bytes| usize::try_from(bytes).ok());
    let mut bytes = vec![0_u8; bytes.ok_or_else(|| BackendError::internal("a tensor without a size"))?];
    dense.f_copy_data_u8(&mut bytes, count).map_err(refused)?;
    sink.tensor(TensorView {
        quantization: quantization.as_ref().map_or(ROption::RNone, ROption::RSome),
        ..TensorView::whole(name, *dtype, &shape, &bytes)
    })
}

/// The quantization parameters of a quantized tensor.
fn parameters(tensor: &Tensor) -> Result<Option<QuantizationParameters>, TchError> {
    let dtype = match tensor.f_kind()? {
        Kind::QInt8 => DType::INT8,
        Kind::QUInt8 => DType::UINT8,
        Kind::QInt32 => DType::INT32,
        _ => return Ok(None),
    };
    let parameters = match tensor.f_q_scale() {
        Ok(scale) => QuantizationParameters::per_tensor(dtype, scale, tensor.f_q_zero_point()? as f64),
        // libtorch refuses to name a single scale if there is one per channel.
        Err(_) => {
            let numbers = |tensor: Tensor| Vec::<f64>::try_from(tensor.f_to_kind(Kind::Double)?);
            let scales = numbers(tensor.f_q_per_channel_scales()?)?;
            let zero_points = numbers(tensor.f_q_per_channel_zero_points()?)?;
            QuantizationParameters::per_channel(dtype, scales, zero_points, tensor.f_q_per_channel_axis()?)
        }
    };
    Ok(Some(parameters))
}
