#!/usr/bin/env python3
"""How qp inspects a large model: multiplications by matrices of 4096 x 4096, stored as external data.

    scripts/bench/large_model.py [--qp target/release/qp] [--folder FOLDER] [--gib 1.5] [--rounds 5] [--rivals]
    scripts/bench/large_model.py [--qp target/release/qp] --model MODEL [--candidate MODEL]

Makes the model in a temporary folder, or in FOLDER, where it is kept; needs the packages of
scripts/requirements-models.txt. Prints time and peak memory of `layers`, and of `stats`, `ranges` and `diff` over all weights
the time beside that of a plain read of the same files, taken in turns, each at its best. `diff` compares the model with
itself, which is read twice, or with --candidate. Everything is read once before, so that the files are in memory as far as
they fit. With --model a model that is there, in one file. With --rivals the same statistics with onnx and NumPy, and with
NumPy over a memory map. With --run the model is also captured, compared with an int8 candidate that is made of it, and edited
(`sensitivity`): time and peak memory beside the bytes of both files. Linux only.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from processes import most_mib, timed

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
SIZE = 4096

RIVALS = {
    "onnx and NumPy": """
import sys, numpy, onnx
from onnx import numpy_helper
for tensor in onnx.load(sys.argv[1]).graph.initializer:
    x = numpy_helper.to_array(tensor)
    print(tensor.name, x.min(), x.max(), x.mean(dtype="float64"), x.std(dtype="float64"), (x == 0).sum())
""",
    "NumPy over a map": """
import sys, numpy, onnx
for tensor in onnx.load(sys.argv[1], load_external_data=False).graph.initializer:
    place = {entry.key: entry.value for entry in tensor.external_data}
    x = numpy.memmap(sys.argv[1] + ".data", "<f4", "r", int(place["offset"]), tuple(tensor.dims))
    print(tensor.name, x.min(), x.max(), x.mean(dtype="float64"), x.std(dtype="float64"), (x == 0).sum())
""",
}


class Writer:
    """Tensors as external data in one file."""

    def __init__(self, path):
        self.location, self.data, self.tensors = path.name + ".data", open(f"{path}.data", "wb"), []

    def add(self, name, array, kind):
        from onnx import TensorProto

        tensor = TensorProto(name=name, data_type=kind, dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.location), ("offset", self.data.tell()), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        self.data.write(array.tobytes())
        self.tensors.append(tensor)


def weights(layers):
    """The weights of each layer: the values keep their size from layer to layer."""
    import numpy

    random = numpy.random.default_rng(0)
    for _ in range(layers):
        yield random.standard_normal((SIZE, SIZE), numpy.float32) / SIZE**0.5


def save(path, nodes, tensors, last):
    from onnx import TensorProto, helper

    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", SIZE])
    graph = helper.make_graph(nodes, "large", [value("x")], [value(last)], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def make(path, layers):
    """The model and its data file."""
    from onnx import TensorProto, helper

    writer, nodes = Writer(path), []
    for index, array in enumerate(weights(layers)):
        name = f"layer{index}.weight"
        writer.add(name, array, TensorProto.FLOAT)
        source = f"layer{index - 1}" if index else "x"
        nodes.append(helper.make_node("MatMul", [source, name], [f"layer{index}"], f"layer{index}"))
    save(path, nodes, writer.tensors, f"layer{layers - 1}")


def make_candidate(path, layers):
    """The same in int8, with Q and DQ around each multiplication."""
    import numpy
    from onnx import TensorProto, helper, numpy_helper

    writer, nodes, last = Writer(path), [], "x"
    small = [numpy_helper.from_array(numpy.float32(4 / 127), "scale"), numpy_helper.from_array(numpy.int8(0), "zero")]
    pair = lambda value: [
        helper.make_node("QuantizeLinear", [value, "scale", "zero"], [f"{value}.q"], f"{value}.q"),
        helper.make_node("DequantizeLinear", [f"{value}.q", "scale", "zero"], [f"{value}.dq"], f"{value}.dq"),
    ]
    for index, array in enumerate(weights(layers)):
        name, step = f"layer{index}.weight", numpy.float32(abs(array).max() / 127)
        writer.add(f"{name}.q", numpy.rint(array / step).astype(numpy.int8), TensorProto.INT8)
        small.append(numpy_helper.from_array(step, f"{name}.scale"))
        nodes += pair(last)
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.q", f"{name}.scale", "zero"], [name], f"{name}.dq"))
        nodes.append(helper.make_node("MatMul", [f"{last}.dq", name], [f"layer{index}"], f"layer{index}"))
        last = f"layer{index}"
    save(path, nodes, writer.tensors + small, last)


def run(command):
    """Seconds of a command, and MiB at most in another run."""
    return timed(command), most_mib(command)


def plain_read(path):
    """Seconds to read a file from its beginning to its end."""
    begin = time.perf_counter()
    buffer = bytearray(1 << 20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - begin


def measure(qp, model, candidate, rounds, rivals):
    files = lambda path: [data] if (data := pathlib.Path(f"{path}.data")).exists() else [path]
    command = lambda line: [qp, "--format", "json", "-c", line]
    looks = [run(command(f"layers '{model}'")) for _ in range(rounds)]
    seconds, memory = min(looks)
    print(f"layers: {seconds * 1e3:.0f} ms, peak {memory:.0f} MiB")
    both = files(model) + files(candidate or model)
    for line, read_files in (
        (f"stats '{model}'", files(model)),
        (f"ranges '{model}'", files(model)),
        (f"diff '{model}' '{candidate or model}'", both),
    ):
        size = sum(path.stat().st_size for path in read_files)
        reads, runs = [], []
        for turn in range(rounds + 1):
            taken = sum(plain_read(path) for path in read_files), run(command(line))
            if turn:
                reads.append(taken[0])
                runs.append(taken[1])
        read, (seconds, _) = min(reads), min(runs)
        memory = max(memory for _, memory in runs)
        print(
            f"{line.split()[0]}: {seconds:.2f} s, {size / seconds / 1e9:.2f} GB/s, peak {memory:.0f} MiB;"
            f" plain read of {size / 1e9:.2f} GB: {read:.2f} s, {size / read / 1e9:.2f} GB/s, {read / seconds:.2f} of it"
        )
    for name, code in RIVALS.items() if rivals else ():
        seconds, memory = run([sys.executable, "-c", code, str(model)])
        print(f"{name}: {seconds:.1f} s, peak {memory:.0f} MiB")


def measure_runs(qp, model, candidate):
    """Work that runs the model, with copies of its weights or without."""
    size = sum(pathlib.Path(f"{path}.data").stat().st_size for path in (model, candidate))
    print(f"weights of both: {size / 2**20:.0f} MiB")
    for line in (f"run '{model}'", f"capture '{model}'", f"compare '{model}' '{candidate}'", f"sensitivity '{model}' '{candidate}'"):
        seconds, memory = run([qp, "--format", "json", "-c", f"input random --shape 4,{SIZE}; {line}"])
        print(f"{line.split()[0]}: {seconds:.1f} s, peak {memory:.0f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--gib", default=1.5, type=float)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--candidate", type=pathlib.Path)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--rivals", action="store_true")
    parser.add_argument("--run", action="store_true")
    arguments = parser.parse_args()
    if arguments.model and not arguments.model.exists():
        parser.error(f"{arguments.model} does not exist")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or pathlib.Path(temporary)
        model = arguments.model or folder / "large.onnx"
        layers = max(1, round(arguments.gib * 2**30 / (SIZE * SIZE * 4)))
        if not model.exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(model, layers)
        measure(str(arguments.qp), model, arguments.candidate, arguments.rounds, arguments.rivals)
        if arguments.run:
            candidate = folder / "large_int8.onnx"
            if not candidate.exists():
                make_candidate(candidate, layers)
            measure_runs(str(arguments.qp), model, candidate)


if __name__ == "__main__":
    main()
