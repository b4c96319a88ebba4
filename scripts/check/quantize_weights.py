#!/usr/bin/env python3
"""Holds models that `qp quantize --dynamic` and `--weight-only` make against those of onnxruntime.quantization, number by number.

    scripts/check/quantize_weights.py [--qp target/release/qp] [--match TEXT] MODEL|FOLDER...

The models are float ONNX models: files, or folders with `x.npz`, as for `quantize.py`. Dynamic ones are held against
`quantize_dynamic`, blocks of 4 and 8 bits against `MatMulNBitsQuantizer`, as operators and (4 bits) as
`DequantizeLinear` with a block size. Compared are scales, zero points and codes, all bit for bit, the operators that use
them, and what both models compute in ONNX Runtime. Also: whether onnx's checker accepts qp's file.

Needs the packages of scripts/requirements-models.txt. Prints a line for each model and options; below it what differs.
Fails if a number or an operator differs; outputs are only counted.
"""

import argparse
import collections
import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from quantize import outputs, samples_of

# What quantize_dynamic does by itself, without `Transpose`: it lets others read the rounded values.
KINDS = ["Conv", "MatMul", "Gather", "LSTM"]
DYNAMIC = [
    (weight, per_channel, reduced)
    for weight in ("QInt8", "QUInt8") for per_channel in (False, True) for reduced in (False, True)
]
BLOCKS = [
    (bits, size, is_symmetric, form)
    for bits in (4, 8) for size in (16, 32, 128) for is_symmetric in (False, True)
    for form in (("QOperator", "QDQ") if bits == 4 else ("QOperator",))
]
INTEGER = ("MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "MatMulNBits", "DequantizeLinear")


def with_qp(arguments, path, out, flags):
    line = f"quantize {path} --out {out} --force --as-is {flags}"
    shown = subprocess.run([arguments.qp, "-c", line], capture_output=True, check=False, text=True)
    if shown.returncode != 0:
        raise ValueError((shown.stdout + shown.stderr).strip()[-400:])


def dynamic_flags(weight, per_channel, reduced):
    flags = ["--dynamic", f"--weight-type {weight[1:].lower()}"]
    flags += ["--per-channel"] * per_channel + ["--reduce-range"] * reduced
    return " ".join(flags) + " --op-types Conv,MatMul,Gemm,Gather,LSTM"


def block_flags(bits, size, is_symmetric, form):
    kind = f"{'int' if is_symmetric else 'uint'}{bits}"
    return f"--weight-only --block-size {size} --weight-type {kind} --quant-format {form.lower()} --op-types MatMul"


def with_dynamic(path, out, weight, per_channel, reduced):
    quantize_dynamic(
        path, out, weight_type=getattr(QuantType, weight), per_channel=per_channel, reduce_range=reduced,
        op_types_to_quantize=KINDS,
    )


def with_blocks(path, out, bits, size, is_symmetric, form):
    quantizer = MatMulNBitsQuantizer(
        onnx.load(path), bits=bits, block_size=size, is_symmetric=is_symmetric, quant_format=QuantFormat[form],
    )
    quantizer.process()
    onnx.save(quantizer.model.model, out)


def parts(path):
    """The stored numbers that operators of codes read, by what the operator computes; and how many operators of each kind."""
    graph = onnx.load(path).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    readers = collections.defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    found, kinds = {}, collections.Counter()
    for node in graph.node:
        if node.op_type in INTEGER:
            kinds[node.op_type] += 1
        result = node.output[0]
        if node.op_type == "DequantizeLinear" and readers[result]:
            # In blocks: named by the product that reads it. Picked from codes: by itself.
            result = result if node.input[0] in makers else readers[result][0].output[0]
        if node.op_type == "MatMulNBits":
            result = result.removesuffix("_MatMul")
        numbers = [numpy_helper.to_array(stored[name]) for name in node.input if name in stored]
        if node.op_type in INTEGER and numbers:
            found[(node.op_type, result)] = numbers
        if node.op_type == "Gather" and numbers and stored.get(node.input[0]) is not None:
            found[("Gather", readers[node.output[0]][0].output[0] if readers[node.output[0]] else result)] = numbers[:1]
        scales = [name for name in node.input if name.endswith("_scale") and name in stored]
        if node.op_type == "Mul" and scales:
            found[("scale", result)] = [numpy_helper.to_array(stored[name]) for name in scales]
    return found, kinds


def same(mine, right):
    return mine.dtype == right.dtype and mine.size == right.size and np.array_equal(mine.ravel(), right.ravel())


def is_default(numbers, bits):
    """Zero points that are all the middle may be left out."""
    middle = 0x88 if bits == 4 else 0x80
    return np.all(numbers == middle) or np.all(numbers == 0)


def compare(ours, theirs, bits):
    onnx.checker.check_model(str(ours))
    (mine, my_kinds), (right, kinds) = parts(ours), parts(theirs)
    equal = total = 0
    faults = [f"{kind}: {my_kinds[kind]}, right is {count}" for kind, count in kinds.items() if my_kinds[kind] != count]
    for key, numbers in right.items():
        own = mine.get(key, [])
        for place, expected in enumerate(numbers):
            total += expected.size
            if place < len(own) and same(own[place], expected) or place >= len(own) > 0 and is_default(expected, bits):
                equal += expected.size
            else:
                faults.append(f"{key} number {place}")
    faults += [f"{key} (too many)" for key in mine if key not in right]
    return equal, total, faults


def models(paths):
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            yield from sorted(found for found in path.glob("*.onnx") if found.stem.split("_")[-1] in (path.name, "pre", "dynamo"))
        else:
            yield path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default="target/release/qp")
    parser.add_argument("--match", default="")
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    runs = [("dynamic", row, dynamic_flags, with_dynamic) for row in DYNAMIC]
    runs += [("blocks", row, block_flags, with_blocks) for row in BLOCKS]
    sums = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = pathlib.Path(folder, "ours.onnx"), pathlib.Path(folder, "theirs.onnx")
        for path in models(arguments.models):
            arrays, batch = samples_of(path, 4)
            for kind, row, flags, make in runs:
                title = f"{path.name} {kind} {' '.join(map(str, row))}"
                if arguments.match not in title:
                    continue
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        make(path, theirs, *row)
                except Exception as error:
                    print(f"{title}: onnxruntime fails: {str(error).splitlines()[0][:120]}")
                    sums["onnxruntime fails"] += 1
                    continue
                if not parts(theirs)[0]:
                    continue
                with_qp(arguments, path, ours, flags(*row))
                equal, total, faults = compare(ours, theirs, row[0] if kind == "blocks" else 8)
                sums["numbers equal"] += equal
                sums["numbers"] += total
                sums["models"] += 1
                sums["wrong"] += bool(faults)
                mine = outputs(ours, arrays, batch)
                try:
                    right = outputs(theirs, arrays, batch)
                except Exception as error:
                    print(f"{title}: {equal}/{total}; onnxruntime's file does not run: {str(error).splitlines()[0][:100]}")
                    sums["theirs does not run"] += 1
                    continue
                is_equal = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(mine, right, strict=True))
                sums["outputs equal"] += is_equal
                most = max(float(np.max(np.abs(a.astype(np.float64) - b), initial=0)) for a, b in zip(mine, right, strict=True))
                print(f"{title}: {equal}/{total}, outputs {'equal' if is_equal else f'off by {most:.3g}'}")
                for fault in faults[:6]:
                    print(f"    {fault}")
    print(", ".join(f"{name} {count:,}" for name, count in sums.items()))
    sys.exit(1 if sums["wrong"] or not sums["models"] else 0)


if __name__ == "__main__":
    main()
