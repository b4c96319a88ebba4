#!/usr/bin/env python3
"""Holds models that `qp convert --opset` moves against what they were, in ONNX Runtime, operator by operator.

    scripts/check/opset.py [--qp target/release/qp]

For every operator whose meaning or form a later opset changed there is a model of the old opset. Each is moved to opsets
13, 18, 21 and 23; both models run on the same numbers, and their outputs have to be the same bits.

Needs the packages of scripts/requirements-models.txt. Prints what differs, and a count.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(3)
TARGETS = (13, 18, 21, 23)
SHAPE = [2, 3, 4, 6]
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def value(name, shape=None, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(opset, nodes, outputs=("y",), stored=()):
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(stored).items()]
    outputs = [value(name, kind=INT if name == "i" else FLOAT) for name in outputs]
    graph = helper.make_graph(nodes, "graph", [value("x", SHAPE)], outputs, initializer=tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = helper.find_min_ir_version_for(made.opset_import)
    return made


def one(opset, kind, more=(), outputs=("y",), stored=(), **attributes):
    return model(opset, [helper.make_node(kind, ["x", *more], list(outputs), name="layer", **attributes)], outputs, stored)


def halves():
    """A `Clip` of float16, whose bounds have to be float16 as well."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Clip", ["h"], ["c"], name="layer", min=-0.25, max=0.5),
        helper.make_node("Cast", ["c"], ["y"], to=FLOAT),
    ]
    return model(10, nodes)


def branches():
    def graph(kind, name):
        return helper.make_graph([helper.make_node(kind, ["x"], [name], axes=[1], keepdims=0)], name, [], [value(name)])

    node = helper.make_node("If", ["c"], ["y"], then_branch=graph("ReduceSum", "t"), else_branch=graph("ReduceMean", "e"))
    return model(11, [node], stored={"c": np.bool_(True)})


def models():
    sizes = np.float32([1, 1, 2, 2])
    grid = np.random.default_rng(0).uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)
    pads = [0, 0, 1, 2, 0, 0, 2, 1]
    yield "Softmax in the middle", one(11, "Softmax", axis=2)
    yield "Softmax by default", one(11, "Softmax")
    yield "Softmax at the end", one(11, "Softmax", axis=3)
    yield "LogSoftmax from behind", one(12, "LogSoftmax", axis=-2)
    yield "Hardmax", one(11, "Hardmax", axis=1)
    yield "Unsqueeze", one(11, "Unsqueeze", axes=[0, 2])
    yield "ReduceSum", one(11, "ReduceSum", axes=[1, -1], keepdims=0)
    yield "ReduceSum of all", one(11, "ReduceSum")
    yield "ReduceMean", one(13, "ReduceMean", axes=[2])
    yield "ReduceL2", one(11, "ReduceL2", axes=[3], keepdims=0)
    yield "Clip", one(7, "Clip", min=-0.2, max=0.6)
    yield "Clip from below", one(9, "Clip", min=0.1)
    yield "Clip of float16", halves()
    yield "Pad", one(9, "Pad", pads=pads, value=0.5)
    yield "Pad by reflection", one(10, "Pad", pads=pads, mode="reflect")
    yield "Slice", one(9, "Slice", starts=[1, 0], ends=[3, 2], axes=[2, 3])
    yield "Upsample of opset 7", one(7, "Upsample", scales=[1.0, 1.0, 2.0, 3.0], mode="nearest")
    yield "Upsample, linear", one(8, "Upsample", scales=[1.0, 1.0, 2.0, 3.0], mode="linear")
    yield "Upsample of opset 9", one(9, "Upsample", ["s"], stored={"s": sizes}, mode="nearest")
    yield "Resize of opset 10", one(10, "Resize", ["s"], stored={"s": sizes}, mode="linear")
    yield "Dropout", one(7, "Dropout", ratio=0.3)
    yield "Split with sizes", one(11, "Split", outputs=("y", "z"), split=[1, 2], axis=1)
    yield "Split in halves", one(13, "Split", outputs=("y", "z"), axis=2)
    yield "TopK", one(9, "TopK", outputs=("y", "i"), k=2, axis=3)
    region = {"r": np.float32([[0, 0, 3, 3]]), "b": np.int64([0])}
    yield "RoiAlign", one(10, "RoiAlign", ["r", "b"], stored=region, output_height=2, output_width=2, sampling_ratio=2)
    yield "GridSample", one(16, "GridSample", ["g"], stored={"g": grid}, mode="bicubic")
    yield "If", branches()


def run(path, array):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": array})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default="target/release/qp")
    arguments = parser.parse_args()
    # Numbers that float16 has, too: ONNX Runtime may compute what should be float16 in float32.
    array = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float16).astype(np.float32)
    equal = total = wrong = missing = 0
    with tempfile.TemporaryDirectory() as folder:
        old, new = pathlib.Path(folder, "old.onnx"), pathlib.Path(folder, "new.onnx")
        for name, made in models():
            onnx.save(made, old)
            expected = run(old, array)
            for opset in (opset for opset in TARGETS if opset > made.opset_import[0].version):
                total += 1
                line = f"convert {old} --opset {opset} --out {new} --force"
                shown = subprocess.run([arguments.qp, "-c", line], capture_output=True, check=False, text=True)
                if shown.returncode != 0:
                    wrong += 1
                    print(f"{name}, opset {opset}: {shown.stderr.strip()[-200:]}")
                    continue
                try:
                    found = run(new, array)
                except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
                    missing += 1
                    print(f"{name}, opset {opset}: the runtime has no kernel: {str(error)[:100]}")
                    continue
                if all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
                    equal += 1
                else:
                    wrong += 1
                    print(f"{name}, opset {opset}: other outputs")
    print(f"{equal} of {total} the same, {missing} that the runtime has no kernel for")
    sys.exit(1 if wrong or not total else 0)


if __name__ == "__main__":
    main()
