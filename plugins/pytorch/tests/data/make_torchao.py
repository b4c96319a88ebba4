"""Makes torchao.zip with PyTorch 2.13.0 and torchao 0.18.0: exported programs that torchao has quantized, its operators
one by one, what they are given, and what PyTorch computes of it."""

import warnings

import torch
import torchao.quantization as ao
from cases import case, write

warnings.filterwarnings("ignore")
torch.manual_seed(11)
ops = torch.ops.torchao


def module(function, **buffers):
    """A module whose forward is `function(self, …)`."""
    made = type("Case", (torch.nn.Module,), {"forward": function})()
    for name, value in buffers.items():
        made.register_buffer(name, value)
    return made


def quantized(config):
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.GELU(), torch.nn.Linear(32, 32)).eval()
    ao.quantize_(model, config)
    return model


class Unwrapped(torch.nn.Module):
    """A linear layer whose weight is plain codes, scales and zero points."""

    def __init__(self, dynamic):
        super().__init__()
        self.dynamic = dynamic
        self.register_buffer("codes", torch.randint(-8, 8, (4, 6), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(4, 2) + 0.5)
        self.register_buffer("zero_point", torch.randint(-2, 3, (4, 2), dtype=torch.int8))

    def forward(self, x):
        if self.dynamic:
            scale, zero_point = ops.choose_qparams_affine(x, "ASYMMETRIC", [1, 6], torch.int8, -128, 127, 1e-5, torch.float32, torch.int32)
            x = ops.quantize_affine(x, [1, 6], scale, zero_point, torch.int8, -128, 127)
            x = ops.dequantize_affine(x, [1, 6], scale, zero_point, torch.int8, -128, 127)
        weight = ops.dequantize_affine(self.codes, [1, 3], self.scale, self.zero_point, torch.int8, -8, 7)
        return torch.nn.functional.linear(x, weight)


wide = torch.tensor([[-40.0, -16.0, -0.3125, -0.0625, 0.0, 0.0625], [0.1875, 0.3125, 1.0, 7.9, 15.875, 400.0]])
codes = torch.arange(-6, 6, dtype=torch.int8).reshape(2, 6)
scale, zero = torch.tensor([[0.5, 1.0], [0.25, 2.0]]), torch.tensor([[0, 1], [-1, 2]])


def chosen(mapping, block, *rest, **more):
    return module(lambda self, x: ops.choose_qparams_affine(x, mapping, block, *rest, **more))


made = {}
for name, config in [
    ("weight_only_int8", ao.Int8WeightOnlyConfig()),
    ("dynamic_int8", ao.Int8DynamicActivationInt8WeightConfig()),
    ("dynamic_int4", ao.Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4)),
    ("weight_only_int4", ao.IntxWeightOnlyConfig(weight_dtype=torch.int4)),
    ("weight_only_float8", ao.Float8WeightOnlyConfig()),
]:
    made |= case(name, quantized(config), (torch.randn(3, 64),))
made |= case("unwrapped", Unwrapped(False), (wide,))
made |= case("unwrapped_dynamic", Unwrapped(True), (wide,))
for name, model, given in [
    ("symmetric", chosen("SYMMETRIC", [1, 6], torch.int8), wide),
    ("symmetric_narrow", chosen("SYMMETRIC", [1, 3], torch.int8, -8, 7, 1e-3, torch.float32, torch.int64), wide),
    ("symmetric_unsigned", chosen("SYMMETRIC", [2, 6], torch.uint8, zero_point_dtype=torch.int32, keepdim=True), wide),
    ("no_clipping", chosen("SYMMETRIC_NO_CLIPPING_ERR", [1, 3], torch.int8, -8, 7, zero_point_dtype=torch.int8, keepdim=True), wide),
    ("asymmetric", chosen("ASYMMETRIC", [2, 2], torch.uint8, keepdim=True), wide),
    ("asymmetric_of_halves", chosen("ASYMMETRIC", [1, 6], torch.int8, scale_dtype=torch.float32), wide.half()),
    ("of_zeros", chosen("ASYMMETRIC", [3], torch.int8), torch.zeros(3)),
    ("quantize", module(lambda self, x: ops.quantize_affine(x, [1, 3], self.s, self.z, torch.int8), s=scale, z=zero), wide),
    ("quantize_narrow", module(lambda self, x: ops.quantize_affine(x, [1, 3], self.s, self.z, torch.uint8, 0, 15), s=scale, z=zero), wide),
    ("dequantize", module(lambda self, x: ops.dequantize_affine(x, [1, 3], self.s, self.z, torch.int8), s=scale, z=zero), codes),
    ("dequantize_without_zero_points",
     module(lambda self, x: ops.dequantize_affine(x, [2, 6], self.s, None, torch.int8, output_dtype=torch.float16), s=torch.tensor([0.1])), codes),
    ("scale_of_float8", module(lambda self, x: ops.choose_scale_float8(x, [1, 3])), wide),
    ("scale_of_float8_bounded", module(lambda self, x: ops.choose_scale_float8(x, [1, 6], torch.float8_e5m2, torch.float32, 0.5, 20.0)), wide),
    ("to_float8_and_back",
     module(lambda self, x: ops.dequantize_affine_float8_non_decomposed(ops.quantize_affine_float8_non_decomposed(x, self.s), self.s), s=scale), wide),
]:
    made |= case(f"operator_{name}", model, (given,))
write("torchao.zip", made)
