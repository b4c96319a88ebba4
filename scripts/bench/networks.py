#!/usr/bin/env python3
"""Time and peak memory of `qp compare` and `qp sensitivity` on torchvision's networks, compared with a plain run of both models.

    scripts/bench/networks.py [--qp target/release/qp] [--networks mobilenet_v2:8,…] [--rounds 3] [--sensitivity] [--without-worker] [--rival] CACHE

CACHE is a folder that `scripts/check/networks.py` has filled: NAME/preprocessed.onnx and NAME/QDQ-int8-preprocessed.onnx. Each
name is followed by the number of pictures. The plain run is a Python process that loads both models and runs them, with
optimization off, without capturing. With --without-worker, also qp with the runtime in its own process; with --rival, also ONNX
Runtime's qdq_loss_debug on as many pictures. All are interleaved; each figure is the median. Needs the packages of
scripts/requirements-models.txt; Linux only.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

from compare import RIVAL
from processes import most_mib, timed

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent

BARE = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy, onnxruntime
x = numpy.random.default_rng(0).random((int(sys.argv[3]), 3, 224, 224), dtype="float32")
for path in sys.argv[1:3]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(None, {session.get_inputs()[0].name: x})
"""


def pictures(folder, count):
    """A file of so many random pictures."""
    import numpy

    path = f"{folder}/{count}.npy"
    numpy.save(path, numpy.random.default_rng(0).random((int(count), 3, 224, 224), dtype="float32"))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=pathlib.Path)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/release/qp")
    parser.add_argument("--networks", default="mobilenet_v2:8,resnet50:4,vit_b_16:2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sensitivity", action="store_true", help="takes minutes")
    parser.add_argument("--without-worker", action="store_true", help="also with qp and the runtime in one process")
    parser.add_argument("--rival", action="store_true")
    arguments = parser.parse_args()
    folder = tempfile.TemporaryDirectory()
    for network in arguments.networks.split(","):
        name, _, count = network.partition(":")
        files = [str(arguments.cache / name / f"{form}.onnx") for form in ("preprocessed", "QDQ-int8-preprocessed")]
        feed = f"input random --shape {count or 1},3,224,224"
        pair = f"{files[0]} {files[1]}"
        lines = {"compare": f"compare {pair} --top 1", "compare --accumulated": f"compare {pair} --top 1 --accumulated"}
        if arguments.sensitivity:
            lines["sensitivity"] = f"sensitivity {pair} --top 1"
        commands = {"bare": [sys.executable, "-c", BARE, *files, count or "1"]}
        for what, line in lines.items():
            commands[what] = [str(arguments.qp), "-c", f"{feed}; {line}"]
            if arguments.without_worker:
                commands[f"{what}, no worker"] = ["env", "QP_ISOLATION=none", *commands[what]]
        if arguments.rival:
            commands["qdq_loss_debug"] = [sys.executable, "-c", RIVAL, *files, pictures(folder.name, count or "1"), count or "1", folder.name]
        found = {what: [] for what in commands}
        for _ in range(arguments.rounds):
            for what, command in commands.items():
                found[what].append(timed(command))
        for what, seconds in found.items():
            # Neighbours were measured one after the other: the machine's speed changes.
            ratio = statistics.median(one / other for one, other in zip(seconds, found["bare"]))
            print(f"{network:16} {what:33} {statistics.median(seconds):7.2f} s {ratio:6.2f} x bare {most_mib(commands[what]):6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
