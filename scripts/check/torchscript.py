#!/usr/bin/env python3
"""Compares what `qp capture` gives of every layer of TorchScript models with what Python's PyTorch computes.

    scripts/check/torchscript.py [--qp target/release/qp] [--samples 16] DIGITS.npz [MODEL.pt…]

The models are the files named, run on the digits, and some two dozen small ones that this script makes: scripted, traced,
frozen and quantized; with branches, loops, tuples, shared modules. `script_values.py` finds Python's values. Needs the
packages of scripts/requirements-models.txt. Values of quantized layers are dequantized. Prints for each model how many
values were compared and the largest absolute difference; fails when a value differs by more than 1e-5, or one side has
a value that the other has not. What a list holds beyond what the code reads of it is no value to qp.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
import torch

import script_models
from script_values import values_of

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
TOLERANCE = 1e-5


def array(value):
    return (value.dequantize() if value.is_quantized else value).detach().double().numpy()


def check(qp, path, source, x):
    expected = {name: array(value) for name, value in values_of(path, x)[0].items()}
    with tempfile.TemporaryDirectory() as folder:
        saved = f"{folder}/values.npz"
        line = f"input '{source}'; capture '{path}' --batch {len(x)} --all --save '{saved}'"
        shown = subprocess.run([qp, "-c", line], capture_output=True, text=True, check=False)
        if shown.returncode:
            print(f"{path.name:28} {shown.stderr.splitlines()[0]}")
            return True
        found = dict(numpy.load(saved))
    both = [name for name in expected if name in found and found[name].shape == expected[name].shape]
    differences = {name: numpy.abs(found[name] - expected[name]).max(initial=0) for name in both}
    worst = max(differences.values(), default=float("nan"))
    numbered = {name for name in expected if ":" in name}
    lonely = sorted(set(expected) - set(both) - numbered) + sorted(set(found) - set(both))
    print(f"{path.name:28} {len(both)} values, largest difference {worst:.1e}; on one side alone: {', '.join(lonely) or 'none'}")
    return not worst <= TOLERANCE or bool(lonely)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--samples", default=16, type=int)
    parser.add_argument("digits", type=pathlib.Path)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    qp, samples = str(arguments.qp), arguments.samples
    results = []
    images = torch.from_numpy(numpy.load(arguments.digits)["images"][:samples].astype(numpy.float32))
    for path in arguments.models:
        results.append(check(qp, path, f"{arguments.digits}:images[0:{samples}]", images))
    with tempfile.TemporaryDirectory() as folder:
        x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
        numpy.save(f"{folder}/x.npy", x.numpy())
        for path in script_models.make(pathlib.Path(folder), x):
            results.append(check(qp, path, os.path.join(folder, "x.npy"), x))
    sys.exit(any(results))


if __name__ == "__main__":
    main()
