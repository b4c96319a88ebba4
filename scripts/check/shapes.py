#!/usr/bin/env python3
"""Compares the types and shapes that qp finds for the values of ONNX files with those that the Python package infers.

    scripts/check/shapes.py [--qp target/release/qp] FILE|FOLDER…

Needs the packages of scripts/requirements-models.txt. Each model is stripped of what it declares of the values between
its layers and of its outputs, then read by qp and by onnx.shape_inference (with data propagation). In the test data of
the `onnx` package the outputs that a model declares are the third witness. Prints how many values were compared, what
only one of both knows, and every contradiction: a fixed size against another one, another number of dimensions,
another element type. Fails when there is one.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile

import onnx
from onnx import helper, shape_inference

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def described(value):
    """(element type or 0, list of sizes and None, or None) of a ValueInfoProto; None when it is no tensor."""
    if not value.type.HasField("tensor_type"):
        return None if value.type.WhichOneof("value") else (0, None)
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = [size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim]
    return tensor.elem_type, shape


def strip(model):
    """Forgets what the model declares of computed values; returns what it declared of its outputs."""
    declared = {value.name: described(value) for value in model.graph.output}
    del model.graph.value_info[:]
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.ClearField("tensor_type")
    return declared


def inferred(model):
    """What the package finds; None where it gives up."""
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # Of files that are wrong on purpose.
        return {}
    return {value.name: described(value) for value in list(graph.value_info) + list(graph.output)}


def of_qp(qp, paths):
    """For each file name -> (dtype name, sizes), as `layer` names them, of one process."""
    lines = "\n".join(f"layers '{path}'" for path in paths)
    shown = subprocess.run([qp, "--format", "json"], input=lines, capture_output=True, text=True, check=False)
    found = []
    for line in shown.stdout.splitlines():
        document = json.loads(line)
        values = {}
        for layer in document.get("layers", []):
            output = layer["output"]
            if output:
                shape = output["shape"]
                sizes = None if shape is None else [size if isinstance(size, int) else None for size in shape]
                values[output["name"]] = (output["dtype"], sizes, layer["op_type"])
        found.append(values if "error" not in document else None)
    return found


def contradicts(left, right):
    if left is None or right is None:
        return False
    if len(left) != len(right):
        return True
    return any(a is not None and b is not None and a != b for a, b in zip(left, right))


def names():
    """How qp calls the element types."""
    spelled = {"FLOAT": "float32", "DOUBLE": "float64", "FLOAT4E2M1": "float4_e2m1fn"}
    types = {}
    for name, code in onnx.TensorProto.DataType.items():
        name = spelled.get(name, name.lower())
        types[code] = name.replace("float8e", "float8_e").replace("_e8m0", "_e8m0fnu")
    return types


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path)
    parser.add_argument("paths", nargs="+", type=pathlib.Path, metavar="FILE|FOLDER")
    arguments = parser.parse_args()
    files = []
    for path in arguments.paths:
        files.extend(sorted(path.rglob("*.onnx")) if path.is_dir() else [path])
    dtypes = names()
    counts = {"files": 0, "values": 0, "equal": 0, "less": 0, "more": 0, "contradictions": 0}
    less = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        stripped, witnesses = [], []
        for index, file in enumerate(files):
            try:
                model = onnx.load(str(file), load_external_data=False)
            except Exception:
                continue
            declared = strip(model)
            path = pathlib.Path(folder) / f"{index}.onnx"
            path.write_bytes(model.SerializeToString())
            stripped.append((file, path))
            witnesses.append((inferred(model), declared))
        results = of_qp(str(arguments.qp), [path for _, path in stripped])
        for (file, _), (python, declared), ours in zip(stripped, witnesses, results):
            if ours is None:
                continue
            counts["files"] += 1
            for name, (dtype, shape, op_type) in ours.items():
                for source, witness in (("onnx", python.get(name)), ("file", declared.get(name))):
                    if witness is None or (source == "file" and name in python and python[name] == witness):
                        continue
                    code, expected = witness
                    counts["values"] += 1
                    wrong_type = code and dtype != "undefined" and dtypes[code] != dtype
                    if wrong_type or contradicts(shape, expected):
                        counts["contradictions"] += 1
                        print(f"{file}: {name}: {dtype} {shape}, {source} says {dtypes[code]} {expected}")
                    elif shape == expected:
                        counts["equal"] += 1
                    else:
                        known = lambda sizes: -1 if sizes is None else sum(size is not None for size in sizes)
                        side = "less" if known(shape) < known(expected) else "more"
                        counts[side] += 1
                        if side == "less":
                            less[op_type] += 1
    print(
        "{files} files, {values} comparisons: {equal} equal, {less} where qp knows less, {more} where it knows more,"
        " {contradictions} contradictions".format(**counts)
    )
    print("less, by operator: " + ", ".join(f"{op_type} {count}" for op_type, count in less.most_common(25)))
    sys.exit(counts["contradictions"] > 0)


if __name__ == "__main__":
    main()
