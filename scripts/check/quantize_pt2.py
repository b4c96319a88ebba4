#!/usr/bin/env python3
"""Quantizes exported programs (.pt2) with qp, and holds what it writes against Python's PyTorch.

    scripts/check/quantize_pt2.py [--qp target/release/qp] [--samples 32] [--match TEXT] [--layers] FOLDER…

Each folder has a float program `NAME.pt2`, perhaps `NAME_pt2e.pt2` that PT2E has made of it, and `x.npz`, whose arrays are
the samples of its inputs (an array `x` is that of the only one). qp quantizes the program with some options;
`torch.export.load` must read the result. Compared are all values that both compute, on the same samples in one batch: they must
have the same bits if those of the float program do, and otherwise, where the two libraries choose other kernels, differ by
less than the quantization adds; of the stored codes, that they are what NumPy rounds the folded weights to. SQNR is that of the first output against the
float program in Python; beside it, that of PT2E's program. With `--layers` also, for each program of PT2E: a layer is
turned off, a scale is doubled, and the changed program is exported and compared in the same way.

Needs the packages of scripts/requirements-models.txt. Prints a line for each program and options; fails when a program is
not written or read, or a value differs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch

from exported import Recorder

warnings.filterwarnings("ignore")
OPTIONS = {
    "int8": ["--per-channel"],
    "uint8": ["--per-channel", "--activation-type", "uint8"],
    "uint8 per tensor": ["--activation-type", "uint8"],
    "int8 percentile": ["--per-channel", "--calibrate-method", "percentile"],
    "weighted": ["--per-channel", "--op-types"],
    "int4 weights": ["--per-channel", "--weight-type", "int4"],
    "int16": ["--per-channel", "--activation-type", "int16"],
    "as is": ["--per-channel", "--as-is"],
}
# Noise of half the power.
MARGIN_DB = 3
WEIGHTED = ("Conv2d", "ConvTranspose2d", "Linear", "NonDynamicallyQuantizableLinear")


def recorded(path, arrays):
    """All values of a program by name, and its first output."""
    recorder = Recorder(torch.export.load(path).module())
    with torch.no_grad():
        result = recorder.run(*[torch.from_numpy(array) for array in arrays.values()])
    while not isinstance(result, torch.Tensor):
        result = next(iter(result.values() if isinstance(result, dict) else result))
    return recorder.values, result.double().numpy()


def samples_of(path, count):
    stored = np.load(path.parent / "x.npz")
    program = torch.export.load(path)
    names = program.graph_signature.user_inputs
    return {name: np.ascontiguousarray(stored[name if name in stored else "x"][:count]) for name in names}


def sqnr_db(reference, candidate):
    noise = np.sum((reference - candidate) ** 2)
    return 10 * np.log10(np.sum(reference**2) / noise) if noise else np.inf


class Qp:
    def __init__(self, program, folder):
        self.program = program
        self.folder = folder

    def run(self, line):
        shown = subprocess.run(
            [self.program, "--format", "json", "-c", line], capture_output=True, text=True, check=False
        )
        if shown.returncode:
            raise ValueError(" ".join((shown.stdout + shown.stderr).split())[-300:])
        return shown.stdout

    def input(self, arrays):
        stored = self.folder / "samples.npz"
        np.savez(stored, **arrays)
        if len(arrays) == 1:
            return f"input '{stored}:{next(iter(arrays))}'"
        return "input " + " ".join(f"'{name}={stored}:{name}'" for name in arrays)

    def values(self, path, arrays):
        """All values of a program, in its order."""
        saved = self.folder / "values.npz"
        count = len(next(iter(arrays.values())))
        line = f"capture '{path}' --batch {count} --all --raw --save '{saved}' --force"
        self.run(f"{self.input(arrays)}; {line}")
        return list(np.load(saved).values())


def compared(found, expected):
    """How many of qp's values have the bits of one of Python's, of how many, and the largest difference of the output.
    Of modules such as MultiheadAttention, qp has only the result."""
    same, largest = 0, 0.0
    by_bits = {}
    for value in expected.values():
        value = np.ascontiguousarray(value.numpy())
        by_bits.setdefault((value.shape, value.dtype.str), set()).add(value.tobytes())
    for value in found:
        same += value.tobytes() in by_bits.get((value.shape, value.dtype.str), ())
    last = list(expected.values())[-1].numpy()
    if found[-1].shape == last.shape:
        largest = float(np.max(np.abs(found[-1].astype(np.float64) - last.astype(np.float64)), initial=0.0))
    return same, len(found), largest


def folded(program):
    """The float weights of a program by name, batch normalizations folded in float64 as it is done by hand."""
    graph, state = program.graph, program.state_dict
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    weights = {name: tensor.detach().numpy() for name, tensor in state.items()}
    for node in graph.nodes:
        if node.op == "call_function" and "batch_norm" in str(node.target):
            convolution = node.args[0]
            if "conv" not in str(convolution.target) or len(convolution.users) > 1:
                continue
            stored = [state[names[part.name]].detach().double().numpy() for part in node.args[1:5]]
            factor = stored[0] / np.sqrt(stored[3] + node.args[6 if "no_training" in str(node.target) else 7])
            name = names[convolution.args[1].name]
            weight = state[name].detach().double().numpy()
            weights[name] = (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
    return weights


def wrong_codes(source, written, is_folded):
    """Stored codes that are not what NumPy rounds the weight to with the stored scale."""
    source = torch.export.load(source)
    weights = folded(source) if is_folded else {name: part.detach().numpy() for name, part in source.state_dict.items()}
    program = torch.export.load(written)
    names = program.graph_signature.inputs_to_buffers
    wrong, total = 0, 0
    for node in program.graph.nodes:
        if node.op != "call_function" or "dequantize_per" not in str(node.target) or node.args[0].name not in names:
            continue
        name = names[node.args[0].name]
        codes = program.state_dict[name].numpy()
        if "channel" in str(node.target):
            scales, points = (program.state_dict[names[part.name]].numpy() for part in node.args[1:3])
            shape = [1] * codes.ndim
            shape[node.args[3]] = -1
            scales, points, low, high = scales.reshape(shape), points.reshape(shape), *node.args[4:6]
        else:
            scales, points, low, high = np.float32(node.args[1]), node.args[2], *node.args[3:5]
        weight = weights[name.removesuffix("_codes")]
        expected = np.clip(np.rint(weight / scales) + points, low, high)
        wrong += int(np.sum(expected != codes))
        total += codes.size
    return wrong, total


def check(qp, path, title, options, arrays, reference, is_exact):
    out = qp.folder / "out.pt2"
    out.unlink(missing_ok=True)
    if options[-1] == "--op-types":
        kinds = {layer["op_type"] for layer in json.loads(qp.run(f"layers '{path}'").splitlines()[-1])["layers"]}
        options = [*options, ",".join(kind for kind in WEIGHTED if kind in kinds)]
    line = f"quantize '{path}' --out '{out}' --batch 1 --fresh {' '.join(options)}"
    report = json.loads(qp.run(f"{qp.input(arrays)}; {line}").splitlines()[-1])
    expected, result = recorded(out, arrays)
    found = qp.values(out, arrays)
    same, total, largest = compared(found, expected)
    left = sum(layer.get("reason") is not None for layer in report["layers"])
    wrong, codes = wrong_codes(path, out, title != "as is")
    size = out.stat().st_size / path.stat().st_size
    print(
        f"{path.stem:14} {title:17} {len(report['layers']) - left:3} of {len(report['layers']):3} layers, "
        f"{same:3} of {total:3} values the same, output ±{largest:.1e}, {codes - wrong} of {codes} codes, "
        f"{sqnr_db(reference, result):6.2f} dB, {100 * size:3.0f} % of the size",
        flush=True,
    )
    is_close = found[-1].shape == result.shape and sqnr_db(result, found[-1]) > sqnr_db(reference, result) + MARGIN_DB
    return wrong > 0 or (same != total if is_exact else not is_close)


def check_changes(qp, path, arrays):
    """Changes to PT2E's program: each must be in the file that is written, and in what both compute."""
    layers = json.loads(qp.run(f"layers '{path}'").splitlines()[-1])["layers"]
    weighted = [layer["path"] for layer in layers if layer["op_type"] in WEIGHTED and layer.get("quantization")]
    before, _ = recorded(path, arrays)
    failed = 0
    for what, line in (
        ("off", f"set {weighted[1]}.quantized off"),
        ("scale", f"scale {weighted[0]}.weight 2"),
        ("zero point", f"set {weighted[1]}.input.scale 0.5"),
    ):
        out = qp.folder / "changed.pt2"
        out.unlink(missing_ok=True)
        try:
            qp.run(f"use '{path}'; {line}; export '{out}'")
            expected, _ = recorded(out, arrays)
            same, total, largest = compared(qp.values(out, arrays), expected)
            last = [list(values.values())[-1].double().numpy() for values in (before, expected)]
            print(
                f"{path.stem:14} {line[:44]:44} {same:3} of {total:3} values the same, output ±{largest:.1e}, "
                f"{sqnr_db(*last):6.2f} dB from before",
                flush=True,
            )
            # Behind a pooling of codes, what is read unrounded is the same.
            is_same = np.array_equal(*last) and what != "off"
            failed += same != total or len(expected) > len(before) or is_same
        except (ValueError, RuntimeError, KeyError) as error:
            print(f"{path.stem:14} {what}: {error}")
            failed += 1
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default="target/release/qp")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--match", default="")
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    failed, done = [], 0
    with tempfile.TemporaryDirectory() as folder:
        qp = Qp(arguments.qp, pathlib.Path(folder))
        for where in arguments.folders:
            path = where / f"{where.resolve().name}.pt2"
            if not path.exists():
                continue
            arrays = samples_of(path, arguments.samples)
            expected, reference = recorded(path, arrays)
            same, total, _ = compared(qp.values(path, arrays), expected)
            if same != total:
                print(f"{path.stem:14} {same} of {total} values of the float program have the same bits")
            theirs = where / f"{path.stem}_pt2e.pt2"
            if theirs.exists():
                print(f"{path.stem:14} PT2E: {sqnr_db(reference, recorded(theirs, arrays)[1]):.2f} dB")
            for title, options in OPTIONS.items():
                if arguments.match not in f"{path.stem} {title}":
                    continue
                done += 1
                try:
                    if check(qp, path, title, options, arrays, reference, same == total):
                        failed.append(f"{path.stem} {title}")
                except (ValueError, RuntimeError) as error:
                    print(f"{path.stem:14} {title:17} {error}")
                    failed.append(f"{path.stem} {title}")
            if arguments.layers and theirs.exists():
                done += 3
                failed += [f"{theirs.stem}: a change"] * check_changes(qp, theirs, arrays)
    print(f"{done - len(failed)} of {done} as Python has them" + (f"; not: {', '.join(failed)}" if failed else ""))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
