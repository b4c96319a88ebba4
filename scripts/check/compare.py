#!/usr/bin/env python3
"""Compares the SQNR of every row of `qp compare` with what NumPy computes in float64 from the values that Python's
ONNX Runtime gives for the same nodes.

    scripts/check/compare.py [--qp target/release/qp] [--samples 32] DIGITS.npz REFERENCE.onnx CANDIDATE.onnx…

Needs the packages of scripts/requirements-models.txt. Both run with graph optimization off and all
samples together, on which dynamic scales depend; values of integer codes
are dequantized with the scale and zero point of the file. Prints for each candidate how many rows were compared, the
largest difference in dB, and how many values of the same name qdq_loss_debug would pair otherwise, with its number.
Fails when a row differs by more than 1e-3 dB.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

# ONNX Runtime reads it when it is imported, and would report its use over the network.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def values(path, names, images):
    """name -> array, of all samples; and name -> (scale, zero point) of codes."""
    model = onnx.load(str(path))
    outputs = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feed = {session.get_inputs()[0].name: images}
    return dict(zip(names, session.run(list(names), feed)))


def codes(path):
    """name -> (scale, zero point) of values that QOperator nodes compute."""
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    places = {"QLinearConv": (6, 7), "QLinearMatMul": (6, 7), "QGemm": (7, 8), "QLinearAdd": (6, 7), "QLinearMul": (6, 7)}
    places.update({"QLinearGlobalAveragePool": (3, 4), "QLinearAveragePool": (3, 4), "QuantizeLinear": (1, 2)})
    found = {}
    for node in graph.node:
        if node.op_type in places:
            scale, zero_point = (node.input[place] for place in places[node.op_type])
            found[node.output[0]] = (stored[scale], stored[zero_point])
    return found


def sqnr(x, y):
    noise = ((x - y) ** 2).sum()
    return numpy.inf if noise == 0 else 10 * numpy.log10((x**2).sum() / noise)


def check(qp, digits, reference, candidate, samples):
    line = f"input '{digits}:images[0:{samples}]'; compare '{reference}' '{candidate}' --batch {samples}"
    shown = subprocess.run([qp, "--format", "json", "-c", line], capture_output=True, text=True, check=False)
    found = json.loads(shown.stdout.splitlines()[-1])
    if "error" in found:
        sys.exit(f"{candidate}: {found['error']}")
    rows = [row for row in found["layers"] if row["obstacle"] is None]
    images = numpy.load(digits)["images"][:samples].astype(numpy.float32)
    ours = values(reference, [row["reference_value"] for row in rows], images)
    theirs = values(candidate, [row["candidate_value"] for row in rows], images)
    scales, worst, other = codes(candidate), 0.0, []
    for row in rows:
        x = ours[row["reference_value"]].astype(numpy.float64)
        y = theirs[row["candidate_value"]].astype(numpy.float64)
        if numpy.issubdtype(theirs[row["candidate_value"]].dtype, numpy.integer):
            scale, zero_point = scales.get(row["candidate_value"], (None, None))
            if scale is None:
                # What only moves codes has those of its input.
                scale, zero_point = row_scale(candidate, row["candidate_value"], scales)
            y = (y - float(zero_point)) * numpy.float64(scale)
        expected = sqnr(x.ravel(), y.ravel())
        given = float(row["sqnr_db"])
        difference = 0.0 if given == expected else abs(given - expected)
        worst = max(worst, difference)
        # Tools that pair by name take the value before a folded ReLU for the one behind it.
        if row["through"]:
            name = row["reference_value"]
            by_name = values(candidate, [name], images).get(name) if produces(candidate, name) else None
            if by_name is not None:
                other.append((name, round(given, 1), round(sqnr(x, by_name.astype(numpy.float64)), 1)))
    print(f"{candidate.name:34} rows {len(rows):3}, unmatched {len(found['unmatched_reference'])} and"
          f" {len(found['unmatched_candidate'])}, largest difference {worst:.1e} dB, lowest SQNR {float(found['min_sqnr_db'] or 'inf'):.1f} dB")
    for name, given, by_name in other:
        print(f"{'':34} {name}: {given} dB, paired by name {by_name} dB")
    return worst


def produces(path, name):
    return any(name in node.output for node in onnx.load(str(path)).graph.node)


def row_scale(path, name, scales):
    producers = {output: node for node in onnx.load(str(path)).graph.node for output in node.output}
    while name not in scales:
        name = producers[name].input[0]
    return scales[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--samples", default=32, type=int)
    parser.add_argument("digits", type=pathlib.Path)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("candidates", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    worst = [
        check(str(arguments.qp), arguments.digits, arguments.reference, candidate, arguments.samples)
        for candidate in arguments.candidates
    ]
    sys.exit(max(worst) > 1e-3)


if __name__ == "__main__":
    main()
