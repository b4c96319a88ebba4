#!/usr/bin/env python3
"""Damages int8 models in known ways and asks `doctor` what was done.

Needs numpy and onnx. For each float model and its QDQ int8 model, one layer in the middle is damaged in each of the ways below,
the result is saved in a temporary folder, and the causes that `doctor` names are held against what was done. The undamaged
model must have no cause.

    scripts/check/doctor.py --qp target/release/qp FLOAT INT8 DATA[:LABELS] [FLOAT INT8 DATA…]

DATA is an .npz; its labels are in the array `labels` or `y`.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper


class Model:
    """A QDQ model whose stored tensors can be changed."""

    def __init__(self, path):
        self.proto = onnx.load(path)
        self.graph = self.proto.graph
        self.stored = {tensor.name: tensor for tensor in self.graph.initializer}
        self.makers = {output: node for node in self.graph.node for output in node.output}

    def array(self, name):
        return numpy_helper.to_array(self.stored[name])

    def put(self, name, array):
        self.stored[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))

    def products(self):
        """Convolutions and products whose weight and input are dequantized."""
        found = []
        for node in self.graph.node:
            if node.op_type not in ("Conv", "Gemm", "MatMul"):
                continue
            data, weight = (self.makers.get(name) for name in node.input[:2])
            is_dequantized = [maker is not None and maker.op_type == "DequantizeLinear" for maker in (data, weight)]
            if all(is_dequantized) and weight.input[0] in self.stored:
                found.append((node, data, weight))
        return found

    def readers(self, name):
        return [node for node in self.graph.node if name in node.input]

    def save(self, path):
        onnx.save(self.proto, path)


def shared(model, name):
    """Gives a quantization parameter its own copy for each pair, so that damage stays in one place."""
    return len([node for node in model.graph.node if name in node.input]) > 2


def output_pair(model, node):
    """Q and DQ after a layer."""
    value = node.output[0]
    for _ in range(3):
        readers = model.readers(value)
        quantize = [reader for reader in readers if reader.op_type == "QuantizeLinear"]
        if quantize:
            return quantize[0], model.readers(quantize[0].output[0])[0]
        if len(readers) != 1:
            return None
        value = readers[0].output[0]
    return None


def middle(model, fits):
    products = [one for one in model.products() if fits(*one)]
    return products[len(products) // 2] if products else None


def any_product(node, data, weight):
    return True


def weight_scale(model):
    """The scale of a weight times 8."""
    node, _, weight = middle(model, any_product)
    model.put(weight.input[1], model.array(weight.input[1]) * np.float32(8))
    return node.name, {"weight-scale"}


def weight_zero_point(model):
    """The zero point of a weight off by 30."""
    node, _, weight = middle(model, any_product)
    zero = model.array(weight.input[2])
    model.put(weight.input[2], (zero.astype(np.int32) + 30).clip(-128, 255).astype(zero.dtype))
    return node.name, {"weight-zero-point"}


def activation_scale(model):
    """The scale of an activation times 8."""
    node, data, weight = middle(model, lambda node, *_: output_pair(model, node) is not None)
    quantize, _ = output_pair(model, node)
    model.put(quantize.input[1], model.array(quantize.input[1]) * np.float32(8))
    return node.name, {"range-too-wide"}


def activation_zero_point(model):
    """The zero point of an activation off by 100 codes, where it is read."""
    node, data, weight = middle(model, lambda node, *_: output_pair(model, node) is not None)
    quantize, dequantize = output_pair(model, node)
    zero = model.array(quantize.input[2])
    off = int(zero) + (100 if int(zero) < 0 else -100)
    name = quantize.input[2] + "_off"
    model.graph.initializer.append(numpy_helper.from_array(np.array(off).astype(zero.dtype).reshape(zero.shape), name))
    dequantize.input[2] = name
    return node.name, {"pair-mismatch"}


def zero_channel(model):
    """A tenth of the channels of a weight zero."""
    node, _, weight = middle(model, any_product)
    codes = model.array(weight.input[0]).copy()
    zero = model.array(weight.input[2]).reshape(-1)
    axis = next((attribute.i for attribute in weight.attribute if attribute.name == "axis"), 0 if node.op_type == "Conv" else 1)
    codes = np.moveaxis(codes, axis, 0).copy()
    strongest = np.argsort([-np.abs(channel.astype(int)).sum() for channel in codes])
    for channel in strongest[: max(1, len(codes) // 10)]:
        codes[channel] = zero[channel] if zero.size > 1 else zero[0]
    model.put(weight.input[0], np.moveaxis(codes, 0, axis))
    return node.name, {"zero-channels"}


def bias_scale(model):
    """The scale of a bias times 6."""
    def fits(node, *_):
        return len(node.input) > 2 and model.makers.get(node.input[2]) is not None
    found = middle(model, fits)
    if found is None:
        return None
    bias = model.makers[found[0].input[2]]
    model.put(bias.input[1], model.array(bias.input[1]) * np.float32(6))
    return found[0].name, {"bias-scale"}


def per_tensor(model):
    """One scale for all channels of a depthwise weight, as large as a channel 24 times the others makes it."""
    def fits(node, data, weight):
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        return node.op_type == "Conv" and groups > 1 and model.array(weight.input[1]).size > 1
    found = middle(model, fits)
    if found is None:
        return None
    node, _, weight = found
    codes, scales = model.array(weight.input[0]), model.array(weight.input[1])
    real = codes.astype(np.float64) * scales.reshape(-1, *[1] * (codes.ndim - 1))
    scale = np.float32(np.abs(real).max() / 127 * 24)
    model.put(weight.input[0], np.clip(np.rint(real / scale), -127, 127).astype(np.int8))
    weight.ClearField("attribute")
    names = []
    for place, array in ((1, np.array(scale)), (2, np.array(0, np.int8))):
        names.append(weight.input[place] + "_one")
        model.graph.initializer.append(numpy_helper.from_array(array, names[-1]))
        weight.input[place] = names[-1]
    return node.name, {"shared-scale"}


def saturating(model):
    """The weights three times the codes, with a third of the scale: sums overflow 16 bits."""
    def fits(node, *_):
        return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1) == 1
    node, _, weight = middle(model, fits)
    codes = model.array(weight.input[0]).astype(np.int32)
    model.put(weight.input[0], np.where(codes == 0, 0, np.sign(codes) * 127).astype(np.int8))
    return node.name, {"kernel-overflow", "weight-scale", "computes-otherwise"}


def left_in_float(model):
    """The weight of a layer in float."""
    node, _, weight = middle(model, any_product)
    codes, scales, zero = (model.array(name).astype(np.float32) for name in weight.input)
    axis = next((attribute.i for attribute in weight.attribute if attribute.name == "axis"), 0)
    shape = [1] * codes.ndim
    if scales.size > 1:
        shape[axis] = scales.size
    real = (codes - zero.reshape(shape)) * scales.reshape(shape)
    name = node.input[1] + "_float"
    model.graph.initializer.append(numpy_helper.from_array(real.astype(np.float32), name))
    node.input[1] = name
    return node.name, "still in float"


def input_range(model):
    """The range of the input a quarter of what it was."""
    for value in model.graph.input:
        for node in model.readers(value.name):
            if node.op_type == "QuantizeLinear":
                model.put(node.input[1], model.array(node.input[1]) / np.float32(4))
                return None, {"range-clipped"}
    return None


def swapped(model):
    """The three input channels of the first convolution in the opposite order."""
    for node, _, weight in model.products():
        codes = model.array(weight.input[0])
        if node.op_type == "Conv" and codes.ndim == 4 and codes.shape[1] == 3:
            model.put(weight.input[0], codes[:, ::-1])
            return node.name, {"swapped-channels"}
    return None


def nothing(model):
    """Nothing at all."""
    return None, set()


DAMAGES = [weight_scale, weight_zero_point, activation_scale, activation_zero_point, zero_channel, bias_scale, per_tensor,
           input_range, swapped, saturating, left_in_float, nothing]


def doctor(qp, folder, reference, candidate, data):
    file, _, labels = data.partition(":")
    labels = f" --labels '{file}:{labels}'" if labels else ""
    line = f"doctor '{reference}' '{candidate}' --data '{file}'{labels}"
    ran = subprocess.run([qp, "-q", "--format", "json", "-c", line], cwd=folder, capture_output=True, text=True)
    if ran.returncode != 0:
        raise SystemExit(f"{line}: {ran.stderr}")
    return json.loads(ran.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default="target/release/qp")
    parser.add_argument("files", nargs="+", metavar="FLOAT INT8 DATA")
    arguments = parser.parse_args()
    qp = str(pathlib.Path(arguments.qp).resolve())
    right = tried = 0
    for reference, candidate, data in zip(*[iter(arguments.files)] * 3):
        reference, candidate = (str(pathlib.Path(path).resolve()) for path in (reference, candidate))
        file, mark, labels = data.partition(":")
        data = str(pathlib.Path(file).resolve()) + mark + labels
        with tempfile.TemporaryDirectory() as folder:
            for damage in DAMAGES:
                model = Model(candidate)
                done = damage(model)
                if done is None:
                    continue
                layer, codes = done
                path = os.path.join(folder, "damaged.onnx")
                model.save(path)
                found = doctor(qp, folder, reference, path, data)
                causes = [cause for cause in found["causes"] if cause["code"] != "sensitive"]
                first = causes[0]["code"] if causes else None
                if isinstance(codes, str):
                    is_right = not causes and any(codes in note for note in found["notes"])
                else:
                    is_right = first in codes if codes else not causes
                tried += 1
                right += is_right
                said = ", ".join(f"{cause['code']} at {cause['layer']}" for cause in causes[:3]) or "nothing"
                print(f"{'right' if is_right else 'WRONG'}  {pathlib.Path(candidate).stem}  {damage.__name__} at {layer}: {said}"
                      f" ({found['verdict']}, {found['sqnr_db']} dB)", flush=True)
    print(f"{right} of {tried} named rightly")
    return 0 if right == tried else 1


if __name__ == "__main__":
    sys.exit(main())
