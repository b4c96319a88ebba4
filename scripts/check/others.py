#!/usr/bin/env python3
"""The numbers of other tools beside those of `qp compare`, on pairs of a float and a QDQ model whose true values are known.

    scripts/check/others.py [--qp target/release/qp] [--pairs GLOB] ZOO

ZOO has `pairs.json`, models, inputs, and for each pair a table of true SQNRs by the float model's value. The numbers:

  qp             `SQNR dB` of `compare`: a value of the float model against that of the quantized one, as far as it is rounded
  xmodel_err     ONNX Runtime's qdq_loss_debug, its cross-model error: the same thing, paired by the names that its quantizer gives
  qdq_err        ONNX Runtime's qdq_loss_debug, its local error: before against behind one Q/DQ pair of the quantized model. No error
                 between the models: where an activation is folded into the codes, what it cuts off counts as error
  same name      values of one name in both graphs, as Polygraphy's `run --onnx-outputs mark all` pairs them. Where an activation is
                 folded, that is before it in one and behind it in the other

For each: pairs that it could read, values that have a truth, those within 0.01 dB of it, and healthy ones (true SQNR of 20 dB
and more) that it shows below 20 dB. Needs the packages of scripts/requirements-models.txt.
"""

import argparse
import collections
import fnmatch
import json
import os
import pathlib
import subprocess
import tempfile

# ONNX Runtime reads it when it is imported, and would report its use over the network.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, qdq_loss_debug

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
SAMPLES = 32
LOW_DB = 20.0
TOLERANCE_DB = 0.01
TOOLS = ("qp", "xmodel_err", "qdq_err", "same name")


class Samples(CalibrationDataReader):
    def __init__(self, arrays):
        self.feeds = iter([{name: array[at : at + 1] for name, array in arrays.items()} for at in range(SAMPLES)])

    def get_next(self):
        return next(self.feeds, None)


def sqnr(reference, candidate):
    """In dB, over the values of all samples, in float64."""
    signal = sum(float(numpy.square(part, dtype=numpy.float64).sum()) for part in reference)
    noise = sum(
        float(numpy.square(numpy.asarray(ours, numpy.float64) - numpy.asarray(theirs, numpy.float64)).sum())
        for ours, theirs in zip(reference, candidate)
    )
    if noise == 0:
        return numpy.inf
    return 10 * numpy.log10(signal / noise) if signal else -numpy.inf


def activations(path, arrays):
    """name -> its value for each sample."""
    with tempfile.TemporaryDirectory() as folder:
        augmented = pathlib.Path(folder) / "augmented.onnx"
        qdq_loss_debug.modify_model_output_intermediate_tensors(str(path), str(augmented))
        return qdq_loss_debug.collect_activations(str(augmented), Samples(arrays))


def numbers_of_others(folder, pair):
    """tool -> float value -> dB."""
    stored = numpy.load(folder / "x.npz")
    model = onnx.load(str(folder / pair["float"]), load_external_data=False)
    initial = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in initial]
    arrays = {name: stored["x" if len(names) == 1 else name] for name in names}
    ours, theirs = activations(folder / pair["float"], arrays), activations(folder / pair["quant"], arrays)
    matched = qdq_loss_debug.create_activation_matching(theirs, ours)
    found = {tool: {} for tool in TOOLS[1:]}
    for name, values in matched.items():
        if "post_qdq" in values and "float" in values:
            found["xmodel_err"][name] = sqnr(values["float"], values["post_qdq"])
        if "post_qdq" in values and "pre_qdq" in values:
            found["qdq_err"][name] = sqnr(values["pre_qdq"], values["post_qdq"])
    for name in ours.keys() & theirs.keys():
        if all(one.shape == other.shape for one, other in zip(ours[name], theirs[name])):
            found["same name"][name] = sqnr(ours[name], theirs[name])
    return found


def numbers_of_qp(qp, folder, pair):
    line = f"input {pair['input']}; compare {pair['float']} {pair['quant']} --samples {SAMPLES} --accumulated --json"
    shown = subprocess.run([qp, "-c", line], capture_output=True, text=True, check=False, cwd=folder)
    if shown.returncode:
        raise ValueError(shown.stderr.strip().splitlines()[0])
    rows = json.loads(shown.stdout.strip().splitlines()[-1])["layers"]
    return {row["reference_value"]: float(row["sqnr_db"]) for row in rows if row.get("sqnr_db") is not None}


def count(found, truth, totals):
    """Adds what one tool says of one pair."""
    totals["pairs"] += 1
    for row in truth["rows"]:
        names = [row["float_tensor"], *row.get("float_aliases", []), *row.get("float_equals", [])]
        shown = next((found[name] for name in names if name in found), None)
        if shown is None:
            totals["missing"] += not row.get("clipped_by_next") and not row.get("inside")
            continue
        true = [float(one["sqnr_db"]) for one in [row, *row.get("also", [])]]
        totals["values"] += 1
        totals["right"] += any(shown == one or abs(shown - one) <= TOLERANCE_DB for one in true)
        totals["healthy below 20"] += shown < LOW_DB <= max(true) and not row.get("clipped_by_next")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/release/qp")
    parser.add_argument("--pairs", default="*", help="a pattern of FLOAT/QUANTIZED, as in 'vit*'")
    parser.add_argument("zoo", type=pathlib.Path)
    arguments = parser.parse_args()
    onnxruntime.set_default_logger_severity(4)
    totals = {tool: collections.Counter() for tool in TOOLS}
    pairs = json.loads((arguments.zoo / "pairs.json").read_text())
    # What qdq_loss_debug is made for.
    pairs = [pair for pair in pairs if pair.get("rival") and fnmatch.fnmatch(f"{pair['float']}/{pair['quant']}", arguments.pairs)]
    for pair in pairs:
        folder = arguments.zoo / pair["arch"]
        truth = json.loads((arguments.zoo / pair["truth"]).read_text())
        try:
            found = numbers_of_others(folder, pair)
        except Exception as error:
            print(f"{pair['float']} / {pair['quant']}: {type(error).__name__}: {str(error).splitlines()[0][:120]}", flush=True)
            found = {}
        found["qp"] = numbers_of_qp(str(arguments.qp.resolve()), folder, pair)
        for tool, numbers in found.items():
            count(numbers, truth, totals[tool])
    columns = ("pairs", "values", "right", "healthy below 20", "missing")
    print(f"\n{len(pairs)} pairs" + "".join(f"{column:>18}" for column in columns))
    for tool in TOOLS:
        print(f"{tool:10}" + "".join(f"{totals[tool][column]:>18}" for column in columns))


if __name__ == "__main__":
    main()
