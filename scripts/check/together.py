#!/usr/bin/env python3
"""Whether `sensitivity` with all layers quantized gives what the candidate itself gives.

    scripts/check/together.py [--qp target/release/qp] [--pairs GLOB] [--verbose] ZOO

ZOO has `pairs.json`, models and inputs. For each pair of ONNX files: the SQNR of the output with all layers emulated, that of
the candidate as it runs here, and where these differ, that of the candidate with products of 16 bits that cannot overflow
(ONNX Runtime's session option `session.x64quantprecision`, which rewrites some of the integer operators): on a processor
without VNNI, int8 weights times uint8 values overflow, which is no property of the model. Needs the packages of
scripts/requirements-models.txt.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import subprocess

# ONNX Runtime reads it when it is imported, and would report its use over the network.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy
import onnxruntime

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
SAMPLES = 16
BATCH = 8
TOLERANCE_DB = 0.1


def sqnr(reference, candidate):
    """In dB, in float64."""
    reference, candidate = reference.astype(numpy.float64), candidate.astype(numpy.float64)
    return 10 * numpy.log10((reference**2).sum() / ((reference - candidate) ** 2).sum())


def output(path, arrays, is_wide):
    """The first output, in batches: dynamic scales depend on these."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    if not is_wide:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1" if is_wide else "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    parts = []
    for start in range(0, SAMPLES, BATCH):
        feed = {name: arrays.get(name, arrays.get("x"))[start : start + BATCH] for name in names}
        parts.append(session.run(None, feed)[0])
    return numpy.concatenate(parts)


def number(value):
    return float("nan") if value is None else float(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoo", type=pathlib.Path)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/release/qp")
    parser.add_argument("--pairs", default="*", help="a pattern of FLOAT/QUANTIZED")
    parser.add_argument("--verbose", action="store_true", help="show the pairs that agree, too")
    arguments = parser.parse_args()
    counts = {"agree": 0, "agree without overflow": 0, "differ": 0, "failed": 0}
    for pair in json.loads((arguments.zoo / "pairs.json").read_text()):
        label = f"{pair['float']}/{pair['quant']}"
        is_onnx = pair["float"].endswith(".onnx") and pair["quant"].endswith(".onnx")
        if not is_onnx or not fnmatch.fnmatch(label, arguments.pairs):
            continue
        folder = arguments.zoo / pair["arch"]
        line = f"input {pair['input']}; sensitivity {pair['float']} {pair['quant']} --samples {SAMPLES} --json"
        ran = subprocess.run(
            [arguments.qp.resolve(), "-c", line], cwd=folder, capture_output=True, text=True, check=False
        )
        try:
            found = json.loads(ran.stdout.strip().splitlines()[-1])
            together, candidate = (number(found[key]["sqnr_db"]) for key in ("all", "candidate_itself"))
        except (ValueError, KeyError, IndexError):
            counts["failed"] += 1
            print(f"{label}: failed: {ran.stderr.strip()[:200]}")
            continue
        wide = None
        result = "agree"
        if not abs(together - candidate) <= TOLERANCE_DB:
            with numpy.load(folder / "x.npz") as arrays:
                arrays = dict(arrays)
            float_output = output(folder / pair["float"], arrays, False)
            wide = sqnr(float_output, output(folder / pair["quant"], arrays, True))
            result = "agree without overflow" if abs(together - wide) <= TOLERANCE_DB else "differ"
        counts[result] += 1
        if arguments.verbose or result != "agree":
            wide = "" if wide is None else f", without overflow {wide:.2f}"
            print(f"{label}: all layers {together:.2f} dB, the candidate {candidate:.2f}{wide}: {result}", flush=True)
    print(", ".join(f"{count} {result}" for result, count in counts.items()))
    raise SystemExit(bool(counts["failed"] or counts["differ"]))


if __name__ == "__main__":
    main()
