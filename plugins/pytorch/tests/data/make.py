"""Makes the files of this folder with PyTorch 2.13.0, and prints what the tests expect of them."""

import pathlib
import warnings

import torch

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

    def forward(self, x, y):
        z = self.fc(x) + y
        return {"sum": z, "codes": torch.quantize_per_tensor(z, 0.5, 10, torch.quint8)}


torch.manual_seed(0)
example = (torch.ones(1, 4), torch.zeros(1, 2))
traced = torch.jit.trace(Dynamic(), example, strict=False)
traced.save(here / "dynamic.pt")
print("dynamic", {name: value.dequantize().tolist() if value.is_quantized else value.tolist() for name, value in traced(*example).items()})
print("codes", traced(*example)["codes"].int_repr().tolist())
models = here / "../../../../models"
for name, path in (("resnet8_traced.pt", "stem.weight"), ("resnet8_int8.pt", "stem")):
    module = torch.jit.load(models / name)
    if name == "resnet8_traced.pt":
        weight = dict(module.named_parameters())[path]
        print(name, path, weight.double().sum().item(), sum(p.numel() for p in module.parameters()))
    else:
        weight, bias = module.stem._packed_params.unpack()
        print(name, path, weight.int_repr().long().sum().item(), weight.q_per_channel_scales()[:2].tolist(), bias.double().sum().item(), module.layer3.conv2.scale, module.layer3.conv2.zero_point)
