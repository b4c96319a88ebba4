"""Adds to layouts.zip what the PyTorch that runs this writes: programs with regions, float and quantized with PT2E.

    for version in 2.5 2.6 2.8 2.13: PYTHON_WITH_THAT_TORCH make_layouts.py

The archive then holds one of each layout that `torch.export.save` has had since schema 7, with what they are given and
what PyTorch computes of it. Programs of other versions in the archive stay as they are.
"""

import warnings

import torch
from cases import case, write

warnings.filterwarnings("ignore")
torch.manual_seed(7)
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


x = torch.randn(2, 1, 5, 5)
made = {}
batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
if version != "2.5":  # which cannot export regions within regions
    made |= case(f"{version}_regions", Net().eval(), (x,), dynamic_shapes=batch)
converted = quantized(Quantizable().eval(), x)
if converted is not None:
    made |= case(f"{version}_quantized", converted, (x,))
write("layouts.zip", made, is_kept=True)
