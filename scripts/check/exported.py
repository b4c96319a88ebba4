#!/usr/bin/env python3
"""Compares what qp computes of exported programs (.pt2) with what Python's PyTorch does.

    scripts/check/exported.py [--qp target/release/qp] [--samples 16] --digits DIGITS.npz MODEL.pt2…
    scripts/check/exported.py [--qp target/release/qp] --networks

The first form captures every value of programs that take such images; Python's come from an interpreter of the graph.
The second exports the classifiers of torchvision and some networks for text and sound, with random weights, float and
quantized with PT2E and with torchao, and compares their outputs. Needs the packages of scripts/requirements-models.txt, torchvision of
the version that fits, and torchao.

Prints a line for each program; fails when a value differs by more than 1e-5 of the largest of its tensor, or when a
program does not run.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators of quantized_decomposed

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
TOLERANCE = 1e-5
warnings.filterwarnings("ignore")


class Recorder(torch.fx.Interpreter):
    """Runs a graph and keeps every tensor under its node's name."""

    def __init__(self, module):
        super().__init__(module)
        self.values = {}

    def run_node(self, node):
        value = super().run_node(node)
        if node.op == "call_function" and isinstance(value, torch.Tensor):
            self.values[node.name] = value.clone()
        return value


def run(qp, line):
    shown = subprocess.run([qp, "-c", line], capture_output=True, text=True, check=False)
    if shown.returncode:
        return " ".join(shown.stderr.split())[:300]
    return None


def difference(found, expected):
    """The largest difference, as a share of the largest expected value; infinite where only one is no number."""
    expected = expected.detach().double().numpy()
    if found.shape != expected.shape:
        return float("inf")
    found = found.astype(numpy.float64)
    # A scale of zero makes both sides none of a number.
    is_same = (found == expected) | (numpy.isnan(found) & numpy.isnan(expected))
    apart = numpy.where(is_same, 0.0, numpy.nan_to_num(numpy.abs(found - expected), nan=numpy.inf))
    return apart.max(initial=0.0) / max(1.0, numpy.nanmax(numpy.abs(expected), initial=0.0))


def check_values(qp, digits, path, samples):
    images = torch.from_numpy(numpy.load(digits)["images"][:samples].astype(numpy.float32))
    recorder = Recorder(torch.export.load(path).module())
    with torch.no_grad():
        recorder.run(images)
    with tempfile.TemporaryDirectory() as folder:
        saved = f"{folder}/values.npz"
        line = f"input '{digits}:images[0:{samples}]'; capture '{path}' --batch {samples} --all --raw --save '{saved}'"
        if error := run(qp, line):
            print(f"{path.name:28} {error}")
            return True
        # qp names a file's entries after layers; the k-th is the k-th value of the graph.
        found = list(numpy.load(saved).values())
    expected = list(recorder.values.values())
    if len(found) != len(expected):
        print(f"{path.name:28} {len(found)} values, Python has {len(expected)}")
        return True
    differences = [difference(one, other) for one, other in zip(found, expected)]
    worst = max(range(len(differences)), key=differences.__getitem__)
    print(f"{path.name:28} {len(found)} values, largest difference {differences[worst]:.1e} in {list(recorder.values)[worst]}")
    return differences[worst] > TOLERANCE


class Text(torch.nn.Module):
    """Embeddings, an LSTM and an encoder layer."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 32)
        self.lstm = torch.nn.LSTM(32, 16, bidirectional=True, batch_first=True)
        self.encoder = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.head = torch.nn.Linear(32, 5)

    def forward(self, tokens):
        return self.head(self.encoder(self.lstm(self.embedding(tokens))[0]).mean(1))


class Sound(torch.nn.Module):
    """Convolutions over a waveform."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv1d(1, 8, 80, stride=16), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.MaxPool1d(4),
            torch.nn.Conv1d(8, 16, 3), torch.nn.GroupNorm(4, 16), torch.nn.GELU(), torch.nn.AdaptiveAvgPool1d(1))
        self.head = torch.nn.Linear(16, 5)

    def forward(self, wave):
        return torch.log_softmax(self.head(self.layers(wave).squeeze(-1)), 1)


def networks(match):
    import torchvision

    # Those of gigabytes compute with the same operators as their smaller kin.
    large = ("_h_14", "_l_16", "_l_32", "128gf", "_32gf", "_16gf", "vgg", "convnext_large", "efficientnet_b6", "efficientnet_b7", "v2_l")
    for name in torchvision.models.list_models(torchvision.models):
        if match not in name or any(part in name for part in large):
            continue
        size = 299 if name.startswith("inception") else 224
        model = torchvision.models.get_model(name, weights=None, **({"init_weights": False} if name in ("googlenet", "inception_v3") else {}))
        yield name, model.eval(), torch.rand(1, 3, size, size)
    if match in "text":
        yield "text", Text().eval(), torch.randint(0, 50, (2, 7))
    if match in "sound":
        yield "sound", Sound().eval(), torch.randn(2, 1, 4000)


def with_pt2e(model, inputs):
    """The model as PT2E quantizes it, calibrated with these inputs."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer, get_default_x86_inductor_quantization_config

    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(torch.export.export(model, inputs).module(), quantizer)
    prepared(*inputs)
    return convert_pt2e(prepared)


def forms_of_torchao(model):
    """The model as torchao quantizes its linear layers, in several ways."""
    import copy

    import torchao.quantization as ao

    for name, config in [
        ("int8", ao.Int8WeightOnlyConfig()),
        ("dynamic_int8", ao.Int8DynamicActivationInt8WeightConfig()),
        ("dynamic_int4", ao.Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4)),
        ("float8", ao.Float8WeightOnlyConfig()),
    ]:
        converted = copy.deepcopy(model)
        ao.quantize_(converted, config)
        yield name, converted


def check_network(qp, name, model, example, folder):
    path, given, saved = folder / f"{name}.pt2", folder / "input.npy", folder / "output.npz"
    saved.unlink(missing_ok=True)
    with torch.no_grad():
        program = torch.export.export(model, (example,))
        torch.export.save(program, path)
        expected = program.module()(example)
    numpy.save(given, example.numpy())
    error = run(qp, f"load '{path}' --as m; input '{given}'; run m --save '{saved}'")
    size = len(program.graph.nodes)
    path.unlink()
    if error:
        print(f"{name:32} {size:5} nodes  {error}", flush=True)
        return True
    worst = difference(next(iter(numpy.load(saved).values())), expected)
    print(f"{name:32} {size:5} nodes  largest difference {worst:.1e}", flush=True)
    return worst > TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--samples", default=16, type=int)
    parser.add_argument("--digits", type=pathlib.Path)
    parser.add_argument("--networks", action="store_true")
    parser.add_argument("--match", default="", help="only networks with this in their name")
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    qp = str(arguments.qp)
    results = [check_values(qp, arguments.digits, path, arguments.samples) for path in arguments.models]
    if arguments.networks:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for name, model, example in networks(arguments.match):
                results.append(check_network(qp, name, model, example, folder))
                if name in ("mobilenet_v2", "vit_b_16", "text"):
                    for form, converted in forms_of_torchao(model):
                        results.append(check_network(qp, f"{name}_{form}", converted, example, folder))
                if name in ("resnet18", "mobilenet_v2", "squeezenet1_1", "vit_b_16"):
                    try:
                        converted = with_pt2e(model, (example,))
                    except ValueError as error:
                        print(f"{name}_pt2e: Python does not quantize it: {error}")
                        continue
                    results.append(check_network(qp, f"{name}_pt2e", converted, example, folder))
    print(f"{len(results) - sum(results)} of {len(results)} agree")
    sys.exit(any(results))


if __name__ == "__main__":
    main()
