#!/usr/bin/env python3
"""Compares what `qp capture` gives of every layer of a TorchScript model with what Python's PyTorch computes.

    scripts/check/torchscript.py [--qp target/release/qp] [--samples 16] DIGITS.npz MODEL.pt…

Python gets the values by making those that calls of submodules and operators give further results of `forward`, and
running that graph. Needs the packages of scripts/requirements-models.txt. Values of quantized layers are dequantized.
Prints for each model how many layers were compared and the largest absolute difference; fails when a value differs by
more than 1e-5, or is not given by qp.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def path_of(value):
    """The attributes that lead from the root to a module."""
    node = value.node()
    if node.kind() != "prim::GetAttr":
        return []
    return path_of(node.input()) + [node.s("name")]


def of_python(path, images):
    """name -> array, of every call of a submodule and every operator on tensors."""
    module = torch.jit.load(str(path)).eval()
    graph, values, taken = module.graph.copy(), {}, set()
    for node in graph.nodes():
        kind = node.kind()
        gives_tensor = node.outputsSize() == 1 and isinstance(node.output().type(), torch.TensorType)
        takes_tensor = any(isinstance(value.type(), torch.TensorType) for value in node.inputs())
        if kind == "prim::CallMethod":
            stem = ".".join(path_of(list(node.inputs())[0]))
        elif gives_tensor and takes_tensor and not kind.startswith("prim::"):
            stem = kind.split("::")[1]
        else:
            continue
        name, number = stem, 0
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        values[name] = node.output()
    for _ in list(graph.outputs()):
        graph.eraseOutput(0)
    both = graph.create("prim::TupleConstruct", list(values.values()), 1)
    graph.appendNode(both)
    both.output().setType(torch._C.TupleType([value.type() for value in values.values()]))
    graph.registerOutput(both.output())
    results = torch._C._create_function_from_graph("forward", graph)(module._c, images)
    return {
        name: (result.dequantize() if result.is_quantized else result).detach().numpy()
        for name, result in zip(values, results)
    }


def check(qp, digits, path, samples):
    images = torch.from_numpy(numpy.load(digits)["images"][:samples].astype(numpy.float32))
    with torch.no_grad():
        expected = of_python(path, images)
    with tempfile.TemporaryDirectory() as folder:
        saved = f"{folder}/values.npz"
        line = f"input '{digits}:images[0:{samples}]'; capture '{path}' --batch {samples} --all --save '{saved}'"
        shown = subprocess.run([qp, "-c", line], capture_output=True, text=True, check=False)
        if shown.returncode:
            sys.exit(shown.stderr)
        found = dict(numpy.load(saved))
    differences = {name: numpy.abs(found[name] - array).max() for name, array in expected.items() if name in found}
    worst = max(differences, key=differences.get)
    # Modules that hold others are no layers to qp, which looks into them; Python's cut does not.
    holders = {name.rsplit(".", 1)[0] for name in found if "." in name}
    lonely = sorted(set(expected) - set(found) - holders)
    within = len(set(found) - set(expected))
    print(f"{path.name:28} {len(differences)} layers, largest difference {differences[worst]:.1e} in {worst};"
          f" not given by qp: {', '.join(lonely) or 'none'}; within modules, not compared: {within}")
    return differences[worst] > 1e-5 or bool(lonely)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--samples", default=16, type=int)
    parser.add_argument("digits", type=pathlib.Path)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    results = [check(str(arguments.qp), arguments.digits, path, arguments.samples) for path in arguments.models]
    sys.exit(any(results))


if __name__ == "__main__":
    main()
