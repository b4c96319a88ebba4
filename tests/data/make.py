#!/usr/bin/env python3
"""Makes suspicious.onnx: a network whose quantization parameters are wrong on purpose.

Needs the packages of scripts/requirements-models.txt. The same packages give the same bytes.
"""

import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper


def suspicious():
    """Two convolutions in QDQ form. `first`: its bias scale of channel 1 is twice what it should be, all weights of
    channel 2 are 0. `second`: its input is quantized with scale 0.05 and dequantized with 0.1."""
    random = numpy.random.default_rng(0)
    weights = random.integers(-127, 128, (4, 3, 3, 3)).astype(numpy.int8)
    weights[2] = 0
    scales = numpy.array([0.01, 0.02, 0.03, 0.04], numpy.float32)
    bias_scales = numpy.float32(0.5) * scales
    bias_scales[1] *= 2
    stored = {
        "x_scale": numpy.float32(0.5),
        "zero": numpy.int8(0),
        "first.weight": weights,
        "first.weight_scale": scales,
        "first.bias": numpy.arange(4, dtype=numpy.int32),
        "first.bias_scale": bias_scales,
        "y_scale": numpy.float32(0.05),
        "y_scale_wrong": numpy.float32(0.1),
        "second.weight": random.integers(-127, 128, (2, 4, 1, 1)).astype(numpy.int8),
        "second.weight_scale": numpy.float32(0.01),
    }
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "x_scale", "zero"], ["x_q"], "x_quantize"),
        node("DequantizeLinear", ["x_q", "x_scale", "zero"], ["x_dq"], "x_dequantize"),
        node("DequantizeLinear", ["first.weight", "first.weight_scale"], ["w1"], "w1_dequantize", axis=0),
        node("DequantizeLinear", ["first.bias", "first.bias_scale"], ["b1"], "b1_dequantize", axis=0),
        node("Conv", ["x_dq", "w1", "b1"], ["y"], "first", kernel_shape=[3, 3]),
        node("QuantizeLinear", ["y", "y_scale", "zero"], ["y_q"], "y_quantize"),
        node("DequantizeLinear", ["y_q", "y_scale_wrong", "zero"], ["y_dq"], "y_dequantize"),
        node("DequantizeLinear", ["second.weight", "second.weight_scale"], ["w2"], "w2_dequantize"),
        node("Conv", ["y_dq", "w2"], ["z"], "second", kernel_shape=[1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "suspicious",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2, 6, 6])],
        [numpy_helper.from_array(numpy.asarray(array), name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="qp tests")
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    folder = pathlib.Path(__file__).resolve().parent
    onnx.save(suspicious(), str(folder / "suspicious.onnx"))
