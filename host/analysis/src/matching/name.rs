//! What a name says without the marks of exporters and quantizers.

/// Which of the tensors under one name this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Value,
    Scale,
    ZeroPoint,
}

/// A name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) part: Part,
    /// Without the marks of quantizers; otherwise as written.
    pub(super) unmarked: String,
    /// The same without the number of an output, as in `add:0`.
    pub(super) base: String,
    /// The words of the base, whatever separates them.
    pub(super) words: Vec<String>,
    /// The words in lower case, without those that wrappers, exporters and op types add.
    pub(super) core: Vec<String>,
    /// Whether the name is only a number that an exporter gave: it says nothing.
    pub(super) is_anonymous: bool,
    /// Whether the name is an op type and perhaps a number, as a tool assigns them in graph order: `add_1`,
    /// `node_Conv_17`. It says what the layer does, and in another graph that number belongs to another layer.
    pub(super) is_numbered: bool,
    /// Whether a mark says that elements are packed.
    pub(super) may_be_packed: bool,
    /// Of several names with the same base, the lowest stands for the values themselves.
    pub(super) rank: u8,
}

/// Marks at the end of a name, each with its rank; those that repeat in a graph may be followed by a number.
const MARKS: &[(&str, u8)] = &[
    ("_DequantizeLinear_Output", 1),
    ("_dequantized", 1),
    ("_QuantizeLinear_Output", 3),
    ("_QuantizeLinear_Input", 1),
    ("_DequantizeLinear", 1),
    ("_QuantizeLinear", 3),
    ("_output_quantized", 2),
    ("_quantized", 2),
    ("_quant", 2),
    ("_ReshapedSavedOutput", 0),
    ("/duplicated", 1),
    ("_Q2", 2),
    ("_Q4", 2),
    ("_Q8", 2),
    (".int_data", 2),
    (".qdata", 2),
    (".packed_weight", 2),
    ("_packed", 2),
    ("_blocks", 2),
    (".layout_tensor", 0),
    (".tensor_impl", 0),
    (".original_weight_tensor", 0),
    ("._packed_params", 2),
    ("_fused_bn", 0),
    ("_bn_folded", 0),
    ("_folded", 0),
    ("_output_0", 0),
    // ONNX Runtime's quantizer appends this to the outputs of a Split.
    ("quantized", 2),
];

/// Marks of packed elements, a subset of [`MARKS`].
const PACKED: &[&str] =
    &["_Q2", "_Q4", "_Q8", ".packed_weight", ".qdata", ".int_data", "_packed", "_blocks", "_quantized"];

/// What ONNX Runtime prepends to a weight that it folded something into.
const FOLDED: &[&str] = &[
    "ConvBnFusion_W_",
    "ConvBnFusion_BN_B_",
    "ConvBnFusion_B_",
    "ConvMulFusion_W_",
    "ConvMulFusion_Mul_B_",
    "ConvAddFusion_Add_B_",
    "ConvAddFusion_B_",
    "MatMulBnFusion_W_",
];

/// Words that wrappers prepend to a path.
const WRAPPERS: &[&str] =
    &["module", "model", "self", "L", "_orig_mod", "orig", "mod", "node", "main", "graph"];

impl Name {
    /// Takes a name apart; `op` is the op type of the layer that has it, empty when unknown.
    pub(super) fn of(text: &str, op: &str) -> Self {
        let mut base = text.trim();
        let mut part = Part::Value;
        let mut rank = 0;
        let mut may_be_packed = false;
        // A name with a hundred marks is not a name: stop here.
        for _ in 0..8 {
            if part == Part::Value
                && let Some((rest, found)) = strip_part(base)
            {
                (base, part) = (rest, found);
            } else if let Some((rest, mark, mark_rank)) = strip_mark(base) {
                base = rest;
                rank = rank.max(mark_rank);
                may_be_packed |= PACKED.contains(&mark);
            } else {
                break;
            }
        }
        if let Some(rest) = FOLDED.iter().find_map(|prefix| base.strip_prefix(prefix)) {
            base = without_number(rest, "_token_");
        }
        let unmarked = base.to_owned();
        base = without_number(base, ":");
        let words = words(base);
        let core = core(base, &words);
        let is_anonymous = is_anonymous(base, &words);
        let is_numbered = is_anonymous || is_numbered(&words, op);
        Self {
            part,
            unmarked,
            base: base.to_owned(),
            words,
            core,
            is_anonymous,
            is_numbered,
            may_be_packed,
            rank,
        }
    }

    /// The number that ends the name, to sort anonymous names in the order in which they were given.
    pub(super) fn number(&self) -> Option<u64> {
        let digits = self.base.len() - self.base.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        self.base[self.base.len() - digits..].parse().ok()
    }
}

fn strip_part(name: &str) -> Option<(&str, Part)> {
    const PARTS: &[(&str, Part)] = &[
        ("zero_points", Part::ZeroPoint),
        ("zero_point", Part::ZeroPoint),
        ("qzeros", Part::ZeroPoint),
        ("scales", Part::Scale),
        ("scale", Part::Scale),
    ];
    let bare = without_number(name, "_");
    [name, bare].into_iter().find_map(|name| {
        PARTS.iter().find_map(|(suffix, part)| {
            let rest = name.strip_suffix(suffix)?;
            let rest = rest.strip_suffix(['_', '.', '/']).or(rest.is_empty().then_some(""))?;
            Some((rest, *part))
        })
    })
}

fn strip_mark(name: &str) -> Option<(&str, &'static str, u8)> {
    let bare = without_number(name, "_");
    MARKS.iter().find_map(|(mark, rank)| {
        let repeats = mark.ends_with("put") || mark.ends_with("Linear");
        let stripped = name.strip_suffix(mark).or_else(|| bare.strip_suffix(mark).filter(|_| repeats));
        stripped.filter(|rest| !rest.is_empty() && *rest != "_").map(|rest| (rest, *mark, *rank))
    })
}

/// `name` without a number at its end that follows `separator`.
fn without_number<'a>(name: &'a str, separator: &str) -> &'a str {
    let rest = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if rest.len() < name.len() { rest.strip_suffix(separator).unwrap_or(name) } else { name }
}

fn words(base: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = base.split(['.', '/', ':', '_', '|']).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = rest.next() {
        // `___torch_mangle_12`
        if word == "torch" && rest.peek() == Some(&"mangle") {
            rest.next();
            rest.next_if(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
            continue;
        }
        words.push(if word == "qweight" { "weight".to_owned() } else { word.to_owned() });
    }
    words
}

fn core(base: &str, words: &[String]) -> Vec<String> {
    // `p_layer1_conv1_weight`, `b_bn_running_mean`: how torch.export flattens a path.
    let is_flat = !base.contains(['.', '/']);
    let is_placeholder = is_flat && ["p_", "b_", "c_"].iter().any(|prefix| base.starts_with(prefix));
    // Exporters that write paths with slashes end them with op types, which begin with a capital letter, unlike
    // modules.
    let is_op = |word: &String| word.starts_with(|c: char| c.is_ascii_uppercase());
    let has_ops = base.contains('/') && !words.iter().all(is_op);
    words
        .iter()
        .skip(usize::from(is_placeholder && words.len() > 1))
        .skip_while(|word| WRAPPERS.contains(&word.as_str()))
        .filter(|word| !(has_ops && is_op(word)))
        .map(|word| word.to_lowercase())
        .collect()
}

/// Whether a name consists of the op type alone, apart from wrappers and numbers.
fn is_numbered(words: &[String], op: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let is_number = |word: &&String| word.bytes().all(|byte| byte.is_ascii_digit());
    let rest: Vec<&String> = words
        .iter()
        .skip_while(|word| WRAPPERS.contains(&word.as_str()))
        .filter(|word| !is_number(word))
        .collect();
    let said: String = rest.iter().map(|word| letters(word)).collect();
    !op.is_empty()
        && !said.is_empty()
        && letters(op).trim_end_matches(char::is_numeric).ends_with(said.trim_end_matches(char::is_numeric))
        && said.len() + 4 >= letters(op).len()
}

fn is_anonymous(base: &str, words: &[String]) -> bool {
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let is_given =
        ["onnx::", "_frozen_param", "b__frozen_param", "_tensor_constant", "lifted_tensor_", "const_"]
            .iter()
            .any(|prefix| {
                base.strip_prefix(prefix).is_some_and(|rest| rest.ends_with(|c: char| c.is_ascii_digit()))
            });
    let numbered = match words {
        [] => true,
        [word] => is_number(word.trim_start_matches('%')),
        [word, number] => {
            matches!(word.as_str(), "val" | "input" | "x" | "tensor" | "constant" | "Constant")
                && is_number(number)
        }
        _ => false,
    };
    is_given || numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str) -> String {
        Name::of(name, "").base
    }

    fn core(name: &str) -> String {
        Name::of(name, "").core.join(" ")
    }

    #[test]
    fn the_marks_of_quantizers_come_off() {
        for name in [
            "conv.weight_quantized",
            "conv.weight_DequantizeLinear_Output",
            "conv.weight_QuantizeLinear_Output_2",
            "conv.weight_Q4",
            "conv.weight_quantized_DequantizeLinear",
            "conv.weight.tensor_impl.int_data",
            "conv.weight.original_weight_tensor.tensor_impl.int_data",
            "conv.weight_packed",
            "conv.weight_fused_bn",
            "ConvBnFusion_W_conv.weight",
            "ConvBnFusion_W_conv.weight_token_17",
            "conv.weight:0",
        ] {
            assert_eq!(base(name), "conv.weight", "{name}");
        }
        assert_eq!(base("_quantized"), "_quantized", "a mark alone is a name");
        assert_eq!(base("s2quantized"), base("s2"), "an output of ONNX Runtime's quantized Split");
    }

    #[test]
    fn a_scale_is_no_weight() {
        for (name, expected, part) in [
            ("conv.weight_scale", "conv.weight", Part::Scale),
            ("conv.bias_quantized_scale", "conv.bias", Part::Scale),
            ("conv.bias_quantized_zero_point", "conv.bias", Part::ZeroPoint),
            ("w0_scales", "w0", Part::Scale),
            ("stack1/relu2/Relu_zero_point_0", "stack1/relu2/Relu", Part::ZeroPoint),
            ("conv.scale", "conv", Part::Scale),
            ("upscale", "upscale", Part::Value),
        ] {
            let name = Name::of(name, "");
            assert_eq!((name.base.as_str(), name.part), (expected, part));
        }
    }

    #[test]
    fn paths_lose_their_wrappers_and_op_types() {
        assert_eq!(core("p_layer1_conv1_weight"), "layer1 conv1 weight");
        assert_eq!(core("module.layer1.conv1.weight"), "layer1 conv1 weight");
        assert_eq!(core("L__self___layer1_conv1.weight"), "layer1 conv1 weight");
        assert_eq!(core("/layer1/conv1/Conv_output_0"), "layer1 conv1");
        assert_eq!(core("layer1/conv1/Conv.weight"), "layer1 conv1 weight");
        assert_eq!(core("__torch__.layer1.___torch_mangle_12.conv1"), "torch layer1 conv1");
        assert_eq!(core("conv1/Conv2D/ReadVariableOp:0"), "conv1");
        assert_eq!(core("p.weight"), "p weight");
    }

    #[test]
    fn a_number_says_nothing() {
        for name in
            ["onnx::Conv_123", "onnx::MatMul_7_quantized", "42", "%17", "val_49", "_frozen_param0", "input.7"]
        {
            assert!(Name::of(name, "").is_anonymous, "{name}");
        }
        for name in ["conv.weight", "w0", "relu_1", "layers.0"] {
            assert!(!Name::of(name, "").is_anonymous, "{name}");
        }
        assert_eq!(Name::of("onnx::Conv_123", "").number(), Some(123));
    }

    #[test]
    fn names_that_a_tool_counts_say_what_a_layer_does_and_not_which_it_is() {
        for (name, op) in [
            ("add_1", "add"),
            ("add", "add"),
            ("node_Conv_17", "Conv"),
            ("MaxPool_3", "MaxPool"),
            ("relu_", "relu_"),
            ("max_pool2d_2", "max_pool2d"),
            ("Relu_12", "Relu"),
        ] {
            assert!(Name::of(name, op).is_numbered, "{name}");
        }
        for (name, op) in
            [("layer1.conv1", "Conv2d"), ("/layer1/conv1/Conv", "Conv"), ("conv1", "Conv2d"), ("fc", "Gemm")]
        {
            assert!(!Name::of(name, op).is_numbered, "{name}");
        }
    }

    #[test]
    fn odd_names_do_no_harm() {
        for name in ["", " ", "_", "...", "///", "é_scale", "scale", "_0", "∞:9", &"_quantized".repeat(1000)]
        {
            Name::of(name, "");
        }
    }
}
