"""The facts about the ONNX cases; a module, not run: `cases.py` goes through them."""

import re

import numpy
import onnx
import onnx_alone
import onnx_pairs
from onnx import numpy_helper

# What truth.md says is rounded to the second digit.
DB = 0.006
EXACT = 1e-6
# Kernels round codes that lie between two otherwise than DequantizeLinear, the operator and QuantizeLinear one by one.
ALONE_DB = 0.05
# What float32 rounds.
NOISE_DB = 100.0


# Taking values from answers


def compared(documents):
    return next(document for document in reversed(documents) if "unmatched_reference" in document)


def row_of(name):
    """The row of `compare` for a value of the reference."""
    return lambda documents: next(row for row in compared(documents)["layers"] if row["reference_value"] == name)


def sqnr(name):
    return lambda documents: row_of(name)(documents)["sqnr_db"]


def alone(name):
    return lambda documents: row_of(name)(documents)["local"]["sqnr_db"]


def rows(documents):
    return len(compared(documents)["layers"])


def pair_sqnr(name):
    """What `diff` says about a tensor of the reference."""
    def take(documents):
        return next(pair["errors"]["sqnr_db"] for pair in documents[-1]["tensors"]["pairs"] if pair["reference"] == name)

    return take


def quant(name, key, of=None):
    if of:
        return lambda documents: of(quant(name, key)(documents))
    return lambda documents: next(tensor[key] for tensor in documents[-1]["tensors"] if tensor["name"] == name)


def reasons(documents):
    return sorted(suspicion["reason"] for tensor in documents[-1]["tensors"] for suspicion in tensor["suspicions"])


def suspicion_count(reason):
    def take(documents):
        found = [suspicion for tensor in documents[-1]["tensors"] for suspicion in tensor["suspicions"]]
        return next(suspicion["count"] for suspicion in found if suspicion["reason"] == reason)

    return take


def last(*path):
    """What lies in the last document under these keys."""
    def take(documents):
        value = documents[-1]
        for key in path:
            value = value[key]
        return value

    return take


def property_of(name):
    return lambda documents: next(row["candidate"] for row in documents[-1]["properties"] if row["name"] == name)


def stats(name, key):
    return lambda documents: next(tensor[key] for tensor in documents[-1]["tensors"] if tensor["name"] == name)


def variant(key):
    """Statistics of the candidate's weight in `weights --compare`."""
    return lambda documents: documents[-1]["variants"][1]["statistics"][key]


def stored(file, name):
    """An initializer, read by the onnx package."""
    def read(folder):
        graph = onnx.load(str(folder / file)).graph
        array = next(numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == name)
        return [float(value) for value in numpy.asarray(array, numpy.float64).ravel()]

    return read


def is_true(take):
    return lambda documents: bool(take(documents))


def succeeds(documents):
    return True


def layer_names(documents):
    return sorted(row["layer"] for row in documents[-1]["layers"])


COMPARE_1 = "use a.onnx; input x.npy; compare a.onnx a_int8.onnx"
SENSITIVITY_10 = "use f.onnx; input x.npy; sensitivity f.onnx qop.onnx"

# case, commands, the fact's name, how to take it, what is right, how far it may be off
FACTS = (
    ("01", "use a.onnx; input x.npy; compare a.onnx a.onnx", "lowest", last("min_sqnr_db"), float("inf"), 0),
    ("01", COMPARE_1, "conv", sqnr("c"), 38.4, 0.05),
    ("01", "use b.onnx; input x.npy; compare b.onnx b_int8.onnx", "conv and relu", sqnr("y"), 40.26, DB),
    ("01", "use a.onnx; input x.npy; sensitivity a.onnx a_int8.onnx", "layers", layer_names, ["bn", "conv"], 0),
    ("01", "use b_int8.onnx; input x.npy; saturation b_int8.onnx", "an integer kernel", succeeds, True, 0),
    ("02", "diff f.onnx q.onnx", "w1", pair_sqnr("w1"), 46.91, DB),
    ("02", "diff f.onnx q.onnx", "w2", pair_sqnr("w2"), 53.04, DB),
    ("02", "diff f.onnx q_stored.onnx", "w1", pair_sqnr("w1"), 46.91, DB),
    ("02", "diff f.onnx q_stored.onnx", "w2", pair_sqnr("w2"), 53.04, DB),
    ("02", "weights conv1 --model f.onnx --compare q_stored.onnx", "w1", last("variants", 1, "errors", "sqnr_db"), 46.91, DB),
    ("02", "weights conv1 --model f.onnx --compare q.onnx", "w1", last("variants", 1, "errors", "sqnr_db"), 46.91, DB),
    ("02", "use f.onnx; input x.npy; compare f.onnx q.onnx", "conv1 alone", alone("c1"), 40.97, DB),
    ("02", "use f.onnx; input x.npy; compare f.onnx q_stored.onnx", "conv1 alone", alone("c1"), 40.97, DB),
    ("02", "quant --model q.onnx", "w1", quant("w1", "kind"), "weight", 0),
    ("02", "quant --model q.onnx", "scales of w1", quant("w1", "scales"), stored("q.onnx", "w1_s"), EXACT),
    # 108 and 20 of 132 values.
    ("02", "info q.onnx", "quantized", last("quantized_share"), 128 / 132, EXACT),
    ("02", "use q.onnx; input x.npy; saturation q.onnx", "conv2 in an integer kernel", succeeds, True, 0),
    ("03", "diff both.onnx both_dyn.onnx", "W", pair_sqnr("W"), 45.15, DB),
    ("03", "diff both.onnx both_dyn.onnx", "R", pair_sqnr("R"), 42.03, DB),
    ("03", "diff both.onnx both_dynpc.onnx", "W", pair_sqnr("W"), 49.74, DB),
    ("03", "info both_dynpc.onnx", "parameters", last("parameters"), 552, 0),
    ("03", "use both.onnx; input x.npy; sensitivity both.onnx both_dyn.onnx", "runs", succeeds, True, 0),
    ("03", "use both.onnx; input x.npy; sensitivity both.onnx both_int8.onnx", "runs", succeeds, True, 0),
    ("07", "quant --model a_nan.onnx", "reasons", reasons, ["scale-nan"], 0),
    ("07", "quant --model a_zero.onnx", "reasons", reasons, ["scale-zero"], 0),
    ("07", "quant --model a_f16zero.onnx", "reasons", reasons, ["scale-zero"], 0),
    ("07", "quant --model dead.onnx", "reasons", reasons, ["zero-channel"], 0),
    ("07", "quant --model dead.onnx", "dead channels", suspicion_count("zero-channel"), 3, 0),
    ("07", "quant --model w_scales.onnx", "negative", suspicion_count("scale-negative"), 1, 0),
    ("07", "quant --model w_scales.onnx", "zero", suspicion_count("scale-zero"), 1, 0),
    ("07", "quant --model w_scales.onnx", "NaN", suspicion_count("scale-nan"), 1, 0),
    ("07", "quant --model w_scales.onnx", "infinite", suspicion_count("scale-infinite"), 1, 0),
    ("07", "quant --model int4_neg_scales.onnx", "reasons", reasons, ["scale-negative"], 0),
    (
        "07",
        "quant --model int4_neg_scales.onnx",
        "negative",
        suspicion_count("scale-negative"),
        lambda folder: sum(value < 0 for value in stored("int4_neg_scales.onnx", "s")(folder)),
        0,
    ),
    ("08", "quant --model lpbq.onnx", "dtype", quant("fc.weight_q", "dtype"), "int4", 0),
    ("08", "quant --model lpbq.onnx", "axis", quant("fc.weight_q", "axis"), 1, 0),
    ("08", "quant --model lpbq.onnx", "block", quant("fc.weight_q", "block_size"), 4, 0),
    ("08", "quant --model lpbq.onnx", "scales", quant("fc.weight_q", "scales", len), 24, 0),
    ("08", "quant --model lpbq.onnx", "least scale", quant("fc.weight_q", "scales", min), 0.0746765, EXACT),
    ("08", "quant --model lpbq.onnx", "largest scale", quant("fc.weight_q", "scales", max), 0.332147, EXACT),
    ("08", "quant --model lpbq.onnx", "suspicions", last("suspicious"), 0, 0),
    ("08", "weights --tensor fc.weight_q --model lpbq.onnx", "min", last("statistics", "min"), -2.32503, 1e-5),
    ("08", "weights --tensor fc.weight_q --model lpbq.onnx", "max", last("statistics", "max"), 2.05661, 1e-5),
    ("08", "diff f.onnx lpbq.onnx", "weight", pair_sqnr("fc.weight"), 25.575, DB),
    ("08", "diff f.onnx lpbq_float.onnx", "weight", pair_sqnr("fc.weight"), 25.575, DB),
    (
        "08",
        "diff f.onnx lpbq.onnx",
        "bias",
        lambda found: next(pair["errors"]["max_abs_error"] for pair in found[-1]["tensors"]["pairs"] if pair["reference"] == "fc.bias"),
        2.88e-05,
        1e-7,
    ),
    ("08", "info lpbq.onnx", "parameters", last("parameters"), 102, 0),
    ("09", "quant --model nvfp4.onnx", "dtype", quant("w_f4", "dtype"), "float4_e2m1fn", 0),
    ("09", "quant --model nvfp4.onnx", "tensors", last("total"), 1, 0),
    ("09", "quant --model nvfp4.onnx", "axis", quant("w_f4", "axis"), 1, 0),
    ("09", "quant --model nvfp4.onnx", "block", quant("w_f4", "block_size"), 16, 0),
    ("09", "quant --model nvfp4.onnx", "scales", quant("w_f4", "scales", len), 12, 0),
    ("09", "quant --model nvfp4.onnx", "least scale", quant("w_f4", "scales", min), 0.0114202, EXACT),
    ("09", "quant --model nvfp4.onnx", "largest scale", quant("w_f4", "scales", max), 0.0199853, EXACT),
    ("09", "weights fc --model f.onnx --compare nvfp4.onnx", "min", variant("min"), -0.119912, EXACT),
    ("09", "weights fc --model f.onnx --compare nvfp4.onnx", "max", variant("max"), 0.111347, EXACT),
    ("09", "diff f.onnx nvfp4.onnx", "w", pair_sqnr("w"), 20.369, DB),
    ("09", "info nvfp4.onnx", "parameters", last("parameters"), 192, 0),
    ("10", "diff f.onnx qop.onnx", "w1", pair_sqnr("w1"), 47.89, DB),
    ("10", "diff f.onnx qop.onnx", "w2", pair_sqnr("w2"), 49.27, DB),
    ("10", "diff f.onnx qop.onnx", "wg", pair_sqnr("wg"), 46.29, DB),
    ("10", SENSITIVITY_10, "layers", lambda found: len(found[-1]["layers"]), 11, 0),
    # The first of them cost 1.5 dB where the factor of the bias was left out.
    ("10", SENSITIVITY_10, "fc only above 25 dB", lambda found: by_layer(found, "fc")["only"]["sqnr_db"] > 25, True, 0),
    ("11", "quant --model dyn.onnx", "scale of W1", quant("W1_quantized", "scales"), [0.00512945], 1e-8),
    ("11", "quant --model dyn.onnx", "range of W1", quant("W1_quantized", "range"), [-0.657, 0.651], 5e-4),
    ("11", "diff f.onnx dyn.onnx", "W1", pair_sqnr("W1"), 42.57, DB),
    ("11", "use f.onnx; input ids.npy; compare f.onnx dyn.onnx", "fc1 alone", alone("m1"), 39.59, DB),
    ("11", "use f.onnx; input ids.npy; compare f.onnx dyn_opt.onnx", "fc1 alone", alone("m1"), 39.59, DB),
    ("11", "use f.onnx; input ids.npy; compare f.onnx dyn_opt.onnx", "values", rows, 7, 0),
    ("11", "use n4_asym.onnx; stats", "elements of W1", stats("W1_Q4", "count"), 3840, 0),
    ("11", "use n4_asym.onnx; stats", "mean of W1", stats("W1_Q4", "mean"), 0.0001, 5e-5),
    ("11", "diff f.onnx n4_asym.onnx", "W1", pair_sqnr("W1"), 22.38, DB),
    ("11", "diff f.onnx n4_asym_1d.onnx", "W1", pair_sqnr("W1"), 22.38, DB),
    *(("11", f"info {name}.onnx", "parameters", last("parameters"), 9728, 0) for name in ("f", "n4_asym", "n4_sym", "n4_qdq", "dyn")),
    ("12", "use ts.onnx; input x.npy; compare ts.onnx ts_slimq.onnx", "b1", sqnr("/b1/b1.2/Clip_output_0"), 36.54, DB),
    ("12", "use ts_slim.onnx; input x.npy; compare ts_slim.onnx ts_slimq.onnx", "b1", sqnr("/b1/b1.2/Clip_output_0"), 36.54, DB),
    ("12", "use ts.onnx; input x.npy; compare ts.onnx ts_slimq.onnx", "stem alone", alone("/stem/stem.0/Conv_output_0"), 37.36, DB),
    ("12", "use ts.onnx; input x.npy; compare ts.onnx ts_slimq.onnx", "b2 alone", alone("/b2/b2.0/Conv_output_0"), 46.6, 0.05),
    ("12", "use ts.onnx; input x.npy; compare ts.onnx ts_pre.onnx", "noise alone", lambda found: float(found[-1]["min_sqnr_db"]) > NOISE_DB, True, 0),
    ("13", "use if.onnx; input x=x.npy c=c.npy; capture", "runs", succeeds, True, 0),
    ("13", "use if.onnx; input x=x.npy c=c.npy; sensitivity if.onnx if_q.onnx", "runs", succeeds, True, 0),
    ("13", "use if.onnx; input x=x.npy c=c.npy; compare if.onnx if_q.onnx", "rows of the main graph", rows, 4, 0),
    ("14", "diff sq_shared_f.onnx sq_shared_q.onnx", "W", pair_sqnr("W"), 45.17, DB),
    ("14", "use sq_shared_f.onnx; input sq_shared_x.npy; compare sq_shared_f.onnx sq_shared_q.onnx", "fc1 alone", alone("a"), 46.41, DB),
    ("14", "info f.onnx", "parameters", last("parameters"), 224, 0),
    ("14", "diff sb.onnx sb_q.onnx", "paired tensors", lambda found: len(found[-1]["tensors"]["pairs"]), 3, 0),
    ("15", "info ir3.onnx", "inputs", lambda found: [value["name"] for value in found[-1]["inputs"]], ["x"], 0),
    ("15", "info w_input.onnx", "inputs", lambda found: [value["name"] for value in found[-1]["inputs"]], ["x", "W"], 0),
    ("15", "use nonfinite.onnx; stats", "NaN", stats("W", "nan"), 1, 0),
    ("15", "use nonfinite.onnx; stats", "infinite", stats("W", "positive_infinities"), 1, 0),
    ("15", "use nonfinite.onnx; stats", "negative infinite", stats("W", "negative_infinities"), 1, 0),
    ("15", "use sparse.onnx; stats", "zeros", stats("Ws", "zeros"), 9, 0),
    ("15", "use sparse.onnx; stats", "min", stats("Ws", "min"), -2.5, 0),
    ("15", "use sparse.onnx; stats", "max", stats("Ws", "max"), 3.5, 0),
    ("15", "use typed.onnx; stats", "float16", stats("H", "max"), 65504.0, 0),
    ("15", "use typed.onnx; stats", "float64", stats("D", "min"), 1e-300, 0),
    ("15", "use typed.onnx; stats", "uint64", stats("U", "max"), 2.0**63, 0),
    ("15", "use typed.onnx; stats", "int8", stats("Q", "min"), -128.0, 0),
    ("15", "use typed.onnx; stats", "bfloat16", stats("K", "min"), -3.5, 0),
    *(
        ("15", f"use {name}.onnx; input random; compare {name}.onnx {name}.onnx", "lowest", last("min_sqnr_db"), float("inf"), 0)
        for name in ("dropout", "ir3", "passthrough", "scalars", "sequence", "sparse", "typed", "w_input", "zerodim")
    ),
    *(
        ("15", f"use {name}.onnx; input random; capture", "runs", succeeds, True, 0)
        for name in ("dropout", "ir3", "nonfinite", "passthrough", "scalars", "sequence", "sparse", "typed", "w_input", "zerodim")
    ),
    ("17", "use f.onnx; input x.npy; compare f.onnx int8_io.onnx", "fc", sqnr("r"), 38.64, DB),
    ("17", "use f.onnx; input x.npy; compare f.onnx int8_io.onnx", "y", sqnr("y"), 35.13, DB),
    ("17", "use f.onnx; input x.npy; sensitivity f.onnx int8_io.onnx", "the candidate", last("candidate_itself", "sqnr_db"), 35.13, DB),
    ("17", "quant --model rescale.onnx", "a suspicion", is_true(reasons), True, 0),
    ("18", "quant --model qonnx.onnx", "scale of W", quant("W", "scales", max), 0.3, EXACT),
    ("18", "quant --model qonnx.onnx", "dtype of W", quant("W", "dtype"), "int4", 0),
    ("18", "quant --model qcdq.onnx", "kind of W", quant("W", "kind"), "weight", 0),
    ("18", "quant --model qcdq.onnx", "codes of W", quant("W", "code_range"), [-7, 7], 0),
    ("18", "diff f.onnx qcdq.onnx", "W", pair_sqnr("W"), 18.50, DB),
    ("20", "quant --model qop.onnx", "scale of c1", quant("c1_quantized", "scales"), [0.104257], EXACT),
    ("20", "quant --model qop.onnx", "zero point of c1", quant("c1_quantized", "zero_points"), [137.0], 0),
    *(
        ("20", "quant --model qop.onnx", f"scale of {name}", quant(f"{name}_quantized", "scales"), [0.104257], EXACT)
        for name in ("mp", "tr", "re", "tr2", "un", "sq", "re2")
    ),
    # Split has two values.
    ("20", "use f.onnx; input x.npy; compare f.onnx qop.onnx", "values", rows, 16, 0),
    ("20", "use f.onnx; input x.npy; compare f.onnx qdq.onnx", "values", rows, 16, 0),
    ("20", "use f.onnx; input x.npy; compare f.onnx qdq.onnx", "maxpool", sqnr("mp"), 39.39, DB),
    ("24", "info trt_int4.onnx", "parameters", last("parameters"), 48, 0),
    ("24", "info trt_int4.onnx", "quantized", last("quantized_share"), 1.0, 0),
    ("24", "quant --model trt_int4.onnx", "dtype of W", quant("W", "dtype"), "int4", 0),
    ("24", "quant --model trt_int4.onnx", "scales of W", quant("W", "scales"), stored("trt_int4.onnx", "s"), EXACT),
    ("24", "use skl.onnx; input x.npy; run", "runs", succeeds, True, 0),
)

# case, reference, candidate, input: every row is computed again, as are the weights and the output's SQNR.
PAIRS = (
    ("01", "a.onnx", "a_int8.onnx", "x.npy"),
    ("01", "b.onnx", "b_int8.onnx", "x.npy"),
    ("02", "f.onnx", "q.onnx", "x.npy"),
    ("02", "f.onnx", "q_stored.onnx", "x.npy"),
    ("03", "both.onnx", "both_int8.onnx", "x.npy"),
    ("03", "both.onnx", "both_dyn.onnx", "x.npy"),
    ("03", "both.onnx", "both_dynpc.onnx", "x.npy"),
    ("08", "f.onnx", "lpbq.onnx", "x.npy"),
    ("08", "f.onnx", "lpbq_float.onnx", "x.npy"),
    ("10", "f.onnx", "qop.onnx", "x.npy"),
    *(("11", "f.onnx", f"{name}.onnx", "ids.npy") for name in ("dyn", "dyn_opt", "n4_asym", "n4_asym_1d", "n4_gather", "n4_qdq", "n4_sym")),
    *(("12", "ts.onnx", f"{name}.onnx", "x.npy") for name in ("ts_q", "ts_preq", "ts_slimq", "ts_pre", "ts_slim")),
    ("12", "ts_slim.onnx", "ts_slimq.onnx", "x.npy"),
    ("12", "ts_pre.onnx", "ts_preq.onnx", "x.npy"),
    ("13", "if.onnx", "if_q.onnx", "x=x.npy c=c.npy"),
    ("14", "sq_shared_f.onnx", "sq_shared_q.onnx", "sq_shared_x.npy"),
    ("14", "sb.onnx", "sb_q.onnx", "xs.npy"),
    ("17", "f.onnx", "rescale.onnx", "x.npy"),
    ("18", "f.onnx", "qcdq.onnx", "x.npy"),
    ("20", "f.onnx", "qop.onnx", "x.npy"),
    ("20", "f.onnx", "qdq.onnx", "x.npy"),
)

# case, model, input: outputs as ONNX Runtime computes them.
RUNS = (
    *(("05", f"{name}.onnx", "x.npy") for name in ("inline", "len0", "nolen", "nothing", "shared")),
    *(("15", f"{name}.onnx", "x.npy") for name in ("ir3", "nonfinite", "scalars", "sequence", "sparse", "typed", "zerodim")),
    ("17", "f.onnx", "x.npy"),
    ("17", "int8_io.onnx", "x8.npy"),
    ("17", "int8_in.onnx", "x8.npy"),
    ("18", "qcdq.onnx", "x.npy"),
    ("10", "qop.onnx", "x.npy"),
    ("11", "n4_qdq.onnx", "ids.npy"),
    ("14", "f.onnx", "ids.npy"),
)

# case, commands that must fail
REFUSED = tuple(("05", f"use {name}.onnx; input x.npy; run") for name in ("longer", "missing", "backslash")) + tuple(
    ("15", f"use {name}.onnx; input x.npy; run") for name in ("custom", "noopset", "names")
) + (("09", "use nvfp4.onnx; input x.npy; run"),)


def by_layer(documents, name):
    return next(row for row in documents[-1]["layers"] if row["layer"] == name)


# Computing


def feed_of(model, folder, words):
    """The arrays that `input WORDS` gives to a model."""
    inputs = onnx_pairs.inputs_of(model)
    if "=" not in words:
        return {inputs[0].name: numpy.load(folder / words)}
    return {name: numpy.load(folder / path) for name, path in (word.split("=") for word in words.split())}


def check_pair(case, reference, candidate, words):
    """Rows, layers alone, weights and the output of a pair, computed again."""
    line = f"use {reference}; input {words}; compare {reference} {candidate}"
    feed = feed_of(onnx.load(str(case.folder / reference)), case.folder, words)
    count = max(next(iter(feed.values())).shape[0], 1)
    line += f" --samples {count} --batch {count}"
    try:
        found = compared(answered(case, line))
    except Exception as error:
        case.wrong.append(f"{line} | {error}")
        return
    given = [row for row in found["layers"] if row["obstacle"] is None]
    case.holds(f"{line} | not compared", lambda: [row["layer"] for row in found["layers"] if row["obstacle"]], [])
    unmatched = found["unmatched_reference"] + found["unmatched_candidate"]
    case.holds(f"{line} | unmatched", lambda: unmatched, [])
    paths = case.folder / reference, case.folder / candidate
    for row, truth in zip(given, onnx_pairs.expected_rows(given, *paths, [feed])):
        what = f"{line} | {row['reference_value']} / {row['candidate_value']}"
        case.holds(what, lambda: row["sqnr_db"], truth, onnx_pairs.TOLERANCE_DB)
    ours, theirs = (onnx_pairs.Side(path, [feed]) for path in paths)
    pairs = {row["reference_value"]: row["candidate_value"] for row in given}
    for row in given:
        what = f"{line} | {row['reference_value']} alone"
        is_first = not onnx_alone.cuts_of(ours.model, row["reference_value"], pairs.keys() - {row["reference_value"]})
        if row["local"] is None and row["local_obstacle"] is None and is_first:
            # Only what is not quantized has no error of its own.
            case.holds(what, lambda: float(row["sqnr_db"]) > NOISE_DB or row["sqnr_db"], True)
        if row["local"] is None or onnx_alone.is_dynamic(theirs.model):
            continue
        case.holds(what, lambda: row["local"]["sqnr_db"], onnx_alone.alone_sqnr(ours, theirs, row, pairs, feed), ALONE_DB)
    check_weights(case, reference, candidate, theirs)
    if any(row["local"] for row in given):
        check_sensitivity(case, f"use {reference}; input {words}; sensitivity {reference} {candidate}", paths, feed)


def check_sensitivity(case, line, paths, feed):
    """The output's SQNR; and where no integer kernel rounds, all layers together give the same."""
    models = [onnx_pairs.Side(path, [feed]).model for path in paths]
    names = [[value.name for value in model.graph.output] for model in models]
    if any(len(part) > 1 for part in names):
        return
    row = {"reference_value": names[0][0], "candidate_value": names[1][0], "order": "same"}
    truth = onnx_pairs.expected_rows([row], *paths, [feed])[0]
    case.fact(line, "the candidate", last("candidate_itself", "sqnr_db"), truth, onnx_pairs.TOLERANCE_DB)
    if not any(node.op_type in onnx_alone.PLAIN for node in models[1].graph.node) and not onnx_alone.is_dynamic(models[1]):
        if case.ask(line)[-1].get("left_out"):
            return
        case.fact(line, "all together", last("all", "sqnr_db"), truth, ALONE_DB)


def answered(case, line):
    documents = case.ask(line)
    if documents and "error" in documents[-1]:
        raise ValueError(documents[-1]["error"]["message"])
    return documents


def check_weights(case, reference, candidate, theirs):
    """The SQNR of weights that a DequantizeLinear of the candidate gives."""
    ours = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(case.folder / reference)).graph.initializer}
    producers = {name: node for node in theirs.model.graph.node for name in node.output}
    readers = {}
    for node in theirs.model.graph.node:
        if node.op_type == "DequantizeLinear":
            root = node.input[0]
            while root in producers and producers[root].op_type in ("Clip", "QuantizeLinear"):
                root = producers[root].input[0]
            readers.setdefault(root, []).append(node)
    line = f"diff {reference} {candidate}"
    for pair in answered(case, line)[-1]["tensors"]["pairs"]:
        x, nodes = ours.get(pair["reference"]), readers.get(pair["candidate"], [])
        if x is None or len(nodes) != 1 or not pair["errors"]:
            continue
        feed = {value.name: zeros_of(value) for value in theirs.model.graph.input if value.name not in theirs.stored}
        try:
            values = theirs.values(nodes[0].input, feed)
        except onnx_pairs.Refused:
            # Computed codes of 4 bits have no type in Python.
            continue
        x, y = x.astype(numpy.float64), real_of(nodes[0], values)
        if x.shape == y.shape:
            truth = onnx_pairs.expected_sqnr((x**2).sum(), ((x - y) ** 2).sum())
            what = f"{line} | {pair['reference']}"
            case.holds(what, lambda: pair["errors"]["sqnr_db"], float(truth), onnx_pairs.TOLERANCE_DB)


def real_of(node, values):
    """What a DequantizeLinear gives, in float64."""
    settings = {item.name: item.i for item in node.attribute}
    codes, *rest = (values[name].astype(numpy.float64) for name in node.input if name)
    spread = [spread_over(part, codes.shape, settings.get("axis", 1)) for part in rest]
    return (codes - (spread[1] if len(spread) > 1 else 0.0)) * spread[0]


def spread_over(part, shape, axis):
    """A scale for each element, from one, one for each channel or one for each block."""
    if part.size == 1:
        return part.reshape(())
    if part.ndim == 1:
        return part.reshape([-1 if place == axis % len(shape) else 1 for place in range(len(shape))])
    return numpy.repeat(part, -(-shape[axis] // part.shape[axis]), axis)


def zeros_of(value):
    shape = [size if isinstance(size, int) else 1 for size in onnx_pairs.sizes_of(value)]
    return numpy.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def check_run(case, name, words):
    """Outputs, both with all optimizations."""
    save = case.scratch / "outputs.npz"
    save.unlink(missing_ok=True)
    line = f"use {name}; input {words}; run --save {save}"
    case.holds(line, lambda: bool(answered(case, line)), True)
    # From the file, as its weights may lie beside it.
    options = onnx_pairs.onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnx_pairs.onnxruntime.InferenceSession(str(case.folder / name), options, providers=["CPUExecutionProvider"])
    feed = feed_of(onnx.load(str(case.folder / name), load_external_data=False), case.folder, words)
    outputs = [value.name for value in session.get_outputs()]
    for output, truth in zip(outputs, session.run(outputs, feed)):
        if not isinstance(truth, numpy.ndarray):
            continue
        case.holds(f"{line} | {output}", lambda: is_equal(numpy.load(save)[output], truth), True)
    case.answers.pop(line, None)


def is_equal(found, truth):
    if found.shape != truth.shape:
        return f"shape {found.shape}, not {truth.shape}"
    scale = numpy.abs(truth[numpy.isfinite(truth)]).max(initial=0.0) or 1.0
    if not numpy.array_equal(numpy.isfinite(found), numpy.isfinite(truth)):
        return "not finite elsewhere"
    with numpy.errstate(invalid="ignore"):
        difference = numpy.nan_to_num(numpy.abs(found.astype(numpy.float64) - truth), nan=0.0, posinf=0.0).max(initial=0.0)
    return bool(difference <= onnx_pairs.TOLERANCE * scale) or f"differs by {difference:.2e}"


def check_scales(case):
    """All scales and zero points of the case with operators of codes, as its truth.md lists them."""
    for line in (case.folder / "truth.md").read_text().splitlines():
        if found := re.match(r"(\w+): scale \[([^\]]*)\] zp (\S+)", line):
            name, scales, zero_point = found[1], [float(word) for word in found[2].split()], found[3]
            name = name if name == "x" else f"{name}_quantized"
            ask = "quant --model qop.onnx"
            case.fact(ask, f"scale of {name}", lambda answer: quant(name, "scales")(answer)[: len(scales)], scales, 6e-8)
            if zero_point != "None":
                case.fact(ask, f"zero point of {name}", quant(name, "zero_points"), [float(zero_point)], 0)


def check(case):
    onnx_pairs.be_quiet()
    number = case.folder.name.split("-")[0]
    for owner, line, name, take, expected, tolerance in FACTS:
        if owner == number:
            case.fact(line, name, take, expected, tolerance)
    for owner, line in REFUSED:
        if owner == number:
            case.holds(f"{line} | refused", lambda: "error" in case.ask(line)[-1], True)
    for owner, *pair in PAIRS:
        if owner == number:
            check_pair(case, *pair)
    for owner, *run in RUNS:
        if owner == number:
            check_run(case, *run)
    if number == "10":
        check_scales(case)
