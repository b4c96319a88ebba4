"""Makes the TorchScript files of this folder with PyTorch 2.13.0, and writes what every layer of `scripted.pt` computes to
`scripted.json`, as scripts/check/script_values.py finds it."""

import json
import pathlib
import sys
import warnings
import zipfile
from typing import Dict, List, Optional, Tuple

import torch

here = pathlib.Path(__file__).parent
sys.path.insert(0, str(here / "../../../../scripts/check"))
from script_values import values_of  # noqa: E402

warnings.filterwarnings("ignore")
torch.manual_seed(0)


def gated(x, y):
    return torch.sigmoid(x) * y


class Swish(torch.nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Pair(torch.nn.Module):
    def forward(self, x) -> Tuple[torch.Tensor, torch.Tensor]:
        a = x + 1.0
        return a, torch.relu(a)


class Scripted(torch.nn.Module):
    """Modules of its own, reused, in containers and in branches; tuples, lists, a function, an `if` and loops."""

    is_scaled: bool

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)
        self.act = Swish()
        self.pair = Pair()
        self.list = torch.nn.ModuleList([torch.nn.Linear(4, 4), Swish()])
        self.named = torch.nn.ModuleDict({"a": torch.nn.ReLU(), "b": self.act})
        self.rare = torch.nn.Linear(4, 4)
        self.is_scaled = True

    def twice(self, x):
        return torch.tanh(self.fc(torch.tanh(self.fc(x))))

    @torch.jit.export
    def encode(self, x):
        return self.twice(x) * 2.0

    def forward(self, x, bias: Optional[torch.Tensor]) -> Dict[str, torch.Tensor]:
        x = self.twice(x)
        for layer in self.list:
            x = layer(x)
        for layer in self.named.values():
            x = layer(x)
        a, b = self.pair(x)
        left, right = torch.chunk(a, 2, 1)
        high, index = torch.max(b, 1)
        if bool(x.sum() > 100.0):
            y = self.rare(x)
            z = y * 2
        else:
            y = x - 1
            z = x
        if self.training:
            y = y * 100
        if self.is_scaled:
            z = z + 5
        if bias is not None:
            y = y + bias
        for step in range(x.size(0)):
            y = y + step
            z = z * y
        rows: List[torch.Tensor] = []
        for step in range(2):
            rows.append(y * step)
        if x.dim() != 2:
            raise ValueError("two dimensions are needed")
        return {"y": y, "z": z, "both": left + right, "high": high, "rows": torch.stack(rows), "gated": gated(z, x)}


class Refuses(torch.nn.Module):
    """Prints, warns, and raises when it is given few samples."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x):
        print("printed by the model", x.size(0))
        warnings.warn("warned by the model")
        if x.size(0) < 3:
            raise ValueError("{} samples are too few".format(x.size(0)))
        return self.fc(x.view(-1, x.size(1)))


class Custom(torch.nn.Module):
    """An operator that only this process has."""

    def forward(self, x):
        return torch.relu(torch.ops.qp_test.double(x)) + 1


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.custom = Custom()

    def forward(self, x):
        return self.custom(x)


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x):
        return torch.relu(self.fc(x))


class Saves(torch.nn.Module):
    """Writes a file whenever it runs."""

    def forward(self, x):
        torch.save(x, "qp-test-was-here")
        return x


def without_traces(path):
    """Writes an archive again without debug records, which hold the paths of this machine."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist() if not name.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


library = torch.library.Library("qp_test", "DEF")
library.define("double(Tensor x) -> Tensor")
for name, module in (("scripted", Scripted()), ("refuses", Refuses()), ("custom_op", Holder()), ("saves", Saves())):
    torch.jit.script(module.eval()).save(here / f"{name}.pt")
    without_traces(here / f"{name}.pt")
small = torch.jit.script(Small().eval())
small._save_for_lite_interpreter(str(here / "lite.ptl"))
without_traces(here / "lite.ptl")
small._save_for_lite_interpreter(str(here / "flatbuffer.ptl"), _use_flatbuffer=True)

x = torch.tensor([[-1.0, 0.5, 2.0, -0.25], [0.75, -2.0, 0.125, 1.0]])
values, _ = values_of(here / "scripted.pt", x, torch.tensor([0.5, -0.5, 0.25, 0.0]))
lines = [f"{json.dumps(name)}: {json.dumps(value.double().flatten().tolist())}" for name, value in values.items()]
(here / "scripted.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
print("lite", small(torch.tensor([[1.0, -1.0, 0.5]])).tolist())
