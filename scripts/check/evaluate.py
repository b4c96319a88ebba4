#!/usr/bin/env python3
"""Holds what `qp evaluate` says against the runtimes in Python, SciPy and statsmodels.

    scripts/check/evaluate.py [--qp target/release/qp] [-v] FOLDER…

Each folder holds models of one network and `x.npz`: arrays that are named as the inputs, or `x`, and labels `y` if the network
classifies. All ONNX files, and TorchScript files if torch is installed, are evaluated against the first float one, in one batch. Counts
must be equal; accuracies, Wilson's intervals, McNemar's p-values and, where the outputs are equal to the last bit, KL divergences
must agree to 1e-9. Needs onnxruntime, numpy, scipy and statsmodels.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnxruntime
from scipy.special import softmax
from scipy.stats import binomtest, entropy
from statsmodels.stats.proportion import proportion_confint

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
TOLERANCE = 1e-9


def onnx_outputs(path, arrays):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    feed = {one.name: arrays[one.name if one.name in arrays else "x"] for one in inputs}
    return session.run(None, feed)[0]


def torch_outputs(path, arrays):
    import torch

    module = torch.jit.load(str(path)).eval()
    names = [name for name in arrays if name != "y"]
    with torch.no_grad():
        found = module(*(torch.from_numpy(arrays[name]) for name in names))
    return (found[0] if isinstance(found, (tuple, list)) else found).numpy()


def probabilities(scores):
    scores = scores.astype("float64")
    are = ((scores >= 0) & (scores <= 1)).all(1) & (abs(scores.sum(1) - 1) < 0.02)
    return numpy.where(are[:, None], scores / scores.sum(1, keepdims=True), softmax(scores, axis=1))


class Checker:
    def __init__(self, is_verbose):
        self.right, self.wrong, self.is_verbose = 0, 0, is_verbose

    def same(self, what, found, expected, tolerance=TOLERANCE):
        is_same = found == expected or (
            isinstance(found, (int, float)) and abs(found - expected) <= tolerance * max(1, abs(expected))
        )
        self.right += is_same
        self.wrong += not is_same
        if self.is_verbose or not is_same:
            print(f"{'ok   ' if is_same else 'WRONG'} {what}: {found} {expected}")


def evaluated(qp, folder, data, names, labels):
    line = f"evaluate {' '.join(names)} --data {data} --batch 4096" + (" --labels x.npz:y" if labels else "")
    with tempfile.TemporaryDirectory() as home:
        command = [qp, "--format", "json", "-c", line]
        ran = subprocess.run(command, cwd=folder, env={**os.environ, "QP_HOME": home}, capture_output=True, text=True)
    if ran.returncode:
        return None, ran.stderr.strip().splitlines()[0]
    return json.loads(ran.stdout.splitlines()[-1]), None


def check(qp, folder, checker):
    arrays = dict(numpy.load(folder / "x.npz"))
    labels = arrays.get("y")
    if labels is not None and labels.ndim != 1:
        labels = None
    data = "x.npz" if labels is not None else "x.npz:x"
    outputs = {}
    for path in sorted(folder.glob("*.onnx")) + sorted(folder.glob("*.pt")):
        try:
            outputs[path.name] = (onnx_outputs if path.suffix == ".onnx" else torch_outputs)(path, arrays)
        except Exception as error:
            print(f"left out: {folder.name}/{path.name}: {str(error).splitlines()[0][:120]}")
    names = list(outputs)
    names.insert(0, names.pop(names.index(f"{folder.name}.onnx"))) if f"{folder.name}.onnx" in names else None
    reference = outputs[names[0]]
    is_classes = reference.ndim == 2 and reference.shape[1] > 1
    for name in names:
        report, error = evaluated(qp, folder, data, [names[0], name], labels is not None and is_classes)
        if error:
            checker.wrong += 1
            print(f"WRONG {folder.name}/{name}: {error}")
            continue
        model, what, found = report["models"][1], f"{folder.name}/{name}", outputs[name]
        noise = ((reference.astype("float64") - found.astype("float64")) ** 2).sum()
        sqnr = 10 * numpy.log10((reference.astype("float64") ** 2).sum() / noise) if noise else "inf"
        own = model["agreement"]["sqnr_db"]
        # Kernels may differ by their numbers of threads: then by a step of the last layer.
        is_equal = own == sqnr or (isinstance(own, float) and isinstance(sqnr, float) and abs(own - sqnr) < 1e-6)
        if not is_equal:
            print(f"note  {what}: the runtime gives other values here: {own} {sqnr} dB")
        if not is_classes:
            checker.same(f"{what} SQNR", own, sqnr, 1e-3)
            continue
        kl = numpy.array([entropy(p, q) for p, q in zip(probabilities(reference), probabilities(found))])
        checker.same(f"{what} kl_infinite", model["agreement"]["kl_infinite"], int((~numpy.isfinite(kl)).sum()))
        kl = kl[numpy.isfinite(kl)]
        if is_equal and len(kl):
            for key, value in (
                ("kl_mean", kl.mean()),
                ("kl_median", numpy.median(kl)),
                ("kl_p99", numpy.quantile(kl, 0.99)),
                ("kl_max", kl.max()),
            ):
                checker.same(f"{what} {key}", model["agreement"][key], float(value))
        same = int((reference.argmax(1) == found.argmax(1)).sum())
        checker.same(f"{what} same class", model["agreement"]["same"], same)
        if labels is None:
            continue
        right, expected = found.argmax(1) == labels, reference.argmax(1) == labels
        checker.same(f"{what} correct", model["correct"], int(right.sum()))
        low, high = proportion_confint(int(right.sum()), len(labels), method="wilson")
        checker.same(f"{what} low", model["accuracy_low"], float(low))
        checker.same(f"{what} high", model["accuracy_high"], float(high))
        harmful, helpful = int((expected & ~right).sum()), int((right & ~expected).sum())
        checker.same(f"{what} harmful", model["paired"]["harmful"], harmful)
        checker.same(f"{what} helpful", model["paired"]["helpful"], helpful)
        p = binomtest(min(harmful, helpful), harmful + helpful).pvalue if harmful + helpful else 1.0
        checker.same(f"{what} p", model["paired"]["p_value"], float(p))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path)
    parser.add_argument("-v", dest="is_verbose", action="store_true")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    checker = Checker(arguments.is_verbose)
    for folder in arguments.folders:
        check(arguments.qp.resolve(), folder.resolve(), checker)
    print(f"right {checker.right}, wrong {checker.wrong}")
    return checker.wrong > 0


if __name__ == "__main__":
    sys.exit(main())
