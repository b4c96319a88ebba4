#!/usr/bin/env python3
"""Does qp grow? Repeats commands many times in one session and prints the resident memory after a tenth of the rounds and at the
end, of qp and of its workers. Linux only.

    scripts/bench/memory.py [--qp target/release/qp] [--rounds 2000] [--only TEXT] [models | commands]

  models    loads, runs and unloads a model, for each backend
  commands  one command after the other, those that look, run, compare, change and write
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

from processes import family

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
MODELS = ["resnet8.onnx", "resnet8_int8.onnx", "resnet8_traced.pt", "resnet8_int8.pt"]
PAIR = "resnet8.onnx resnet8_int8.onnx --data models/digits.npz"
# Each is repeated; the session has the four models open, an input and a dataset.
COMMANDS = [
    "summary", "layers resnet8_int8.onnx", "layer layer1.conv1", "graph", "weights layer1.conv1", "stats resnet8.onnx", "quant --model resnet8_int8.onnx",
    "lint resnet8_int8.onnx", "diff resnet8.onnx resnet8_int8.onnx", "run resnet8.onnx", "run resnet8_int8.onnx", "run resnet8_traced.pt",
    "run resnet8_int8.pt", "capture resnet8.onnx", "capture resnet8_int8.pt", f"compare {PAIR} --samples 1",
    "compare resnet8_traced.pt resnet8_int8.pt --data models/digits.npz --samples 1", f"evaluate {PAIR} --samples 4",
    f"flips {PAIR} --samples 4", f"doctor {PAIR} --samples 1", f"sensitivity {PAIR} --samples 1", "scale layer1.conv1.weight 1.1 --model resnet8_int8.onnx; undo --model resnet8_int8.onnx",
    "quantize resnet8.onnx --data models/digits.npz --samples 1 --fresh --out {out} --force", "export resnet8.onnx {out} --force",
]


class Session:
    """A qp that takes commands through a pipe and answers each with one JSON document."""

    def __init__(self, qp):
        self.process = subprocess.Popen(
            [qp, "--format", "json"], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the session ended with `{line}`"
        return json.loads(answer)

    def resident_kib(self):
        """Of qp, and of its workers together."""
        own, *workers = family(self.process.pid)
        return resident_kib(own), sum(map(resident_kib, workers))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def resident_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def growth(session, lines, rounds):
    """Resident KiB of qp and its workers after a tenth of the rounds, and after all."""
    early = (0, 0)
    for number in range(1, rounds + 1):
        for line in lines:
            session.command(line)
        if number == max(1, rounds // 10):
            early = session.resident_kib()
    return early, session.resident_kib()


def prepared(qp):
    session = Session(qp)
    for line in ("open models", "use resnet8.onnx", "input models/digits.npz:images[0]"):
        session.command(line)
    return session


def show(name, early, late):
    changes = "".join(f"{before / 1024:10.1f}{after / 1024:8.1f}{(after - before) / 1024:+7.1f}" for before, after in zip(early, late))
    print(f"{name[:60]:60}{changes}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path, help="the program")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--only", action="append", metavar="TEXT", help="the models and commands that contain it; may be repeated")
    parser.add_argument("what", nargs="*", choices=["models", "commands", []], help="both by default")
    arguments = parser.parse_args()

    def is_asked(name):
        return not arguments.only or any(text in name for text in arguments.only)

    print(f"{'MiB after a tenth, after ' + str(arguments.rounds) + ', and the growth':60}{'qp':>17}{'workers':>25}")
    if "models" in (arguments.what or ["models"]):
        for model in filter(is_asked, MODELS):
            session = prepared(arguments.qp.resolve())
            again = ["input models/digits.npz:images[0]"] if model == "resnet8.onnx" else []
            show(model, *growth(session, [f"load {model}", f"run {model}", f"unload {model}", *again], arguments.rounds))
            session.close()
    if "commands" in (arguments.what or ["commands"]):
        with tempfile.TemporaryDirectory() as folder:
            session = prepared(arguments.qp.resolve())
            for line in filter(is_asked, COMMANDS):
                show(line, *growth(session, line.format(out=f"{folder}/out.onnx").split("; "), arguments.rounds))
            session.close()


if __name__ == "__main__":
    main()
