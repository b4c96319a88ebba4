"""Makes quantized.zip with PyTorch 2.13.0 and NumPy: exported programs, changes to them, and what the changed ones compute.

What is expected is computed beside the programs: batch normalizations folded by hand in float64, codes as NumPy rounds
them, activations rounded with the operators of PT2E. `edits` lists the changes, `codes` what is stored afterwards, `wanted`
what PyTorch's quantizer for XNNPACK would annotate.
"""

import json
import warnings

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators of quantized_decomposed
from cases import case, described, write
from torch import nn
from torch.nn import functional

warnings.filterwarnings("ignore")
torch.manual_seed(11)
ops = torch.ops.quantized_decomposed


def edit(action, target="", tensor=None, dtype=None, **arguments):
    """A change; scales and zero points are lists."""
    given = {}
    for name, value in arguments.items():
        text = ",".join(str(one) for one in value) if isinstance(value, (list, tuple)) else str(value)
        given[name.replace("_", "-")] = text
    made = {"action": action, "target": target, "arguments": given}
    if tensor is not None:
        made["tensor"] = described(torch.from_numpy(np.ascontiguousarray(tensor)))
    if dtype:
        made["dtype"] = dtype
    return made


def channel_codes(weight, axis=0):
    """Codes of a weight, symmetric, with a scale for each channel: round half to even of w / s."""
    moved = np.moveaxis(weight, axis, 0)
    scales = (np.abs(moved).reshape(len(moved), -1).max(1) / 127).astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    codes = np.clip(np.rint(weight / scales.reshape(shape)), -128, 127).astype(np.int8)
    return codes, scales, torch.from_numpy(codes.astype(np.float32) * scales.reshape(shape))


def rounded(value, scale, zero_point, dtype=torch.int8):
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    codes = ops.quantize_per_tensor(value, scale, zero_point, low, high, dtype)
    return ops.dequantize_per_tensor(codes, scale, zero_point, low, high, dtype)


def folded(convolution, normalization):
    factor = (normalization.weight.double() / (normalization.running_var.double() + normalization.eps).sqrt()).detach()
    bias = convolution.bias.double() if convolution.bias is not None else torch.zeros(len(factor)).double()
    weight = (convolution.weight.double() * factor.reshape(-1, 1, 1, 1)).detach().float()
    bias = ((bias - normalization.running_mean.double()) * factor + normalization.bias.double()).detach().float()
    return weight.numpy(), bias


def lively(module):
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return module.eval()


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU6(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.second_norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        first = self.act(self.first_norm(self.first(x)))
        second = self.second_norm(self.second(first))
        both = functional.relu(first + second)
        means = functional.adaptive_avg_pool2d(self.pool(both), 1)
        return self.head(self.drop(means.flatten(1)))


def network():
    model = lively(Network())
    given = torch.randn(2, 2, 6, 6)
    scales = {
        "x": (0.03, 4), "hardtanh_": (0.015, -128), "batch_norm_1": (0.02, -3), "relu": (0.025, -128),
    }
    scales = {name: (float(np.float32(scale)), point) for name, (scale, point) in scales.items()}
    edits, codes = [edit("prepare")], {}

    def weight(name, numbers):
        made, each, real = channel_codes(numbers)
        edits.append(edit("quantize-tensor", name, made, scales=each.tolist(), zero_points=[0] * len(each), axis=0))
        codes[name] = described(torch.from_numpy(made))
        return real

    first, first_bias = folded(model.first, model.first_norm)
    second, second_bias = folded(model.second, model.second_norm)
    first, second = weight("first.weight", first), weight("second.weight", second)
    head = weight("head.weight", model.head.weight.detach().numpy())
    for name, (scale, point) in scales.items():
        edits.append(edit("quantize-value", name, dtype="int8", scales=[scale], zero_points=[point]))
    for name, other in (("max_pool2d", "relu"), ("adaptive_avg_pool2d", "max_pool2d"), ("flatten", "adaptive_avg_pool2d")):
        edits.append(edit("quantize-value", name, same_as=other))

    def computed(x):
        read = lambda value, name: rounded(value, *scales[name])
        a = functional.relu6(functional.conv2d(read(x, "x"), first, first_bias, padding=1))
        a = read(a, "hardtanh_")
        b = read(functional.conv2d(a, second, second_bias, padding=1, groups=2), "batch_norm_1")
        both = read(functional.relu(a + b), "relu")
        means = read(functional.adaptive_avg_pool2d(read(functional.max_pool2d(both, 2), "relu"), 1), "relu")
        return functional.linear(read(means.flatten(1), "relu"), head, model.head.bias)

    made = case("network", model, (given,))
    wanted = {
        "values": [
            ["x", None], ["hardtanh_", None], ["batch_norm_1", None], ["relu", None], ["max_pool2d", "relu"],
            ["adaptive_avg_pool2d", "max_pool2d"], ["flatten", "adaptive_avg_pool2d"],
        ],
        "tensors": [["first.weight", 0], ["second.weight", 0], ["head.weight", 0]],
    }
    return finished(made, "network", edits, [computed(given)], codes=codes, wanted=wanted)


def finished(made, name, edits, outputs, **more):
    values = json.loads(made[f"{name}.json"])
    values.update(edits=edits, outputs=[described(output) for output in outputs], **more)
    made[f"{name}.json"] = json.dumps(values).encode()
    return made


class Tied(nn.Module):
    """A last layer that multiplies with the embedding, and two convolutions with one weight, each before a normalization."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.one = nn.Conv2d(1, 2, 3)
        self.one_norm = nn.BatchNorm2d(2)
        self.two_norm = nn.BatchNorm2d(2)

    def forward(self, index, image):
        again = functional.conv2d(image, self.one.weight)
        head = functional.linear(self.embedding(index), self.embedding.weight)
        return head, self.one_norm(self.one(image)) + self.two_norm(again)


def tied():
    model = lively(Tied())
    index, image = torch.tensor([[0, 3, 5]]), torch.randn(1, 1, 4, 4)
    codes, scales, real = channel_codes(model.embedding.weight.detach().numpy())
    edits = [
        edit("prepare"),
        edit("quantize-tensor", "embedding.weight", codes, scales=scales.tolist(), zero_points=[0] * 6, axis=0),
    ]
    head = functional.linear(model.embedding(index), real)
    other = nn.Conv2d(1, 2, 3, bias=False)
    other.weight = model.one.weight
    convolved = sum(
        functional.conv2d(image, torch.from_numpy(weight), bias)
        for weight, bias in (folded(model.one, model.one_norm), folded(other, model.two_norm))
    )
    made = case("tied", model, (index, image))
    return finished(made, "tied", edits, [head, convolved])


class Written(nn.Module):
    """The form that PT2E writes, two layers with one tensor of scales."""

    def __init__(self):
        super().__init__()
        weights = [torch.randn(3, 3) for _ in range(2)]
        scales = np.float32([0.02, 0.03, 0.025])
        for place, weight in enumerate(weights):
            codes = np.clip(np.rint(weight.numpy() / scales[:, None]), -128, 127).astype(np.int8)
            self.register_buffer(f"codes{place}", torch.from_numpy(codes))
        self.register_buffer("scales", torch.from_numpy(scales))
        self.register_buffer("points", torch.zeros(3, dtype=torch.int64))
        self.bias = nn.Parameter(torch.randn(3))

    def real(self, place):
        codes = getattr(self, f"codes{place}")
        return ops.dequantize_per_channel(codes, self.scales, self.points, 0, -128, 127, torch.int8)

    def forward(self, x):
        x = rounded(x, 0.04, 10, torch.uint8)
        x = functional.relu(functional.linear(x, self.real(0), self.bias))
        x = rounded(x, 0.05, 0, torch.uint8)
        return functional.linear(x, self.real(1), self.bias)


def written():
    model = Written()
    given = torch.randn(4, 3)
    dense = functional.linear
    weights = [model.codes0.float() * model.scales[:, None], model.codes1.float() * model.scales[:, None]]
    made = {}

    def add(name, edits, output, **more):
        made.update(finished(case(name, model, (given,)), name, edits, [output], **more))

    hidden = rounded(functional.relu(dense(rounded(given, 0.04, 10, torch.uint8), weights[0], model.bias)), 0.08, 2, torch.uint8)
    edits = [edit("set-quantization", "relu", dtype="uint8", scales=[0.08], zero_points=[2])]
    add("value", edits, dense(hidden, weights[1], model.bias))

    other = [0.5, 0.25, 0.125]
    codes = np.arange(-4, 5, dtype=np.int8).reshape(3, 3)
    edits = [
        edit("set-quantization", "codes1", dtype="int8", scales=other, zero_points=[0, 1, -1]),
        edit("replace", "codes1", codes),
    ]
    real = (torch.from_numpy(codes).float() - torch.tensor([[0.0], [1.0], [-1.0]])) * torch.tensor(other)[:, None]
    hidden = rounded(functional.relu(dense(rounded(given, 0.04, 10, torch.uint8), weights[0], model.bias)), 0.05, 0, torch.uint8)
    add("weight", edits, dense(hidden, real, model.bias), codes={"codes1": described(torch.from_numpy(codes))})

    plain = torch.randn(3, 3)
    edits = [
        edit("store", "codes0.float", plain.numpy()),
        edit("unquantize", "linear", **{"real:codes0": "codes0.float"}),
    ]
    hidden = rounded(functional.relu(dense(given, plain, model.bias)), 0.05, 0, torch.uint8)
    add("off", edits, dense(hidden, weights[1], model.bias))

    edits = [edit("convert", to="float")]
    add("float", edits, dense(functional.relu(dense(given, weights[0], model.bias)), weights[1], model.bias))
    return made


write("quantized.zip", {**network(), **tied(), **written()})
