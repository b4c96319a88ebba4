#!/usr/bin/env python3
"""Does `qp bench` say the same again? Measures two models twice, several times, each in a process of its own, and counts
how often the two 95 % intervals of the ratio overlap. Then measures a model against itself, and counts how often the interval
holds 1.

    scripts/bench/bench_repeat.py [--qp target/release/qp] [--pairs 10] [--seconds 3 | --rounds 40] [--options '--threads 1']

The intervals know nothing of what differs from process to process, such as where the memory lies.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def measured(arguments, reference, candidate):
    """The candidate's row of one `bench`."""
    extent = f"--rounds {arguments.rounds}" if arguments.rounds else f"--seconds {arguments.seconds}"
    line = f"bench {reference} {candidate} {extent} {arguments.options}"
    ran = subprocess.run(
        [arguments.qp.resolve(), "--format", "json", "-c", line],
        cwd=CHECKOUT / "models",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])["rows"][1]


def interval(row):
    return row["ratio_low"], row["ratio_high"]


def overlaps(one, other):
    return max(one[0], other[0]) <= min(one[1], other[1])


def repeated(arguments, candidate):
    rows = [measured(arguments, arguments.reference, candidate) for _ in range(2 * arguments.pairs)]
    intervals = [interval(row) for row in rows]
    agreeing = sum(overlaps(*pair) for pair in zip(intervals[::2], intervals[1::2]))
    ratios = [row["ratio"] for row in rows]
    widths = [high - low for low, high in intervals]
    blocks = sum(row["block_rounds"] > 1 for row in rows)
    print(
        f"{candidate}: {agreeing} of {arguments.pairs} pairs overlap; ratios {min(ratios):.3f} to {max(ratios):.3f}, "
        f"median {statistics.median(ratios):.3f}; median width {statistics.median(widths):.4f}; "
        f"median rounds {statistics.median(row['rounds'] for row in rows):.0f}; in blocks {blocks} of {len(rows)}; "
        f"verdicts {', '.join(sorted({row['verdict'] for row in rows}))}",
        flush=True,
    )


def against_itself(arguments):
    rows = [measured(arguments, arguments.reference, arguments.reference) for _ in range(2 * arguments.pairs)]
    holding = sum(low <= 1 <= high for low, high in map(interval, rows))
    undistinguished = sum(row["verdict"] in ("same", "undecided") for row in rows)
    farthest = max(abs(row["ratio"] - 1) for row in rows)
    print(
        f"{arguments.reference} against itself: {holding} of {len(rows)} hold 1; {undistinguished} find no "
        f"difference; farthest ratio {farthest:.4f} from 1"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, help="so many rounds, however long they take")
    parser.add_argument("--options", default="", help="further words for `bench`")
    parser.add_argument("--reference", default="resnet8.onnx")
    parser.add_argument("--candidates", nargs="*", default=["resnet8_int8.onnx"])
    arguments = parser.parse_args()
    for candidate in arguments.candidates:
        repeated(arguments, candidate)
    against_itself(arguments)


if __name__ == "__main__":
    main()
