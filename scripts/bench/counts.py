#!/usr/bin/env python3
"""Instructions of the hot loops, which do not depend on what else the machine does: a slower version is seen on any machine.

    scripts/bench/counts.py [--qp target/release/qp] [--record]

Runs `stats` and `diff` under valgrind's callgrind on files of one tensor of 64 Ki and of 1 Mi elements; the difference of the
two is the cost per element. Opening the sample models is counted as a whole. Compares with scripts/bench/counts.json and
fails where a count is more than 10 % above; --record writes the file. Needs valgrind and a release build; only the standard library.
"""

import argparse
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
RECORD = pathlib.Path(__file__).with_suffix(".json")
SMALL, LARGE = 1 << 16, 1 << 20
TOLERANCE = 1.1
TYPES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1}


def write(path, dtype, elements, seed):
    """A safetensors file with one tensor of small numbers."""
    source = random.Random(seed)
    if dtype == "F32":
        # One block of numbers again and again: they are made in a moment, and the loops do not know.
        block = struct.pack("<4096f", *(source.gauss(0, 1) for _ in range(4096)))
    elif dtype == "F16":
        block = struct.pack("<4096e", *(source.gauss(0, 1) for _ in range(4096)))
    elif dtype == "BF16":
        block = b"".join(struct.pack("<f", source.gauss(0, 1))[2:] for _ in range(4096))
    else:
        block = source.randbytes(4096)
    data = block * (elements * TYPES[dtype] // len(block))
    header = json.dumps({"weight": {"dtype": dtype, "shape": [elements // 64, 64], "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def count(qp, line, folder):
    """The instructions of one process."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(qp), "-q", "--format", "json", "-c", line]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode or not found:
        sys.exit(f"`{line}` failed:\n{result.stderr}")
    return int(found[1])


def measure(qp):
    counts = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for dtype in TYPES:
            for name, elements in (("small", SMALL), ("large", LARGE)):
                for seed in (0, 1):
                    write(folder / f"{name}{seed}.safetensors", dtype, elements, seed)
            for what, line in (("stats", "stats {0}0.safetensors"), ("diff", "diff {0}0.safetensors {0}1.safetensors")):
                small, large = (count(qp, line.format(name), folder) for name in ("small", "large"))
                counts[f"{what} {dtype}, instructions an element"] = round((large - small) / (LARGE - SMALL), 2)
    models = CHECKOUT / "models"
    for name in sorted(path.name for path in models.iterdir() if path.suffix in (".onnx", ".pt")):
        counts[f"open {name}, million instructions"] = round(count(qp, f"open {name}", models) / 1e6, 2)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path)
    parser.add_argument("--record", action="store_true", help="write the counts to scripts/bench/counts.json")
    arguments = parser.parse_args()
    os.environ.setdefault("QP_HOME", tempfile.mkdtemp())
    counts = measure(arguments.qp.resolve())
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    slower = []
    for name, value in counts.items():
        before = known.get(name)
        print(f"{name}: {value}" + (f", was {before}" if before is not None else ""))
        if before is not None and value > before * TOLERANCE:
            slower.append(name)
    if arguments.record:
        RECORD.write_text(json.dumps(counts, indent=2) + "\n")
    elif slower:
        sys.exit(f"slower: {'; '.join(slower)}")


if __name__ == "__main__":
    main()
