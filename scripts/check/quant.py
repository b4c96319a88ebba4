#!/usr/bin/env python3
"""Compares the quantization parameters that `qp quant` prints with those that the Python packages read.

    scripts/check/quant.py [--qp target/release/qp] FILE…

Needs the packages of scripts/requirements-models.txt. ONNX: every QuantizeLinear and DequantizeLinear, QLinearConv,
QLinearMatMul and QGemm whose scale is stored. TorchScript: every packed convolution and linear layer. Prints for each
file how many tensors were compared and how many differ; fails when one does.
"""

import argparse
import json
import pathlib
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def of_qp(qp, path):
    """name -> (scales, zero points), as qp prints them."""
    command = [qp, "--format", "json", "-c", f"quant --model '{path}'"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    document = json.loads(shown.stdout.splitlines()[-1])
    return {row["name"]: (row["scales"], row["zero_points"]) for row in document.get("tensors", [])}


def of_onnx(path):
    """name -> (scales, zero points), as the stored scales and zero points of the nodes around it say."""
    import numpy
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            stored[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    found, from_pair = {}, {}

    def note(name, scale, zero_point):
        if scale in stored:
            scales = stored[scale].astype(numpy.float64).ravel().tolist()
            zeros = stored[zero_point].astype(numpy.float64).ravel().tolist() if zero_point in stored else []
            found[name] = (scales, zeros)

    for node in graph.node:
        inputs = list(node.input) + [""] * 9
        if node.op_type == "QuantizeLinear":
            note(inputs[0], inputs[1], inputs[2])
        elif node.op_type == "DequantizeLinear":
            from_pair[node.output[0]] = inputs[0]
            note(inputs[0], inputs[1], inputs[2])
        elif node.op_type in ("QLinearConv", "QLinearMatMul"):
            note(inputs[0], inputs[1], inputs[2])
            note(inputs[3], inputs[4], inputs[5])
            note(node.output[0], inputs[6], inputs[7])
    # What QuantizeLinear computes repeats what it was given: qp lists the pair once, by its beginning.
    computed = {node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    return {name: parameters for name, parameters in found.items() if name not in computed}


def of_torchscript(path):
    """name -> (scales, zero points) of each module's packed weight."""
    import torch

    found = {}
    for name, module in torch.jit.load(str(path)).named_modules():
        packed = getattr(module, "_packed_params", None)
        unpack = getattr(torch.ops.quantized, "conv2d_unpack", None)
        try:
            weight = unpack(packed)[0] if "Conv" in module.original_name else torch.ops.quantized.linear_unpack(packed)[0]
        except (RuntimeError, TypeError):
            continue
        if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
            parameters = (weight.q_per_channel_scales().tolist(), weight.q_per_channel_zero_points().tolist())
        else:
            parameters = ([weight.q_scale()], [weight.q_zero_point()])
        # A linear layer keeps its weight in a module of its own.
        found[f"{name.removesuffix('._packed_params')}.weight"] = parameters
    return found


def agree(ours, theirs):
    """Equal scales, and equal zero points where one may stand for all and none for zero."""

    def spread(zero_points, count):
        zero_points = zero_points or [0.0]
        return zero_points * count if len(zero_points) == 1 else zero_points

    scales, zero_points = theirs
    return ours[0] == scales and spread(ours[1], len(scales)) == spread(zero_points, len(scales))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    compared = differ = 0
    for path in arguments.files:
        theirs = of_onnx(path) if path.suffix == ".onnx" else of_torchscript(path)
        ours = of_qp(arguments.qp, path)
        wrong = [name for name in theirs if name not in ours or not agree(ours[name], theirs[name])]
        print(f"{path.name:40} compared {len(theirs):4}  differ {len(wrong):4}  {' '.join(wrong[:3])}")
        compared, differ = compared + len(theirs), differ + len(wrong)
    print(f"{'all':40} compared {compared:4}  differ {differ:4}")
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
