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
