//! What names say of quantization.

/// How the classes of a Python module are quantized.
pub fn quantization_of(module: &str) -> &'static str {
    if module.contains(".quantized.dynamic") {
        "dynamic"
    } else if module.contains("functional_modules") {
        ""
    } else if module.contains("nn.quantized") || module.contains("intrinsic.quantized") {
        "static"
    } else if module.contains(".qat") {
        "qat"
    } else {
        ""
    }
}

/// Whether a buffer with that name is a scale or a zero point, as FX mode and quantized modules name them.
pub fn is_parameter_of_codes(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    stem == "scale" || stem == "zero_point" || stem.ends_with("_scale") || stem.ends_with("_zero_point")
}
