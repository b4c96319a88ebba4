#!/usr/bin/env python3
"""Holds models that `qp quantize` makes against those of onnxruntime.quantization.quantize_static, number by number.

    scripts/check/quantize.py [--qp target/release/qp] [--samples N] [--match TEXT] [--all] MODEL|FOLDER...

The models are float ONNX models: files, or folders with `x.npz`, whose arrays are the samples of their inputs (an array
`x` is that of the only input). Without samples they get random numbers. Both quantize each model as it is, with the
same options and samples: int8 and uint8, per tensor and per channel, minmax, entropy and percentile, 4 and 16 bits, most
other options; with `--all` every combination of 8 bits. With 16 bits, quantize_static moves a model below opset 21 to
opset 21, where some kernels compute other last bits, and qp leaves it: there both get the moved model. Compared are the
tensors that get codes, scales (within 1e-6 of each), zero points, codes of weights and biases, nodes, and what both
models compute in ONNX Runtime. Also: whether onnx's checker accepts qp's file.

Needs the packages of scripts/requirements-models.txt. Prints a line for each model and options; below it the numbers
that differ. Fails if a number or a node differs; outputs are only counted.
"""

import argparse
import contextlib
import io
import itertools
import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
onnxruntime.set_default_logger_severity(3)
METHODS = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy, "percentile": CalibrationMethod.Percentile}
TYPES = {
    "int8": QuantType.QInt8, "uint8": QuantType.QUInt8, "int16": QuantType.QInt16, "uint16": QuantType.QUInt16,
    "int4": QuantType.QInt4, "uint4": QuantType.QUInt4,
}
# Options of qp, and of quantize_static.
USUAL = [
    ("minmax", "int8", "int8", False, {}),
    ("minmax", "uint8", "int8", True, {}),
    ("minmax", "uint8", "uint8", False, {}),
    ("entropy", "int8", "int8", False, {}),
    ("percentile", "int8", "int8", True, {}),
    ("minmax", "int8", "int8", False, {"ActivationSymmetric": True}),
    ("minmax", "uint8", "int8", False, {"CalibMovingAverage": True}),
    ("minmax", "uint8", "int4", True, {}),
    ("minmax", "uint8", "uint4", False, {}),
    ("minmax", "uint16", "int8", False, {}),
    ("minmax", "int16", "int16", True, {}),
    ("minmax", "uint8", "int8", True, {"reduce_range": True}),
    ("minmax", "int8", "int8", False, {"WeightSymmetric": False}),
    ("minmax", "uint8", "uint8", False, {"WeightSymmetric": True, "MinimumRealRange": 0.5}),
    ("minmax", "uint8", "int8", False, {"QDQKeepRemovableActivations": True}),
    ("minmax", "uint8", "int8", False, {"ForceQuantizeNoInputCheck": True}),
    ("percentile", "uint8", "int8", False, {"CalibTensorRangeSymmetric": False, "CalibPercentile": 99.0}),
    ("entropy", "uint8", "int8", False, {"CalibTensorRangeSymmetric": True}),
    ("minmax", "int8", "int8", False, {"op_types_to_quantize": ["Conv", "MatMul"]}),
]
EVERY = [(*row, {}) for row in itertools.product(METHODS, ("int8", "uint8"), ("int8", "uint8"), (False, True))]
FLAGS = {
    "ActivationSymmetric": lambda value: "--activation-symmetric",
    "CalibMovingAverage": lambda value: "--calib-moving-average",
    "reduce_range": lambda value: "--reduce-range",
    "WeightSymmetric": lambda value: f"--weight-symmetric {str(value).lower()}",
    "MinimumRealRange": lambda value: f"--minimum-real-range {value}",
    "QDQKeepRemovableActivations": lambda value: "--keep-removable-activations",
    "ForceQuantizeNoInputCheck": lambda value: "--force-quantize-no-input-check",
    "CalibTensorRangeSymmetric": lambda value: f"--calib-tensor-range-symmetric {str(value).lower()}",
    "CalibPercentile": lambda value: f"--calib-percentile {value}",
    "op_types_to_quantize": lambda value: f"--op-types {','.join(value)}",
}
# Arguments of their own, not among the extra options.
OWN = ("reduce_range", "op_types_to_quantize")


class Reader(CalibrationDataReader):
    def __init__(self, arrays, batch):
        count = min(len(array) for array in arrays.values())
        self.batches = iter([
            {name: array[at : at + batch] for name, array in arrays.items()} for at in range(0, count, batch)
        ])

    def get_next(self):
        return next(self.batches, None)


def samples_of(path, count):
    """The samples by input, and the batch size."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    fixed = next((node.shape[0] for node in inputs if node.shape and isinstance(node.shape[0], int)), 0)
    batch = max(fixed, 1)
    count = max(count // batch, 1) * batch
    stored = path.parent / "x.npz"
    arrays = {}
    if stored.exists():
        found = np.load(stored)
        arrays = {node.name: found[node.name if node.name in found else "x"][:count] for node in inputs}
    else:
        for node in inputs:
            shape = [count] + [size if isinstance(size, int) else 1 for size in node.shape[1:]]
            arrays[node.name] = np.random.default_rng(1).random(shape, dtype=np.float32)
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(float16)": np.float16}
    return {node.name: np.ascontiguousarray(arrays[node.name].astype(kinds[node.type])) for node in inputs}, batch


def moved(path, options, folder):
    """The model in the opset that quantize_static gives it."""
    model = onnx.load(path)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset >= 21 or not any("int16" in part for part in options[1:3]):
        return path
    onnx.save(onnx.version_converter.convert_version(model, 21), folder / "moved.onnx")
    return folder / "moved.onnx"


def with_qp(arguments, path, out, arrays, options, folder):
    method, activation, weight, per_channel, extra = options
    stored = folder / "samples.npz"
    np.savez(stored, **arrays)
    inputs = " ".join(f"{name}={stored}:{name}" for name in arrays) if len(arrays) > 1 else f"{stored}:{next(iter(arrays))}"
    flags = ["--per-channel"] if per_channel else []
    flags += [FLAGS[name](value) for name, value in extra.items()] + ["--batch 1", "--fresh", "--force", "--as-is"]
    line = (
        f"input {inputs}; quantize {path} --out {out} --calibrate-method {method} --activation-type {activation} "
        f"--weight-type {weight} {' '.join(flags)}"
    )
    start = time.perf_counter()
    shown = subprocess.run([arguments.qp, "--format", "json", "-c", line], capture_output=True, check=False, text=True)
    if shown.returncode != 0:
        raise ValueError((shown.stdout + shown.stderr).strip()[-400:])
    return json.loads(shown.stdout.splitlines()[-1]), time.perf_counter() - start


def with_onnxruntime(path, out, arrays, batch, options):
    method, activation, weight, per_channel, extra = options
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            path, out, Reader(arrays, batch), quant_format=QuantFormat.QDQ, calibrate_method=METHODS[method],
            activation_type=TYPES[activation], weight_type=TYPES[weight], per_channel=per_channel,
            extra_options={name: value for name, value in extra.items() if name not in OWN},
            **{name: value for name, value in extra.items() if name in OWN},
        )
    return time.perf_counter() - start


class Parts:
    """What is compared of a model."""

    def __init__(self, path):
        self.model = onnx.load(path)
        graph = self.model.graph
        self.tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.nodes = {
            (node.op_type, node.domain, tuple(node.output)): tuple(node.input) for node in graph.node
        }
        quantizers = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
        self.scales = {name: self.tensors[name] for name in {node.input[1] for node in quantizers}}
        self.zero_points = {name: self.tensors[name] for name in {node.input[2] for node in quantizers}}
        self.codes = {
            node.input[0]: self.tensors[node.input[0]] for node in quantizers if node.input[0] in self.tensors
        }


def count_pairs(ours, theirs, is_equal):
    """How many numbers are equal, of how many, and the names of those that are not."""
    right, total, names = 0, 0, []
    for name, expected in theirs.items():
        total += expected.size
        found = ours.get(name)
        if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
            names.append(f"{name} (missing)" if found is None else f"{name} ({found.dtype} {found.shape}, right is {expected.dtype} {expected.shape})")
            continue
        equal = int(np.count_nonzero(is_equal(found, expected)))
        right += equal
        if equal < expected.size:
            names.append(name)
    names += [f"{name} (too many)" for name in ours if name not in theirs]
    return right, total, names


def outputs(path, arrays, batch):
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return session.run(None, {name: array[:batch] for name, array in arrays.items()})


def compare(ours, theirs, arrays, batch):
    mine, right = Parts(ours), Parts(theirs)
    onnx.checker.check_model(str(ours))
    is_near = lambda found, expected: np.abs(found.astype(np.float64) - expected) <= 1e-6 * np.abs(expected)
    is_same = lambda found, expected: found == expected
    counts = {
        "scales": count_pairs(mine.scales, right.scales, is_near),
        "zero points": count_pairs(mine.zero_points, right.zero_points, is_same),
        "codes": count_pairs(mine.codes, right.codes, is_same),
    }
    nodes = set(mine.nodes.items()) ^ set(right.nodes.items())
    pairs = list(zip(outputs(ours, arrays, batch), outputs(theirs, arrays, batch)))
    equal = sum(int(np.array_equal(one, other)) for one, other in pairs)
    difference = max(float(np.abs(one.astype(np.float64) - other).max(initial=0.0)) for one, other in pairs)
    return counts, nodes, (equal, len(pairs), difference)


def label(options):
    method, activation, weight, per_channel, extra = options
    options = [f"{name}={value}" for name, value in extra.items()]
    return " ".join([method, f"{activation}/{weight}", "channel" if per_channel else "tensor", *options])


def models_of(paths):
    for path in map(pathlib.Path, paths):
        if path.is_file():
            yield path
            continue
        for file in sorted(path.glob("**/*.onnx")):
            kinds = {node.op_type for node in onnx.load(file, load_external_data=False).graph.node}
            if not any("Quantize" in kind or "QLinear" in kind or "Integer" in kind for kind in kinds):
                yield file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--qp", default="target/release/qp")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--match", default="")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    sums, wrong, seconds = {}, 0, [0.0, 0.0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for path in models_of(arguments.paths):
            if arguments.match not in str(path):
                continue
            arrays, batch = samples_of(path, arguments.samples)
            for options in EVERY if arguments.all else USUAL:
                title = f"{path.name} {label(options)}"
                ours, theirs = folder / "ours.onnx", folder / "theirs.onnx"
                try:
                    source = moved(path, options, folder)
                    seconds[1] += with_onnxruntime(source, theirs, arrays, batch, options)
                except Exception as error:
                    print(f"{title}: onnxruntime.quantization fails: {str(error).splitlines()[0][:150]}", flush=True)
                    continue
                try:
                    seconds[0] += with_qp(arguments, source, ours, arrays, options, folder)[1]
                    counts, nodes, (equal, total, difference) = compare(ours, theirs, arrays, batch)
                except Exception as error:
                    scales = Parts(theirs).scales.values()
                    if not all(np.isfinite(scale).all() for scale in scales):
                        print(f"{title}: quantize_static writes an infinite scale, qp refuses", flush=True)
                        continue
                    wrong += 1
                    print(f"{title}: WRONG: {str(error)[-300:]}", flush=True)
                    continue
                for what, (right, of, _) in {**counts, "outputs": (equal, total, [])}.items():
                    done = sums.setdefault(what, [0, 0])
                    done[0], done[1] = done[0] + right, done[1] + of
                texts = [f"{right} of {of} {what}" for what, (right, of, _) in counts.items()]
                is_right = not nodes and all(not names for _, _, names in counts.values())
                wrong += not is_right
                print(f"{title}: {'right' if is_right else 'WRONG'}; {', '.join(texts)}, {len(nodes)} other nodes; "
                      f"outputs: {equal} of {total} equal, {difference:.2g} at most", flush=True)
                for what, (_, _, names) in counts.items():
                    if names:
                        print(f"    {what}: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}")
                for (op, domain, made), read in list(nodes)[:3]:
                    print(f"    node: {domain}{op} {read} -> {made}")
    print("; ".join(f"{what}: {right} of {of}" for what, (right, of) in sums.items()))
    print(f"qp {seconds[0]:.1f} s, quantize_static {seconds[1]:.1f} s; {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
