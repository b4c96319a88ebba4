//! What modules, functions and operators of PyTorch's do, in the words of the contract. One table for all formats: a
//! module `Conv2d`, a function `conv2d` and an operator `quantized::conv2d_relu` are all convolutions.

use qp_abi::sdk::{
    AttributeValue, Bounds, InputRole, LayerInfo, LayerKind, ModelInfo, RNone, ROption, RSome, RString,
    TensorInfo, TensorRole, ValueOrigin, WeightUse, element_count,
};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Adds to every layer what it does, which tensors are its weights and between which bounds it leaves its elements, and to
/// every value where it comes from.
pub fn assign(info: &mut ModelInfo) {
    let ModelInfo { layers, tensors, values, outputs, .. } = info;
    let stored: HashMap<&str, &TensorInfo> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut origins: HashMap<RString, ValueOrigin> = HashMap::new();
    let is_whole: std::collections::HashSet<RString> = values
        .iter()
        .filter(|value| value.dtype.is_integer() && value.quantization.is_none())
        .map(|value| value.name.clone())
        .collect();
    for layer in layers.iter_mut() {
        layer.kind = kind_of(layer);
        layer.bounds = bounds_of(layer);
        weights(layer, &stored);
        let origin = origin_of(layer, &stored, &origins);
        // A module or a function that computes real numbers of parameters alone, such as the class token of a batch, is a
        // layer like any other.
        let is_real = layer.outputs.first().is_none_or(|name| !is_whole.contains(name));
        if is_real && !matches!(layer.kind, LayerKind::QUANTIZE | LayerKind::DEQUANTIZE) {
            continue;
        }
        if origin != ValueOrigin::ACTIVATION {
            origins.extend(layer.outputs.iter().map(|name| (name.clone(), origin)));
            let is_plumbing = matches!(layer.kind, LayerKind::QUANTIZE | LayerKind::DEQUANTIZE);
            if !is_plumbing && !layer.outputs.is_empty() {
                layer.kind =
                    if origin == ValueOrigin::CONSTANT { LayerKind::CONSTANT } else { LayerKind::SHAPE };
            }
        }
    }
    for value in values.iter_mut().chain(outputs.iter_mut()) {
        if let Some(origin) = origins.get(&value.name) {
            value.origin = *origin;
        }
    }
}

/// Whether what a layer computes follows from stored tensors or shapes alone.
fn origin_of(
    layer: &LayerInfo,
    stored: &HashMap<&str, &TensorInfo>,
    origins: &HashMap<RString, ValueOrigin>,
) -> ValueOrigin {
    let op = stem(&layer.op_type);
    if layer.inputs.is_empty() {
        // Of most layers without inputs nothing is known but that; these have none.
        let makes = ["arange", "zeros", "ones", "full", "empty", "eye", "linspace", "scalar_tensor"];
        return if makes.contains(&op.as_str()) { ValueOrigin::SHAPE } else { ValueOrigin::ACTIVATION };
    }
    if op.contains("rand") || op.contains("bernoulli") || op.contains("multinomial") {
        return ValueOrigin::ACTIVATION;
    }
    let is_made_like = op.ends_with("_like") || op == "new_zeros" || op == "new_ones" || op == "new_full";
    let origin = |name: &RString| {
        if stored.contains_key(name.as_str()) {
            return ValueOrigin::CONSTANT;
        }
        origins.get(name).copied().unwrap_or_default()
    };
    let named = || layer.inputs.iter().filter(|name| !name.is_empty());
    if named().next().is_none() {
        ValueOrigin::ACTIVATION
    } else if named().all(|name| origin(name) == ValueOrigin::CONSTANT) {
        // A container of modules is listed with what it is given, and is more than that.
        ValueOrigin::CONSTANT
    } else if is_made_like || named().all(|name| origin(name) != ValueOrigin::ACTIVATION) {
        ValueOrigin::SHAPE
    } else {
        ValueOrigin::ACTIVATION
    }
}

/// The name of an operator without what in-place and numbered forms add: `add_` and `Add` are `add`.
fn stem(op: &str) -> String {
    let lower = op.to_ascii_lowercase();
    let name = lower.rsplit("::").next().unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    let own = name.trim_start_matches('_').trim_end_matches('_');
    own.strip_prefix("quantized_").unwrap_or(own).to_owned()
}

fn kind_of(layer: &LayerInfo) -> LayerKind {
    // A module that onnx2torch makes of an ONNX node says which function it calls.
    let called = layer.attributes.iter().find_map(|attribute| match &attribute.value {
        AttributeValue::Text(text) if attribute.name == "math_op_function" => text.strip_prefix("torch."),
        _ => None,
    });
    match (stem(&layer.op_type).as_str(), called) {
        (_, Some(called)) => of_operator(called),
        // Made for additions that are to be quantized, and rarely used for anything else.
        ("floatfunctional" | "qfunctional" | "fxfloatfunctional", None) => LayerKind::ADDITION,
        (op, None) => of_operator(op),
    }
}

/// What an operator does, by its [`stem`]; the classes of `torch.nn` differ from their functions by letters alone.
#[rustfmt::skip]
fn of_operator(op: &str) -> LayerKind {
    let has = |part: &str| op.contains(part);
    match op {
        _ if has("fake_quant") || has("fakequant") => LayerKind::QUANTIZE_DEQUANTIZE,
        "dequantstub" | "quantstub" => LayerKind::IDENTITY,
        _ if has("dequant") => LayerKind::DEQUANTIZE,
        _ if op.starts_with("quantize") || has("choose_qparams") => LayerKind::QUANTIZE,
        _ if op.starts_with("conv") && !has("conv_tbc") || op == "slow_conv2d" || op == "thnn_conv2d" || op == "mkldnn_convolution"
            => LayerKind::CONVOLUTION,
        _ if op.starts_with("linear") || op == "nondynamicallyquantizablelinear" => LayerKind::LINEAR,
        "addmm" | "mm" | "matmul" | "bmm" | "baddbmm" | "addbmm" | "einsum" | "dot" | "mv" | "bilinear" | "tensordot"
        | "weight_int8pack_mm" | "weight_int4pack_mm" | "lazylinear" => LayerKind::LINEAR,
        _ if has("batchnorm") || has("batch_norm") || op.starts_with("bnrelu") => LayerKind::BATCH_NORMALIZATION,
        _ if has("layernorm") || has("layer_norm") || has("groupnorm") || has("group_norm") || has("instancenorm")
            || has("instance_norm") || has("rmsnorm") || has("rms_norm") || has("localresponse") || has("local_response")
            => LayerKind::NORMALIZATION,
        "relu" | "relu6" | "hardtanh" | "clamp" | "clamp_min" | "clamp_max" | "clip" => LayerKind::CLAMP,
        "sigmoid" | "logsigmoid" | "log_sigmoid" | "hardsigmoid" | "hardswish" | "tanh" | "elu" | "selu" | "celu" | "glu"
        | "leakyrelu" | "leaky_relu" | "prelu" | "rrelu" | "softplus" | "softsign" | "mish" | "silu" | "swish"
        | "threshold" | "tanhshrink" | "softshrink" | "hardshrink" => LayerKind::ACTIVATION,
        _ if has("gelu") => LayerKind::ACTIVATION,
        _ if has("pool") => LayerKind::POOLING,
        "add" | "add_relu" | "addrelu" | "add_scalar" | "iadd" => LayerKind::ADDITION,
        "mul" | "mul_relu" | "mulrelu" | "mul_scalar" | "imul" | "multiply" => LayerKind::MULTIPLICATION,
        "cat" | "concat" | "concatenate" | "stack" | "cat_relu" => LayerKind::CONCATENATION,
        "reshape" | "view" | "permute" | "transpose" | "t" | "flatten" | "unflatten" | "squeeze" | "unsqueeze" | "expand"
        | "expand_as" | "repeat" | "slice" | "select" | "narrow" | "split" | "split_with_sizes" | "chunk" | "unbind"
        | "tensor_split" | "pixelshuffle" | "pixel_shuffle" | "pixelunshuffle" | "pixel_unshuffle" | "pad"
        | "constant_pad_nd" | "zeropad2d" | "zeropad1d" | "zeropad3d" | "roll" | "index_select" | "gather"
        | "channelshuffle" | "channel_shuffle" | "movedim" | "moveaxis" | "swapaxes" | "swapdims" | "getitem" | "unfold"
        | "view_as" | "reshape_as" | "unsafe_view" | "flip" | "tile" | "index" | "unsafe_split" | "hsplit" | "vsplit"
        | "adjoint" | "mt" | "numpy_t" | "as_strided" | "repeat_interleave" => LayerKind::MOVEMENT,
        "identity" | "clone" | "alias" | "detach" | "to" | "to_copy" | "contiguous" | "type_as" | "float" | "half" | "double"
        | "bfloat16" | "stochasticdepth" | "stochastic_depth" | "droppath" | "lift_fresh_copy" | "lift_fresh"
        | "empty_nn_module_stack_from_metadata_hook" | "cpu" | "convert_element_type" => LayerKind::IDENTITY,
        _ if has("dropout") => LayerKind::IDENTITY,
        "interpolate" | "upsample" | "grid_sampler" | "grid_sample" => LayerKind::RESIZE,
        _ if op.starts_with("upsample") || has("upsampling") => LayerKind::RESIZE,
        "lstm" | "gru" | "rnn" | "lstmcell" | "grucell" | "rnncell" | "lstm_cell" | "gru_cell" | "rnn_tanh" | "rnn_relu"
        | "rnnbase" => LayerKind::RECURRENT,
        _ if op.starts_with("embedding") => LayerKind::EMBEDDING,
        "multiheadattention" | "multi_head_attention_forward" | "scaled_dot_product_attention" | "native_multi_head_attention"
        | "quantizablemultiheadattention" => LayerKind::ATTENTION,
        _ if has("scaled_dot_product") => LayerKind::ATTENTION,
        "softmax" | "log_softmax" | "logsoftmax" | "softmin" | "softmax2d" | "safe_softmax" => LayerKind::SOFTMAX,
        "size" | "sym_size" | "numel" | "shape" | "dim" => LayerKind::SHAPE,
        "cond" | "while_loop" | "scan" | "map" | "if" | "loop" => LayerKind::CONTROL_FLOW,
        "mean" | "sum" | "amax" | "amin" | "norm" | "var" | "std" | "var_mean" | "cumsum" | "logsumexp" | "prod" | "max" | "min"
        | "linalg_vector_norm" | "normalize" => LayerKind::REDUCTION,
        "sub" | "rsub" | "div" | "pow" | "sqrt" | "rsqrt" | "exp" | "log" | "neg" | "abs" | "erf" | "where" | "masked_fill" | "minimum"
        | "maximum" | "reciprocal" | "square" | "floor" | "round" | "sin" | "cos" | "remainder" | "floor_divide" | "true_divide"
        | "subtract" | "divide" | "lerp" | "addcmul" | "addcdiv" => LayerKind::ELEMENTWISE,
        _ => LayerKind::OTHER,
    }
}

fn bounds_of(layer: &LayerInfo) -> ROption<Bounds> {
    let op = stem(&layer.op_type);
    let number = |names: &[&str]| {
        layer.attributes.iter().find(|attribute| names.contains(&attribute.name.as_str())).and_then(
            |attribute| match attribute.value {
                AttributeValue::Float(number) => Some(number),
                AttributeValue::Int(number) => Some(number as f64),
                _ => None,
            },
        )
    };
    let open = Bounds { low: f64::NEG_INFINITY, high: f64::INFINITY };
    let is_fused = |start: &str| op.starts_with(start) && op.contains("relu");
    match op.as_str() {
        "relu" => RSome(Bounds { low: 0.0, ..open }),
        "relu6" => RSome(Bounds { low: 0.0, high: 6.0 }),
        "hardtanh" => RSome(Bounds {
            low: number(&["min_val"]).unwrap_or(-1.0),
            high: number(&["max_val"]).unwrap_or(1.0),
        }),
        "clamp" | "clip" | "clamp_min" | "clamp_max" => match (number(&["min"]), number(&["max"])) {
            (None, None) => RNone,
            (low, high) => RSome(Bounds { low: low.unwrap_or(open.low), high: high.unwrap_or(open.high) }),
        },
        _ if is_fused("conv") || is_fused("linear") || is_fused("bn") || is_fused("batch_norm") => {
            RSome(Bounds { low: 0.0, ..open })
        }
        "add_relu" | "addrelu" | "mul_relu" | "mulrelu" | "cat_relu" => RSome(Bounds { low: 0.0, ..open }),
        _ => RNone,
    }
}

/// Which of the tensors of a layer are its weights and biases. PyTorch stores a weight as (out, in, …), but for transposed
/// convolutions; a matrix that an operator multiplies with from the right is (in, out).
fn weights(layer: &mut LayerInfo, stored: &HashMap<&str, &TensorInfo>) {
    let op = stem(&layer.op_type);
    let own: Vec<&TensorInfo> = {
        let mut seen = std::collections::HashSet::new();
        let names = layer.tensors.iter().chain(&layer.inputs).filter(|name| seen.insert((*name).clone()));
        names
            .filter_map(|name| stored.get(name.as_str()).copied())
            .filter(|tensor| tensor.role == TensorRole::PARAMETER)
            .collect()
    };
    if matches!(layer.kind, LayerKind::ADDITION | LayerKind::MULTIPLICATION | LayerKind::MOVEMENT)
        || own.is_empty()
    {
        return;
    }
    let most = own.iter().map(|tensor| tensor.shape.len()).max().unwrap_or(0);
    let is_transposed = op.contains("transpose");
    let multiplies = matches!(op.as_str(), "mm" | "matmul" | "bmm" | "addmm" | "baddbmm");
    let mut uses: Vec<WeightUse> = own
        .iter()
        .map(|tensor| {
            let rank = tensor.shape.len();
            let last = tensor.name.rsplit('.').next().unwrap_or_default();
            let is_bias = last.starts_with("bias") || (rank == 1 && most > 1 && !last.starts_with("weight"));
            let axis = match rank {
                0 => None,
                1 => Some(0),
                _ if multiplies => Some(rank as i64 - 1),
                _ if is_transposed => Some(1),
                _ => Some(0),
            };
            WeightUse {
                tensor: tensor.name.clone(),
                role: if is_bias { InputRole::BIAS } else { InputRole::WEIGHT },
                channel_axis: axis.map_or(RNone, RSome),
                is_transposed: multiplies && rank > 1,
            }
        })
        .collect();
    let elements =
        |name: &RString| stored.get(name.as_str()).map_or(Some(0), |tensor| element_count(&tensor.shape));
    // More than can be counted are the most.
    let most = |use_: &WeightUse| Reverse(elements(&use_.tensor).unwrap_or(u64::MAX));
    uses.sort_by_key(|use_| (use_.role != InputRole::WEIGHT, most(use_)));
    let role_of: HashMap<&RString, InputRole> = uses.iter().map(|use_| (&use_.tensor, use_.role)).collect();
    layer.roles = layer
        .inputs
        .iter()
        .map(|name| match (role_of.get(name), stored.get(name.as_str())) {
            (Some(role), _) => *role,
            (None, Some(tensor)) if tensor.role != TensorRole::CONSTANT => InputRole::PARAMETER,
            (None, _) => InputRole::DATA,
        })
        .collect();
    layer.weights = uses.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_functions_and_operators_are_of_one_kind() {
        let kind = |op: &str| of_operator(&stem(op));
        for op in
            ["Conv2d", "conv2d", "quantized::conv2d_relu", "ConvReLU2d", "ConvTranspose1d", "_convolution"]
        {
            assert_eq!(kind(op), LayerKind::CONVOLUTION, "{op}");
        }
        assert_eq!(kind("add_"), LayerKind::ADDITION);
        assert_eq!(kind("quantize_per_tensor"), LayerKind::QUANTIZE);
        assert_eq!(kind("dequantize_per_channel"), LayerKind::DEQUANTIZE);
        assert_eq!(kind("BatchNorm2d"), LayerKind::BATCH_NORMALIZATION);
        assert_eq!(kind("ReLU6"), LayerKind::CLAMP);
        assert_eq!(kind("BertLayer"), LayerKind::OTHER);
    }
}
