#!/usr/bin/env python3
"""Makes the sample family in models/: a ResNet8 trained on scikit-learn's digits, its quantized variants, its data.

    python3 -m venv ENV && ENV/bin/pip install -r scripts/requirements-models.txt
    ENV/bin/python scripts/make_models.py

The same versions on the same kind of CPU give the same files. Every file is checked before it is put in place: it
loads, answers as it did before its debug records were removed, and holds no path of the machine that made it.
"""

import argparse
import ast
import copy
import hashlib
import importlib.metadata
import logging
import operator
import os
import re
import shutil
import socket
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

# ONNX Runtime reads it when it is imported, and would report its use over the network.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
import torch
from blake3 import blake3
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.datasets import load_digits
from torch import nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.nn.utils.fusion import fuse_conv_bn_eval

SEED = 8
HELD_OUT = 540
CALIBRATION = 200
GOLDEN = 100
SIDE = 32
ONNX_FILES = ("resnet8.onnx", "resnet8_int8.onnx", "resnet8_uint8.onnx")
TORCHSCRIPT_FILES = ("resnet8_int8.pt", "resnet8_traced.pt")
EAGER_FILE = "resnet8.pt"
MODEL_FILES = (*ONNX_FILES, EAGER_FILE, *TORCHSCRIPT_FILES)
MAX_MODEL_BYTES = 500_000
MAX_DATA_BYTES = 1_700_000


# The network


class Normalize(nn.Module):
    """Images as files hold them (`N,H,W,3`, 0..255) to what a convolution wants (`N,3,H,W`, 0..1)."""

    def forward(self, image):
        return image.permute(0, 3, 1, 2) * (1.0 / 255.0)


class Stack(nn.Module):
    """Two 3x3 convolutions and a residual connection; a 1x1 convolution on it where the shape changes."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels, 1, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x):
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))

    def fold(self):
        """Folds the batch normalizations into the convolutions before them."""
        self.conv1, self.bn1 = fuse_conv_bn_eval(self.conv1, self.bn1), nn.Identity()
        self.conv2, self.bn2 = fuse_conv_bn_eval(self.conv2, self.bn2), nn.Identity()


class ResNet8(nn.Module):
    """The image classifier of MLPerf Tiny: a stem, stacks of 16, 32 and 64 filters, one dense layer, softmax."""

    def __init__(self, classes=10):
        super().__init__()
        self.normalize = Normalize()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = Stack(16, 16, 1)
        self.layer2 = Stack(16, 32, 2)
        self.layer3 = Stack(32, 64, 2)
        self.pool = nn.AvgPool2d(SIDE // 4)
        self.fc = nn.Linear(64, classes)
        self.softmax = nn.Softmax(1)

    def logits(self, image):
        """What training compares with the labels."""
        x = self.relu(self.bn(self.stem(self.normalize(image))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.pool(x), 1))

    def forward(self, image):
        return self.softmax(self.logits(image))

    def fold(self):
        """Folds all batch normalizations, so that every variant has the same layers."""
        self.stem, self.bn = fuse_conv_bn_eval(self.stem, self.bn), nn.Identity()
        for stack in (self.layer1, self.layer2, self.layer3):
            stack.fold()
        return self


def without_identities(module):
    """An fx graph of `module` in which nothing but real layers is left, under their own names."""
    graph = torch.fx.symbolic_trace(module)
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


# Data and training


def load_data():
    """Digits as `uint8` images `N,32,32,3` and `int64` labels, as (training, held out), split by a seeded shuffle."""
    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] * (255.0 / 16.0)
    large = nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images = large.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    labels = digits.target.astype(np.int64)
    order = np.random.RandomState(SEED).permutation(len(labels))
    held_out, training = order[:HELD_OUT], order[HELD_OUT:]
    return (images[training].copy(), labels[training]), (images[held_out].copy(), labels[held_out])


def shifted(images, generator):
    """Each image moved by up to three pixels either way, so that the network does not learn positions by heart."""
    moves = torch.randint(-3, 4, (len(images), 2), generator=generator).tolist()
    return torch.stack([torch.roll(image, move, (0, 1)) for image, move in zip(images, moves, strict=True)])


def train(images, labels, epochs):
    """A trained and folded ResNet8."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    images, labels = torch.from_numpy(images).float(), torch.from_numpy(labels)
    model = ResNet8()
    batch = 64
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.004, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.004, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for step in range(len(images) // batch):
            chosen = order[step * batch : (step + 1) * batch]
            loss = nn.functional.cross_entropy(model.logits(shifted(images[chosen], generator)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / (len(images) // batch):.4f}", flush=True)
    return model.eval().fold()


# ONNX files


def clean_onnx(model):
    """Removes documentation strings and metadata, where exporters leave source paths and stack traces."""
    for message in [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input,
                    *model.graph.output, *model.graph.value_info, *model.functions]:
        message.ClearField("doc_string")
        if "metadata_props" in message.DESCRIPTOR.fields_by_name:
            message.ClearField("metadata_props")
    model.producer_version = model.producer_version.partition("+")[0]


def name_layers(model):
    """Names each node after its module, and its output after it: `layer1.conv1`, `layer1.conv1_output`."""
    own_outputs = {output.name for output in model.graph.output}
    scopes = [ast.literal_eval(next(entry.value for entry in node.metadata_props
                                    if entry.key == "pkg.torch.onnx.name_scopes")) for node in model.graph.node]
    # The one operation outside all modules is the flattening before the dense layer.
    modules = [scope[-2] or "flatten" for scope in scopes]
    # What a module does itself, beside the modules in it (the residual Add), has its op type behind the module's name.
    layers = [module if modules.count(module) == 1 and not any(other.startswith(f"{module}.") for other in modules)
              else f"{module}.{node.op_type.lower()}"
              for module, node in zip(modules, model.graph.node, strict=True)]
    if len(set(layers)) != len(layers):
        raise ValueError(f"two layers have one name: {layers}")
    names = {}
    constants = {initializer.name for initializer in model.graph.initializer if initializer.name.startswith("val_")}
    for node, name in zip(model.graph.node, layers, strict=True):
        node.name = name
        for output in node.output:
            if output not in own_outputs:
                names[output] = f"{name}_output"
        for constant in constants.intersection(node.input):
            names[constant] = f"{name}.constant"
    for node in model.graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for value in [*model.graph.value_info, *model.graph.initializer]:
        value.name = names.get(value.name, value.name)


def export_onnx(model, path):
    """Writes the float32 ONNX file, batch size free."""
    example = torch.zeros(2, SIDE, SIDE, 3)
    program = torch.onnx.export(model, (example,), dynamo=True, input_names=["image"],
                                output_names=["probabilities"],
                                dynamic_shapes={"image": {0: torch.export.Dim("N")}}, verbose=False)
    proto = program.model_proto
    name_layers(proto)
    clean_onnx(proto)
    proto.graph.name = "resnet8"
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


class Calibration(CalibrationDataReader):
    """Feeds images one by one to ONNX Runtime's calibration."""

    def __init__(self, images):
        self.images = iter(images.astype(np.float32))

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}


def quantize_onnx(source, path, kind, images, scratch):
    """Writes a static QDQ file, weights and activations of the integer type `kind`, one scale per tensor.

    The image is quantized after its normalization. Softmax stays float: its 8-bit output would be coarser than the
    differences that people look for in it.
    """
    prepared = scratch / "prepared.onnx"
    quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
    quantize_static(prepared, path, Calibration(images), quant_format=QuantFormat.QDQ, activation_type=kind,
                    weight_type=kind, per_channel=False, nodes_to_exclude=["normalize.transpose", "normalize.mul", "softmax"])
    proto = onnx.load(path)
    clean_onnx(proto)
    used = {node.domain for node in proto.graph.node}
    for unused in [opset for opset in proto.opset_import if opset.domain not in used]:
        proto.opset_import.remove(unused)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


# PyTorch files


def clean_archive(path):
    """Removes the `.debug_pkl` records of a TorchScript archive, which hold source paths and source text."""
    reader = torch._C.PyTorchFileReader(str(path))
    records = {name: reader.get_record(name) for name in reader.get_all_records()}
    own = ("version", ".data/serialization_id")
    # The file's stem is the name of the folder inside the archive.
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, data in records.items():
        if name not in own and not name.endswith(".debug_pkl"):
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()


def save_traced(model, path):
    """Traces `model`, writes it as TorchScript and removes its debug records; the answers must stay the same."""
    example = torch.arange(SIDE * SIDE * 3, dtype=torch.float32).remainder(256).reshape(1, SIDE, SIDE, 3)
    with torch.no_grad():
        traced = torch.jit.trace(model, example)
        torch.jit.save(traced, path)
        before = torch.jit.load(path)(example)
        clean_archive(path)
        after = torch.jit.load(path)(example)
    if not torch.equal(before, after):
        raise ValueError(f"{path.name} answers differently without its debug records")


def save_eager(model, path):
    """Writes the eager pickle: a dictionary whose `model` is an fx GraphModule."""
    graph = torch.fx.GraphModule(model, model.graph, "ResNet8")
    torch.save({"model": graph, "classes": [str(digit) for digit in range(10)]}, path)


def quantize_fx(model, images):
    """The FX-mode statically quantized model: weights per channel, activations per tensor.

    As in the ONNX files, the image is quantized after its normalization, and softmax stays float.
    """
    torch.backends.quantized.engine = "x86"
    mapping = get_default_qconfig_mapping("x86")
    for kind in ("permute", operator.mul, nn.Softmax):
        mapping = mapping.set_object_type(kind, None)
    prepared = prepare_fx(copy.deepcopy(model), mapping, (torch.zeros(1, SIDE, SIDE, 3),))
    with torch.no_grad():
        for image in images:
            prepared(torch.from_numpy(image[None]).float())
    return convert_fx(prepared)


# Running, checking, describing


def run_file(path, images):
    """The float32 outputs of a model file in its own Python runtime, one image at a time."""
    images = images.astype(np.float32)
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        outputs = [session.run(None, {"image": image[None]})[0] for image in images]
    else:
        if path.name == EAGER_FILE:
            model = torch.load(path, weights_only=False)["model"]
        else:
            model = torch.jit.load(path)
        with torch.no_grad():
            outputs = [model(torch.from_numpy(image[None])).numpy() for image in images]
    outputs = np.concatenate(outputs)
    if outputs.shape != (len(images), 10) or outputs.dtype != np.float32:
        raise ValueError(f"{path.name} gives {outputs.dtype} {outputs.shape}")
    return outputs


def contents(path):
    """All bytes in which something could hide: the file itself and, unpacked, each member of an archive."""
    yield path.name, path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield f"{path.name}!{name}", archive.read(name)


def check_private(path):
    """Fails if a file holds a path of the machine, its name, a source position, or debug records."""
    words = {str(Path.home()), str(Path.cwd()), sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parent),
             socket.gethostname()}
    # A shorter word turns up in compressed data by chance.
    patterns = [re.escape(word.encode()) for word in words if len(word) >= 5]
    patterns += [rb"/(?:home|root|Users|usr|opt|tmp|work|var|mnt|private|workspace|build)/", rb"site-packages",
                 rb"\.py[\":, ]+(?:line )?\d+", rb"Traceback", rb"stack_trace", rb"[A-Za-z]:\\\\?Users"]
    found = re.compile(b"|".join(patterns))
    for name, data in contents(path):
        if ".debug_pkl" in name:
            raise ValueError(f"{name} is a debug record")
        match = found.search(data)
        if match:
            around = data[max(0, match.start() - 60) : match.end() + 60]
            raise ValueError(f"{name} holds {around!r}")
    if path.suffix == ".onnx":
        model = onnx.load(path)
        if model.metadata_props or model.doc_string or any(n.doc_string or n.metadata_props for n in model.graph.node):
            raise ValueError(f"{path.name} still has documentation strings or metadata")


def top1(outputs, labels):
    """The share of images whose most probable class is the label."""
    return float((outputs.argmax(1) == labels).mean())


def parameter_count(model):
    """How many numbers the network learned, after folding."""
    return sum(parameter.numel() for parameter in model.parameters())


def write_readme(template, folder, digests, accuracies, parameters):
    """Fills the generated part of models/README.md, between its two marker lines."""
    text = template.read_text(encoding="utf-8")
    packages = ["torch", "onnxruntime", "onnx", "onnxscript", "scikit-learn", "numpy"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name).partition('+')[0]}" for name in packages)
    lines = ["| file | bytes | top-1 | sha256 |\n", "|---|---|---|---|\n"]
    for name, digest in digests.items():
        accuracy = f"{accuracies[name] * 100:.2f} %" if name in accuracies else ""
        lines.append(f"| {name} | {(folder / name).stat().st_size} | {accuracy} | `{digest}` |\n")
    body = (f"The network has {parameters:,} parameters. Made with Python {sys.version_info.major}."
            f"{sys.version_info.minor}, {versions}.\n"
            f"Top-1 is taken over the {HELD_OUT} images of `digits.npz`, in each file's own Python runtime.\n\n")
    begin, end = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    (folder / "README.md").write_text(head + begin + "\n" + body + "".join(lines) + "\n" + end + tail,
                                      encoding="utf-8")


def main():
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=root / "models", help="folder to write into")
    parser.add_argument("--epochs", type=int, default=24, help="passes over the training images")
    arguments = parser.parse_args()

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    (training, training_labels), (images, labels) = load_data()
    model = train(training, training_labels, arguments.epochs)
    parameters = parameter_count(model)
    model = without_identities(model)

    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        calibration = training[:CALIBRATION]
        export_onnx(model, made / "resnet8.onnx")
        for kind, name in ((QuantType.QInt8, "resnet8_int8.onnx"), (QuantType.QUInt8, "resnet8_uint8.onnx")):
            quantize_onnx(made / "resnet8.onnx", made / name, kind, calibration, Path(scratch))
        save_eager(model, made / EAGER_FILE)
        save_traced(model, made / "resnet8_traced.pt")
        save_traced(quantize_fx(model, calibration), made / "resnet8_int8.pt")
        np.savez_compressed(made / "digits.npz", images=images, labels=labels)

        outputs = {name: run_file(made / name, images) for name in MODEL_FILES}
        with torch.no_grad():
            reference = model(torch.from_numpy(images).float()).numpy()
        for name in ("resnet8.onnx", EAGER_FILE, "resnet8_traced.pt"):
            difference = float(np.abs(outputs[name] - reference).max())
            if difference > 1e-5:
                raise ValueError(f"{name} differs from the network by {difference}")
        np.savez_compressed(made / "golden_outputs.npz", **{name: outputs[name][:GOLDEN] for name in MODEL_FILES})
        accuracies = {name: top1(outputs[name], labels) for name in MODEL_FILES}

        files = sorted(made.iterdir())
        for path in files:
            check_private(path)
            limit = MAX_MODEL_BYTES if path.name in MODEL_FILES else MAX_DATA_BYTES
            if path.stat().st_size > limit:
                raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than {limit}")
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        (made / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
        rows = "".join(f'"{name}" = {{ top1 = {accuracies[name]:.4f}, samples = {len(labels)}, data = "digits.npz", '
                       f'blake3 = "{blake3((made / name).read_bytes()).hexdigest()}" }}\n'
                       for name in sorted(accuracies))
        (made / "qp.toml").write_text("# What is known about the models in this folder; `summary` shows it.\n"
                                      "# Written by scripts/make_models.py.\n\n[accuracy]\n" + rows)
        write_readme(root / "models/README.md", made, digests, accuracies, parameters)
        arguments.output.mkdir(parents=True, exist_ok=True)
        for path in made.iterdir():
            shutil.copyfile(path, arguments.output / path.name)
    for name, accuracy in accuracies.items():
        difference = float(np.abs(outputs[name] - reference).max())
        print(f"{name}: top-1 {accuracy * 100:.2f} %, largest difference from the network {difference:.6f}")


if __name__ == "__main__":
    main()
