#!/usr/bin/env python3
"""Compares the statistics and histograms of `qp weights` with NumPy's, for every stored tensor of every file.

    scripts/check/weights.py [--qp target/release/qp] [--bins 37] FILE…

Needs the packages of scripts/requirements-models.txt; pickles are rebuilt, so the files must be trusted. NumPy reads
elements through the Python packages (`onnx`, `torch`), not through qp; codes are dequantized in float64 with the scales
that `qp quant` prints, which scripts/check/quant.py compares by itself. Minimum, maximum, mean and standard deviation
must agree to 1e-6 relative (of the largest magnitude), counts of elements, zeros and NaN, the edges to 1e-12, and the
counts of the histogram exactly. With quantized tensors the integer codes are compared too. Prints for each file how many
tensors were compared and how many differ; fails when one does.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import warnings
import zipfile

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def of_onnx(path):
    """name -> array of the codes or values."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        if node.op_type == "MatMulNBits":
            import numpy

            bits = {attribute.name: attribute.i for attribute in node.attribute}
            packed = arrays[node.input[1]]
            codes = numpy.unpackbits(packed.reshape(-1, 1), axis=1, bitorder="little").reshape(-1, bits.get("bits", 4))
            codes = (codes * (1 << numpy.arange(bits.get("bits", 4)))).sum(1)
            arrays[node.input[1]] = codes.reshape(bits["N"], -1)[:, : bits["K"]]
    return arrays


def of_torch(path):
    import torch

    def note(name, tensor):
        if tensor.is_quantized:
            tensor = tensor.int_repr()
        arrays[name] = tensor.detach().to(torch.float64 if tensor.is_floating_point() else tensor.dtype).numpy()

    arrays = {}
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    if path.suffix == ".pt2":
        program = torch.export.load(str(path))
        entries = {**program.state_dict, **program.constants}
    elif any(name.endswith("constants.pkl") for name in names):
        module = torch.jit.load(str(path))
        entries = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for name, part in module.named_modules():
            packed = getattr(part, "_packed_params", None)
            if packed is not None and not isinstance(packed, torch.nn.Module):
                is_conv = "Conv" in part.original_name
                unpack = torch.ops.quantized.conv2d_unpack if is_conv else torch.ops.quantized.linear_unpack
                owner = name.removesuffix("._packed_params")
                entries[f"{owner}.weight"], entries[f"{owner}.bias"] = unpack(packed)
    else:
        try:
            import torchao  # noqa: F401  Its tensors need it.
        except ImportError:
            pass
        loaded = torch.load(str(path), weights_only=False)
        loaded = loaded["model"] if isinstance(loaded, dict) and "model" in loaded else loaded
        entries = loaded if isinstance(loaded, dict) else loaded.state_dict()
    for name, value in entries.items():
        if isinstance(value, tuple) and value and isinstance(value[0], torch.Tensor):
            owner = name.rpartition(".")[0].removesuffix("._packed_params")
            for part, tensor in zip(("weight", "bias"), value):
                note(f"{owner}.{part}", tensor)
        elif type(value).__module__.startswith("torchao"):
            note(f"{name}.qdata", value.qdata)
        elif isinstance(value, torch.Tensor):
            note(name, value)
    return arrays


def dequantized(codes, parameters):
    """real = (code - zero_point) * scale in float64, per tensor, channel or block."""
    import numpy

    scales = numpy.asarray(parameters["scales"], numpy.float64)
    zeros = numpy.asarray(parameters["zero_points"] or [0.0], numpy.float64)
    zeros = numpy.broadcast_to(zeros, scales.shape)
    axis, block = parameters["axis"], parameters["block_size"]
    codes = codes.astype(numpy.float64)
    if axis is None:
        return (codes - zeros[0]) * scales[0]
    shape = list(codes.shape)
    if block:
        shape[axis] = -(-shape[axis] // block)
        spread = lambda array: numpy.repeat(array.reshape(shape), block, axis).take(range(codes.shape[axis]), axis)
    else:
        shape = [1] * codes.ndim
        shape[axis] = -1
        spread = lambda array: array.reshape(shape)
    return (codes - spread(zeros)) * spread(scales)


def faults(numbers, found, bins):
    """What differs, in words."""
    import numpy

    numbers = numbers.astype(numpy.float64)
    statistics, wrong = found["statistics"], []
    finite = numbers[numpy.isfinite(numbers)]
    size = max(abs(finite).max(), 1e-300) if finite.size else 1.0
    expected = {"count": numbers.size, "zeros": int((numbers == 0).sum()), "nan": int(numpy.isnan(numbers).sum())}
    wrong += [key for key, value in expected.items() if statistics[key] != value]
    if not finite.size:
        return wrong + (["min"] if statistics["min"] is not None else [])
    for key, value in (
        ("min", finite.min()), ("max", finite.max()), ("mean", finite.mean()), ("standard_deviation", finite.std())
    ):
        if abs(statistics[key] - value) > 1e-6 * max(abs(value), 1e-6 * size):
            wrong.append(key)
    counts, edges = numpy.histogram(finite, bins=bins)
    if found["counts"] and found["counts"] != counts.tolist():
        wrong.append("counts")
    if not found["counts"] and numpy.all(numpy.diff(edges) > 0):
        wrong.append("no counts")
    if found["edges"] and numpy.abs(edges - found["edges"]).max() > 1e-12 * size:
        wrong.append("edges")
    return wrong


def of_qp(qp, lines):
    shown = subprocess.run([qp, "--format", "json"], input="\n".join(lines), capture_output=True, text=True, check=False)
    return [json.loads(line) for line in shown.stdout.splitlines()]


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--bins", default=37, type=int)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    compared = wrong = files = 0
    for path in arguments.files:
        try:
            arrays = of_onnx(path) if path.suffix == ".onnx" else of_torch(path)
        except Exception as error:
            print(f"{path.name:36} no witness: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
            continue
        quoted = f"'{path}'"
        [stats] = of_qp(arguments.qp, [f"stats {quoted}"])
        [quant] = of_qp(arguments.qp, [f"quant --model {quoted}"])
        parameters = {row["name"]: row for row in quant.get("tensors", [])}
        names = [row["name"] for row in stats["tensors"] if row["name"] in arrays]
        line = lambda name, raw: f"weights --model {quoted} --tensor '{name}' --bins {arguments.bins}{raw}"
        lines = [line(name, raw) for name in names for raw in ("", " --raw")]
        answers = of_qp(arguments.qp, lines)
        differing = []
        for index, name in enumerate(names):
            values, codes = answers[2 * index], answers[2 * index + 1]
            if "error" in values:
                differing.append(f"{name}: {values['error']['message']}")
                continue
            numbers = dequantized(arrays[name], parameters[name]) if name in parameters else arrays[name]
            found = faults(numbers, values, arguments.bins) + faults(arrays[name], codes, arguments.bins)
            if found:
                differing.append(f"{name}: {', '.join(found)}")
        unseen = [row["name"] for row in stats["tensors"] if row["name"] not in arrays]
        compared, wrong, files = compared + len(names), wrong + len(differing), files + 1
        print(f"{path.name:36} compared {len(names):3}  differ {len(differing):2}  {'; '.join(differing[:4])}")
        if unseen:
            print(f"{'':36} without a witness {len(unseen)}: {', '.join(unseen[:6])}")
    print(f"{files} files, {compared} tensors compared, {wrong} differ")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
