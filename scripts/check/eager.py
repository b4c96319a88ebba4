#!/usr/bin/env python3
"""Compares what qp computes of eager pickles with Python's PyTorch: real networks, random weights.

    scripts/check/eager.py [--qp target/release/qp] [--only NAME…]

The classification models of torchvision as graphs of torch.fx, some of them quantized in FX mode, and small classifiers
of text and sound, one of them a plain nn.Sequential. Needs torch and the torchvision that fits it; not run in CI.
Prints for each model how many layers it has and the largest difference of its outputs, relative to the largest value,
or why qp refuses it; fails when one differs by more than 1e-4, or by more than 0.05 for a quantized one.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy
import torch
import torch.nn.functional as F
import torchvision
from torch import fx, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
FLOAT_TOLERANCE = 1e-4
# Kernels for codes round differently from machine to machine, and the steps of many layers add up.
QUANTIZED_TOLERANCE = 0.05
QUANTIZED = ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "googlenet", "shufflenet_v2_x0_5", "squeezenet1_0", "efficientnet_b0", "regnet_y_400mf"]
SIZES = {"inception_v3": 299, "maxvit_t": 224}
PICTURE = 224


class Texts(nn.Module):
    """A classifier of texts by a recurrent network."""

    def __init__(self, recurrent):
        super().__init__()
        self.embedding = nn.Embedding(100, 32, padding_idx=0)
        self.recurrent = recurrent(32, 24, num_layers=2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(48, 4)

    def forward(self, tokens):
        return self.fc(self.recurrent(self.embedding(tokens))[0].mean(1))


class Attentive(nn.Module):
    """A classifier of texts by a transformer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        self.position = nn.Parameter(torch.randn(1, 20, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 3, nn.LayerNorm(32), enable_nested_tensor=False)
        self.fc = nn.Linear(32, 4)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position
        return self.fc(self.encoder(x, src_key_padding_mask=tokens == 0)[:, 0])


class Sounds(nn.Module):
    """M5 (Dai et al. 2016), as the tutorial of torchaudio has it."""

    def __init__(self):
        super().__init__()
        widths = [1, 32, 32, 64, 64]
        self.convs = nn.ModuleList([nn.Conv1d(a, b, 80 if a == 1 else 3, 16 if a == 1 else 1) for a, b in zip(widths, widths[1:])])
        self.norms = nn.ModuleList([nn.BatchNorm1d(b) for b in widths[1:]])
        self.pool = nn.MaxPool1d(4)
        self.fc = nn.Linear(64, 35)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = self.pool(F.relu(norm(conv(x))))
        x = F.avg_pool1d(x, x.shape[-1]).permute(0, 2, 1)
        return F.log_softmax(self.fc(x), dim=2)


def small():
    tokens = torch.randint(0, 100, (2, 20))
    yield "text_lstm", fx.symbolic_trace(Texts(nn.LSTM)), tokens
    yield "text_gru", fx.symbolic_trace(Texts(nn.GRU)), tokens
    yield "text_transformer", fx.symbolic_trace(Attentive()), tokens
    yield "sound_m5", fx.symbolic_trace(Sounds()), torch.randn(2, 1, 8000)
    stack = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 10))
    yield "sequential", stack, torch.randn(2, 3, 32, 32)


def models(only, most_millions):
    """name, module, input, whether it is quantized; a text in place of the module says why there is none."""
    for name, module, x in small():
        if not only or name in only:
            yield name, module.eval(), x, False
    names = torchvision.models.list_models(module=torchvision.models)
    for name in names + [f"{name}_int8" for name in QUANTIZED]:
        if only and name not in only:
            continue
        is_quantized = name.endswith("_int8")
        plain = name.removesuffix("_int8")
        options = {"init_weights": False} if plain in ("googlenet", "inception_v3") else {}
        count = torchvision.models.get_model_weights(plain).DEFAULT.meta["num_params"]
        if count > most_millions * 1e6 and not only:
            print(f"{name:28} left out: {count / 1e6:.0f} million parameters", flush=True)
            continue
        module = torchvision.models.get_model(plain, weights=None, **options).eval()
        size = SIZES.get(plain, PICTURE)
        x = torch.randn(1, 3, size, size)
        try:
            if is_quantized:
                torch.backends.quantized.engine = "fbgemm"
                prepared = prepare_fx(module, get_default_qconfig_mapping("fbgemm"), (x,))
                with torch.no_grad():
                    prepared(x)
                yield name, convert_fx(prepared), x, True
            else:
                yield name, fx.symbolic_trace(module), x, False
        except Exception as error:
            yield name, f"Python does not trace it: {str(error).splitlines()[0]}", x, is_quantized


def check(qp, folder, name, module, x, is_quantized):
    """One row of the table; whether it is as it should be."""
    if isinstance(module, str):
        return f"{name:28} {module}", True
    with torch.no_grad():
        expected = module(x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    model, given, saved = (f"{folder}/{file}" for file in ("model.pt", "x.npy", "out.npz"))
    pathlib.Path(saved).unlink(missing_ok=True)
    torch.save(module, model)
    numpy.save(given, x.numpy())
    began = time.perf_counter()
    shown = subprocess.run([qp, "--format", "json", "-c", f"load '{model}'; info"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    layers = subprocess.run([qp, "--format", "json", "-c", f"load '{model}'; layers"], capture_output=True, text=True, check=False)
    count = layers.stdout.count('"path"')
    engine = "--qengine fbgemm" if is_quantized else ""
    line = f"load '{model}'; input '{given}'; run {engine} --save '{saved}'"
    ran = subprocess.run([qp, "-c", line], capture_output=True, text=True, check=False)
    if shown.returncode or ran.returncode:
        return f"{name:28} {count:5} layers  refused: {' '.join((ran.stderr or shown.stderr).split())[:220]}", False
    found = next(iter(numpy.load(saved).values()))
    difference = float(numpy.abs(found - expected.numpy()).max() / max(1e-6, float(expected.abs().max())))
    is_right = difference <= (QUANTIZED_TOLERANCE if is_quantized else FLOAT_TOLERANCE)
    return f"{name:28} {count:5} layers  {difference:.1e}  described in {seconds * 1000:5.0f} ms{'' if is_right else '  WRONG'}", is_right


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--only", nargs="+", help="these models alone")
    parser.add_argument("--most", default=100, type=int, help="millions of parameters of the largest model to try")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, module, x, is_quantized in models(arguments.only, arguments.most):
            row, is_right = check(str(arguments.qp), folder, name, module, x, is_quantized)
            print(row, flush=True)
            results.append(is_right)
    print(f"{sum(results)} of {len(results)} as they should be")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
