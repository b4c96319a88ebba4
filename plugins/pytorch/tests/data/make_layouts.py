"""Adds to layouts.zip what the PyTorch that runs this writes: programs with regions, float and quantized with PT2E.

    for version in 2.6 2.8 2.13: PYTHON_WITH_THAT_TORCH make_layouts.py

The archive then holds one of each layout that `torch.export.save` has had since schema 8, with what they are given and
what PyTorch computes of it. Programs of other versions in the archive stay as they are.
"""

import io
import json
import pathlib
import warnings
import zipfile

import torch

warnings.filterwarnings("ignore")
torch.manual_seed(7)
path = pathlib.Path(__file__).parent / "layouts.zip"
version = ".".join(torch.__version__.split(".")[:2])


class Block(torch.nn.Module):
    """A convolution beside buffers of each kind."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 2, 3, padding=1)
        self.register_buffer("scales", torch.tensor([0.5, 1.5]))
        self.register_buffer("offset", torch.tensor([0.25]), persistent=False)

    def forward(self, x):
        return torch.relu(self.conv(x) + x) * self.scales[1] + self.offset + torch.tensor([1.25])


class Net(torch.nn.Module):
    """Regions: without gradients, within each other, one that passes its input on, without automatic precision."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.block = Block()
        self.fc = torch.nn.Linear(2, 3)

    def forward(self, x):
        x = self.block(self.stem(x)).mean((2, 3))
        with torch.no_grad():
            y = self.fc(x) * 2
            with torch.enable_grad():
                y = y + self.fc(x)
            z = y - 1
        with torch.no_grad():
            same, z = y, z * 2
        with torch.autocast("cpu", enabled=False):
            z = torch.matmul(z, z.t())
        return torch.softmax(z @ same, 1), same


class Quantizable(torch.nn.Module):
    """A convolution, a region without gradients and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.fc = torch.nn.Linear(2, 3)

    def forward(self, x):
        x = torch.relu(self.conv(x)).mean((2, 3))
        with torch.no_grad():
            x = x * 2
        return self.fc(x)


def quantized(model, x):
    """The model after PT2E with XNNPACK's quantizer, a scale for each channel; None where there is none."""
    try:
        from torch.ao.quantization.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torch.ao.quantization.quantizer import xnnpack_quantizer as xnnpack
    except ImportError:
        return None
    quantizer = xnnpack.XNNPACKQuantizer()
    quantizer.set_global(xnnpack.get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(model, (x,)).module(), quantizer)
    prepared(x)
    return convert_pt2e(prepared)


def described(tensor):
    tensor = tensor.detach()
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "numbers": tensor.double().flatten().tolist()}


def stripped(value):
    """JSON without stack traces and the like, which hold the paths of this machine."""
    if isinstance(value, list):
        return [stripped(element) for element in value]
    if not isinstance(value, dict):
        return value
    kept = {key: stripped(entry) for key, entry in value.items()}
    if "target" in kept and "metadata" in kept:
        kept["metadata"] = {"nn_module_stack": kept["metadata"].get("nn_module_stack", "")}
    return kept


def plain(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, entry in entries:
            if "sample_inputs" in name or "example_inputs" in name:
                continue
            if name.endswith(("models/model.json", "serialized_exported_program.json")):
                entry = json.dumps(stripped(json.loads(entry))).encode()
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), entry)
    return out.getvalue()


x = torch.randn(2, 1, 5, 5)
made = {}
small = Quantizable().eval()
for name, model in [("regions", Net().eval()), ("quantized", quantized(small, x))]:
    if model is None:
        continue
    batch = {"dynamic_shapes": ({0: torch.export.Dim("batch", min=1, max=64)},)} if name == "regions" else {}
    program = torch.export.export(model, (x,), **batch)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    outputs = torch.utils._pytree.tree_leaves(model(x))
    made[f"{version}_{name}.pt2"] = plain(buffer.getvalue())
    values = {"inputs": [described(x)], "outputs": [described(output) for output in outputs]}
    made[f"{version}_{name}.json"] = json.dumps(values).encode()
    print(version, name, [list(output.shape) for output in outputs])

entries = {}
if path.exists():
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in sorted({**entries, **made}.items()):
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 9)
