"""Small TorchScript models that are awkward to follow, for torchscript.py: all take one tensor of shape N,4."""

from typing import Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Gelu(nn.Module):
    def forward(self, x):
        return F.gelu(x)


class Same(nn.Module):
    def forward(self, x):
        return x


class Functional(nn.Module):
    """No modules at all: functions, splits, several results."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.bias = nn.Parameter(torch.randn(4))
        self.register_buffer("offset", torch.ones(4))

    def forward(self, x):
        y = F.relu(F.linear(x, self.weight, self.bias)) + self.offset
        a, b = y.split(2, 1)
        z = torch.cat([a, b, a * b], 1)
        high, _ = z.max(1, keepdim=True)
        return F.softmax(z - high, 1)


class Reused(nn.Module):
    """Modules that are called again, and under another name."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.alias = self.fc
        self.act = Swish()
        self.again = self.act
        self.gelu = Gelu()
        self.same = Same()

    def forward(self, x):
        for _ in range(3):
            x = self.act(self.fc(x))
        return self.same(self.gelu(self.again(self.alias(x))))


class Branches(nn.Module):
    """Loops of every form, with modules within."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.inner = Reused()
        self.list = nn.ModuleList([Swish(), nn.Linear(4, 4)])

    def forward(self, x):
        for _ in range(int(x.shape[0])):
            x = self.fc(x) * 0.5
        while bool(x.abs().max() > 0.01):
            x = x * 0.5
        if x.sum() > 0:
            y = self.inner(x)
        else:
            y = self.list[0](self.list[1](x))
        total = 0
        for step in range(5):
            if step == 2:
                continue
            if step == 4:
                break
            total += step
            y = y + total
        return y, self.fc(y)


class Tuples(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x) -> Tuple[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]:
        y = self.fc(x)
        return y, (y + 1, y * 2)


class TupleLeaf(nn.Module):
    def forward(self, x) -> Tuple[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]:
        return x + 1, (x, x * 2)


class DictLeaf(nn.Module):
    def forward(self, x) -> Dict[str, torch.Tensor]:
        return {"a": x + 1, "b": x}


class ListLeaf(nn.Module):
    def forward(self, x) -> List[torch.Tensor]:
        return [x, x + 1, x * 2]


class OptionalLeaf(nn.Module):
    def forward(self, x, other: Optional[torch.Tensor] = None) -> Optional[torch.Tensor]:
        if other is not None:
            x = x + other
        return x


class Nested(nn.Module):
    """Lists within tuples, and one that a branch yields."""

    def forward(self, x) -> Tuple[torch.Tensor, List[torch.Tensor], torch.Tensor]:
        rows = [x, x + 1]
        if x.sum() > 0:
            rows = [x * 3, x * 4]
        return x * 5, rows, x * 6


class Structures(nn.Module):
    """What modules return besides one tensor."""

    def __init__(self):
        super().__init__()
        self.tuple = Tuples()
        self.leaf = TupleLeaf()
        self.dict = DictLeaf()
        self.list = ListLeaf()
        self.optional = OptionalLeaf()
        self.nested = Nested()

    def forward(self, x):
        a, (b, c) = self.tuple(x)
        d, (e, f) = self.leaf(a)
        g, h = self.dict(d), self.list(b)
        first, second = self.optional(c), self.optional(c, x)
        low, rows, high = self.nested(x)
        c = c + low + rows[1] + high
        if first is not None:
            c = first
        if second is not None:
            c = c + second
        return a + b + c + d + e + f + g["a"] * g["b"] + h[0] + h[2] - h[-1]


class Flags(nn.Module):
    """Conditions that are known before a run, and one that is not."""

    is_signed: bool
    is_late: bool

    def __init__(self):
        super().__init__()
        self.is_signed, self.is_late = True, False
        self.fc, self.drop, self.act = nn.Linear(4, 4), nn.Dropout(), Swish()

    def helper(self, x, is_plain: bool):
        if is_plain:
            return self.act(x)
        else:
            return -x

    def forward(self, x):
        if self.training:
            x = self.drop(x)
        if not self.is_signed:
            x = x + 1
        x = self.helper(self.helper(x, self.is_signed), False)
        if self.is_late:
            x = x * 2
        self.is_late = bool(x.sum() > 0)
        if self.is_late:
            x = x - 2
        return self.fc(x)


class Shapes(nn.Module):
    """Sizes that are computed with, which a trace keeps as tensors."""

    def __init__(self):
        super().__init__()
        self.act, self.leaf, self.norm = Swish(), TupleLeaf(), nn.BatchNorm1d(4)
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Swish(), nn.Linear(6, 4))

    def forward(self, x):
        samples, width = x.shape
        u, (v, w) = self.leaf(self.norm(self.layers(self.act(x))))
        y = (u + v + w).view(samples, 2, width // 2).transpose(1, 2).reshape(samples, -1)
        return (torch.zeros(samples, width) + y)[:, 1:]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.gru = nn.GRU(4, 3, batch_first=True)

    def forward(self, x):
        y = self.encoder(self.embedding((x.abs() * 2).long()))
        y, _ = self.attention(y, y, y)
        y, _ = self.gru(y)
        return y.mean(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        y, (h, _) = self.lstm(x.unsqueeze(1))
        return self.fc(y[:, 0] + h[0])


def make(folder, x):
    """Writes the models into `folder`; their paths."""
    torch.manual_seed(0)
    script, trace, freeze = torch.jit.script, torch.jit.trace, torch.jit.freeze
    dynamic = torch.ao.quantization.quantize_dynamic(Recurrent().eval(), {nn.Linear, nn.LSTM}, torch.qint8)
    made = {kind.__name__.lower(): script(kind().eval())
            for kind in (Functional, Reused, Branches, Structures, Flags, Shapes, Attention, Recurrent)}
    made |= {f"{kind.__name__.lower()}_traced": trace(kind().eval(), x) for kind in (Functional, Reused, Shapes, Recurrent)}
    made |= {
        "functional_frozen": freeze(made["functional"]),
        "shapes_frozen": freeze(made["shapes_traced"]),
        "reused_optimized": torch.jit.optimize_for_inference(script(Reused().eval())),
        "dynamic_int8": script(dynamic),
        "dynamic_int8_traced": trace(dynamic, x),
    }
    for name, module in made.items():
        module.save(folder / f"{name}.pt")
    return [folder / f"{name}.pt" for name in made]
