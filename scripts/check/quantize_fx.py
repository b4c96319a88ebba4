#!/usr/bin/env python3
"""Writes float eager models with qp as exported programs, quantized and as they are, and holds them against Python's PyTorch.

    scripts/check/quantize_fx.py [--qp target/release/qp] [--samples 32] [--models models] ZOO

ZOO has folders `resnet18` and `mobilenet_v2`, each with a program `NAME.pt2`, whose weights are taken, and `x.npz` with
samples `x`. The modules are defined here and traced by fx; `resnet8.pt` of the folder of models is taken as it is. Each is
exported by qp: `torch.export.load` must compute what the eager module does, to the last bit and with any batch, and the layers
must have the same names. Then it is quantized: int8 weights per channel, int8 activations, ranges by their extremes. All values
that qp and Python compute of what is written must have the same bits, and its codes be those that NumPy rounds to. SQNR is
that of the first output against the eager module; beside it, that of `prepare_fx` and `convert_fx` with the same observers on
the same samples.

Needs the packages of scripts/requirements-models.txt. Prints two lines for each model; fails when anything differs.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import warnings

import numpy as np
import torch
from quantize_pt2 import Qp, compared, recorded, sqnr_db, wrong_codes
from torch import nn
from torch.ao.quantization import MinMaxObserver, PerChannelMinMaxObserver, QConfig, QConfigMapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

warnings.filterwarnings("ignore")


class Block(nn.Module):
    """torchvision's BasicBlock."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu2(y)


class ResNet(nn.Module):
    """The zoo's small ResNet18."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 16
        for number, (outputs, stride) in enumerate(((16, 1), (24, 2), (32, 2), (48, 2)), 1):
            blocks = nn.Sequential(Block(inputs, outputs, stride), Block(outputs, outputs, 1))
            setattr(self, f"layer{number}", blocks)
            inputs = outputs
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def convolution(inputs, outputs, kernel, stride, groups=1):
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class Inverted(nn.Module):
    """torchvision's InvertedResidual."""

    def __init__(self, inputs, hidden, outputs, stride):
        super().__init__()
        self.is_residual = stride == 1 and inputs == outputs
        wider = [convolution(inputs, hidden, 1, 1)] if hidden != inputs else []
        narrower = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.conv = nn.Sequential(
            *wider, convolution(hidden, hidden, 3, stride, hidden), narrower, nn.BatchNorm2d(outputs)
        )

    def forward(self, x):
        return x + self.conv(x) if self.is_residual else self.conv(x)


class MobileNet(nn.Module):
    """The zoo's small MobileNetV2."""

    ROWS = (
        (16, 16, 12, 1),
        (12, 48, 16, 2),
        (16, 64, 16, 1),
        (16, 64, 24, 2),
        (24, 96, 24, 1),
        (24, 96, 32, 1),
        (32, 128, 32, 1),
        (32, 128, 48, 1),
    )

    def __init__(self):
        super().__init__()
        blocks = [Inverted(*row) for row in self.ROWS]
        self.features = nn.Sequential(convolution(3, 16, 3, 2), *blocks, convolution(48, 128, 1, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(128, 10))

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


def models(arguments, folder):
    """Name, file of `torch.save`, module and samples of each model."""
    for name, network in (("resnet18", ResNet()), ("mobilenet_v2", MobileNet())):
        home = arguments.zoo / name
        network.load_state_dict(torch.export.load(home / f"{name}.pt2").state_dict)
        graph = torch.fx.symbolic_trace(network.eval())
        path = folder / f"{name}_fx.pt"
        torch.save(graph, path)
        yield name, path, graph, {"x": np.load(home / "x.npz")["x"][: arguments.samples]}
    path = (arguments.models / "resnet8.pt").resolve()
    images = np.load(arguments.models / "digits.npz")["images"][: arguments.samples]
    graph = torch.load(path, weights_only=False)["model"].eval()
    yield "resnet8", path, graph, {"image": images.astype(np.float32)}


def of_fx(graph, sample):
    """What PyTorch's own quantization of the graph computes."""
    config = QConfig(
        activation=MinMaxObserver.with_args(dtype=torch.quint8),
        weight=PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric),
    )
    prepared = prepare_fx(graph, QConfigMapping().set_global(config), (sample,))
    prepared(sample)
    return convert_fx(prepared)(sample).double().numpy()


def paths(qp, path):
    """The layers of a model, by path; modules that only hold others are none in a program."""
    layers = json.loads(qp.run(f"layers '{path}'").splitlines()[-1])["layers"]
    return [layer["path"] for layer in layers if layer["op_type"] not in ("Module", "Sequential")]


def check(qp, name, path, graph, arrays):
    failed = []
    sample = torch.from_numpy(next(iter(arrays.values())))
    with torch.no_grad():
        reference = graph(sample)
        plain = qp.folder / f"{name}.pt2"
        qp.run(f"export '{path}' '{plain}'")
        program = torch.export.load(plain).module()
        same = sum(torch.equal(program(sample[:count]), graph(sample[:count])) for count in (1, 3, len(sample)))
    if same != 3:
        failed.append("the float program")
    names = paths(qp, path)
    if paths(qp, plain) != names:
        failed.append("the names of layers")
    out = qp.folder / f"{name}_int8.pt2"
    options = "--per-channel --activation-type int8 --batch 1 --fresh"
    report = json.loads(qp.run(f"{qp.input(arrays)}; quantize '{path}' --out '{out}' {options}").splitlines()[-1])
    values, result = recorded(out, arrays)
    found, total, largest = compared(qp.values(out, arrays), values)
    wrong, codes = wrong_codes(plain, out, True)
    reference = reference.double().numpy()
    ours, theirs = sqnr_db(reference, result), sqnr_db(reference, of_fx(graph, sample))
    if found != total:
        failed.append("values of the quantized program")
    if wrong:
        failed.append("codes")
    if ours < theirs - 1:
        failed.append("SQNR")
    left = sum(layer.get("reason") is not None for layer in report["layers"])
    print(f"{name:14} float: {same} of 3 batches the same, {len(names)} layers")
    print(
        f"{name:14} int8: {len(report['layers']) - left} of {len(report['layers'])} layers, "
        f"{found} of {total} values the same, output ±{largest:.1e}, {codes - wrong} of {codes} codes, "
        f"{ours:.2f} dB; prepare_fx and convert_fx: {theirs:.2f} dB",
        flush=True,
    )
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default="target/release/qp")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--models", type=pathlib.Path, default="models")
    parser.add_argument("zoo", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # The kernels of the others saturate on unsigned activations of the whole range.
    torch.backends.quantized.engine = "onednn"
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        qp = Qp(pathlib.Path(arguments.qp).resolve(), folder)
        for name, path, graph, arrays in models(arguments, folder):
            failed += [f"{name}: {what}" for what in check(qp, name, path, graph, arrays)]
    print("all as Python has them" if not failed else f"not as Python has them: {', '.join(failed)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
