#!/usr/bin/env python3
"""Time and peak memory of `qp compare` as a whole process, compared with ONNX Runtime's qdq_loss_debug on the same files.

    scripts/bench/compare.py [--qp target/release/qp] [--samples 1 32 256 2048] REFERENCE.onnx CANDIDATE.onnx

Needs the packages of scripts/requirements-models.txt. The samples are random images in a temporary file. Each figure is
the best of three; the rival is measured up to 256 samples, because it keeps every value of every sample. Linux only.
"""

import argparse
import pathlib
import sys
import tempfile

from processes import most_mib, timed

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent

RIVAL = """
import os, sys, numpy, onnx
# ONNX Runtime reads it when it is imported, and would report its use over the network.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
from onnxruntime.quantization.calibrate import CalibrationDataReader
from onnxruntime.quantization import qdq_loss_debug as debug
images = numpy.load(sys.argv[3])[: int(sys.argv[4])].astype("float32")

class Reader(CalibrationDataReader):
    def __init__(self, name):
        self.rest = iter([{name: image[None]} for image in images])
    def get_next(self):
        return next(self.rest, None)

def collect(path, out):
    name = onnx.load(path).graph.input[0].name
    debug.modify_model_output_intermediate_tensors(path, out)
    return debug.collect_activations(out, Reader(name))

ours = collect(sys.argv[1], sys.argv[5] + "/a.onnx")
theirs = collect(sys.argv[2], sys.argv[5] + "/b.onnx")
debug.compute_activation_error(debug.create_activation_matching(theirs, ours))
"""


def best(command, rounds=3):
    """Seconds at their least, and MiB at most in another run."""
    return min(timed(command) for _ in range(rounds)), most_mib(command)


def main():
    import numpy

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path)
    parser.add_argument("--samples", nargs="+", default=[1, 32, 256, 2048], type=int)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("candidate", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = pathlib.Path(folder) / "images.npy"
        random = numpy.random.default_rng(0)
        numpy.save(images, random.integers(0, 256, (max(arguments.samples), 32, 32, 3), numpy.uint8))
        for count in arguments.samples:
            line = f"input '{images}[0:{count}]'; compare '{arguments.reference}' '{arguments.candidate}'"
            both, both_memory = best([str(arguments.qp), "-c", line])
            # What the rival computes, too: no errors of layers alone.
            seconds, memory = best([str(arguments.qp), "-c", f"{line} --accumulated"])
            text = f"{count:5} samples: qp {both:6.2f} s {both_memory:5.0f} MiB, accumulated alone {seconds:6.2f} s {memory:5.0f} MiB"
            if count <= 256:
                rival = [sys.executable, "-c", RIVAL, str(arguments.reference), str(arguments.candidate)]
                slow, large = best([*rival, str(images), str(count), folder])
                text += f"   qdq_loss_debug {slow:6.2f} s {large:5.0f} MiB   {slow / seconds:.1f} times"
            print(text)


if __name__ == "__main__":
    main()
