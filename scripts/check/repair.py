#!/usr/bin/env python3
"""Holds the layers that `repair` leaves in float against those that simpler rules would exclude for the same target.

Needs numpy. For each pair of a float and a quantized model and each target, layers are turned off one by one until the target is
reached: by `repair`, by size (the layers with the most parameters first), and by weight error (the lowest SQNR of the weight first).
Only layers with a weight count for the two rules, as they know no others. Prints how many layers each needs.

    scripts/check/repair.py --qp target/release/qp FLOAT QUANTIZED DATA[:ARRAY] TARGET… [-- FLOAT QUANTIZED …]

A target is `40dB`, or `0.2pp` for data with labels. `--noise S` adds Gaussian noise of this standard deviation (in units of the
data's own) to the data first.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


class Session:
    """A qp that reads commands from a pipe."""

    def __init__(self, qp):
        self.process = subprocess.Popen([qp, "--format", "json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"{line}: {self.process.stderr.read()}")
        return json.loads(text)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def noisy(source, deviation, folder):
    """The data with noise, in a file of its own."""
    path, _, name = source.partition(":")
    arrays = dict(np.load(path))
    name = name or next(key for key in arrays if arrays[key].ndim > 1)
    data = arrays[name].astype(np.float64)
    data += np.random.default_rng(7).normal(0, deviation * data.std(), data.shape)
    if arrays[name].dtype == np.uint8:
        data = np.clip(np.rint(data), 0, 255)
    arrays[name] = data.astype(arrays[name].dtype)
    target = pathlib.Path(folder) / "noisy.npz"
    np.savez(target, **arrays)
    return f"{target}:{name}" if source.count(":") else str(target)


def groups_of(words):
    """The words between `--` and `--`."""
    groups = [[]]
    for word in words:
        if word == "--":
            groups.append([])
        else:
            groups[-1].append(word)
    return [group for group in groups if group]


def reached(outcome, target, reference):
    if target.endswith("dB"):
        sqnr = outcome["agreement"]["sqnr_db"]
        return sqnr == "inf" or sqnr >= float(target[:-2])
    return reference["accuracy"] - outcome["accuracy"] <= float(target[:-2]) / 100 + 1e-12


def by_rule(qp, pair, data, target, order):
    """How many layers, in this order, have to be turned off."""
    session = Session(qp)
    session(f"load '{pair[0]}' '{pair[1]}'")
    session(f"use '{pair[1]}'")
    name = pair[1]
    for count in range(len(order) + 1):
        found = session(f"evaluate '{pair[0]}' '{name}' --reference '{pair[0]}' --data '{data}'")
        if reached(found["models"][1], target, found["models"][0]):
            session.close()
            return count
        if count == len(order):
            break
        name = session(f"set '{order[count]}.quantized' off")["model"]
    session.close()
    return None


def orders(qp, pair):
    session = Session(qp)
    session(f"load '{pair[0]}' '{pair[1]}'")
    layers = session(f"layers '{pair[1]}'")["layers"]
    parameters = {layer["path"]: layer["parameters"] for layer in layers 
                  if layer["quantization"] and not layer["op_type"].endswith("uantizeLinear") and layer["parameters"]}
    readers = {}
    for path in parameters:
        for row in session(f"quant '{path}' --model '{pair[1]}'")["tensors"]:
            readers.setdefault(row["name"], path)
    diff = session(f"diff '{pair[0]}' '{pair[1]}'")
    session.close()
    error = {}
    for row in diff["tensors"]["pairs"]:
        sqnr = (row["errors"] or {}).get("sqnr_db")
        path = readers.get(row["candidate"])
        if path and isinstance(sqnr, float) and "int32" not in row["candidate_type"]:
            error[path] = sqnr
    weighted = [path for path in parameters if path in error]
    return sorted(weighted, key=lambda path: -parameters[path]), sorted(weighted, key=error.get)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", required=True)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    worse = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("QP_HOME", folder)
        for reference, candidate, data, *targets in groups_of(arguments.words):
            data = noisy(data, arguments.noise, folder) if arguments.noise else data
            by_size, by_error = orders(arguments.qp, (reference, candidate))
            for target in targets:
                session = Session(arguments.qp)
                session(f"load '{reference}' '{candidate}'")
                wanted = f"--min-sqnr {target[:-2]}" if target.endswith("dB") else f"--lose {target}"
                found = session(f"repair '{candidate}' {wanted} --data '{data}'")
                session.close()
                count = len(found["layers"]) if found["is_reached"] else None
                size = by_rule(arguments.qp, (reference, candidate), data, target, by_size)
                error = by_rule(arguments.qp, (reference, candidate), data, target, by_error)
                print(f"{pathlib.Path(candidate).name} {target}: repair {count} layers ({found['runs']} models measured), "
                      f"by size {size}, by weight error {error}, of {len(by_size)} with weights", flush=True)
                others = [other for other in (size, error) if other is not None]
                worse += bool(others) and (count is None or count > min(others))
    print(f"{worse} targets for which a simpler rule needs fewer layers")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
