"""Makes modules.zip of this folder with PyTorch 2.13.0: small models as `torch.save` writes them, and what they compute.

Each case is a file of a model, its inputs and PyTorch's own outputs in `cases.json`, quantized ones as their codes.
Graphs are made by `torch.fx.symbolic_trace`; modules of torch.nn are saved as they are where a graph adds nothing. The
converters of onnx2torch are put into graphs by hand: `pip install onnx2torch`. Weights are random with a fixed seed.
"""

import copy
import io
import json
import math
import operator
import pathlib
import warnings
import zipfile

import torch
import torch.nn.functional as F
from torch import fx, nn

warnings.filterwarnings("ignore")
torch.backends.quantized.engine = "fbgemm"
torch.manual_seed(7)
cases = {}
files = {}


# Of long outputs, elements at regular distances are kept.
MOST = 60


def numbers(tensor, digits):
    """The elements as short texts."""
    if tensor.dtype.is_floating_point:
        return [float(f"{number:.{digits}g}") for number in tensor.double().flatten().tolist()]
    return [int(number) for number in tensor.flatten().tolist()]


def input_of(tensor):
    return {"dtype": str(tensor.dtype)[6:], "shape": list(tensor.shape), "numbers": numbers(tensor, 9)}


def output_of(tensor):
    found = {"is_quantized": tensor.is_quantized}
    tensor = tensor.int_repr() if tensor.is_quantized else tensor
    step = -(-tensor.numel() // MOST) or 1
    found |= {"dtype": str(tensor.dtype)[6:], "shape": list(tensor.shape), "step": step}
    return found | {"numbers": numbers(tensor.flatten()[::step], 7)}


inputs_by_content = {}


def shared(tensor):
    """The name of an input, of which many cases have the same."""
    content = json.dumps(input_of(tensor))
    return inputs_by_content.setdefault(content, f"input_{len(inputs_by_content)}")


def flat(value):
    """The tensors of an output, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for part in value.values() for tensor in flat(part)]
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in flat(part)]
    return []


def shaken(model):
    """Statistics and parameters that are not those of a new module, few of whose mistakes would show."""
    for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        if not tensor.is_floating_point() or tensor.is_quantized:
            continue
        if "running_var" in name:
            tensor.data = torch.rand_like(tensor) + 0.5
        elif "running_mean" in name or tensor.dim() == 1 and "scale" not in name and "val" not in name:
            tensor.data = torch.randn_like(tensor) * 0.3
    return model


def add(name, model, *inputs, is_shaken=True):
    assert name not in cases, name
    model = model.eval()
    if isinstance(model, fx.GraphModule):
        model = fx.GraphModule(model, model.graph)
        model.meta = {}
    for module in model.modules():
        # How a model was prepared holds functions that no pickle takes.
        module.__dict__.pop("qconfig", None)
    if is_shaken:
        model = shaken(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    file = io.BytesIO()
    torch.save(model, file)
    files[name] = file.getvalue()
    copies = [tensor.clone() for tensor in inputs]
    with torch.no_grad():
        outputs = flat(model(*copies))
    cases[name] = {"inputs": [shared(tensor) for tensor in inputs],
                   "outputs": [output_of(tensor) for tensor in outputs],
                   "engine": torch.backends.quantized.engine}


def traced(name, model, *inputs, is_shaken=True):
    add(name, fx.symbolic_trace(model.eval()), *inputs, is_shaken=is_shaken)


def function(name, body, *inputs):
    """A graph that is the function `body` alone."""
    add(name, fx.symbolic_trace(body), *inputs)


class Calls(nn.Module):
    """One module with its inputs, so that a graph calls it."""

    def __init__(self, module, **keywords):
        super().__init__()
        self.module = module
        self.keywords = keywords

    def forward(self, *inputs):
        return self.module(*inputs, **self.keywords)


def graph_of(module, count, **keywords):
    """A graph that calls `module` with `count` inputs, written by hand."""
    graph = fx.Graph()
    inputs = [graph.placeholder(name) for name in "abcdef"[:count]]
    graph.output(graph.call_module("module", tuple(inputs), keywords))
    return fx.GraphModule({"module": module}, graph)


def randn(*shape):
    """Numbers of few digits."""
    return (torch.randn(*shape) * 100).round() / 100


x1, x2, x3 = randn(2, 4, 9), randn(2, 4, 6, 7), randn(1, 2, 4, 5, 4)
text = torch.tensor([[1, 5, 2, 0], [3, 3, 4, 6]])

# Modules of torch.nn.
activations = [
    nn.ReLU(), nn.ReLU6(), nn.SELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.LeakyReLU(0.2),
    nn.RReLU(0.1, 0.3), nn.ELU(0.7), nn.CELU(0.6), nn.Hardtanh(-0.5, 0.8), nn.Threshold(0.1, 2.0), nn.GELU(),
    nn.GELU("tanh"), nn.Sigmoid(), nn.Tanh(), nn.LogSigmoid(), nn.Softsign(), nn.Tanhshrink(), nn.GLU(1), nn.PReLU(),
    nn.PReLU(4), nn.Softplus(2, 3), nn.Softshrink(0.3), nn.Hardshrink(0.4), nn.Softmax(1), nn.Softmax(), nn.LogSoftmax(-1),
    nn.Softmin(1), nn.Softmax2d(), nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.ReLU(True), nn.SiLU(True),
    nn.Identity(), nn.Flatten(), nn.Flatten(0, 1), nn.Unflatten(1, (2, 2)), nn.PixelShuffle(2), nn.ChannelShuffle(2),
    nn.LocalResponseNorm(3, 0.01, 0.7, 2.0), nn.LocalResponseNorm(2),
]
for index, module in enumerate(activations):
    add(f"activation_{index}_{type(module).__name__}", nn.Sequential(nn.Identity(), module), x2)
add("softmax_without_axis_of_matrix", nn.Sequential(nn.Softmax()), randn(3, 5))
add("softmax_without_axis_of_rank_3", nn.Sequential(nn.LogSoftmax()), x1)
add("response_norm_of_rank_3", nn.LocalResponseNorm(3), x1)
add("pixel_unshuffle", nn.PixelUnshuffle(2), randn(1, 2, 4, 6))

convolutions = {
    "conv1d": (nn.Conv1d(4, 6, 3, 2, 1), x1), "conv1d_circular": (nn.Conv1d(4, 3, 3, padding=1, padding_mode="circular"), x1),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), 2, (1, 0), (1, 2), 2, False), x2), "conv2d_same": (nn.Conv2d(4, 3, 3, padding="same"), x2),
    "conv2d_reflect": (nn.Conv2d(4, 3, 3, padding=(1, 2), padding_mode="reflect"), x2),
    "conv2d_replicate_same": (nn.Conv2d(4, 3, 3, padding="same", padding_mode="replicate"), x2),
    "conv3d": (nn.Conv3d(2, 3, (2, 3, 2), 1, 1), x3), "conv3d_zeros_valid": (nn.Conv3d(2, 3, 2, padding="valid"), x3),
    "transposed1d": (nn.ConvTranspose1d(4, 3, 3, 2, 1, 1), x1), "transposed2d": (nn.ConvTranspose2d(4, 6, 3, (2, 1), 1, (1, 0), 2), x2),
    "transposed3d": (nn.ConvTranspose3d(2, 2, 2, 2, dilation=1), x3), "lazy_conv2d": (nn.LazyConv2d(3, 2), x2),
    "linear": (nn.Linear(7, 3), x2), "linear_without_bias": (nn.Linear(7, 3, False), x2),
}
for name, (module, x) in convolutions.items():
    module(x)
    add(name, module, x)
add("bilinear", nn.Bilinear(3, 4, 2), randn(5, 3), randn(5, 4))
add("cosine_similarity", nn.CosineSimilarity(1), randn(3, 4), randn(3, 4))
add("pairwise_distance", nn.PairwiseDistance(2), randn(3, 4), randn(3, 4))

norms = {
    "batch_norm1d": (nn.BatchNorm1d(4), x1), "batch_norm2d": (nn.BatchNorm2d(4, 1e-3), x2), "batch_norm3d": (nn.BatchNorm3d(2), x3),
    "batch_norm_of_batch": (nn.BatchNorm2d(4, track_running_stats=False), x2), "batch_norm_plain": (nn.BatchNorm2d(4, affine=False), x2),
    "batch_norm_cumulative": (nn.BatchNorm2d(4, momentum=None), x2),
    "instance_norm1d": (nn.InstanceNorm1d(4, affine=True), x1), "instance_norm2d": (nn.InstanceNorm2d(4, track_running_stats=True), x2),
    "layer_norm": (nn.LayerNorm((6, 7)), x2), "layer_norm_plain": (nn.LayerNorm(7, elementwise_affine=False), x2),
    "group_norm": (nn.GroupNorm(2, 4), x2), "rms_norm": (nn.RMSNorm(7), x2), "rms_norm_eps": (nn.RMSNorm(7, 1e-2), x2),
}
for name, (module, x) in norms.items():
    add(name, module, x)

pools = {
    "max_pool1d": (nn.MaxPool1d(3, 2, 1), x1), "max_pool2d": (nn.MaxPool2d(2, ceil_mode=True), x2), "max_pool3d": (nn.MaxPool3d(2), x3),
    "max_pool2d_dilated": (nn.MaxPool2d((2, 3), 1, (1, 1), (1, 2)), x2), "avg_pool1d": (nn.AvgPool1d(3, 2, 1), x1),
    "avg_pool2d": (nn.AvgPool2d(3, 2, 1, True, False), x2), "avg_pool2d_divisor": (nn.AvgPool2d(2, divisor_override=3), x2),
    "avg_pool3d": (nn.AvgPool3d(2), x3), "adaptive_avg1d": (nn.AdaptiveAvgPool1d(4), x1), "adaptive_avg2d": (nn.AdaptiveAvgPool2d((None, 3)), x2),
    "adaptive_avg3d": (nn.AdaptiveAvgPool3d(2), x3), "adaptive_max1d": (nn.AdaptiveMaxPool1d(3), x1), "adaptive_max2d": (nn.AdaptiveMaxPool2d((2, None)), x2),
    "adaptive_max3d": (nn.AdaptiveMaxPool3d(1), x3), "lp_pool1d": (nn.LPPool1d(2, 3), x1), "lp_pool2d": (nn.LPPool2d(3, (2, 3), 1), x2.abs()),
    "max_pool_with_indices": (nn.MaxPool2d(2, return_indices=True), x2),
}
for name, (module, x) in pools.items():
    add(name, module, x)


class Unpooled(nn.Module):
    def __init__(self, rank):
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{rank}d")(2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{rank}d")(2)

    def forward(self, x):
        values, indices = self.pool(x)
        return self.unpool(values, indices), self.unpool(values, indices, output_size=x.size())


traced("unpool1d", Unpooled(1), x1)
traced("unpool2d", Unpooled(2), x2[..., :6])
traced("unpool3d", Unpooled(3), x3[:, :, :, :4])

paddings = {
    "constant_pad1d": (nn.ConstantPad1d((1, 2), 3.5), x1), "constant_pad2d": (nn.ConstantPad2d(1, -1), x2), "zero_pad2d": (nn.ZeroPad2d((1, 0, 2, 1)), x2),
    "zero_pad1d": (nn.ZeroPad1d(2), x1), "constant_pad3d": (nn.ConstantPad3d(1, 0.5), x3), "reflection1d": (nn.ReflectionPad1d(2), x1),
    "reflection2d": (nn.ReflectionPad2d((1, 2, 0, 1)), x2), "replication2d": (nn.ReplicationPad2d(2), x2), "replication3d": (nn.ReplicationPad3d(1), x3),
    "circular1d": (nn.CircularPad1d((1, 3)), x1), "circular2d": (nn.CircularPad2d(1), x2),
    "upsample_nearest": (nn.Upsample(scale_factor=2), x2), "upsample_size": (nn.Upsample((9, 10), mode="bilinear"), x2),
    "upsample_corners": (nn.Upsample(scale_factor=(1.5, 2), mode="bilinear", align_corners=True), x2), "upsample_bicubic": (nn.Upsample(scale_factor=1.7, mode="bicubic"), x2),
    "upsample_linear": (nn.Upsample(scale_factor=2.3, mode="linear"), x1), "upsample_exact": (nn.Upsample((5, 9), mode="nearest-exact"), x2),
    "upsample_trilinear": (nn.Upsample(scale_factor=2, mode="trilinear"), x3[:, :1, :2, :2, :2]), "upsample_area": (nn.Upsample((3, 4), mode="area"), x2),
    "fold": (nn.Fold((4, 5), (2, 3), padding=1), randn(1, 12, 25)), "unfold": (nn.Unfold((2, 3), 1, 1, 2), x2),
    "upsampling_bilinear2d": (nn.UpsamplingBilinear2d(scale_factor=2), x2),
}
for name, (module, x) in paddings.items():
    add(name, module, x)
traced("upsample_nearest_of_signal", nn.Sequential(nn.Conv1d(4, 4, 1), nn.Upsample(scale_factor=2)), x1)
traced("upsample_nearest_of_volume", nn.Sequential(nn.MaxPool3d(1), nn.ReLU(), nn.Upsample(scale_factor=2)), x3[:, :1, :2, :2, :2])

add("embedding", nn.Sequential(nn.Embedding(7, 3, padding_idx=0)), text)
for mode in ("sum", "mean", "max"):
    add(f"embedding_bag_{mode}", nn.EmbeddingBag(7, 3, mode=mode), text)
add("embedding_bag_offsets", graph_of(nn.EmbeddingBag(7, 3, include_last_offset=True), 2), text.flatten(), torch.tensor([0, 3, 8]))

# Recurrent modules and attention.
sequence = randn(5, 2, 3)
add("lstm", nn.LSTM(3, 4), sequence)
add("lstm_deep", nn.LSTM(3, 2, 2, batch_first=True, bidirectional=True), sequence)
add("lstm_projected", nn.LSTM(3, 4, proj_size=2, bias=False), sequence)
add("gru", nn.GRU(3, 4, 2, bidirectional=True), sequence)
add("rnn", nn.RNN(3, 4), sequence)
add("rnn_relu", nn.RNN(3, 4, nonlinearity="relu", batch_first=True), sequence)
add("lstm_with_state", graph_of(nn.GRU(3, 4), 2), sequence, randn(1, 2, 4))
add("lstm_cell", nn.LSTMCell(3, 4), randn(2, 3))
add("gru_cell", nn.GRUCell(3, 4), randn(2, 3))
add("rnn_cell", nn.RNNCell(3, 4, nonlinearity="relu"), randn(2, 3))
batch = randn(2, 5, 8)
for name, module in {"attention": nn.MultiheadAttention(8, 2), "attention_batch_first": nn.MultiheadAttention(8, 4, batch_first=True),
                     "attention_biased": nn.MultiheadAttention(8, 2, add_bias_kv=True, bias=False)}.items():
    add(name, graph_of(module, 3), batch, batch + 1, batch * 2)
add("attention_separate", graph_of(nn.MultiheadAttention(8, 2, kdim=3, vdim=5, batch_first=True), 3), batch, randn(2, 4, 3), randn(2, 4, 5))
add("attention_of_each_head", graph_of(nn.MultiheadAttention(8, 2, batch_first=True), 3, average_attn_weights=False), batch, batch, batch)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, tokens, bias):
        padding = tokens == 0
        both = self.attention(x, x, x, key_padding_mask=padding, attn_mask=bias, need_weights=False)[0]
        return both, self.attention(x, x, x, attn_mask=bias > 0)[1]


bias = randn(4, 4)
bias.fill_diagonal_(-1)
traced("attention_masks", Masked(), randn(2, 4, 8), text, bias)
for first in (False, True):
    layer = nn.TransformerEncoderLayer(8, 2, 16, norm_first=first, batch_first=True, activation="gelu" if first else "relu")
    add(f"transformer_encoder_{first}", nn.TransformerEncoder(layer, 1, nn.LayerNorm(8) if first else None), batch)
layer = nn.TransformerDecoderLayer(8, 2, 16)
add("transformer_decoder", nn.TransformerDecoder(layer, 1), batch, batch + 1)


class Texts(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 8, padding_idx=0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fc = nn.Linear(8, 3)

    def forward(self, tokens):
        hidden = self.encoder(self.embedding(tokens) * math.sqrt(8), src_key_padding_mask=tokens.eq(0))
        return F.log_softmax(self.fc(hidden.mean(dim=1)), dim=-1)


add("text_classifier", fx.symbolic_trace(Texts()), text)


class Signals(nn.Module):
    """As M5, for sound."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(1, 4, 8, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2))
        self.gru = nn.GRU(4, 3, batch_first=True)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = self.conv(x).permute(0, 2, 1)
        output, hidden = self.gru(x)
        x = F.avg_pool1d(output.transpose(1, 2), output.shape[1]).squeeze(-1)
        return F.log_softmax(self.fc(x + hidden[-1]), dim=1)


traced("signal_classifier", Signals(), randn(2, 1, 64))

# Functions and methods, as graphs write them.
functions = {
    "shape_arithmetic": (lambda x: x.reshape(x.size(0), -1, x.shape[1] // 2) * (x.size(-1) - 2) + x.dim() / x.shape[2], x2),
    "shape_slices": (lambda x: x.flatten(1).view(x.shape[:2] + (-1,)).expand(x.size()[:1] + (4, 42)), x2),
    "indices": (lambda x: (x[0], x[:, 1], x[..., -1], x[:, None, 1:3, ::2], x[1:, ..., :3, 2], x[:, [0, 2]], x[None], x[-1][..., None]), x2),
    "index_by_tensor": (lambda x, i: (x[i], x[:, i], x[:, i, 2:, 0], x[i, i]), x2, torch.tensor([1, 0])),
    "index_by_mask": (lambda x: (x[x > 0.5], x[x[:, 0, 0, 0] > -100]), x2),
    "in_place": (lambda x: (in_place(x.clone()), x), x2),
    "split_and_cat": (lambda x: torch.cat([x.split(2, dim=1)[1], torch.split(x, [1, 3], 1)[1], x.chunk(2, dim=1)[0]], dim=1), x2),
    "unpacked": (lambda x: unpacked(x), x2),
    "stack": (lambda x: torch.stack((x, x + 1, 2 - x), dim=1).sum(1, keepdim=True).mean((2, 3)), x2),
    "maxima": (lambda x: (torch.max(x, 1)[0], x.max(dim=-1).indices, torch.max(x, x * -1), x.max(), torch.topk(x, k=2, dim=1)[1], x.topk(2).values, x.min(2, keepdim=True)[0], x.argmax(1), x.sort(descending=True)[0]), x2),
    "norms": (lambda x: (torch.norm(x), x.norm(dim=1), x.norm(p=1, dim=(2, 3), keepdim=True), F.normalize(x, dim=1), F.normalize(x, p=1.0, dim=-1)), x2),
    "einsum": (lambda x, y: torch.einsum("bchw,bdhw->bcd", x, y), x2, x2 * 2),
    "casts": (lambda x: (x.to(torch.float64).sum().float(), x.type(torch.float16).to(x.dtype), x.long().to(torch.uint8), (x > 0).float(), x.to("cpu"), x.to(x.device), x.int().type_as(x), x.half().double().to(x)), x2),
    "new_tensors": (lambda x: (x.new_zeros((2, x.size(1))), x.new_ones(x.size(0), 3) * 2, x.new_full((2, 2), 1.5), torch.zeros_like(x), torch.full_like(x, 2), x.new_tensor([1.0, 2.0]), torch.tensor([1.5, 2.0]), torch.tensor(3) + x), x2),
    "masks": (lambda x: (torch.where(x > 0, x, torch.zeros_like(x)), torch.where(x > 0, 1.0, 0.0), x.masked_fill(x < 0, -9.0), x.masked_fill(x.ge(1), float("-inf"))), x2),
    "expanded": (lambda x: (x[:, :1].expand(-1, 3, -1, -1), x.repeat(1, 2, 1, 1), x.permute(0, 2, 3, 1).contiguous(), x.transpose(1, -1), x.unsqueeze(1).squeeze(1), x.flip([2]), torch.roll(x, shifts=(1, 2), dims=(2, 3)), x.repeat_interleave(2, dim=1)), x2),
    "comparisons": (lambda x: (x == x.round(), x.ne(0), ~(x > 0), (x > 0) & (x < 1), (x > 0) | (x < -1), torch.logical_not(x > 0)), x2),
    "operators": (lambda x: (-x, abs(x), x ** 2, 2 ** x, 1 / (x + 9), x // 0.3, x % 0.7, x @ x.transpose(2, 3), 3 - x, operator.truediv(x, 4), x.pow(2).mean(-1, keepdim=True).rsqrt()), x2),
    "scalar_functions": (lambda x: x * math.sqrt(x.shape[1]) + math.floor(x.shape[2] / 4), x2),
    "clamps": (lambda x: (torch.clamp(x, -0.5, 0.5), x.clamp(min=0), x.clamp_max(1), F.hardtanh(x, 0, 6), F.relu6(x), x.clip(0, 1)), x2),
    "activations": (lambda x: (F.relu(x), F.gelu(x, approximate="tanh"), F.silu(x), F.leaky_relu(x, 0.1), F.elu(x), F.softplus(x), F.logsigmoid(x), F.glu(x, 1), F.hardswish(x), F.mish(x), F.softmax(x, dim=1), F.log_softmax(x, 1), torch.sigmoid(x), x.tanh(), torch.softmax(x, -1), x.softmax(dim=1), F.tanhshrink(x), F.hardsigmoid(x), F.selu(x), F.celu(x, 0.5), F.rrelu(x), F.dropout(x, 0.5, False), F.prelu(x, x.new_ones(1) * 0.3)), x2),
    "pools": (lambda x: (F.max_pool2d(x, 2), F.max_pool2d(x, kernel_size=3, stride=1, padding=1), F.avg_pool2d(x, 2, ceil_mode=True), F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (2, 1)), F.adaptive_max_pool2d(x, 2), F.lp_pool2d(x.abs(), 2, 2), F.max_pool2d(x, 2, return_indices=True)[1]), x2),
    "resizes": (lambda x: (F.interpolate(x, scale_factor=2), F.interpolate(x, size=(3, 3), mode="bilinear", align_corners=False), F.interpolate(x, x.shape[-2:], mode="nearest"), F.interpolate(x, size=4), F.interpolate(x, scale_factor=0.6, mode="bilinear", recompute_scale_factor=True), F.interpolate(x, size=(4, 4), mode="bicubic", antialias=True), F.interpolate(x, scale_factor=(0.5, 0.5), mode="area")), x2),
    "pads": (lambda x: (F.pad(x, (1, 2)), F.pad(x, (1, 0, 2, 1), value=3.0), F.pad(x, [1, 1, 1, 1], mode="reflect"), F.pad(x, (0, 0, 0, 0, 1, 1), "constant", 0)), x2),
    "attention_function": (lambda x: (F.scaled_dot_product_attention(x, x, x), F.scaled_dot_product_attention(x, x * 2, x, is_causal=True, scale=0.3)), x2),
    "grids": (lambda x: F.grid_sample(x, F.affine_grid(x.new_zeros(2, 2, 3) + 0.3, x.size(), align_corners=False), align_corners=False), x2),
    "unfolded": (lambda x: F.fold(F.unfold(x, 2, stride=2), (6, 6), 2, stride=2), x2[..., :6]),
    "meshes": (lambda x: (torch.meshgrid(x[0, 0, 0], x[0, 0, 1, :3], indexing="xy")[0], torch.broadcast_tensors(x, x[:1])[1]), x2),
    "embedded": (lambda i, w: (F.embedding(i, w), F.one_hot(i, 7).float(), F.embedding_bag(i, w, mode="sum")), text, randn(7, 3)),
    "distances": (lambda x, y: (F.cosine_similarity(x, y), torch.cdist(x, y), F.pairwise_distance(x, y)), randn(3, 4), randn(3, 4)),
    "reductions": (lambda x: (x.sum(), x.mean(1), x.std(dim=1), x.var(1, unbiased=False), x.prod(2), torch.cumsum(x, 1), x.amax((1, 2)), torch.logsumexp(x, 1), x.abs().sum(dim=(2, 3)), torch.var_mean(x, dim=1)[1], x.any(), torch.count_nonzero(x > 0)), x2),
    "linear_algebra": (lambda x, y: (torch.matmul(x, y.t()), torch.mm(x, y.T), torch.addmm(x[:, :3], x, y.t()), torch.bmm(x[None], y[None].transpose(1, 2)), F.linear(x, y), torch.outer(x[0], y[0]), torch.baddbmm(x[None, :, :3], x[None], y[None].mT)), randn(3, 4), randn(3, 4)),
    "returns_a_dictionary": (lambda x: {"out": x + 1, "aux": [x * 2, x - 1]}, x2),
    "unbound": (lambda x: x.unbind(1)[2] + torch.unbind(x, dim=1)[0] + torch.tensor_split(x, 2, dim=1)[1][:, 0], x2),
    "gathers": (lambda x, i: (torch.gather(x, 1, i), x.scatter(1, i, 5.0), torch.index_select(x, 0, i[:, 0]), torch.take_along_dim(x, i, dim=1)), randn(2, 4), torch.tensor([[0, 1], [1, 0]])),
    "movements": (lambda x: (x.movedim(1, -1), x.swapaxes(1, 2), x.flatten(2).unflatten(2, (6, 7)), x.narrow(1, 1, 2), x.view_as(x), torch.reshape(x, (2, -1)), x.ravel(), torch.tril(x), torch.triu(x, diagonal=1), torch.pixel_shuffle(x, 2), torch.channel_shuffle(x, 2)), x2),
}


def in_place(x):
    y = x
    y += 1
    x.mul_(2)
    y -= 0.5
    z = F.relu(x, inplace=True)
    return x + y * z


def unpacked(x):
    b, c, h, w = x.shape
    first, second = x[:, :2], x[:, 2:]
    return first.reshape(b, c // 2, h * w) + second.reshape(b, -1, h * w)


for name, (body, *inputs) in functions.items():
    function(f"function_{name}", body, *inputs)


class Keywords(nn.Module):
    """Arguments by name, a parameter of its own, a default, a nested container."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0, 3.0, 4.0, 5.0]).reshape(4, 1, 1))
        self.register_buffer("shift", torch.ones(1))
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), nn.ModuleDict({"odd name": nn.Conv2d(4, 4, 3)})])

    def forward(self, x, mask=None):
        x = self.blocks[0](x) * self.scale + self.shift
        x = self.blocks[1]["odd name"](x)
        return F.conv2d(input=x, weight=self.blocks[0][0].weight, bias=None, stride=2, padding=1), F.max_pool2d(x, kernel_size=2, stride=1)


traced("keywords", Keywords(), x2)

# Quantized modules: in eager mode, by their constructors and by both ways of conversion.
ao, aoq, iq = torch.ao.nn, torch.ao.nn.quantized, torch.ao.nn.intrinsic.quantized
to_codes = aoq.Quantize(0.05, 64, torch.quint8)


def quantized(name, module, x, is_traced=False):
    model = nn.Sequential(aoq.Quantize(0.05, 64, torch.quint8), module)
    if is_traced:
        model = fx.symbolic_trace(model)
    add(f"quantized_{name}", model, x, is_shaken=False)


def weighted(module, *shape):
    weight = torch.quantize_per_channel(randn(*shape), torch.rand(shape[0]) * 0.02 + 0.01, torch.zeros(shape[0], dtype=torch.long), 0, torch.qint8)
    module.set_weight_bias(weight, randn(shape[0]))
    module.scale, module.zero_point = 0.1, 100
    return module


def weighted_per_tensor(module, *shape, count):
    module.set_weight_bias(torch.quantize_per_tensor(randn(*shape), 0.02, 0, torch.qint8), randn(count))
    module.scale, module.zero_point = 0.1, 100
    return module


quantized("conv1d", weighted(aoq.Conv1d(4, 3, 3, 2, 1), 3, 4, 3), x1)
quantized("conv2d", weighted(aoq.Conv2d(4, 6, (3, 2), padding=(1, 0), groups=2), 6, 2, 3, 2), x2)
quantized("conv2d_reflect", weighted(aoq.Conv2d(4, 3, 3, padding=(1, 2), padding_mode="reflect"), 3, 4, 3, 3), x2)
quantized("conv3d", weighted(aoq.Conv3d(2, 3, 2), 3, 2, 2, 2, 2), x3)
quantized("conv_relu1d", weighted(iq.ConvReLU1d(4, 3, 3), 3, 4, 3), x1)
quantized("conv_relu2d", weighted(iq.ConvReLU2d(4, 3, 3), 3, 4, 3, 3), x2)
quantized("conv_relu3d", weighted(iq.ConvReLU3d(2, 3, 2), 3, 2, 2, 2, 2), x3)
quantized("transposed1d", weighted_per_tensor(aoq.ConvTranspose1d(4, 3, 3, 2, 1, 1), 4, 3, 3, count=3), x1)
quantized("transposed2d", weighted_per_tensor(aoq.ConvTranspose2d(4, 3, 3, 2), 4, 3, 3, 3, count=3), x2)
quantized("linear", weighted(aoq.Linear(7, 3), 3, 7), x2)
quantized("linear_relu", weighted(iq.LinearReLU(7, 3), 3, 7), x2)
quantized("batch_norm2d", shaken(aoq.BatchNorm2d(4)), x2)
quantized("batch_norm3d", shaken(aoq.BatchNorm3d(2)), x3)
quantized("bn_relu2d", shaken(iq.BNReLU2d(4)), x2)
for kind, module in {"layer_norm": aoq.LayerNorm((6, 7), nn.Parameter(torch.rand(6, 7)), nn.Parameter(randn(6, 7)), 0.04, 90),
                     "group_norm": aoq.GroupNorm(2, 4, nn.Parameter(torch.rand(4)), nn.Parameter(randn(4)), 0.04, 90),
                     "instance_norm2d": aoq.InstanceNorm2d(4, nn.Parameter(torch.rand(4)), nn.Parameter(randn(4)), 0.04, 90)}.items():
    quantized(kind, module, x2)
for module in (aoq.ReLU6(), aoq.Hardswish(0.03, 10), aoq.ELU(0.03, 40), aoq.LeakyReLU(0.04, 60, 0.1), aoq.Sigmoid(1 / 256, 0), aoq.Softmax(1, 1 / 256, 0), aoq.PReLU(0.05, 64), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), aoq.DeQuantize(), nn.Upsample(scale_factor=2), nn.Identity()):
    quantized(type(module).__name__, module, x2)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()
        self.conv = nn.Conv2d(4, 4, 1)
        self.add, self.mul, self.cat, self.plain, self.matmul = (nn.quantized.FloatFunctional() for _ in range(5))
        self.dequant = torch.ao.quantization.DeQuantStub()

    def forward(self, x):
        x = self.quant(x)
        y = self.conv(x)
        z = self.add.add_relu(x, y)
        z = self.mul.mul(z, y)
        z = self.cat.cat([z, x], dim=1)
        z = self.plain.add_scalar(z, 0.5)
        return self.dequant(self.plain.mul_scalar(z, 2.0))


eager = Functional().eval()
eager.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
prepared = torch.ao.quantization.prepare(eager)
prepared(x2)
traced("eager_converted", torch.ao.quantization.convert(prepared), x2, is_shaken=False)

stacked = nn.Sequential(torch.ao.quantization.QuantStub(), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(90, 2), torch.ao.quantization.DeQuantStub())
stacked.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
prepared = torch.ao.quantization.prepare(stacked.eval())
prepared(x2)
# Observers that are hooked to modules, and fake quantization that is.
add("eager_prepared_sequence", prepared, x2, is_shaken=False)
add("eager_converted_sequence", torch.ao.quantization.convert(prepared), x2, is_shaken=False)
stacked.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
prepared = torch.ao.quantization.prepare_qat(stacked.train())
prepared(x2)
prepared.apply(torch.ao.quantization.disable_observer)
add("eager_qat_sequence", prepared, x2, is_shaken=False)

from torch.ao.quantization import get_default_qat_qconfig_mapping, get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx, prepare_qat_fx


class Network(nn.Module):
    """What the conversion of FX mode meets in a classifier."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.act = nn.ReLU()
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4, padding=1)
        self.swish = nn.Hardswish()
        self.norm = nn.LayerNorm([6, 7])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 3)
        self.out = nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    def forward(self, x):
        y = self.act(self.bn(self.conv(x)))
        y = F.relu(y + x)
        z = self.swish(self.depthwise(y)) * torch.sigmoid(y)
        z = self.norm(z)
        z = torch.cat([self.pool(z), F.adaptive_avg_pool2d(y, 1)], 1)
        return self.out(self.fc(z.flatten(1)))


def converted(name, network, x):
    torch.manual_seed(3)
    prepared = prepare_fx(shaken(network.eval()), get_default_qconfig_mapping("fbgemm"), (x,))
    prepared(x)
    prepared(x * 0.7)
    add(name, convert_fx(copy.deepcopy(prepared)), x, is_shaken=False)
    return prepared


add("fx_prepared", converted("fx_converted", Network(), x2), x2, is_shaken=False)
qat = prepare_qat_fx(Network().train(), get_default_qat_qconfig_mapping("fbgemm"), (x2,))
qat(x2)
qat(x2 * 0.8)
add("qat_with_observers", qat, x2, is_shaken=False)
qat.apply(torch.ao.quantization.disable_observer)
add("qat", qat, x2, is_shaken=False)
qat.apply(torch.ao.quantization.disable_fake_quant)
add("qat_switched_off", qat, x2, is_shaken=False)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.lstm = nn.LSTM(8, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, tokens):
        return self.fc(self.lstm(self.embedding(tokens))[0][:, -1])


dynamic = torch.ao.quantization.quantize_dynamic(Words().eval(), {nn.Linear}, dtype=torch.qint8)
add("dynamic_linear", fx.symbolic_trace(dynamic), text, is_shaken=False)

# The converters of onnx2torch.
from onnx2torch.node_converters import (activations, arg_extrema, binary_math_operations, cast, clip, comparisons, concat, constant,
                                        constant_of_shape, cumsum, depth_to_space, expand, flatten, functions as functions_of_onnx, gather, gemm,
                                        global_average_pool, identity, instance_norm, layer_norm, logical, matmul, mean, min_max, mod, neg, pad,
                                        pow as power, range as ranges, reciprocal, reduce, reshape, resize, roundings, scatter_nd, shape, slice as slices,
                                        split, squeeze, sum as sums, tile, topk, transpose, unsqueeze, where)


def onnx(name, module, *arguments):
    """A graph that calls a converter: tensors of integers are stored in it, as ONNX's shapes and axes are."""
    graph, root, inputs, nodes = fx.Graph(), nn.Module(), [], []
    root.add_module("node", module)
    for index, argument in enumerate(arguments):
        if isinstance(argument, tuple):
            root.register_buffer(f"stored_{index}", torch.tensor(argument[0]))
            nodes.append(graph.get_attr(f"stored_{index}"))
        elif isinstance(argument, torch.Tensor):
            inputs.append(argument)
            nodes.append(graph.placeholder(f"input_{index}"))
        else:
            nodes.append(argument)
    graph.output(graph.call_module("node", tuple(nodes)))
    add(f"onnx_{name}", fx.GraphModule(root, graph), *inputs, is_shaken=False)


y2 = randn(2, 4, 6, 7)
for kind in ("Add", "Sub", "Mul", "Div"):
    onnx(kind, binary_math_operations.OnnxBinaryMathOperation(kind), x2, y2 + 3)
onnx("Div_of_integers", binary_math_operations.OnnxBinaryMathOperation("Div"), torch.tensor([7, -7, 9]), torch.tensor([2, 2, -4]))
onnx("Transpose", transpose.OnnxTranspose([0, 2, 3, 1]), x2)
onnx("Transpose_all", transpose.OnnxTranspose(), x2)
onnx("MatMul", matmul.OnnxMatMul(), x2, y2.transpose(2, 3))
onnx("Gemm", gemm.OnnxGemm(0.5, 2.0, False, True), randn(2, 3), randn(4, 3), randn(4))
onnx("PadStatic", pad.OnnxPadStatic.create_from_onnx_params([0, 0, 1, 2, 0, 0, 3, 0], "constant", 1.5), x2)
onnx("PadDynamic", pad.OnnxPadDynamic("constant"), x2, ([0, 0, 1, 2, 0, 1, 3, 0],), 2.0)
onnx("PadDynamic_reflect", pad.OnnxPadDynamic("reflect"), x2, ([0, 0, 1, 2, 0, 0, 3, 0],))
onnx("Reshape", reshape.OnnxReshape(), x2, ([0, -1, 7],))
onnx("Expand", expand.OnnxExpand(), x2[:, :1], ([2, 3, 6, 7],))
onnx("Tile", tile.OnnxTile(), x2, ([1, 2, 1, 1],))
onnx("Erf", activations.OnnxErf(), x2)
onnx("HardSigmoid", activations.OnnxHardSigmoid(0.3, 0.4), x2)
onnx("Softmax_11", activations.OnnxSoftmaxV1V11(2), x2)
onnx("LogSoftmax_11", activations.OnnxSoftmaxV1V11(1, True), x2)
onnx("PRelu", activations.OnnxPReLU(), x2, ([[[0.1]], [[0.2]], [[0.3]], [[0.4]]],))
onnx("ArgMax", arg_extrema.OnnxArgExtremum("ArgMax", 1, 1, 0), x2)
onnx("ArgMin_last", arg_extrema.OnnxArgExtremum("ArgMin", 3, 0, 1), x2)
onnx("Cast", cast.OnnxCast(7), x2)
onnx("Clip", clip.OnnxClip(-0.3, 0.7), x2)
onnx("Clip_below", clip.OnnxClip(0.1), x2)
for kind in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
    onnx(kind, comparisons.OnnxCompare(kind), x2, y2)
onnx("Concat", concat.OnnxConcat(1), x2, y2, x2)
for exclusive in (False, True):
    onnx(f"CumSum_{exclusive}", cumsum.OnnxCumSum(False, exclusive), x2, (1,))
onnx("DepthToSpace", depth_to_space.OnnxDepthToSpace(2), x2)
onnx("Flatten", flatten.OnnxFlatten(2), x2)
for kind in ("Abs", "Exp", "Sin", "Sign", "Tanh"):
    onnx(kind, functions_of_onnx.OnnxFunction(kind), x2)
onnx("Gather", gather.OnnxGather(1), x2, ([[0, -1], [2, 2]],))
onnx("Gather_scalar", gather.OnnxGather(2), x2, (1,))
onnx("Gather_last", gather.OnnxGather(-1), x2, ([0, -1],))
onnx("GatherElements", gather.OnnxGatherElements(1), x2[:, :, 0, 0], ([[0, 1], [2, 3]],))
onnx("GatherND", gather.OnnxGatherND(), x2, ([[0, 1], [1, 2]],))
onnx("GlobalAveragePool", global_average_pool.OnnxGlobalAveragePool(), x2)
onnx("GlobalAveragePool_known", global_average_pool.OnnxGlobalAveragePoolWithKnownInputShape([2, 4, 6, 7]), x2)
onnx("Identity", identity.OnnxCopyIdentity(), x2)
onnx("InstanceNorm", instance_norm.OnnxInstanceNorm(0.1, 1e-5), x2, ([1.0, 2.0, 3.0, 4.0],), ([0.0, 1.0, 0.0, 1.0],))
onnx("LayerNorm", layer_norm.OnnxLayerNorm(-1, 1e-5), x2, ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],))
onnx("Not", logical.OnnxNot(), x2 > 0)
onnx("And", logical.OnnxLogical("And"), x2 > 0, y2 > 0)
onnx("Mean", mean.OnnxMean(), x2, y2, x2)
onnx("Sum", sums.OnnxSum(), x2, y2, x2[:, :1])
for kind in ("Min", "Max"):
    onnx(kind, min_max.OnnxMinMax(kind), x2, y2, x2 * 2)
onnx("Mod", mod.OnnxMod(0), x2, y2)
onnx("Fmod", mod.OnnxMod(1), x2, y2)
onnx("Neg", neg.OnnxNeg(), x2)
onnx("Pow", power.OnnxPow(), x2.abs(), ([2.0],))
onnx("Sqrt", power.OnnxSqrt(), x2.abs())
onnx("Reciprocal", reciprocal.OnnxReciprocal(), x2)
for kind in reduce._TORCH_FUNCTION_FROM_ONNX_TYPE:
    x = x2.abs() + 0.5
    onnx(f"{kind}", reduce.OnnxReduceStaticAxes(kind, [1, 3], 1), x[:, :2, :2])
    onnx(f"{kind}_all", reduce.OnnxReduceStaticAxes(kind, None, 0), x[:, :2, :2])
    onnx(f"{kind}_apart", reduce.OnnxReduceStaticAxes(kind, [2, 1], 0), x[:, :2, :2])
onnx("ReduceSum_dynamic", reduce.OnnxReduceSumDynamicAxes(0), x2, ([1, 2],))
onnx("ReduceSum_static", reduce.OnnxReduceSumStaticAxes([1, 2]), x2)
onnx("Resize_scales", resize.OnnxResize("linear", False, True), x2, None, ([1.0, 1.0, 2.0, 1.5],))
onnx("Resize_sizes", resize.OnnxResize("nearest", None, True), x2, None, None, ([2, 4, 9, 9],))
onnx("Resize_10", resize.OnnxResizeV10("nearest"), x2, ([1.0, 1.0, 2.0, 2.0],))
onnx("Round", roundings.OnnxRound("Round"), x2 * 3)
onnx("Ceil", roundings.OnnxRound("Ceil"), x2 * 3)
onnx("ScatterND", scatter_nd.OnnxScatterND(scatter_nd.ReductionOnnxAttr.NONE), x2[0, 0], ([[0], [2]],), y2[0, 0, :2])
onnx("Shape", shape.OnnxShape(1, 3), x2)
onnx("Slice", slices.OnnxSlice(), x2, ([1, -3],), ([4, 100],), ([1, 3],), ([2, 1],))
onnx("Slice_backwards", slices.OnnxSlice(), x2, ([-1],), ([-100],), ([2],), ([-2],))
onnx("Split", split.OnnxSplit(2, 1), x2)
onnx("Split_sizes", split.OnnxSplit13(2, 1), x2, ([1, 3],))
onnx("Squeeze", squeeze.OnnxSqueezeStaticAxes([1]), x2[:, :1])
onnx("Squeeze_dynamic", squeeze.OnnxSqueezeDynamicAxes(), x2[:, :1], ([1],))
onnx("Unsqueeze", unsqueeze.OnnxUnsqueezeStaticAxes([0, 2]), x2)
onnx("Unsqueeze_dynamic", unsqueeze.OnnxUnsqueezeDynamicAxes(), x2, ([1],))
onnx("TopK", topk.OnnxTopK(1), x2, ([2],))
onnx("Where", where.OnnxWhere(), x2 > 0, x2, y2)


class ComputedShapes(nn.Module):
    """A shape that is taken apart and put together again, as exporters write it."""

    def __init__(self):
        super().__init__()
        self.shape, self.gather, self.unsqueeze = shape.OnnxShape(), gather.OnnxGather(0), unsqueeze.OnnxUnsqueezeStaticAxes([0])
        self.constant, self.concat, self.reshape = constant.OnnxConstant(torch.tensor([-1])), concat.OnnxConcat(0), reshape.OnnxReshape()
        self.register_buffer("first", torch.tensor(0))
        self.divide, self.slice = binary_math_operations.OnnxBinaryMathOperation("Div"), slices.OnnxSlice()
        for name, number in {"zero": [0], "three": [3], "two": 2}.items():
            self.register_buffer(name, torch.tensor(number))

    def forward(self, x):
        batch = self.unsqueeze(self.gather(self.shape(x), self.first))
        sides = self.reshape(x, self.concat(batch, self.constant()))
        ends = self.divide(self.shape(x), self.two)
        return sides, self.slice(x, self.zero, self.slice(ends, self.three, self.three + 1, self.zero), self.three)


class OfOnnx(fx.Tracer):
    def is_leaf_module(self, module, path):
        return type(module).__module__.startswith("onnx2torch") or super().is_leaf_module(module, path)


shapes = ComputedShapes()
add("onnx_computed_shapes", fx.GraphModule(shapes, OfOnnx().trace(shapes)), x2, is_shaken=False)

# What is left of torch.nn: kinds of few dimensions, and those that a first run turns into others.
for module, x in [
    (nn.ZeroPad3d(1), x3), (nn.ReflectionPad3d(1), x3), (nn.CircularPad3d((1, 0, 2, 1, 0, 1)), x3), (nn.ReplicationPad1d((2, 1)), x1),
    (nn.UpsamplingNearest2d(scale_factor=2), x2), (nn.LPPool3d(2, 2), x3), (nn.Dropout1d(), x1), (nn.Dropout3d(), x3),
    (nn.FeatureAlphaDropout(), x3), (nn.InstanceNorm3d(2, affine=True), x3), (nn.InstanceNorm1d(4, track_running_stats=True), x1),
]:
    name = "rest_" + type(module).__name__.lower() + ("_tracked" if getattr(module, "track_running_stats", False) else "")
    traced(name, nn.Sequential(module), x)
for module, x in [(nn.LazyLinear(3), x2), (nn.LazyConv1d(3, 2), x1), (nn.LazyConv2d(3, 2), x2), (nn.LazyConv3d(3, 2), x3),
                  (nn.LazyConvTranspose1d(3, 2), x1), (nn.LazyConvTranspose2d(3, 2), x2), (nn.LazyConvTranspose3d(3, 2), x3),
                  (nn.LazyBatchNorm1d(), x1), (nn.LazyBatchNorm2d(), x2), (nn.LazyBatchNorm3d(), x3),
                  (nn.LazyInstanceNorm1d(affine=True), x1), (nn.LazyInstanceNorm2d(affine=True), x2), (nn.LazyInstanceNorm3d(affine=True), x3)]:
    name = "rest_" + type(module).__name__.lower()
    model = nn.Sequential(module)
    model(x)
    add(name, model, x)
add("rest_syncbatchnorm", nn.Sequential(nn.SyncBatchNorm(4)), x2)
add("rest_transformer", graph_of(nn.Transformer(8, 2, 1, 1, 16, batch_first=True), 2), randn(2, 3, 8), randn(2, 4, 8))

# What is left of quantization: fused modules before they are converted, in training, and after.
fused, qat, iqat = ao.intrinsic, ao.qat, ao.intrinsic.qat
for name, module, x in [
    ("conv_bn1d", fused.ConvBn1d(nn.Conv1d(4, 3, 2), nn.BatchNorm1d(3)), x1), ("conv_bn2d", fused.ConvBn2d(nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3)), x2),
    ("conv_bn3d", fused.ConvBn3d(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)), x3),
    ("conv_bn_relu1d", fused.ConvBnReLU1d(nn.Conv1d(4, 3, 2), nn.BatchNorm1d(3), nn.ReLU()), x1),
    ("conv_bn_relu3d", fused.ConvBnReLU3d(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), nn.ReLU()), x3),
    ("linear_bn1d", fused.LinearBn1d(nn.Linear(9, 4), nn.BatchNorm1d(4)), x1), ("bn_relu3d", fused.BNReLU3d(nn.BatchNorm3d(2), nn.ReLU()), x3),
    ("linear_leaky_relu", fused.LinearLeakyReLU(nn.Linear(7, 3), nn.LeakyReLU(0.2)), x2), ("linear_tanh", fused.LinearTanh(nn.Linear(7, 3), nn.Tanh()), x2),
]:
    add(f"fused_{name}", nn.Sequential(module), x)
quantization = torch.ao.quantization
learning = quantization.get_default_qat_qconfig("fbgemm")
for name, module, x in [
    ("conv1d", qat.Conv1d(4, 3, 2, qconfig=learning), x1), ("conv3d", qat.Conv3d(2, 3, 2, qconfig=learning), x3),
    ("conv_relu1d", iqat.ConvReLU1d(4, 3, 2, qconfig=learning), x1), ("conv_relu2d", iqat.ConvReLU2d(4, 3, 2, qconfig=learning), x2),
    ("conv_relu3d", iqat.ConvReLU3d(2, 3, 2, qconfig=learning), x3), ("conv_bn1d", iqat.ConvBn1d(4, 3, 2, qconfig=learning), x1),
    ("conv_bn2d", iqat.ConvBn2d(4, 3, 2, bias=True, qconfig=learning), x2), ("conv_bn3d", iqat.ConvBn3d(2, 3, 2, qconfig=learning), x3),
    ("conv_bn_relu1d", iqat.ConvBnReLU1d(4, 3, 2, qconfig=learning), x1), ("conv_bn_relu3d", iqat.ConvBnReLU3d(2, 3, 2, qconfig=learning), x3),
    ("linear_bn1d", iqat.LinearBn1d(4, 3, qconfig=learning), x2[:, :, 0, 0]),
]:
    model = nn.Sequential(module)
    model.train()(x)
    add(f"qat_{name}", model, x, is_shaken=False)
for name, module in [("embedding", qat.Embedding(7, 3, qconfig=quantization.default_embedding_qat_qconfig)),
                     ("embedding_bag", qat.EmbeddingBag(7, 3, mode="sum", qconfig=quantization.default_embedding_qat_qconfig))]:
    model = nn.Sequential(module)
    model.train()(text)
    model.apply(quantization.disable_observer)
    add(f"qat_{name}", model, text, is_shaken=False)


def coded(table):
    """A table of embeddings as codes, a real scale and zero point for each row."""
    observer = quantization.PerChannelMinMaxObserver(dtype=torch.quint8, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0)
    observer(table)
    return torch.quantize_per_channel(table, *observer.calculate_qparams(), 0, torch.quint8)


# The zero points of the second table are whole numbers by chance.
for name, table_of in [("", randn(7, 4)), ("_from_zero", randn(7, 4).abs())]:
    module = aoq.Embedding(7, 4)
    module.set_weight(coded(table_of))
    add(f"quantized_embedding{name}", nn.Sequential(module), text, is_shaken=False)
    module = aoq.EmbeddingBag(7, 4, mode="sum", include_last_offset=True)
    module.set_weight(coded(table_of))
    add(f"quantized_embedding_bag{name}", graph_of(module, 2), text.flatten(), torch.tensor([0, 3, 8]), is_shaken=False)
quantized("transposed3d", weighted_per_tensor(aoq.ConvTranspose3d(2, 3, 2, 2), 2, 3, 2, 2, 2, count=3), x3)
quantized("bn_relu3d", shaken(iq.BNReLU3d(2)), x3)
quantized("dropout", aoq.Dropout(), x2)
quantized("instance_norm1d", aoq.InstanceNorm1d(4, nn.Parameter(torch.rand(4)), nn.Parameter(randn(4)), 0.04, 90), x1)
quantized("instance_norm3d", aoq.InstanceNorm3d(2, nn.Parameter(torch.rand(2)), nn.Parameter(randn(2)), 0.04, 90), x3)
dynamic_of = aoq.dynamic
for name, module, x in [
    ("conv1d", dynamic_of.Conv1d(4, 3, 3), x1), ("conv2d", dynamic_of.Conv2d(4, 3, 3, padding=1), x2), ("conv3d", dynamic_of.Conv3d(2, 3, 2), x3),
    ("transposed1d", dynamic_of.ConvTranspose1d(4, 3, 3), x1), ("transposed2d", dynamic_of.ConvTranspose2d(4, 3, 3), x2),
    ("transposed3d", dynamic_of.ConvTranspose3d(2, 3, 2), x3),
]:
    float_weight = module.weight().dequantize()
    module.set_weight_bias(torch.quantize_per_tensor(randn(*float_weight.shape), 0.02, 0, torch.qint8), randn(3))
    add(f"dynamic_{name}", nn.Sequential(module), x, is_shaken=False)


class Added(nn.Module):
    """A convolution to which codes are added."""

    def __init__(self, module):
        super().__init__()
        self.quant = aoq.Quantize(0.05, 64, torch.quint8)
        self.module = module

    def forward(self, x, y):
        return self.module(self.quant(x), self.quant(y))


# What only one engine has.
torch.backends.quantized.engine = "onednn"
quantized("linear_leaky_relu", weighted(iq.LinearLeakyReLU(7, 3, 0.2), 3, 7), x2)
quantized("linear_tanh", weighted(iq.LinearTanh(7, 3), 3, 7), x2)
for name, module in [("conv_add2d", iq.ConvAdd2d(4, 3, 1)), ("conv_add_relu2d", iq.ConvAddReLU2d(4, 3, 1))]:
    traced(f"quantized_{name}", Added(weighted(module, 3, 4, 1, 1)), x2, randn(2, 3, 6, 7), is_shaken=False)
torch.backends.quantized.engine = "fbgemm"


for name, module in [("lstm", nn.LSTM(3, 4)), ("lstm_deep", nn.LSTM(3, 2, 2, batch_first=True, bidirectional=True)),
                     ("gru", nn.GRU(3, 4, 2, bidirectional=True)), ("gru_batch_first", nn.GRU(3, 4, batch_first=True))]:
    model = quantization.quantize_dynamic(nn.Sequential(module).eval(), {type(module)}, dtype=torch.qint8)
    assert type(model[0]).__module__.startswith("torch.ao.nn.quantized.dynamic")
    add(f"dynamic_{name}", model, sequence, is_shaken=False)


class Alone(nn.Module):
    """Functions of quantization as modules: before it, and after."""

    def __init__(self, functional):
        super().__init__()
        self.functional = functional

    def forward(self, x, y):
        return self.functional.add(self.functional.mul(x, y), y)


for name, functional in [("float", aoq.FloatFunctional()), ("fx", aoq.FXFloatFunctional())]:
    add(f"functional_{name}", fx.symbolic_trace(Alone(functional)), x2, x2 + 1, is_shaken=False)
wrapped = quantization.QuantWrapper(nn.Linear(7, 3)).eval()
wrapped.qconfig = quantization.get_default_qconfig("fbgemm")
wrapped = quantization.prepare(wrapped)
wrapped(x2)
add("wrapped_prepared", nn.Sequential(wrapped), x2, is_shaken=False)
traced("wrapped_converted", quantization.convert(wrapped), x2, is_shaken=False)
for observer in (quantization.MinMaxObserver(), quantization.PerChannelMinMaxObserver(), quantization.PlaceholderObserver(),
                 quantization.RecordingObserver(), quantization.NoopObserver(), quantization.observer.ReuseInputObserver()):
    add("observed_" + type(observer).__name__, nn.Sequential(nn.Linear(7, 3), observer), x2)
faked = nn.Sequential(nn.Linear(7, 3), quantization.FakeQuantize(observer=quantization.MinMaxObserver, quant_min=0, quant_max=255))
faked(x2)
faked.apply(quantization.disable_observer)
add("faked", faked, x2, is_shaken=False)

# Modules of torchvision.
from torchvision import ops

frozen = ops.FrozenBatchNorm2d(4)
for name in ("weight", "bias", "running_mean", "running_var"):
    setattr(frozen, name, torch.rand(4) + 0.5)
for name, module, x in [
    ("frozen_batch_norm", frozen, x2), ("squeeze_excitation", ops.SqueezeExcitation(4, 2, scale_activation=nn.Hardsigmoid), x2),
    ("permute", ops.Permute([0, 2, 3, 1]), x2), ("stochastic_depth", ops.StochasticDepth(0.3, "row"), x2),
    ("conv_norm_activation", ops.Conv2dNormActivation(4, 3, 3), x2), ("conv_norm_activation3d", ops.Conv3dNormActivation(2, 3, 2), x3),
    ("mlp", ops.MLP(7, [5, 3]), x2),
]:
    add(f"torchvision_{name}", nn.Sequential(module), x, is_shaken=False)

# What is left of onnx2torch.
from onnx2torch.node_converters import batch_norm, dropout, einsum, isinf, isnan, nonzero

onnx("ArgMax_old", arg_extrema.OnnxArgExtremumOld("ArgMax", 1, 0), x2)
onnx("Einsum", einsum.OnnxEinsum("bchw,bdhw->bcd"), x2, y2)
odd = torch.tensor([[1.0, math.inf, -math.inf], [math.nan, 0.0, 2.0]])
onnx("is_infinite", isinf.OnnxIsInf(), odd)
onnx("is_no_number", isnan.OnnxIsNaN(), odd)
onnx("ConstantOfShape", constant_of_shape.OnnxConstantOfShape(torch.tensor([1.5])), ([2, 3],))
onnx("Dropout", dropout.OnnxDropoutDynamic(), x2, 0.5, False)
onnx("NonZero", nonzero.OnnxNonZero(), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
onnx("Range", ranges.OnnxRange(), (1,), (9,), (2,))


def write_to(archive, name, content, method):
    archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content, method, 9)


# One archive within the other: the files are much alike, and are compressed together.
inner = io.BytesIO()
with zipfile.ZipFile(inner, "w") as archive:
    for name, content in files.items():
        write_to(archive, f"{name}.pt", content, zipfile.ZIP_STORED)
path = pathlib.Path(__file__).parent / "modules.zip"
with zipfile.ZipFile(path, "w") as archive:
    given = {name: json.loads(content) for content, name in inputs_by_content.items()}
    write_to(archive, "cases.json", json.dumps({"inputs": given, "cases": cases}), zipfile.ZIP_DEFLATED)
    write_to(archive, "models.zip", inner.getvalue(), zipfile.ZIP_DEFLATED)
print(len(cases), "cases,", path.stat().st_size, "bytes")
