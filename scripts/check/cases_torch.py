"""The facts about the PyTorch cases; a module, not run: `cases.py` goes through them.

No file is loaded here but those that say nothing more than `weights_only=True` allows, and TorchScript that the cases'
own scripts have made.
"""

import json
import re
import warnings

import numpy
import torch
from cases import answered, verdict_of
from cases_onnx import DB, EXACT, alone, compared, last, quant, sqnr, stats, succeeds
from onnx_pairs import TOLERANCE_DB, expected_sqnr
from safetensors import SafetensorError, safe_open
from script_values import values_of

OUTPUT = 1e-5
RECURRENT = ("lstm", "gru", "grucell", "lstm_fp16")
FORMS = ("scripted", "traced", "sd", "module")
IMAGENET = ("model_best.pth.tar", "old.pth.tar", "loss_tensor.pth", "meanstd.pth", "no_tensor.pth", "plain.pth")
# Linear(4, 8), BatchNorm1d(8), Linear(8, 2)
NET = (
    "compiled dataclass deep ema lightning namespace none_values np_scalar omegaconf optim_key params_ema path plain "
    "rng_ckpt tuple"
).split()
HARMLESS = ("path", "namespace", "plain", "compiled", "lightning", "ema", "optim_key", "tuple", "none_values", "params_ema")


def first_hint(documents):
    return documents[-1]["run_obstacle"]["hints"][0]


def refusal(documents):
    """Whether a file is refused, or something is said about it."""
    found = documents[-1]
    return "error" in found or bool(found["findings"])


FACTS = (
    *(
        ("01", f"info {name}_{form}.pt", "dynamic", lambda found: found[-1]["precision"][:7], "dynamic", 0)
        for name in RECURRENT[:3]
        for form in FORMS
    ),
    *(("02", f"info {form}.pt", "parameters", last("parameters"), 35, 0) for form in ("scripted", "traced", "sd")),
    *(("02", f"info {form}.pt", "precision", last("precision"), "dynamic-float16", 0) for form in ("scripted", "traced", "sd")),
    ("03", "open .", "models", lambda found: sorted(model["name"] for model in found[-1]["models"]), ["vad.jit", "vad.pt"], 0),
    *(("04", f"info {name}", "parameters", last("parameters"), 8, 0) for name in ("model_best.pth.tar", "renamed.pth")),
    *(("04", f"use {name}; stats", "weight", stats("fc.weight", "max"), 5.0, 0) for name in ("model_best.pth.tar", "renamed.pth")),
    *(("04", f"use {name}; stats", "bias", stats("fc.bias", "min"), 1.0, 0) for name in ("model_best.pth.tar", "renamed.pth")),
    *(("04", f"load {name}; info", "verdict", verdict_of, "dangerous", 0) for name in ("evil_storages.pth", "evil_pickle.pt")),
    *(("05", f"info {name}", "parameters", last("parameters"), 150, 0) for name in IMAGENET),
    *(("05", f"info {name}", "verdict", verdict_of, "safe", 0) for name in IMAGENET),
    ("05", "info adam.pth", "parameters", last("parameters"), 0, 0),
    ("05", "diff model_best.pth.tar plain.pth", "pairs", lambda found: len(found[-1]["tensors"]["pairs"]), 8, 0),
    ("08", "info shared.pt", "parameters", last("parameters"), 92, 0),
    ("08", "info shared.pt", "tensors", last("tensors"), 11, 0),
    ("08", "use shared.pt; stats", "elements", last("elements"), 92, 0),
    ("10", "use zoo.pt; stats", "negative bit", stats("c.negimag", "max"), 3.0, 0),
    *(("11", f"info {name}.pt", "parameters", last("parameters"), 74, 0) for name in NET),
    *(("11", f"info {name}.pt", "verdict", verdict_of, "safe", 0) for name in HARMLESS),
    *(("11", f"info {name}.pt", "not dangerous", lambda found: verdict_of(found) != "dangerous", True, 0) for name in NET),
    ("11", "info compiled.pt", "hint", lambda found: 'removeprefix("_orig_mod.")' in first_hint(found), True, 0),
    ("11", "info lightning.pt", "hint", lambda found: 'removeprefix("model.")' in first_hint(found), True, 0),
    ("11", "info ema.pt", "hint", lambda found: '["model"]' in first_hint(found), True, 0),
    ("11", "diff compiled.pt plain.pt", "pairs", lambda found: len(found[-1]["tensors"]["pairs"]), 9, 0),
    ("11", "diff lightning.pt plain.pt", "pairs", lambda found: len(found[-1]["tensors"]["pairs"]), 9, 0),
    ("11", "info dot_prefix.pt", "parameters", last("parameters"), 83, 0),
    ("11", "info param.pt", "parameters", last("parameters"), 4, 0),
    ("11", "info single.pt", "parameters", last("parameters"), 32, 0),
    *(("11", f"info {name}.pt", "parameters", last("parameters"), 40, 0) for name in ("int_keys", "list_tensors")),
    *(("11", f"info {name}.pt", "opens", succeeds, True, 0) for name in ("empty", "text", "numpy", "dict_np", "extra_state")),
    (
        "23",
        "open shards; models",
        "missing shard",
        lambda found: found[-1]["models"][0]["alert"]["code"],
        "shards.missing",
        0,
    ),
    ("23", "open traverse; models", "outside", lambda found: found[-1]["models"][0]["error"]["kind"], "UnsafeFile", 0),
    ("23", "info adapter_model.safetensors", "parameters", last("parameters"), 32, 0),
    ("33", "quant elu --model int8_traced.pt", "scale", quant("elu", "scales"), [0.0658585], EXACT),
    ("33", "quant elu --model int8_traced.pt", "zero point", quant("elu", "zero_points"), [8.0], 0),
    ("33", "use float_traced.pt; input in.npz; compare float_traced.pt int8_traced.pt", "elu", sqnr("elu"), 28.19, DB),
    ("33", "info float_traced.pt", "parameters", last("parameters"), 1001, 0),
    ("33", "info float_sd.pt", "parameters", last("parameters"), 1001, 0),
    *(("35", f"info {name}.pt", "parameters", last("parameters"), 348, 0) for name in ("float", "qat_sd", "qat_fakequant_traced")),
    ("35", "quant --model qat_fakequant_traced.pt", "quantizers are shown", lambda found: found[-1]["total"] > 0, True, 0),
    ("36", "use float.pt; input in.npz:x; compare float.pt int8.pt", "add_1", sqnr("add_1"), 30.78, DB),
    ("36", "use float.pt; input in.npz:x; compare float.pt int8.pt", "add_2", sqnr("add_2"), 30.68, DB),
    ("36", "use float.pt; input in.npz:x; compare float.pt int8.pt", "c3", sqnr("c3"), 30.99, DB),
)

# case, reference, candidate, input
PAIRS = (
    ("33", "float_traced.pt", "int8_traced.pt", "in.npz"),
    *(("35", "float.pt", f"{name}.pt", "in.npz:x") for name in ("int8", "int8_frozen", "int8_traced_frozen")),
    ("36", "float.pt", "int8.pt", "in.npz:x"),
)

# case, model, input, the archive of the right output; without one PyTorch computes it here
RUNS = (
    *(("01", f"{name}_{form}.pt", "in.npz:x", f"{name}.out.npz") for name in ("lstm", "gru", "lstm_fp16") for form in FORMS[:2]),
    *(("01", f"grucell_{form}.pt", "in.npz:xc", "grucell.out.npz") for form in FORMS[:2]),
    *(("12", f"{name}.pt", f"{name}.in.npz:x0", f"{name}.out.npz") for name in ("encoder", "gru", "mha", "moduledict", "tied")),
    ("12", "bf16.pt --precision bfloat16", "bf16.in.npz:x0", "bf16.out.npz"),
    ("33", "float_traced.pt", "in.npz", "float.out.npz"),
    # What integer kernels give depends on the processor.
    ("33", "int8_traced.pt", "in.npz", None),
    *(("35", f"{name}.pt", "in.npz:x", None) for name in ("int8", "int8_frozen", "int8_traced_frozen", "qat_int8")),
    ("35", "qat_fakequant_traced.pt", "in.npz:x", "qat.out.npz"),
    *(("02", f"{name}.pt", None, None) for name in ("scripted", "traced")),
)


def gold(folder):
    return json.loads((folder / "gold.json").read_text())


def shapes_of(documents):
    return sorted(row["shape"] for row in documents[-1]["tensors"] if row["role"] == "parameter")


def check_recurrent(case):
    """Parameters, and the shapes of the weights, of what Python's module had."""
    for name in RECURRENT:
        right = gold(case.folder)[name]
        for form in FORMS:
            file = f"{name}_{form}.pt"
            case.fact(f"info {file}", "parameters", last("parameters"), right["params"])
            shapes = sorted(right["names"].values())
            case.fact(f"use {file}; stats", "shapes", shapes_of, shapes)


def check_vad(case):
    """A flag of type int."""
    x = numpy.random.default_rng(0).standard_normal((2, 4)).astype(numpy.float32)
    numpy.save(case.scratch / "vad_x.npy", x)
    for rate in (16000, 8000):
        for file in ("vad.jit", "vad.pt"):
            truth = torch.jit.load(str(case.folder / file))(torch.from_numpy(x), rate).detach().numpy()
            check_output(case, file, f"x={case.scratch}/vad_x.npy sr={rate}", truth)


def inputs_of(case, words):
    """The tensors of an archive, one of its arrays or an array's file."""
    found = numpy.load(case.folder / words.split(":")[0])
    arrays = [found] if isinstance(found, numpy.ndarray) else [found[name] for name in (words.split(":")[1:] or found.files)]
    return [torch.from_numpy(array) for array in arrays]


def right_output(case, model, words, archive):
    if archive:
        return next(iter(numpy.load(case.folder / archive).values()))
    with torch.no_grad():
        return torch.jit.load(str(case.folder / model)).eval()(*inputs_of(case, words)).double().numpy()


def check_output(case, model, words, truth):
    name, *options = model.split(" ", 1)
    save = case.scratch / "outputs.npz"
    save.unlink(missing_ok=True)
    line = " ".join([f"use {name}; input {words}; run", *options, f"--save {save}"])
    case.holds(line, lambda: output_of(case, line, save, truth), True)
    case.answers.pop(line, None)


def output_of(case, line, save, truth):
    answered(case.ask(line))
    found = next(iter(numpy.load(save).values())).astype(numpy.float64)
    if found.shape != truth.shape:
        return f"shape {found.shape}, not {truth.shape}"
    difference = numpy.abs(found - truth).max(initial=0.0)
    return bool(difference <= OUTPUT * max(1.0, numpy.abs(truth).max(initial=0.0))) or f"differs by {difference:.2e}"


def tensors_of(value, name=""):
    """name -> tensor of what `weights_only=True` gives."""
    if isinstance(value, torch.Tensor):
        return {name or "tensor": value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    found = {}
    for key, part in pairs:
        found.update(tensors_of(part, f"{name}.{key}" if name else str(key)))
    return found


def check_values(case, file):
    """Each row of `stats` beside what PyTorch reads."""
    loaded = tensors_of(torch.load(str(case.folder / file), map_location="cpu", weights_only=True))
    try:
        rows = answered(case.ask(f"use {file}; stats"))[-1]["tensors"]
    except ValueError as error:
        case.wrong.append(f"{file}: {error}")
        return
    for row in rows:
        whole = [name for name in loaded if name == row["name"] or name.endswith(f".{row['name']}")]
        value = loaded[whole[0]] if whole else part_of(loaded, row["name"])
        what = f"use {file}; stats | {row['name']}"
        case.holds(f"{what} shape", lambda: row["shape"], list(value.shape) if value is not None else None)
        if value is None or value.is_complex() or value.is_meta or not value.numel():
            continue
        array = value.detach().double().numpy()
        finite = array[numpy.isfinite(array)]
        right = [float(finite.min()), float(finite.max()), float(finite.mean()), float(finite.std())]
        keys = ("min", "max", "mean", "standard_deviation")
        case.holds(f"{what} {keys}", lambda: [row[key] for key in keys], right, EXACT * max(1.0, abs(right[0]), abs(right[1])))
        case.holds(f"{what} zeros", lambda: row["zeros"], int((array == 0).sum()))
        case.holds(f"{what} NaN", lambda: row["nan"], int(numpy.isnan(array).sum()))


def part_of(loaded, name):
    """A tensor that a sparse one is made of."""
    whole, _, part = name.rpartition(".")
    value = loaded.get(whole)
    if value is None or value.layout == torch.strided:
        return None
    if value.layout == torch.sparse_coo:
        return value._indices() if part == "indices" else value._values()
    return getattr(value, part)()


def check_safetensors(case):
    for name, right in gold(case.folder).items():
        file = f"{name}.safetensors"
        if not (case.folder / file).exists():
            continue
        for key, truth in (("min", right["min"]), ("max", right["max"]), ("mean", right["mean"]), ("standard_deviation", right["std"])):
            case.fact(f"use {file}; stats", key, lambda found: of_shape(found, right["shape"])[key], float(truth), 1e-9)
    for path in sorted(case.folder.glob("*.safetensors")):
        if is_refused(path):
            documents = case.ask(f"use {path.name}; info")
            case.holds(f"{path.name} | the library refuses it", lambda: refusal(documents), True)
        else:
            case.fact(f"info {path.name}", "opens", succeeds, True)
    check_dtypes(case)


def of_shape(documents, shape):
    return next(row for row in documents[-1]["tensors"] if row["shape"] == shape)


def is_refused(path):
    try:
        with safe_open(str(path), "numpy"):
            return False
    except SafetensorError as error:
        # What is only too new for the library is no fault of the file.
        return "unknown variant" not in str(error)


def check_dtypes(case):
    """Elements of all types; those of 4 bits, which PyTorch does not unpack, by their table."""
    with safe_open(str(case.folder / "dtypes.safetensors"), "pt") as file:
        for name in file.keys():
            if name in ("f4", "c64", "empty"):
                continue
            array = file.get_tensor(name).double().numpy()
            for key, right in (("min", array.min()), ("max", array.max()), ("mean", array.mean())):
                what = f"{name} {key}"
                case.fact("use dtypes.safetensors; stats", what, stats(name, key), float(right), EXACT * max(1.0, abs(right)))
    # 21 43 65 87, low bits first: 0.5 1 1.5 2 3 4 6 -0
    case.fact("use dtypes.safetensors; stats", "f4 mean", stats("f4", "mean"), 18.0 / 8, EXACT)
    case.fact("use dtypes.safetensors; stats", "f4 shape", stats("f4", "shape"), [2, 4])


def check_fx(case):
    """The scale and zero point of each quantized module."""
    for name, right in gold(case.folder).items():
        if isinstance(right, dict):
            line = f"quant {name} --model int8_traced.pt"
            case.fact(line, "scale", quant(name, "scales"), [right["scale"]], 1e-9)
            case.fact(line, "zero point", quant(name, "zero_points"), [float(right["zp"])])
            if "w" in right:
                case.fact("use int8_traced.pt; stats", f"{name} min", stats(f"{name}.weight", "min"), right["wmin"], EXACT)
                case.fact("use int8_traced.pt; stats", f"{name} max", stats(f"{name}.weight", "max"), right["wmax"], EXACT)
                case.fact("use int8_traced.pt; stats", f"{name} shape", stats(f"{name}.weight", "shape"), right["w"][1])
    prepared = torch.load(str(case.folder / "prepared_sd.pt"), weights_only=True)
    weights = {name: value for name, value in prepared.items() if "activation_post_process" not in name}
    count = sum(value.numel() for value in weights.values())
    case.fact("info prepared_sd.pt", "parameters", last("parameters"), count)


def check_pair(case, reference, candidate, words):
    """The rows of `compare` beside the values of Python's interpreter; Sigmoid alone beside its operator."""
    line = f"use {reference}; input {words}; compare {reference} {candidate}"
    inputs = inputs_of(case, words)
    line += f" --batch {len(inputs[0])}"
    try:
        rows = compared(answered(case.ask(line)))["layers"]
    except ValueError as error:
        case.wrong.append(f"{line}: {error}")
        return
    ours, theirs = (values_of(case.folder / name, *inputs)[0] for name in (reference, candidate))
    case.holds(f"{line} | not compared", lambda: [row["layer"] for row in rows if row["obstacle"]], [])
    for row in rows:
        what = f"{line} | {row['reference_value']} / {row['candidate_value']}"
        case.holds(what, lambda: row["sqnr_db"], sqnr_of(ours[row["reference_value"]], theirs[row["candidate_value"]]), TOLERANCE_DB)
        if row["op_type"] == "Sigmoid":
            source = next(part for part in rows if part["reference_value"] == "relu")
            x, codes = ours[source["reference_value"]], theirs[source["candidate_value"]]
            given = torch.quantize_per_tensor(x, codes.q_scale(), codes.q_zero_point(), codes.dtype)
            right = sqnr_of(ours[row["reference_value"]], torch.sigmoid(given))
            case.holds(f"{what} alone", lambda: row["local"]["sqnr_db"], right, 0.5)
    first = rows[0]
    case.holds(f"{line} | first layer alone", lambda: alone(first["reference_value"])(case.ask(line)), first["sqnr_db"], TOLERANCE_DB)


def sqnr_of(x, y):
    x, y = ((value.dequantize() if value.is_quantized else value).detach().double() for value in (x, y))
    if x.shape != y.shape:
        return f"shapes {tuple(x.shape)} and {tuple(y.shape)}"
    return float(expected_sqnr(float((x**2).sum()), float(((x - y) ** 2).sum())))


def check_verdicts(case):
    """What runs code is not safe; each ends by itself."""
    for path in sorted(case.folder.glob("*.pt")):
        documents, code = case.run(f"load {path.name}; info")
        case.holds(f"load {path.name} | exit code", lambda: code in (0, 1, 2), True)
        if path.name.startswith("evil_") and "error" not in documents[-1]:
            case.holds(f"load {path.name}; info | not safe", lambda: verdict_of(documents) != "safe", True)


def check(case):
    warnings.filterwarnings("ignore")
    number = case.folder.name.split("-")[0]
    for owner, line, name, take, expected, tolerance in FACTS:
        if owner == number and is_there(case, line):
            case.fact(line, name, take, expected, tolerance)
    for owner, model, words, archive in RUNS:
        if owner == number:
            if words is None:
                words = f"{case.scratch}/linear_x.npy"
                numpy.save(words, numpy.random.default_rng(0).standard_normal((4, 6)).astype(numpy.float32))
            check_output(case, model, words, right_output(case, model, words, archive))
    for owner, *pair in PAIRS:
        if owner == number:
            check_pair(case, *pair)
    if number in OWN:
        OWN[number](case)


def is_there(case, line):
    """The files that a line names are in the folder; of some cases only a part was kept."""
    return all((case.folder / name).exists() for name in re.findall(r"\S+\.(?:pt|pth|tar|jit|safetensors)\b", line))


def check_half(case):
    """Weights that were rounded to float16 when they were packed."""
    packed = torch.load(str(case.folder / "sd.pt"), weights_only=True)["0._packed_params._packed_params"]
    for name, value in zip(("0.weight", "0.bias"), packed):
        for form in ("sd", "scripted", "traced"):
            case.fact(f"use {form}.pt; stats", f"{name} min", stats(name, "min"), float(value.min()), EXACT)
            case.fact(f"use {form}.pt; stats", f"{name} mean", stats(name, "mean"), float(value.mean()), EXACT)


def check_plain(case):
    for name in ("plain", "compiled", "lightning", "ema", "optim_key", "tuple", "deep", "single", "param", "list_tensors"):
        check_values(case, f"{name}.pt")


def check_modules(case):
    for name, right in gold(case.folder).items():
        if (case.folder / f"{name}.pt").exists():
            case.fact(f"info {name}.pt", "parameters", last("parameters"), right["params"])
    line = "use bf16.pt; input bf16.in.npz:x0; run"
    case.holds(f"{line} | runs, or says how", lambda: helps(case.ask(line)[-1], "--precision bfloat16"), True)


def helps(document, word):
    """Whether a command worked, or its hints name what does."""
    return "error" not in document or any(word in hint for hint in document["error"]["hints"]) or str(document["error"])


OWN = {
    "01": check_recurrent,
    "02": check_half,
    "03": check_vad,
    "05": lambda case: [check_values(case, name) for name in ("plain.pth", "old.pth.tar", "no_tensor.pth", "adam.pth")],
    "08": lambda case: check_values(case, "shared.pt"),
    "10": lambda case: check_values(case, "zoo.pt"),
    "11": check_plain,
    "12": check_modules,
    "20": check_verdicts,
    "21": check_verdicts,
    "23": check_safetensors,
    "33": check_fx,
}
