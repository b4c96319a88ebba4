#!/usr/bin/env python3
"""Compares the quantization parameters that `qp quant` prints with those that the Python packages read.

    scripts/check/quant.py [--qp target/release/qp] FILE…

Needs the packages of scripts/requirements-models.txt, and torchao for files with its tensors. The witnesses:

  ONNX          every QuantizeLinear and DequantizeLinear, QLinearConv (bias: input scale times weight scale),
                QLinearMatMul, QGemm, QLinearAdd and the like, ConvInteger and MatMulInteger (the weight's scale is the
                initializer that the product is multiplied with), MatMulNBits
  TorchScript   packed weights of convolutions and linear layers; scale and zero_point of every module
  pickles       quantized tensors, packed weights, `scale` and `zero_point` beside them, torchao's tensors; modules
                are rebuilt, so the files must be trusted
  .pt2          quantize and dequantize nodes of the `quantized_decomposed` kind

Scales and zero points must be equal to the last bit; also axis and block size where the witness has them. Prints for
each file how many tensors were compared, how many differ or are missing, and which qp lists that no witness names;
fails when one differs or is missing.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import warnings

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def of_qp(qp, path):
    """name -> {scales, zero_points, axis, block_size, is_dynamic}, as qp prints them."""
    shown = subprocess.run(
        [qp, "--format", "json", "-c", f"quant --model '{path}'"], capture_output=True, text=True, check=False
    )
    document = json.loads(shown.stdout.splitlines()[-1])
    return {row["name"]: row for row in document.get("tensors", [])}


class Witness(dict):
    """name -> (scales, zero points, axis or None, block size or None); the first word on a name counts."""

    def note(self, name, scales, zero_points=(), axis=None, block_size=None):
        import numpy

        numbers = lambda array: numpy.asarray(array, numpy.float64).ravel().tolist()
        scales = numbers(scales)
        self.setdefault(name, (scales, numbers(zero_points), axis if len(scales) > 1 else None, block_size))


def of_onnx(path):
    import numpy
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            stored[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    found, computed = Witness(), set()

    def note(name, scale, zero_point, axis=None, block_size=None):
        if name and scale in stored:
            found.note(name, stored[scale], stored.get(zero_point, ()), axis, block_size)

    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        inputs = list(node.input) + [""] * 12
        op, output = node.op_type, node.output[0]
        if op in ("QuantizeLinear", "DequantizeLinear"):
            block = attributes.get("block_size", 0) or None
            if op == "QuantizeLinear":
                computed.add(output)
            note(inputs[0], inputs[1], inputs[2], attributes.get("axis", 1), block)
        elif op == "QLinearConv":
            note(inputs[0], inputs[1], inputs[2])
            note(inputs[3], inputs[4], inputs[5], 0)
            note(output, inputs[6], inputs[7])
            if inputs[8]:
                # The runtimes' product, in float32.
                found.note(inputs[8], stored[inputs[1]] * stored[inputs[4]], (), 0)
        elif op == "QLinearMatMul":
            for place in (0, 3):
                note(inputs[place], inputs[place + 1], inputs[place + 2], 1)
            note(output, inputs[6], inputs[7])
        elif op == "QGemm":
            note(inputs[0], inputs[1], inputs[2])
            note(inputs[3], inputs[4], inputs[5], 0 if attributes.get("transB") else 1)
            note(output, inputs[7], inputs[8])
            if inputs[6]:
                found.note(inputs[6], stored[inputs[1]] * stored[inputs[4]], (), 0)
        elif op in ("QLinearAdd", "QLinearMul"):
            note(inputs[0], inputs[1], inputs[2])
            note(inputs[3], inputs[4], inputs[5])
            note(output, inputs[6], inputs[7])
        elif op in ("QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearSigmoid", "QLinearSoftmax"):
            note(inputs[0], inputs[1], inputs[2])
            note(output, inputs[3], inputs[4])
        elif op in ("ConvInteger", "MatMulInteger") and inputs[1] in stored:
            scale = weight_scale(output, readers, stored)
            if scale is not None:
                found.note(inputs[1], scale, stored.get(inputs[3], ()), 0 if op == "ConvInteger" else 1)
        elif op == "MatMulNBits":
            columns, rows = attributes["N"], attributes["K"]
            bits, block = attributes.get("bits", 4), attributes["block_size"]
            blocks = -(-rows // block)
            zero_points = numpy.full(columns * blocks, 1 << (bits - 1))
            if inputs[3]:
                packed = stored[inputs[3]].reshape(columns, -1)
                codes = numpy.unpackbits(packed, axis=1, bitorder="little").reshape(columns, -1, bits)
                zero_points = (codes * (1 << numpy.arange(bits))).sum(2)[:, :blocks]
            found.note(inputs[1], stored[inputs[2]], zero_points, 1, block)
    # What QuantizeLinear computes repeats what it was given: qp lists the pair once, by its beginning.
    return {name: parameters for name, parameters in found.items() if name not in computed}


def weight_scale(product, readers, stored):
    """The stored factor of the scale that an integer product is multiplied with: Cast, then Mul by a Mul."""
    waiting, producers = [product], {}
    for nodes in readers.values():
        for node in nodes:
            for output in node.output:
                producers[output] = node
    while waiting:
        for node in readers.get(waiting.pop(), []):
            if node.op_type == "Cast":
                waiting.append(node.output[0])
            elif node.op_type == "Mul":
                for name in node.input:
                    factor = producers.get(name)
                    if factor is not None and factor.op_type == "Mul":
                        return next((stored[part] for part in factor.input if part in stored), None)
    return None


def of_tensor(found, name, tensor):
    """A quantized tensor of PyTorch."""
    import torch

    if tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric, torch.per_channel_affine_float_qparams):
        scales, zeros = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
        found.note(name, scales, zeros, tensor.q_per_channel_axis())
    else:
        found.note(name, tensor.q_scale(), tensor.q_zero_point())


def of_torchscript(path):
    import torch

    found = Witness()
    for name, module in torch.jit.load(str(path)).named_modules():
        packed = getattr(module, "_packed_params", None)
        if packed is not None and not isinstance(packed, torch.nn.Module):
            unpack = torch.ops.quantized.conv2d_unpack if "Conv" in module.original_name else torch.ops.quantized.linear_unpack
            # A linear layer keeps its weight in a module of its own.
            of_tensor(found, f"{name.removesuffix('._packed_params')}.weight", unpack(packed)[0])
        if "Conv" in module.original_name or "Linear" in module.original_name:
            if hasattr(module, "scale") and not isinstance(module.scale, torch.nn.Module):
                found.note(f"activation {name}", module.scale, module.zero_point)
    return found


def of_pickle(path):
    import torch

    try:
        import torchao  # noqa: F401  Its tensors need it.
    except ImportError:
        pass
    loaded = torch.load(str(path), weights_only=False)
    if isinstance(loaded, dict) and "model" in loaded:
        loaded = loaded["model"]
    entries = loaded if isinstance(loaded, dict) else loaded.state_dict()
    found = Witness()
    for name, value in entries.items():
        owner, _, last = name.rpartition(".")
        if type(value).__module__.startswith("torchao"):
            codes, scale = value.qdata, value.scale
            per_row = scale.numel() > 1
            zero_point = value.zero_point if value.zero_point is not None else ()
            found.note(f"{name}.qdata", scale, zero_point, 0 if per_row else None)
            assert codes.shape[0] == scale.shape[0] or not per_row
        elif isinstance(value, torch.Tensor) and value.is_quantized:
            of_tensor(found, name, value)
        elif isinstance(value, tuple) and value and isinstance(value[0], torch.Tensor) and value[0].is_quantized:
            of_tensor(found, f"{owner.removesuffix('._packed_params')}.weight", value[0])
        elif last == "scale" and f"{owner}.zero_point" in entries:
            found.note(owner, value, entries[f"{owner}.zero_point"])
    return found


def of_exported(path):
    import torch

    program = torch.export.load(str(path))
    names = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}

    def tensor(node):
        if isinstance(node, torch.fx.Node):
            return program.state_dict.get(names.get(node.name), program.constants.get(names.get(node.name)))
        return node

    found = Witness()
    for node in program.graph.nodes:
        target = str(node.target)
        if not target.startswith("quantized_decomposed."):
            continue
        scale, zero_point = tensor(node.args[1]), tensor(node.args[2])
        axis = node.args[3] if "per_channel" in target else None
        source = node.args[0]
        if "dequantize" in target:
            found.note(node.name, scale, zero_point, axis)
        if source.name in names and names[source.name]:
            found.note(names[source.name], scale, zero_point, axis)
        elif "dequantize" not in target:
            found.note(node.name, scale, zero_point, axis)
    return found


def witness(path):
    import zipfile

    if path.suffix == ".onnx":
        return of_onnx(path)
    if path.suffix == ".pt2":
        return of_exported(path)
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    return of_torchscript(path) if any(name.endswith("constants.pkl") for name in names) else of_pickle(path)


def difference(ours, theirs):
    """What is not the same, in words; one zero point may stand for all, and none for zero."""
    scales, zero_points, axis, block_size = theirs

    def spread(points):
        points = list(points) or [0.0]
        return points * len(scales) if len(points) == 1 else points

    if ours["scales"] != scales:
        return "scales"
    if spread(ours["zero_points"]) != spread(zero_points):
        return "zero points"
    if axis is not None and ours["axis"] != axis:
        return f"axis {ours['axis']}, not {axis}"
    if block_size != ours["block_size"]:
        return f"block size {ours['block_size']}, not {block_size}"
    return None


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    compared = wrong = files = 0
    for path in arguments.files:
        try:
            theirs = witness(path)
        except Exception as error:
            print(f"{path.name:36} no witness: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
            continue
        ours = of_qp(arguments.qp, path)
        # A module's output has the name that the graph gives it: found by the layer that computes it.
        by_layer = {}
        for row in ours.values():
            for layer in row["layers"][:1] if row["kind"] == "activation" else []:
                by_layer[layer] = row
        faults, seen = [], set()
        for name, parameters in theirs.items():
            row = by_layer.get(name.removeprefix("activation ")) if name.startswith("activation ") else ours.get(name)
            fault = "missing" if row is None else difference(row, parameters)
            if row is not None:
                seen.add(row["name"])
            if fault:
                faults.append(f"{name}: {fault}")
        extra = [name for name, row in ours.items() if name not in seen and not row["is_dynamic"]]
        compared, wrong, files = compared + len(theirs), wrong + len(faults), files + 1
        print(f"{path.name:36} compared {len(theirs):3}  differ {len(faults):2}  {'; '.join(faults[:4])}")
        if extra:
            print(f"{'':36} without a witness {len(extra)}: {', '.join(extra[:6])}")
    print(f"{files} files, {compared} tensors compared, {wrong} differ")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
