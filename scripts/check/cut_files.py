#!/usr/bin/env python3
"""Cuts and restores model files at random moments while qp reads them. Linux.

    cut_files.py FOLDER [--qp target/debug/qp] [--rounds 40] [--seed 0] [NAME...]

FOLDER holds a large `mobilenet_v2.onnx` and `mobilenet_v2_int8.onnx`; a safetensors file and an ONNX model with external data
are made. NAMEs of commands, all by default: stats, diff, weights, compare, run, export, beside, safetensors.

In each round qp reads a file that shrinks and grows back again and again. No signal may end it, and what it prints is what it prints
of the whole file, row by row, or an error.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
FLOAT, INT8 = "mobilenet_v2.onnx", "mobilenet_v2_int8.onnx"
# What is cut, and the commands.
CASES = {
    "stats": (FLOAT, f"load {FLOAT}; stats"),
    "diff": (FLOAT, f"load {FLOAT} {INT8}; diff {FLOAT} {INT8}"),
    "weights": (FLOAT, f"load {FLOAT}; weights /classifier/classifier.1/Gemm"),
    "compare": (FLOAT, f"load {FLOAT} {INT8}; input random; compare {FLOAT} {INT8}"),
    "run": (FLOAT, f"load {FLOAT}; input random; run; run; run; run"),
    "export": (FLOAT, f"load {FLOAT}; export {FLOAT} out.onnx --force"),
    "beside": ("beside.data", "load beside.onnx; stats; input random; run; run"),
    "safetensors": ("m.safetensors", "load m.safetensors; stats"),
}
# `model` is what an input fits, and none when that has been cut.
VOLATILE = ("ms", "time", "elapsed", "how", "evicted", "model")


def field(number, content):
    """A field of a protobuf message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    out = bytearray()
    while True:
        out.append(value & 127 | (128 if value > 127 else 0))
        value >>= 7
        if not value:
            return bytes(out)


def with_data_beside(folder, side=1500):
    """y = x · w, with w in a file beside the model."""
    data = random.Random(1).randbytes(side * side * 2)
    floats = struct.pack(f"<{side * side}f", *(byte / 1000 + 1 for byte in data[: side * side]))
    (folder / "beside.data").write_bytes(floats)
    entries = [("location", "beside.data"), ("offset", "0"), ("length", str(len(floats)))]
    entries = b"".join(field(13, field(1, key) + field(2, value)) for key, value in entries)
    weight = field(1, side) + field(1, side) + field(2, 1) + field(8, "w") + entries + field(14, 1)
    dims = lambda *sizes: b"".join(field(1, field(1, size)) for size in sizes)
    value = lambda name: field(1, name) + field(2, field(1, field(1, 1) + field(2, dims(1, side))))
    node = field(1, "x") + field(1, "w") + field(2, "y") + field(3, "product") + field(4, "MatMul")
    graph = field(1, node) + field(2, "g") + field(5, weight) + field(11, value("x")) + field(12, value("y"))
    (folder / "beside.onnx").write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17)))


def safetensors(folder, count=40, side=400):
    header, at = {}, 0
    for index in range(count):
        end = at + side * side * 4
        header[f"layer{index}.weight"] = {"dtype": "F32", "shape": [side, side], "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    pattern = struct.pack("<250f", *(index / 10 + 1 for index in range(250)))
    (folder / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + pattern * (at // len(pattern)))


class Cutting(threading.Thread):
    """Cuts a file again and again, and restores it each time."""

    def __init__(self, path, rng, delay):
        super().__init__()
        self.path, self.rng, self.delay = path, rng, delay
        self.content = path.read_bytes()
        self.is_over = False

    def run(self):
        time.sleep(self.delay)
        while not self.is_over:
            length = self.rng.choice([0, self.rng.randrange(len(self.content)), len(self.content) - self.rng.randrange(1, 5000)])
            os.truncate(self.path, length)
            time.sleep(self.rng.choice([0, 0.001, 0.02]))
            with open(self.path, "ab") as file:
                file.write(self.content[length:])
            time.sleep(self.rng.choice([0.001, 0.02, 0.2, 1.0]))

    def stop(self):
        self.is_over = True
        self.join()
        assert self.path.read_bytes() == self.content


def documents(text):
    decoder, at, found = json.JSONDecoder(), 0, []
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        found.append(value)
    return found


def stable(value):
    if isinstance(value, dict):
        return {key: stable(of) for key, of in value.items() if not any(part in VOLATILE for part in key.split("_"))}
    return [stable(of) for of in value] if isinstance(value, list) else value


def differences(expected, got, place="", is_excused=False):
    """Where a result is neither what was expected, nor an error, nor absent with the reason beside it."""
    if isinstance(got, dict):
        if got.get("error"):
            return
        is_excused = is_excused or any(got[key] for key in got if key.endswith("obstacle"))
    if got is None and is_excused:
        return
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in got:
            if not key.endswith("obstacle"):
                yield from differences(expected.get(key), got[key], f"{place}.{key}", is_excused)
    elif isinstance(expected, list) and isinstance(got, list):
        named = {of["name"]: of for of in expected if isinstance(of, dict) and "name" in of}
        for index, of in enumerate(got):
            if named and isinstance(of, dict) and "name" in of:
                yield from differences(named.get(of["name"]), of, f"{place}.{of['name']}", is_excused)
            else:
                other = expected[index] if index < len(expected) else None
                yield from differences(other, of, f"{place}.{index}", is_excused)
    elif expected != got:
        yield f"{place}: {expected} became {got}"


def execute(qp, folder, commands):
    done = subprocess.run([qp, "--format", "json", "-c", commands], cwd=folder, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--qp", default=CHECKOUT / "target/debug/qp", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    qp, rng, has_failed = arguments.qp.resolve(), random.Random(arguments.seed), False
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name in (FLOAT, INT8):
            shutil.copy(arguments.folder / name, folder)
        with_data_beside(folder)
        safetensors(folder)
        for name in arguments.names or CASES:
            victim, commands = CASES[name]
            start = time.monotonic()
            code, out, errors = execute(qp, folder, commands)
            length = time.monotonic() - start
            if code:
                sys.exit(f"{name}: failed without being disturbed: {out}{errors}")
            expected = stable(documents(out))
            exported = (folder / "out.onnx").read_bytes() if name == "export" else b""
            counts, seen = {"right": 0, "error": 0}, {}
            for _ in range(arguments.rounds):
                cutting = Cutting(folder / victim, rng, rng.random() * length)
                cutting.start()
                try:
                    code, out, errors = execute(qp, folder, commands)
                finally:
                    cutting.stop()
                got = documents(out)
                failures = [document["error"]["message"] for document in got if "error" in document]
                # What `load` says is about the file as it was at that moment.
                wrong = list(differences(expected[1:], stable(got)[1:]))
                if name == "export" and not failures and (folder / "out.onnx").read_bytes() != exported:
                    wrong.append("the exported file is another")
                if code not in (0, 1) or wrong or "panicked" in errors or (code == 1 and "error: " not in errors):
                    has_failed = True
                    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
                    print(f"  {name}: {how}; {'; '.join(wrong[:3])} {errors[-500:]}")
                counts["error" if failures else "right"] += 1
                for failure in failures:
                    seen[failure.split(":")[0]] = seen.get(failure.split(":")[0], 0) + 1
            print(f"{name}: {counts['right']} right or partly so, {counts['error']} errors: {seen}", flush=True)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
