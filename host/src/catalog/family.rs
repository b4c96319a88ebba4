//! Which files are variants of one network, judged by their names.
//!
//! `resnet8.onnx`, `resnet8_int8.onnx` and `resnet8_traced.pt` belong to the family `resnet8`: the words at the end
//! of a name that say how a network was quantized or saved are not part of the network's name.

/// Words that describe a variant, not a network.
const VARIANT_WORDS: &[&str] = &[
    // precision
    "float",
    "float32",
    "float16",
    "fp32",
    "fp16",
    "fp8",
    "f32",
    "f16",
    "bf16",
    "bfloat16",
    "half",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int4",
    "uint4",
    "i8",
    "u8",
    "s8",
    "w4",
    "w8",
    "a8",
    "a16",
    "w4a16",
    "w8a8",
    "w8a16",
    "w4a8",
    "4bit",
    "4bits",
    "8bit",
    "8bits",
    "matmul4bits",
    "nf4",
    "q4",
    "q8",
    "mixed",
    // quantization
    "quant",
    "quantized",
    "qdq",
    "qop",
    "qoperator",
    "dynamic",
    "static",
    "qat",
    "ptq",
    "perchannel",
    "pertensor",
    "per",
    "channel",
    "tensor",
    "calibrated",
    "dequantized",
    "awq",
    "gptq",
    "torchao",
    // form
    "fx",
    "pt2e",
    "eager",
    "traced",
    "scripted",
    "script",
    "torchscript",
    "ts",
    "jit",
    "module",
    "state",
    "dict",
    "statedict",
    "weights",
    "pickle",
    "export",
    "exported",
    "dynamo",
    "legacy",
    "extdata",
    "oldformat",
    "opt",
    "optimized",
    "sim",
    "simplified",
    "slim",
    "ort",
    "onnx",
    "preprocessed",
    "infer",
];

/// The name of the family that a file belongs to: its stem without the words that describe a variant. A stem made
/// only of such words is its own family.
pub fn family_name(file_stem: &str) -> &str {
    let mut name = file_stem;
    while let Some((start, word)) = last_word(name) {
        if start == 0 || !VARIANT_WORDS.contains(&word.to_ascii_lowercase().as_str()) {
            break;
        }
        name = name[..start].trim_end_matches(is_separator);
    }
    if name.is_empty() { file_stem } else { name }
}

fn last_word(name: &str) -> Option<(usize, &str)> {
    let start = name.rfind(is_separator).map_or(0, |separator| separator + 1);
    (!name.is_empty()).then(|| (start, &name[start..]))
}

fn is_separator(letter: char) -> bool {
    matches!(letter, '_' | '-' | '.' | ' ')
}

#[cfg(test)]
mod tests {
    use super::family_name;

    #[test]
    fn words_of_quantization_and_form_are_no_part_of_the_name() {
        for stem in [
            "resnet8",
            "resnet8_int8",
            "resnet8-uint8",
            "resnet8_int8_perchannel",
            "resnet8_int8.quant",
            "resnet8_legacy_dynamic_u8",
            "resnet8_state_dict_oldformat",
            "resnet8_INT8_QDQ",
        ] {
            assert_eq!(family_name(stem), "resnet8", "{stem}");
        }
    }

    #[test]
    fn sizes_and_versions_stay() {
        assert_eq!(family_name("bert_large_int8"), "bert_large");
        assert_eq!(family_name("mobilenet_v2-1.0"), "mobilenet_v2-1.0");
    }

    #[test]
    fn a_name_of_such_words_alone_is_kept() {
        assert_eq!(family_name("quantized"), "quantized");
        assert_eq!(family_name("int8_model"), "int8_model");
        assert_eq!(family_name("_int8"), "_int8");
    }
}
