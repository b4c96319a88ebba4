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
