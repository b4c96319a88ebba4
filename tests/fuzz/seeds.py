"""Writes the seeds of the fuzz targets: small real files, taken apart. Usage: seeds.py FOLDER"""

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


for path in sorted(data.iterdir()):
    if path.suffix not in (".pt", ".pt2"):
        continue
    write("archive", path.name, path.read_bytes())
    if not zipfile.is_zipfile(path):
        write("pickle", path.name, path.read_bytes())
        continue
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            flat = name.replace("/", "_")
            if name.endswith(".pkl"):
                write("pickle", flat, archive.read(name))
            if name.endswith("models/model.json"):
                write("program", flat, archive.read(name))
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
