#!/usr/bin/env python3
"""How long a cold start takes: `open models; load all; summary`, as a whole process, with its peak memory.

    scripts/bench/startup.py [--qp target/release/qp] [--runs 20] [-- OTHER COMMAND]

With another command, both run in turn and the ratio of their medians is printed.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def measure(command):
    """Wall seconds and peak MiB of one run."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{command} failed")
    return seconds, usage.ru_maxrss / 1024


def report(name, samples):
    walls, peaks = zip(*samples)
    print(f"{name}: {statistics.median(walls) * 1e3:.1f} ms median, {min(walls) * 1e3:.1f} to {max(walls) * 1e3:.1f} ms, peak {max(peaks):.1f} MiB")
    return statistics.median(walls)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("other", nargs="*", help="another command to compare with")
    arguments = parser.parse_args()
    command = [arguments.qp, "-c", "open models; load all; summary"]
    measure(command)
    ours, theirs = [], []
    for _ in range(arguments.runs):
        ours.append(measure(command))
        if arguments.other:
            theirs.append(measure(arguments.other))
    median = report("qp", ours)
    if theirs:
        print(f"ratio {report('other', theirs) / median:.1f}")


if __name__ == "__main__":
    main()
