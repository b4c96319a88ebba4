#!/usr/bin/env python3
"""What it costs that models run in a process of their own: two sessions in turn, one with workers and one without.

    workers.py [--qp target/release/qp] [--rounds 60]

Prints the time of a single run at batch 1 and 32, and of `compare`, `sensitivity` and `evaluate`, for both, and the median of the ratios
of neighbours with its quartiles: these machines change their speed from second to second.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
MODELS = CHECKOUT / "models"
WAYS = ("worker", "none")
PAIR = "resnet8.onnx resnet8_int8.onnx --data digits.npz"


class Session:
    """A qp that reads commands from a pipe."""

    def __init__(self, qp, isolation):
        self.process = subprocess.Popen(
            [qp, "--format", "json"], cwd=MODELS, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=dict(os.environ, QP_ISOLATION=isolation))

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        if not self.process.stdout.readline():
            raise RuntimeError(f"the session ended with `{line}`")


def measure(sessions, line, rounds):
    """Seconds of each round, by way; the first round is not counted, and the ways take turns in going first."""
    times = {way: [] for way in WAYS}
    for index in range(rounds + 1):
        for way in WAYS if index % 2 else WAYS[::-1]:
            begun = time.perf_counter()
            sessions[way](line)
            if index:
                times[way].append(time.perf_counter() - begun)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    sessions = {way: Session(options.qp.resolve(), way) for way in WAYS}
    for session in sessions.values():
        session("load resnet8.onnx resnet8_int8.onnx")
        session("use resnet8.onnx")
    rows = [
        ("run, batch 1", "input digits.npz:images[0:1]", "run --repeat 200 --batch 1 --threads 1", 200),
        ("run, batch 32", "input digits.npz:images[0:32]", "run --repeat 20 --batch 32 --threads 1", 20),
        ("compare, 64 samples", None, f"compare {PAIR} --samples 64", 1),
        ("sensitivity, 32 samples", None, f"sensitivity {PAIR} --samples 32", 1),
        ("evaluate, 540 samples", None, f"evaluate {PAIR}", 1),
    ]
    print(f"{'':26}{'worker':>12}{'none':>12}   growth, and its quartiles")
    for name, prepare, line, runs in rows:
        for session in sessions.values():
            if prepare:
                session(prepare)
        times = measure(sessions, line, max(4, options.rounds if runs > 1 else options.rounds // 4))
        worker, none = (statistics.median(times[way]) * 1e3 / runs for way in WAYS)
        ratios = [(one / two - 1) * 100 for one, two in zip(times["worker"], times["none"])]
        low, middle, high = statistics.quantiles(ratios, n=4)
        apart = statistics.median(one - two for one, two in zip(times["worker"], times["none"])) * 1e6 / runs
        print(f"{name:26}{worker:9.3f} ms{none:9.3f} ms   {middle:+.1f} % ({low:+.1f} to {high:+.1f}), {apart:+.0f} us", flush=True)


if __name__ == "__main__":
    main()
