#!/usr/bin/env python3
"""Does qp grow? Loads, runs and unloads a model many times in one session, for each backend, and prints the
resident memory after 100 rounds and at the end. Linux only.

    scripts/bench/memory.py [--qp target/release/qp] [--rounds 1000]
"""

import argparse
import json
import pathlib
import subprocess

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
MODELS = ["resnet8.onnx", "resnet8_int8.onnx", "resnet8_traced.pt", "resnet8_int8.pt"]


class Session:
    """A qp that takes commands through a pipe and answers each with one JSON document."""

    def __init__(self, qp):
        self.process = subprocess.Popen(
            [qp, "--format", "json"], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer or answer["error"] is None, answer
        return answer

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def growth(qp, model, rounds):
    """Resident KiB after 100 rounds and after all."""
    session = Session(qp)
    session.command("open models")
    session.command("use resnet8.onnx")
    session.command("input models/digits.npz:images[0]")
    early = 0
    for number in range(1, rounds + 1):
        session.command(f"load {model}")
        session.command(f"run {model}")
        session.command(f"unload {model}")
        if model == "resnet8.onnx":
            session.command("input models/digits.npz:images[0]")
        if number == min(100, rounds):
            early = session.resident_kib()
    late = session.resident_kib()
    session.close()
    return early, late


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--rounds", type=int, default=1000)
    arguments = parser.parse_args()
    print(f"{'model':20} {'after 100':>12} {f'after {arguments.rounds}':>12} {'growth':>10}")
    for model in MODELS:
        early, late = growth(arguments.qp, model, arguments.rounds)
        print(f"{model:20} {early / 1024:8.1f} MiB {late / 1024:8.1f} MiB {(late - early) / 1024:+6.1f} MiB")


if __name__ == "__main__":
    main()
