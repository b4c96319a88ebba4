#!/usr/bin/env python3
"""Holds the mixes of bits that `search` finds against those of simpler rules of the same size.

Needs numpy. For each float model and target size: `search` picks 4, 8 or 32 bits for each weight; the rules take 8 bits everywhere
and give 4 bits to layers in a fixed order (the largest weight first; the weight that suffers least from 4 bits first) until the
size is reached. All mixes are measured in the same way, by `search` with scores that pin every layer.

    scripts/check/search.py --qp target/release/qp MODEL DATA[:ARRAY] SIZE… [-- MODEL DATA SIZE…]

`--noise S` adds Gaussian noise to the data first, as in repair.py.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from repair import groups_of, noisy  # noqa: E402


def run(qp, line):
    found = subprocess.run([qp, "--format", "json", "-q", "-c", line], capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(f"{line}: {found.stderr}")
    return json.loads(found.stdout.splitlines()[-1])


def weight_errors(qp, model, layers, folder):
    """The relative squared error of each weight at 4 bits, one scale a tensor, nearest rounding."""
    errors = {}
    for layer in layers:
        target = pathlib.Path(folder) / "weight.npy"
        run(qp, f"export '{model}' '{target}' --tensor '{layer}' --force")
        weight = np.load(target).astype(np.float64)
        scale = np.abs(weight).max() / 7.5
        rounded = np.clip(np.rint(weight / scale), -8, 7) * scale
        errors[layer] = ((rounded - weight) ** 2).sum() / (weight ** 2).sum()
    return errors


def measured(qp, model, data, scores, bits, folder):
    pinned = json.loads(json.dumps(scores))
    for row in pinned["layers"]:
        row["pin"] = bits[row["layer"]]
    path = pathlib.Path(folder) / "pinned.json"
    path.write_text(json.dumps(pinned))
    found = run(qp, f"search '{model}' --target-size 1TiB --data '{data}' --scores '{path}'")
    return next(row for row in found["front"] if row["is_chosen"])


def text(row):
    """Size and harm."""
    divergence = "" if row["kl_mean"] is None else f", KL {row['kl_mean']:.2e}"
    return f"{row['bytes']} bytes{divergence}, {row['sqnr_db']:.2f} dB"


def is_better(row, other):
    """By what `search` minimizes, the divergence; by SQNR where a rounded softmax leaves none."""
    if row["kl_mean"] is not None and other["kl_mean"] is not None:
        return row["kl_mean"] < other["kl_mean"]
    return row["sqnr_db"] > other["sqnr_db"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", required=True)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    worse = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("QP_HOME", folder)
        for model, data, *sizes in groups_of(arguments.words):
            data = noisy(data, arguments.noise, folder) if arguments.noise else data
            path = pathlib.Path(folder) / "scores.json"
            first = run(arguments.qp, f"search '{model}' --target-size {sizes[0]} --data '{data}' --save-scores '{path}' --force")
            scores = json.loads(path.read_text())
            parameters = {row["layer"]: row["parameters"] for row in scores["layers"]}
            errors = weight_errors(arguments.qp, model, parameters, folder)
            print(f"{pathlib.Path(model).name}: rank correlation of the halves {first['rank_correlation']:.3f}")
            for size in sizes:
                found = run(arguments.qp, f"search '{model}' --target-size {size} --data '{data}' --scores '{path}'")
                chosen = next(row for row in found["front"] if row["is_chosen"])
                eight = {layer: "8" for layer in parameters}
                line = f"  {size}: search {text(chosen)}"
                for name, order in (("by size", sorted(parameters, key=lambda layer: -parameters[layer])),
                                    ("by weight error", sorted(parameters, key=errors.get))):
                    bits = dict(eight)
                    rest = list(order)
                    while True:
                        row = measured(arguments.qp, model, data, scores, bits, folder)
                        if row["bytes"] <= chosen["bytes"] or not rest:
                            break
                        bits[rest.pop(0)] = "4"
                    line += f"; {name} {text(row)}"
                    worse += row["bytes"] <= chosen["bytes"] and is_better(row, chosen)
                print(line, flush=True)
    print(f"{worse} times a rule was better")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
