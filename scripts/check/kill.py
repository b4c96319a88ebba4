#!/usr/bin/env python3
"""Kills qp at random moments of each command that writes, then lets it write once more. Counts files that are torn, of
which there may be none at any time, and leftovers after the next write, of which there may be none either.

    kill.py [--qp target/debug/qp] [--kills 200] [--seed 0] [NAME...]
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
INPUT = "load resnet8.onnx; input digits.npz:images[0:16]; "


def whole_npz(data: bytes, path: pathlib.Path) -> bool:
    return zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip() is None


def whole_safetensors(data: bytes, path: pathlib.Path) -> bool:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return len(data) == 8 + size + max(entry["data_offsets"][1] for entry in header.values())


def whole_json(data: bytes, path: pathlib.Path) -> bool:
    return "entries" in json.loads(data)


def whole_history(data: bytes, path: pathlib.Path) -> bool:
    # A line that was being written when the process ended may be missing, none may be half there.
    return all(line == b"format" for line in data.splitlines()) and (not data or data.endswith(b"\n"))


# name: command, file that it writes, whether that is whole
CASES = {
    "capture-npz": (INPUT + "capture --save out.npz --force", "work/out.npz", whole_npz),
    "capture-safetensors": (INPUT + "capture --save out.safetensors --force", "work/out.safetensors", whole_safetensors),
    "plot-png": ("load resnet8.onnx; plot --force out.png ranges", "work/out.png", lambda data, _: data.endswith(b"IEND\xaeB`\x82")),
    "plot-svg": ("load resnet8.onnx; plot --force out.svg ranges", "work/out.svg", lambda data, _: data.rstrip().endswith(b"</svg>")),
    "graph-dot": ("load resnet8.onnx; graph --whole --dot out.dot --force", "work/out.dot", lambda data, _: data.endswith(b"}\n")),
    "plugins-json": ("format", "home/cache/plugins.json", whole_json),
    "backends-check": ("backends check PLUGIN resnet8.onnx", None, None),
    "history": (None, "home/state/history.txt", whole_history),
}


class World:
    def __init__(self, qp: pathlib.Path, name: str):
        self.folder = tempfile.TemporaryDirectory(prefix="qp-kill-")
        self.root = pathlib.Path(self.folder.name)
        self.qp = qp
        self.name = name
        for folder in ("home", "tmp", "work"):
            (self.root / folder).mkdir()
        for file in ("resnet8.onnx", "digits.npz"):
            shutil.copy(CHECKOUT / "models" / file, self.root / "work")
        plugin = next(qp.parent.glob("libqp_plugin_onnx.*"))
        command = CASES[name][0]
        self.command = command and command.replace("PLUGIN", str(plugin))

    def start(self) -> subprocess.Popen:
        if self.name == "plugins-json":
            # Written only when something is new.
            (self.root / "home/cache/plugins.json").unlink(missing_ok=True)
        environment = {**os.environ, "QP_HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp")}
        if self.command is None:
            return self.start_session(environment)
        return subprocess.Popen(
            [self.qp, "-c", self.command],
            cwd=self.root / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start_session(self, environment) -> subprocess.Popen:
        """A session on a terminal, the only one that keeps a history."""
        main, other = os.openpty()
        process = subprocess.Popen(
            [self.qp], cwd=self.root / "work", env={**environment, "TERM": "dumb"}, stdin=other, stdout=other, stderr=other
        )
        os.close(other)
        os.write(main, b"format\r" * 20 + b"\x04")
        process.terminal = main
        return process

    def leftovers(self):
        return [path for path in self.root.rglob("*") if ".tmp" in path.name]

    def end(self, process: subprocess.Popen):
        terminal = getattr(process, "terminal", None)
        if terminal is not None:
            try:
                while os.read(terminal, 1 << 16):
                    pass
            except OSError:
                pass
        process.wait()
        if terminal is not None:
            os.close(terminal)


def check(qp: pathlib.Path, name: str, kills: int, chance: random.Random) -> bool:
    world = World(qp, name)
    _, file, is_whole = CASES[name]
    path = file and world.root / file
    times = []
    for _ in range(3):
        started = time.monotonic()
        process = world.start()
        world.end(process)
        times.append(time.monotonic() - started)
    if process.returncode != 0 or (path and not path.exists()):
        print(f"{name}: does not run (exit code {process.returncode})")
        return False
    longest = max(times)
    killed = torn = left = most_left = tries = 0
    # Some end before they are killed.
    while killed < kills and tries < 10 * kills:
        tries += 1
        process = world.start()
        # Most of the time goes by before anything is written: half of the kills come in the last third.
        start = chance.choice([0.0, 0.66])
        started = time.monotonic()
        try:
            process.wait(chance.uniform(start, 1.0) * longest)
            # The machine has become faster: aim earlier.
            longest = (longest + time.monotonic() - started) / 2
        except subprocess.TimeoutExpired:
            longest *= 1.01
        process.send_signal(signal.SIGKILL)
        world.end(process)
        killed += process.returncode == -signal.SIGKILL
        most_left = max(most_left, len(world.leftovers()))
        left += bool(world.leftovers())
        if path and path.exists():
            try:
                torn += not is_whole(path.read_bytes(), path)
            except (ValueError, KeyError, zipfile.BadZipFile):
                torn += 1
    process = world.start()
    world.end(process)
    stale = len(world.leftovers())
    print(
        f"{name}: {killed} killed at work in {tries} tries, {torn} torn, leftovers after {left} of them, at most {most_left} at "
        f"once, {stale} after the next write; a whole run takes {min(times):.2f} s"
    )
    return torn == 0 and stale == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/debug/qp")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*", default=list(CASES))
    arguments = parser.parse_args()
    if "QP_RUNTIMES" not in os.environ:
        sys.exit("QP_RUNTIMES is not set: source env.sh")
    chance = random.Random(arguments.seed)
    verdicts = [check(arguments.qp.resolve(), name, arguments.kills, chance) for name in arguments.names]
    sys.exit(0 if all(verdicts) else 1)


if __name__ == "__main__":
    main()
