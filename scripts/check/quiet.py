#!/usr/bin/env python3
"""Nothing leaves the machine, and nothing is written outside qp's folders: each backend under strace, with an empty
home, for 30 seconds after its first run. Needs Linux, strace, a built qp and the runtimes.

    quiet.py [--qp target/debug/qp] [--seconds 30]
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,"
    "mknod,mknodat,memfd_create,socket,connect,sendto,sendmsg,execve,chmod,fchmodat,truncate"
)
MODELS = ["resnet8.onnx", "resnet8_int8.onnx", "resnet8.pt", "resnet8_traced.pt", "resnet8_int8.pt"]
# Of the calls that only read, nothing is said.
READ = re.compile(r"\b(?:open|openat|openat2)\(")
WRITE_FLAGS = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE")
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')


def changes(trace: str):
    """What succeeded: paths made, written, renamed or removed; sockets; programs started."""
    paths, sockets, programs = set(), [], []
    for line in trace.splitlines():
        call = line.split(None, 1)[-1]
        if " = -1 " in call or "(" not in call or call.startswith(("+++", "---")):
            continue
        name = call.split("(", 1)[0].split()[-1]
        if name in ("socket", "connect", "sendto", "sendmsg"):
            sockets.append(call)
        elif name == "execve":
            programs.append(call)
        elif not READ.search(call) or WRITE_FLAGS.search(call):
            paths.update(PATH.findall(call))
    return paths, sockets, programs[1:]


def check(qp: pathlib.Path, model: str, seconds: float) -> bool:
    with tempfile.TemporaryDirectory(prefix="qp-quiet-") as folder:
        root = pathlib.Path(folder)
        for name in ("home", "tmp", "work"):
            (root / name).mkdir()
        for source in (CHECKOUT / "models").iterdir():
            shutil.copy(source, root / "work")
        before = {path.relative_to(root) for path in root.rglob("*")}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "QP_RUNTIMES": os.environ["QP_RUNTIMES"],
        }
        trace = root / "trace"
        process = subprocess.Popen(
            ["strace", "-f", "-qq", "-s", "300", "-o", str(trace), "-e", f"trace={CALLS}", str(qp), "--format", "json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root / "work",
            env=environment,
            text=True,
        )
        process.stdin.write(f"use {model}\ninput random --shape 1,32,32,3\nrun\n")
        process.stdin.flush()
        answers = [process.stdout.readline() for _ in range(3)]
        time.sleep(seconds)
        _, output = process.communicate("quit\n")
        has_run = process.returncode == 0 and "outputs" in answers[-1]
        paths, sockets, programs = changes(trace.read_text(errors="replace"))
        trace.unlink()
        made = sorted(str(path) for path in {path.relative_to(root) for path in root.rglob("*")} - before)
        outside = sorted(
            path
            for path in paths
            if path.startswith("/")
            and not path.startswith(str(root))
            and not path.startswith(("/dev/null", "/dev/tty", "/proc/"))
        )
        allowed = {"home/.cache", "home/.cache/qp", "home/.cache/qp/plugins.json"}
        is_good = has_run and set(made) == allowed and not outside and not sockets and not programs
        print(f"{model}: {'quiet' if is_good else 'NOT QUIET'} for {seconds:g} s after its first run")
        print(f"  new: {', '.join(made) or 'nothing'}")
        print(f"  outside: {', '.join(outside) or 'nothing'}; sockets: {len(sockets)}; programs: {len(programs)}")
        for call in sockets + programs:
            print(f"    {call}")
        if not has_run:
            print(output)
        return is_good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/debug/qp")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("models", nargs="*", default=MODELS)
    arguments = parser.parse_args()
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    if "QP_RUNTIMES" not in os.environ:
        sys.exit("QP_RUNTIMES is not set: source env.sh")
    verdicts = [check(arguments.qp.resolve(), model, arguments.seconds) for model in arguments.models]
    sys.exit(0 if all(verdicts) else 1)


if __name__ == "__main__":
    main()
