"""Writes the seeds of the fuzz targets: small real files, taken apart. Usage: seeds.py FOLDER"""

import io
import json
import pathlib
import struct
import sys
import zipfile

here = pathlib.Path(__file__).parent
data = here / "../../plugins/pytorch/tests/data"
folder = pathlib.Path(sys.argv[1])


def write(target, name, content):
    path = folder / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def models():
    for path in sorted(data.iterdir()):
        if path.suffix in (".pt", ".pt2"):
            yield path.name, path.read_bytes()
        if path.name in ("layouts.zip", "programs.zip"):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".pt2"):
                        yield name, archive.read(name)


for file, content in models():
    write("archive", file, content)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        write("pickle", file, content)
        continue
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if "/code/" in name and name.endswith(".py"):
                write("torchscript", f"{file}_{name}".replace("/", "_"), archive.read(name))
            if name.endswith(".pkl"):
                write("pickle", f"{file}_{name}".replace("/", "_"), archive.read(name))
            if name.endswith(("models/model.json", "serialized_exported_program.json")):
                write("program", file, archive.read(name))
rows = json.loads((data / "pickles.json").read_text())
for index, (content, _) in enumerate(rows):
    write("pickle", f"cpython_{index}", bytes.fromhex(content))
header = {
    "__metadata__": {"format": "pt"},
    "fc.weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
    "fc.bias": {"dtype": "I8", "shape": [2], "data_offsets": [8, 10]},
}
text = json.dumps(header).encode()
write("safetensors", "two_tensors", struct.pack("<Q", len(text)) + text + bytes(10))
write("safetensors", "header", text + bytes(10))



def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, content):
    """A field of a protobuf message: a number, a text or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def each(number, contents):
    return b"".join(field(number, content) for content in contents)


def node(operator, inputs, outputs, domain="", **attributes):
    """An ONNX node; attributes are whole numbers, lists of them, or (messages of) graphs."""
    def attribute(name, value):
        if isinstance(value, int):
            return field(1, name) + field(3, value) + field(20, 2)
        if isinstance(value, list):
            return field(1, name) + each(8, value) + field(20, 7)
        return field(1, name) + field(6, value) + field(20, 5)

    names = each(1, inputs.split()) + each(2, outputs.split())
    return names + field(4, operator) + each(5, [attribute(*one) for one in attributes.items()]) + field(7, domain)


def value(name, *shape):
    dims = each(1, [field(2, size) if isinstance(size, str) else field(1, size) for size in shape])
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def tensor(name, dtype, dims, raw):
    return each(1, dims) + field(2, dtype) + field(8, name) + field(9, raw)


def onnx(name, nodes, tensors=(), shape=(1, 3, 8, 8), more=b""):
    content = graph(nodes, tensors, shape)
    write("onnx", name, field(1, 10) + field(7, content) + each(8, [field(1, "") + field(2, 21), field(1, "d") + field(2, 1)]) + more)


def graph(nodes, tensors=(), shape=(1, 3, 8, 8)):
    return each(1, nodes) + field(2, "g") + each(5, tensors) + field(11, value("x", *shape)) + field(12, value("y"))


def floats(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


weight = tensor("w", 1, [4, 3, 3, 3], floats(*range(108)))
bias = tensor("b", 1, [4], floats(1, 2, 3, 4))
codes = [tensor("s", 1, [], floats(0.5)), tensor("z", 2, [], b"\x80"), tensor("ws", 1, [4], floats(1, 2, 3, 4)), tensor("wq", 3, [4, 3, 3, 3], bytes(108))]
sizes = [tensor("r", 7, [2], struct.pack("<2q", 1, -1)), tensor("i", 7, [1], struct.pack("<q", 1))]
conv = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
onnx("conv", [node("Conv", "x w b", "a", **conv), node("Relu", "a", "c"), node("Reshape", "c r", "y")], [weight, bias, *sizes])
quantized = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"), node("DequantizeLinear", "wq ws", "w", axis=0)]
onnx("qdq", [*quantized, node("Conv", "d w", "c", **conv), node("QuantizeLinear", "c s z", "e"), node("DequantizeLinear", "e s z", "y")], codes)
onnx("qlinear", [node("QuantizeLinear", "x s z", "q"), node("QLinearConv", "q s z wq ws z s z", "c"), node("DequantizeLinear", "c s z", "y")], codes)
onnx("dynamic", [node("DynamicQuantizeLinear", "x", "q t u"), node("ConvInteger", "q wq u", "c"), node("Cast", "c", "f", to=1), node("Mul", "f t", "y")], codes)
shapes = [node("Shape", "x", "k"), node("Gather", "k i", "j", axis=0), node("Concat", "j r", "l", axis=0), node("Reshape", "x l", "m"), node("Expand", "m k", "n")]
onnx("shapes", [*shapes, node("Split", "n", "y o", axis=0, num_outputs=2)], sizes, ("N", 3, "H", "N"))
branch = graph([node("Relu", "x", "y")])
onnx("if", [node("If", "x", "a", then_branch=branch, else_branch=branch), node("Loop", "i x a", "y", body=branch)], sizes)
function = field(1, "f") + field(4, "x") + field(5, "y") + each(7, [node("Relu", "x", "a"), node("g", "a", "y", "d")]) + field(9, field(1, "") + field(2, 21)) + field(10, "d")
inner = field(1, "g") + field(4, "x") + field(5, "y") + field(7, node("Neg", "x", "y")) + field(10, "d")
onnx("functions", [node("f", "x", "a", "d"), node("g", "a", "y", "d")], more=each(25, [function, inner]))
outside = each(1, [4]) + field(2, 1) + field(8, "e") + field(14, 1) + each(13, [field(1, "location") + field(2, "e.bin"), field(1, "offset") + field(2, "0")])
onnx("external", [node("Add", "x e", "y")], [outside])
onnx("blocks", [node("MatMulNBits", "x p s", "y", "com.microsoft", K=16, N=4, bits=4, block_size=16)], [tensor("p", 2, [4, 1, 8], bytes(32)), *codes], (1, 16))
write("onnx", "suspicious", (here / "../data/suspicious.onnx").read_bytes())

scripts = sorted((here / "../../models").glob("*.qp"))
for path in scripts:
    write("script", path.name, path.read_bytes())
texts = [
    "for m in a 'b c' \"$n\"; echo $m; if n > 2 && m != 'a'; echo ${m}x; else if true; let n = $m; else; assert 1 == 1; end; end",
    "if compare.layers.all(l, l.sqnr_db >= 0 || l.why == null)\n  echo yes # why\nelse\n  echo no\nend\n",
    "assert evaluate.models[\"a\"].accuracy > 0.1 && evaluate.models.exists(m, evaluate.models[m].accuracy > 1) \"said\"",
    "param x 3; for i in $x *.onnx [a-z]?.pt models/*/x[!0-9].npz; info $i; end; source b.qp; expect-error State load $x",
    "open .; load all; compare a b --data d.npz --samples 4 --top 3; assert compare.min_sqnr_db > 10; baseline check b.json",
    "let a = [1, 2].map(x, x * 2); assert [1, 2, 3].filter(x, x > 1).size() == 2 && {'a': 1}.a == 1 && 'ab'.startsWith('a')",
    "for a in 1 2; for b in 3 4; for c in 5 6; assert int($a) + int(b) < 20 ? true : false; end; end; end",
    "echo 'open\\' \\; end \\\n more",
]
for index, text in enumerate(texts):
    write("script", f"text_{index}", text.encode())

for number, body in enumerate([
    "return torch.relu(x).flatten(1)",
    "return torch.cat([x, x], 1)",
    "return torch.nn.functional.max_pool2d(x, 2)",
    "return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (1, 1, 2, 2)), 3, 1)",
    "return x.view(x.size(0), -1)",
    "y = x.view(x.size(0), x.size(1) * x.size(2), -1);  x = None\nreturn y",
    "return x.mean([2, 3], keepdim = True)",
    "a, b = x.chunk(2, 1);  x = None\nc = torch.stack([a, b]);  a = b = None\nreturn c",
    "size = x.size()\nbatch = size[0];  size = None\ny = x.reshape(batch, -1);  x = batch = None\nreturn y",
    "return torch.softmax(x @ x.transpose(-1, -2), -1)",
    "w = torch.ones([8, 4, 3, 3])\nreturn torch.nn.functional.conv2d(x, w, None, (1, 1), (1, 1))",
    "y = x[:, 1:]\nz = y[0]\nreturn z.unsqueeze(0).expand(2, -1, -1, -1)",
]):
    write("fx", f"graph_{number}", body.encode())
