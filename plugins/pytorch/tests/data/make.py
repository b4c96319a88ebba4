"""Makes the files of this folder with PyTorch 2.13.0, and prints what the tests expect of them."""

import json
import pathlib
import warnings
import zipfile

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators of quantized_decomposed

warnings.filterwarnings("ignore")
here = pathlib.Path(__file__).parent
base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2)
tensors = {
    "plain": base,
    "channels_last": base.contiguous(memory_format=torch.channels_last),
    "transposed": base.reshape(4, 6).t(),
    "expanded": torch.tensor([1.5, -2.0]).expand(3, 2),
    "sliced": torch.arange(10, dtype=torch.int16)[2:9:3],
    "scalar": torch.tensor(7, dtype=torch.int64),
    "empty": torch.zeros(0, 4),
    "bool": torch.tensor([True, False, True]),
    "bfloat16": torch.tensor([1.0, -0.5], dtype=torch.bfloat16),
    "float8": torch.tensor([1.0, -2.0]).to(torch.float8_e4m3fn),
    "complex": torch.tensor([1 + 2j, -3j], dtype=torch.complex64),
    "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
    "quint8": torch.quantize_per_tensor(torch.tensor([0.0, 0.5, 1.0, 9.0]), 0.25, 3, torch.quint8),
    "qint32": torch.quantize_per_tensor(torch.tensor([-1.0, 2.0]), 0.5, 0, torch.qint32),
    "qint8": torch.quantize_per_channel(
        torch.tensor([[1.0, -1.0], [4.0, 2.0]]), torch.tensor([0.5, 2.0]), torch.tensor([0, 1]), 0, torch.qint8
    ),
    "parameter": torch.nn.Parameter(torch.tensor([3.0])),
    "meta": torch.zeros(2, 2, device="meta"),
}
tensors["shared"] = tensors["plain"][1]
torch.save(tensors, here / "tensors.pt")
legacy = {name: tensor for name, tensor in tensors.items() if name not in ("float8", "meta", "uint16")}
torch.save(legacy, here / "tensors_legacy.pt", _use_new_zipfile_serialization=False)


class Dynamic(torch.nn.Module):
    """One dynamically quantized layer, and an output that is a dictionary."""

    def __init__(self):
        super().__init__()
        self.fc = torch.ao.nn.quantized.dynamic.Linear(4, 2)
        weight = torch.tensor([[0.5, -0.25, 0.125, 1.0], [-1.0, 0.75, 0.5, 0.25]])
        self.fc.set_weight_bias(torch.quantize_per_tensor(weight, 0.125, 0, torch.qint8), torch.tensor([0.25, -0.25]))

    def forward(self, x, y):
        z = self.fc(x) + y
        return {"sum": z, "codes": torch.quantize_per_tensor(z, 0.5, 10, torch.quint8)}


example = (torch.ones(1, 4), torch.zeros(1, 2))
traced = torch.jit.trace(Dynamic(), example, strict=False)
traced.save(here / "dynamic.pt")
print("dynamic", traced(*example)["sum"].tolist(), traced(*example)["codes"].int_repr().tolist())


def without_traces(path):
    """Writes an archive again without debug records and stack traces, which hold the paths of this machine."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist() if not name.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            if name.endswith("models/model.json"):
                program = json.loads(content)
                for node in program["graph_module"]["graph"]["nodes"]:
                    node["metadata"] = {"nn_module_stack": node["metadata"].get("nn_module_stack", "")}
                content = json.dumps(program).encode()
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


class Exported(torch.nn.Module):
    """A quantized activation and a weight quantized per channel, as PT2E writes them."""

    def __init__(self):
        super().__init__()
        self.act = torch.nn.ReLU()
        self.bias = torch.nn.Parameter(torch.tensor([0.5, -0.5]))
        self.register_buffer("codes", torch.tensor([[1, -2, 3], [4, 5, -6]], dtype=torch.int8))
        self.register_buffer("scales", torch.tensor([0.5, 0.25]))
        self.register_buffer("zero_points", torch.tensor([0, 0]))

    def forward(self, x):
        ops = torch.ops.quantized_decomposed
        x = ops.quantize_per_tensor(x, 0.125, 7, 0, 255, torch.uint8)
        x = ops.dequantize_per_tensor(x, 0.125, 7, 0, 255, torch.uint8)
        weight = ops.dequantize_per_channel(self.codes, self.scales, self.zero_points, 0, -128, 127, torch.int8)
        return self.act(torch.nn.functional.linear(x, weight, self.bias))


program = torch.export.export(Exported(), (torch.ones(2, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},))
torch.export.save(program, here / "exported.pt2")
without_traces(here / "exported.pt2")
without_traces(here / "dynamic.pt")
models = here / "../../../../models"
for name, path in (("resnet8_traced.pt", "stem.weight"), ("resnet8_int8.pt", "stem")):
    module = torch.jit.load(models / name)
    if name == "resnet8_traced.pt":
        weight = dict(module.named_parameters())[path]
        print(name, path, weight.double().sum().item(), sum(p.numel() for p in module.parameters()))
    else:
        weight, bias = module.stem._packed_params.unpack()
        print(name, path, weight.int_repr().long().sum().item(), weight.q_per_channel_scales()[:2].tolist(), bias.double().sum().item(), module.layer3.conv2.scale, module.layer3.conv2.zero_point)


def subclass():
    """A state dict with torchao's int8 tensors: a scale for each row, and one for each two columns of a row."""
    from torchao.quantization import Int8Tensor

    codes = torch.arange(-8, 8, dtype=torch.int8).reshape(4, 4)
    rows = torch.tensor([[0.5], [0.25], [2.0], [1.0]])
    blocks = torch.arange(1, 9, dtype=torch.float32).reshape(4, 2) / 4
    zeros = torch.tensor([[1], [0], [-1], [2]], dtype=torch.int8)
    tensors = {
        "fc.weight": Int8Tensor(codes, rows, [1, 4], torch.float32, zeros),
        "fc.bias": torch.zeros(4),
        "blocks.weight": Int8Tensor(codes, blocks, [1, 2], torch.float32),
    }
    torch.save(tensors, here / "subclass.pt")


# Needs torchao 0.18.
subclass()


def packed():
    """A weight in the forms that quantizers save, each a layer of its own, with what it stands for: the sums that
    tests/weights.rs expects. The forms of GPTQ, AWQ and compressed-tensors are packed here as their sources
    describe; bitsandbytes and torchao write their own."""
    import bitsandbytes
    import bitsandbytes.functional as bnb
    import numpy as np
    from safetensors.torch import save_file
    from torchao.prototype.mx_formats.mx_tensor import MXTensor
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import Int4Tensor, IntxWeightOnlyConfig, PerGroup, quantize_

    torch.manual_seed(0)
    weight = torch.randn(32, 128)
    grouped = weight.view(32, 4, 32)
    tensors = {}

    def note(name, values):
        values = values.double().reshape(-1)
        ramp = torch.arange(1, values.numel() + 1, dtype=torch.float64)
        print(f'    ("{name}", {values.sum().item()}, {(values * ramp).sum().item()}),')

    for name, nested in (("nf4", False), ("nf4_nested", True)):
        layer = bitsandbytes.nn.Linear4bit(128, 32, bias=False, quant_type="nf4", compress_statistics=nested)
        layer.weight = bitsandbytes.nn.Params4bit(
            weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=nested
        )
        layer = layer.to("cpu")
        tensors |= {f"{name}.{key}": value.contiguous() for key, value in layer.state_dict().items()}
        note(f"{name}.weight", bnb.dequantize_4bit(layer.weight.data, layer.weight.quant_state))

    largest = weight.abs().amax(1)
    codes = torch.round(weight * 127 / largest[:, None]).to(torch.int8)
    tensors |= {"int8.weight": codes, "int8.SCB": largest, "int8.weight_format": torch.tensor(0, dtype=torch.uint8)}
    note("int8.weight", codes.double() * largest.double()[:, None] / 127)

    def words(codes, bits, axis):
        """Codes along an axis as one stream of bits in 32-bit words, the first in the low bits."""
        codes = codes.numpy().astype(np.uint64)
        codes = codes if axis == 1 else codes.T
        packed = np.zeros((codes.shape[0], codes.shape[1] * bits // 32), np.uint64)
        for index in range(codes.shape[1]):
            word, shift = divmod(index * bits, 32)
            packed[:, word] |= codes[:, index] << np.uint64(shift) & np.uint64(0xFFFFFFFF)
            if shift + bits > 32:
                packed[:, word + 1] |= codes[:, index] >> np.uint64(32 - shift)
        packed = torch.from_numpy(packed.astype(np.uint32).view(np.int32).copy())
        return packed if axis == 1 else packed.T.contiguous()

    def asymmetric(bits):
        largest_code = 2**bits - 1
        low, high = grouped.amin(-1), grouped.amax(-1)
        scales = ((high - low) / largest_code).half().float()
        zeros = torch.clamp(torch.round(-low / scales), 0, largest_code)
        codes = torch.clamp(torch.round(grouped / scales[..., None]) + zeros[..., None], 0, largest_code)
        values = (codes - zeros[..., None]) * scales[..., None]
        return codes.view(32, 128).long(), zeros.long(), scales, values

    for bits in (2, 3, 4, 8):
        codes, zeros, scales, values = asymmetric(bits)
        tensors |= {
            f"gptq{bits}.qweight": words(codes.T, bits, 0),
            f"gptq{bits}.qzeros": words((zeros.T - 1) % 2**bits, bits, 1),
            f"gptq{bits}.scales": scales.T.half().contiguous(),
            f"gptq{bits}.g_idx": torch.arange(128, dtype=torch.int32) // 32,
        }
        note(f"gptq{bits}.qweight", values)
    codes, zeros, scales, values = asymmetric(4)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    interleaved = lambda codes: codes.reshape(len(codes), -1, 8)[:, :, order].reshape(len(codes), -1)
    tensors |= {
        "awq.qweight": words(interleaved(codes.T), 4, 1),
        "awq.qzeros": words(interleaved(zeros.T), 4, 1),
        "awq.scales": scales.T.half().contiguous(),
    }
    note("awq.qweight", values)
    # Order of the inputs by another key: no block has its own scale.
    tensors |= {f"shuffled.{key[6:]}": tensors[key].clone() for key in list(tensors) if key.startswith("gptq4.")}
    tensors["shuffled.g_idx"] = tensors["shuffled.g_idx"].flip(0).contiguous()

    tensors |= {
        "compressed.weight_packed": words(codes, 4, 1),
        "compressed.weight_zero_point": words(zeros, 4, 0),
        "compressed.weight_scale": scales,
        "compressed.weight_shape": torch.tensor([32, 128]),
    }
    note("compressed.weight_packed", values)

    blocks = weight.view(2, 16, 4, 32)
    scales = blocks.abs().amax((1, 3)) / 448
    codes = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
    tensors |= {"fp8.weight": codes.view(32, 128), "fp8.weight_scale_inv": scales}
    note("fp8.weight", codes.double() * scales.double()[:, None, :, None])

    mx = MXTensor.to_mx(weight.bfloat16(), torch.float4_e2m1fn_x2, 32)
    tensors |= {
        "mx.down_blocks": mx.qdata.view(torch.uint8).view(32, 4, 16),
        "mx.down_scales": mx.scale.view(torch.uint8).view(32, 4),
    }
    note("mx.down_blocks", mx.dequantize())
    save_file({key: value.contiguous() for key, value in tensors.items()}, here / "packed.safetensors")

    module = torch.nn.ModuleDict({"intx": torch.nn.Linear(128, 32, bias=False)})
    module["intx"].weight.data.copy_(weight)
    quantize_(module, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)))
    state = module.state_dict()
    note("intx.weight.qdata", state["intx.weight"].dequantize())
    flat, metadata = flatten_tensor_state_dict(state)
    save_file(flat, here / "torchao.safetensors", metadata=metadata)
    # Int4Tensor as its kernels define it: real = code · scale + zero point, two codes a byte.
    low, high = grouped.amin(-1), grouped.amax(-1)
    scales = (high - low) / 15
    offsets = low + 8 * scales
    codes = (torch.clamp(torch.round((grouped - low[..., None]) / scales[..., None]), 0, 15) - 8).to(torch.int8)
    note("int4.weight.qdata", codes * scales[..., None] + offsets[..., None])
    codes = codes.view(32, 128)
    both = (codes[:, ::2] & 15 | codes[:, 1::2] << 4).to(torch.int8)
    state["int4.weight"] = Int4Tensor(
        both, scales.T.contiguous(), offsets.T.contiguous(), [1, 32], torch.Size([32, 128])
    )
    torch.save(state, here / "torchao.pt")


# Needs torchao 0.18 and bitsandbytes 0.50.
packed()


def training():
    """Checkpoints as training scripts save them."""
    weights = {f"model.{name}": torch.full((2, 2), value) for name, value in (("a.weight", 1.5), ("b.weight", 2.5))}
    moments = {"state": {0: {"exp_avg": torch.zeros(2, 2), "step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": weights,
        "callbacks": {"ModelCheckpoint": {"best_model_path": "x"}},
        "optimizer_states": [moments],
        "hyper_parameters": {"lr": 0.001, "net": {"width": 4}},
    }
    torch.save(checkpoint, here / "lightning.ckpt")
    torch.save(moments, here / "optimizer.pt")
    parallel = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"policy": parallel, "optimizer": moments}, here / "training.pt")


training()
