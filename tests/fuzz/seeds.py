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
