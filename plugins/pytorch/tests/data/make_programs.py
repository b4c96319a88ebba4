"""Makes programs.zip with PyTorch 2.13.0: exported programs, what they are given, and what PyTorch computes of it."""

import warnings

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators of quantized_decomposed
from cases import case, write

warnings.filterwarnings("ignore")
torch.manual_seed(5)
ops = torch.ops.quantized_decomposed
Dim = torch.export.Dim
batch = Dim("batch", min=1, max=64)


def module(function, **buffers):
    """A module whose forward is `function(self, …)`."""
    made = type("Case", (torch.nn.Module,), {"forward": function})()
    for name, value in buffers.items():
        made.register_buffer(name, value)
    return made


# Values between codes, at ties, at the ends and beyond them.
wide = torch.tensor([[-40.0, -16.0, -0.3125, -0.0625, 0.0, 0.0625], [0.1875, 0.3125, 1.0, 7.9, 15.875, 400.0]])
scales = torch.tensor([0.125, 0.3])
zeros = torch.tensor([3, -2])
codes = torch.arange(-6, 6, dtype=torch.int8).reshape(2, 6)


class Small(torch.nn.Module):
    """Convolution, batch normalization and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 3, padding=1)
        self.bn = torch.nn.BatchNorm2d(3)
        self.bn.running_mean.uniform_(-1, 1)
        self.bn.running_var.uniform_(0.5, 2)
        self.act = torch.nn.Hardswish()
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        return self.fc(x.mean((2, 3)))


def counted(self, x):
    self.count.add_(1)
    return x + self.count


def conditional(self, x):
    return torch.cond(x.sum() > 0, lambda x: x + self.bias, lambda x: (x - 1) * 2, (x,))


def by_size(self, x):
    return torch.cond(x.shape[0] > 2, lambda x: x.sum(0), lambda x: x[0] * x.shape[0], (x,))


def nested(self, x):
    def within(x):
        with torch.no_grad():
            y = x * 3
        return torch.cond(x[0, 0] > 0, lambda x, y: (x + y, y * 1), lambda x, y: (x - y, x * 1), (x, y))

    one, two = torch.cond(x.sum() > 0, within, lambda x: (x * 5, x + 5), (x,))
    return one - two, two


def twice(self, x):
    y = x * 2
    return y, x, y


def sized(self, n):
    size = n.item()
    torch._check(size >= 0)
    return torch.zeros(size, 2) + size


def again(self, x):
    y = x + 1
    z = y.sum(0)
    return y, y, (z + 1) * 2


def looping(self, x):
    return torch._higher_order_ops.while_loop(lambda x: x.sum() < 10, lambda x: (x + 1,), (x,))


@torch.library.custom_op("qp_test::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@double.register_fake
def _(x):
    return torch.empty_like(x)


x23 = torch.tensor([[0.5, -1.25, 2.0], [3.0, -0.125, 1.5]])
# Name, module, inputs, dynamic shapes, inputs of another size to run with.
cases = [
    ("small", Small().eval(), (torch.randn(2, 2, 4, 4),), ({0: batch},), (torch.randn(3, 2, 4, 4),)),
    ("flattened_by_the_batch", module(lambda self, x: x.reshape(x.shape[0], -1).sum(1) * (x.shape[0] // 2 + 1)),
     (torch.randn(4, 2, 3),), ({0: batch},), (torch.randn(7, 2, 3),)),
    ("parts_and_a_dictionary",
     module(lambda self, x, y: {"sum": x + y, "parts": [part * 2 for part in torch.chunk(x, 3, 1)], "top": tuple(torch.max(x, 1))}),
     (x23, x23.flip(0)), None, None),
    ("an_index_with_gaps", module(lambda self, x: x[:, self.index], index=torch.tensor([2, 0])), (x23,), None, None),
    ("constants_and_types",
     module(lambda self, x: torch.where(x > 0, x.to(torch.float64), torch.tensor(float("-inf"), dtype=torch.float64)).clamp(min=-5)),
     (x23,), None, None),
    ("a_buffer_that_is_written", module(counted, count=torch.zeros(3)), (x23,), None, None),
    ("in_place", module(lambda self, x: (x * 2).relu_().add_(1)), (x23,), None, None),
    ("integers", module(lambda self, x: self.table[x] + x.unsqueeze(-1), table=torch.arange(12.0).reshape(4, 3)),
     (torch.tensor([3, 0, 2]),), None, None),
    ("attention", module(lambda self, x: torch.nn.functional.scaled_dot_product_attention(x, x, x)),
     (torch.randn(1, 2, 3, 4),), None, None),
    ("per_tensor_uint8", module(lambda self, x: ops.quantize_per_tensor(x, 0.125, 128, 0, 255, torch.uint8)), (wide,), None, None),
    ("per_tensor_narrow", module(lambda self, x: ops.quantize_per_tensor(x, 0.1, -3, -7, 7, torch.int8)), (wide,), None, None),
    ("per_tensor_half", module(lambda self, x: ops.quantize_per_tensor(x, 0.125, 0, -128, 127, torch.int8)), (wide.half(),), None, None),
    ("per_tensor_int16", module(lambda self, x: ops.quantize_per_tensor(x, 0.001, 5, -32768, 32767, torch.int16)), (wide,), None, None),
    ("per_tensor_of_tensors",
     module(lambda self, x: ops.quantize_per_tensor.tensor(x, self.scale, self.zero, -128, 127, torch.int8), scale=torch.tensor(0.3), zero=torch.tensor(7)),
     (wide,), None, None),
    ("per_tensor_of_five_tensors",
     module(lambda self, x: ops.quantize_per_tensor.tensor2(x, self.scale, self.zero, self.low, self.high, torch.int8),
            scale=torch.tensor([0.3]), zero=torch.tensor([7]), low=torch.tensor(-10), high=torch.tensor(10)),
     (wide,), None, None),
    ("dequantized", module(lambda self, x: ops.dequantize_per_tensor(x, 0.3, 2, -128, 127, torch.int8)), (codes,), None, None),
    ("dequantized_to_float64",
     module(lambda self, x: ops.dequantize_per_tensor(x, 0.3, 2, -128, 127, torch.int8, out_dtype=torch.float64)), (codes,), None, None),
    ("dequantized_of_tensors",
     module(lambda self, x: ops.dequantize_per_tensor.tensor(x, self.scale, self.zero, -128, 127, torch.int8), scale=torch.tensor(0.3), zero=torch.tensor(2)),
     (codes,), None, None),
    ("per_channel", module(lambda self, x: ops.quantize_per_channel(x, self.s, self.z, 0, -128, 127, torch.int8), s=scales, z=zeros), (wide,), None, None),
    ("per_channel_of_the_last_axis",
     module(lambda self, x: ops.quantize_per_channel(x, self.s, self.z, 1, 0, 255, torch.uint8), s=torch.arange(1.0, 7.0) / 16, z=torch.arange(6)),
     (wide,), None, None),
    ("dequantized_per_channel", module(lambda self, x: ops.dequantize_per_channel(x, self.s, self.z, 0, -128, 127, torch.int8), s=scales, z=zeros), (codes,), None, None),
    ("dequantized_per_channel_without_zero_points",
     module(lambda self, x: ops.dequantize_per_channel(x, self.s, None, 0, -128, 127, torch.int8), s=scales), (codes,), None, None),
    ("chosen", module(lambda self, x: ops.choose_qparams.tensor(x, -128, 127, 1.1920928955078125e-07, torch.int8)), (wide,), None, None),
    ("chosen_of_zeros", module(lambda self, x: ops.choose_qparams.tensor(x, 0, 255, 1e-5, torch.uint8)), (torch.zeros(3),), None, None),
    ("chosen_symmetric", module(lambda self, x: ops.choose_qparams_symmetric.tensor(x, -127, 127, 1e-5, torch.int8)), (wide,), None, None),
    ("chosen_symmetric_uint8", module(lambda self, x: ops.choose_qparams_symmetric.tensor(x, 0, 255, 1e-5, torch.uint8)), (wide,), None, None),
    ("chosen_per_token", module(lambda self, x: ops.choose_qparams_per_token(x, torch.int8)), (wide,), None, None),
    ("chosen_per_token_asymmetric", module(lambda self, x: ops.choose_qparams_per_token_asymmetric(x, torch.int8)), (wide,), None, None),
    ("per_token",
     module(lambda self, x: ops.quantize_per_token(x, self.s, self.z, -128, 127, torch.int8), s=scales.reshape(2, 1), z=zeros.reshape(2, 1)),
     (wide,), None, None),
    ("dequantized_per_token",
     module(lambda self, x: ops.dequantize_per_token(x, self.s, self.z, -128, 127, torch.int8, torch.float32), s=scales.double().reshape(2, 1), z=zeros.reshape(2, 1)),
     (codes,), None, None),
    ("per_group",
     module(lambda self, x: ops.quantize_per_channel_group(x, self.s, self.z, -8, 7, torch.int8, 3), s=torch.tensor([[0.5, 1.0], [0.25, 2.0]]), z=torch.tensor([[0, 1], [-1, 2]])),
     (wide,), None, None),
    ("dequantized_per_group",
     module(lambda self, x: ops.dequantize_per_channel_group(x, self.s, self.z, -8, 7, torch.int8, 3, torch.float32), s=torch.tensor([[0.5, 1.0], [0.25, 2.0]]), z=torch.tensor([[0, 1], [-1, 2]])),
     (codes,), None, None),
    ("faked_per_channel", module(lambda self, x: ops.fake_quant_per_channel(x, self.s, self.z, 0, -128, 127), s=scales, z=zeros), (wide,), None, None),
    ("converted", module(lambda self, x: ops.convert_element_type.no_fuse(x, torch.float16)), (wide,), None, None),
    ("condition_that_is_met", module(conditional, bias=torch.tensor([1.0, 2.0, 3.0])), (x23,), None, None),
    ("condition_that_is_not_met", module(conditional, bias=torch.tensor([1.0, 2.0, 3.0])), (x23,), None, (-x23,)),
    ("condition_of_sizes", module(by_size), (torch.randn(4, 3),), ({0: batch},), (torch.randn(2, 3),)),
    ("condition_of_larger_sizes", module(by_size), (torch.randn(4, 3),), ({0: batch},), None),
    ("conditions_within_one", module(nested), (x23,), None, None),
    ("conditions_within_one_otherwise", module(nested), (x23,), None, (x23 * torch.tensor([-1.0, 1.0, 1.0]),)),
    ("conditions_within_one_that_is_not_met", module(nested), (x23,), None, (-x23,)),
    ("the_smallest_number", module(lambda self, x: torch.where(x > 0, x, torch.finfo(x.dtype).min)), (x23,), None, None),
    ("a_size_out_of_a_tensor", module(sized), (torch.tensor(3),), None, (torch.tensor(4),)),
    ("one_value_twice_beside_a_name_like_it", module(again), (x23,), None, None),
    ("one_value_twice", module(twice), (x23,), None, None),
    ("refused_higher_order", module(looping), (x23,), None, None),
    ("refused_custom_operator", module(lambda self, x: double(x)), (x23,), None, None),
]

made = {}
for name, model, example, dynamic, given in cases:
    made |= case(name, model, example, given, dynamic)
write("programs.zip", made)
