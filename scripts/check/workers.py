#!/usr/bin/env python3
"""Ends worker processes in every way and looks at what the session makes of it. Linux.

    workers.py [--qp target/debug/qp] [--kills 200] [--seed 0] [--cases FOLDER] [NAME...]

NAMEs, all by default:
  models    one session loads and runs each model of `--cases` that ends a process or never comes to an end; after each a good model must
            run and give what it gave before
  kills     `kill -9` of the worker at random moments of each long command: one line, or the result that it has without that. Half of the workers
            are stopped first: if the command then waits for one that has worked for it, its end must be told
  deaths    a worker dies `--kills` times in a row: no process, descriptor or shared memory is left
  host      `kill -9` of qp at random moments: no worker survives it by a second
  cancel    Ctrl-C at random moments: the time until the next prompt, median and worst
"""

import argparse
import codecs
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
MODELS = CHECKOUT / "models"
GOOD = f"load {MODELS}/resnet8.onnx; input {MODELS}/digits.npz:images[0:4]; run"
LONG = [
    "compare resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 256",
    "evaluate resnet8.onnx resnet8_int8.onnx --data digits.npz",
    "sensitivity resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 32",
    "repair resnet8_int8.onnx --min-sqnr 60 --data digits.npz --samples 32",
    "search resnet8.onnx --target-size 60KiB --data digits.npz --samples 32",
    "quantize resnet8.onnx --data digits.npz --samples 256 --out {out} --force",
    "bench resnet8.onnx resnet8_int8.onnx --rounds 200",
    "run --repeat 300",
    "compare resnet8.pt resnet8_int8.pt --data digits.npz --samples 256",
    "bench resnet8.pt resnet8_int8.pt --rounds 100",
]


def workers_of(pid):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) == pid and b"--worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (OSError, IndexError):
                pass
    return found


def lives(pid):
    """Whether a process has not ended; its entry may wait to be collected."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def all_workers(qp):
    """Workers of this qp whose session has ended."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                is_own = os.path.realpath(entry / "exe") == os.path.realpath(qp)
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if is_own and b"--worker" in (entry / "cmdline").read_bytes().split(b"\0") and fields[1] == "1":
                    found.add(int(entry.name))
            except (OSError, IndexError):
                pass
    return found


class Terminal:
    """A qp on a pseudo-terminal, which goes on after errors."""

    def __init__(self, qp, folder):
        import pty

        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="dumb", NO_COLOR="1", COLUMNS="200")
            os.execv(qp, [qp])
        self.text = ""
        self.until_prompt()

    def until_prompt(self, limit=120):
        """What is printed until the next prompt."""
        import select

        begun, text, decoder = time.monotonic(), "", codecs.getincrementaldecoder("utf-8")("replace")
        while time.monotonic() - begun < limit:
            ready, _, _ = select.select([self.fd], [], [], 0.02)
            if ready:
                try:
                    text += decoder.decode(os.read(self.fd, 65536))
                except OSError:
                    return text + "<end>"
            elif re.search(r"(^|\n|\r)[^\n\r]*> (\^C)*$", text):
                return text
        return text + "<no prompt>"

    def line(self, line, limit=120):
        self.send(line)
        return self.until_prompt(limit)

    def send(self, line):
        os.write(self.fd, (line + "\n").encode())

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def numbers(text):
    """The numbers of a result, without the time."""
    return re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text.split("float32 4")[-1])


def models(options):
    lines = []
    for case in sorted(pathlib.Path(options.cases).iterdir()):
        command = case / "cmd"
        match = re.match(r"qp -c '(load [^;]*; input [^;]*; run)'", command.read_text()) if command.exists() else None
        if match:
            lines.append((case.name, re.sub(r"load ([^\s;]+)", lambda found: f"load '{case}/{found[1]}'", match[1])))
    return try_all(options.qp, options.folder, lines)


def try_all(qp, folder, lines, seconds=5):
    """Runs lines in one session, each with a name, and a good model after each; what takes longer than `seconds` is ended with Ctrl-C.
    Gives how many were not as they should be."""
    session = Terminal(qp, folder)
    reference = numbers(session.line(GOOD))
    assert reference, "the good model gives nothing"
    wrong = crashes = refusals = ends = 0
    for name, line in lines:
        session.send(line)
        begun = time.monotonic()
        text = session.until_prompt(seconds)
        if text.endswith("<no prompt>"):
            os.kill(session.pid, signal.SIGINT)
            text += session.until_prompt(30)
            ends += 1
        errors = re.findall(r"error: (.*)", text)
        # One line, which is no page, and nothing that the terminal would obey.
        is_right = len(errors) <= 1 and "<end>" not in text and "\x1b[2J" not in text and max(map(len, text.splitlines())) < 2000
        is_right = numbers(session.line(GOOD)) == reference and is_right
        has_crashed = any("crashed" in error for error in errors)
        wrong += not is_right
        crashes += has_crashed
        refusals += bool(errors) and not has_crashed
        what = errors[0].strip() if errors else "cancelled" if "^C" in text or "cancelled" in text else "no error"
        print(f"  {'right' if is_right else 'WRONG'}  {name:40} {time.monotonic() - begun:5.1f} s  {what[:160]}", flush=True)
    session.close()
    print(f"models: {len(lines)} tried, {crashes} ended their worker, {refusals} were refused or failed, {ends} ended by Ctrl-C; {wrong} wrong")
    return wrong


def running_ns(pid):
    """How long a process has run, in all its threads."""
    try:
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    except OSError:
        return 0


def without_times(text):
    return re.sub(r"\d[\d.]*\s*(?:us|ms|s)\b", "", text)


class Strike:
    """One `kill -9` of the workers in a command, and whether it had to be told."""

    def __init__(self, session, line, delay, is_certain):
        before = {pid: running_ns(pid) for pid in workers_of(session.pid)}
        session.send(line)
        time.sleep(delay)
        workers, early = workers_of(session.pid), ""
        if is_certain:
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
            # A command that needs no worker any more goes on to its end.
            early = session.until_prompt(0.5)
        used = any(running_ns(pid) - before.get(pid, 0) > 1_000_000 for pid in workers)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        is_over = is_certain and "<no prompt>" not in early
        self.text = early if is_over else early.replace("<no prompt>", "") + session.until_prompt()
        # `compare` goes on without the errors of layers alone, and says why.
        self.told = re.findall(r"(?:error|no layer was computed alone): (.*)", self.text)
        # The command waits for a worker that has worked for it.
        self.is_due = is_certain and used and not is_over

    def is_wrong(self, undisturbed):
        """Whether the user got something else than one line that tells it, or the result."""
        if "<end>" in self.text or "<no prompt>" in self.text or len(self.told) > 1:
            return True
        if self.told:
            return "SIGKILL" not in self.told[0]
        return self.is_due or (undisturbed is not None and without_times(self.text) != undisturbed)


def kills(options):
    wrong = done = told = due = silent = 0
    prepare = f"open {MODELS}; load resnet8.onnx resnet8_int8.onnx resnet8.pt resnet8_int8.pt; use resnet8.onnx; input digits.npz:images[0:32]"
    per_command = max(2, options.kills // len(LONG))
    for line in LONG:
        line = line.format(out=options.folder / "out.onnx")
        session = Terminal(options.qp, MODELS)
        session.line(prepare.replace("; ", "\n"))
        time.sleep(0.2)
        session.until_prompt(3)

        # A variant that a command has made would change the next one.
        session.line(line)
        session.line("reset")
        begun = time.monotonic()
        undisturbed = without_times(session.line(line))
        duration = max(time.monotonic() - begun, 0.02)
        session.line("reset")
        is_measured = line.startswith(("bench", "run"))
        for index in range(per_command):
            strike = Strike(session, line, options.random.uniform(0, duration), index % 2 == 0)
            done += 1
            told += bool(strike.told)
            due += strike.is_due
            silent += not strike.told
            is_wrong = strike.is_wrong(None if is_measured else undisturbed)
            good = session.line(GOOD)
            for prepared in ("use resnet8.onnx", "input digits.npz:images[0:32]", "reset"):
                session.line(prepared)
            if is_wrong or "error" in good or "<" in good[-12:]:
                wrong += 1
                print(f"  WRONG  {line}: due {strike.is_due}, {strike.told} {strike.text[-600:]!r} {good[-200:]!r}")
        session.close()
    print(f"kills: {done} kills; {due} had to be told, {told} were; {silent} commands went on to their result; {wrong} wrong")
    return wrong


def deaths(options):
    session = Terminal(options.qp, options.folder)
    session.line(GOOD)

    def state():
        fds = len(list(pathlib.Path(f"/proc/{session.pid}/fd").iterdir()))
        maps = pathlib.Path(f"/proc/{session.pid}/maps").read_text().count("memfd:qp")
        threads = len(list(pathlib.Path(f"/proc/{session.pid}/task").iterdir()))
        return fds, maps, threads, len(workers_of(session.pid))

    session.line("run")
    before, wrong = state(), 0
    for _ in range(options.kills):
        for pid in workers_of(session.pid):
            os.kill(pid, signal.SIGKILL)
        text = session.line("run")
        wrong += "float32 4" not in text and "crashed" not in text
    session.line("run")
    session.line("run")
    after = state()
    zombies = subprocess.run(["ps", "--ppid", str(session.pid), "-o", "stat="], capture_output=True, text=True).stdout
    wrong += after != before or "Z" in zombies
    print(f"deaths: {options.kills}; descriptors, maps, threads, workers before {before}, after {after}; {wrong} wrong")
    session.close()
    return wrong


def host(options):
    wrong = 0
    worst = 0.0
    count = max(10, options.kills // 5)
    for _ in range(count):
        process = subprocess.Popen([options.qp, "-c", f"{GOOD}; bench --runs 100000"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(options.random.uniform(0.02, 0.6))
        own = workers_of(process.pid)
        process.kill()
        process.wait()
        begun = time.monotonic()
        while own and time.monotonic() - begun < 5 and any(map(lives, own)):
            time.sleep(0.001)
        left = time.monotonic() - begun
        worst = max(worst, left)
        wrong += left > 1
    print(f"host: {count} kills of qp, a worker lived on for {worst * 1000:.0f} ms at worst; {wrong} wrong")
    return wrong


def cancel(options):
    times, wrong = [], 0
    prepare = ["open .", "load resnet8.onnx resnet8_int8.onnx", "use resnet8.onnx", "input digits.npz:images[0:32]"]
    session = Terminal(options.qp, MODELS)
    for line in prepare:
        session.line(line)
    for index in range(options.kills):
        line = LONG[index % len(LONG)].format(out=options.folder / "out.onnx")
        session.send(line)
        time.sleep(options.random.uniform(0.0, 1.0))
        begun = time.monotonic()
        os.write(session.fd, b"\x03")
        text = session.until_prompt(30)
        times.append(time.monotonic() - begun - 0.02)
        if "<" in text[-12:]:
            wrong += 1
            print(f"  WRONG  {line}: {text[-300:]!r}")
            session = Terminal(options.qp, MODELS)
            for line in prepare:
                session.line(line)
    session.close()
    print(f"cancel: {len(times)} times Ctrl-C, to the prompt {statistics.median(times) * 1000:.0f} ms in the median, "
          f"{max(times) * 1000:.0f} ms at worst; {wrong} wrong")
    return wrong


def main():
    checks = {check.__name__: check for check in (models, kills, deaths, host, cancel)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=str(CHECKOUT / "target/debug/qp"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases")
    parser.add_argument("names", nargs="*", choices=[[], *checks], metavar="NAME")
    options = parser.parse_args()
    options.qp = os.path.abspath(options.qp)
    options.random = random.Random(options.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        options.folder = pathlib.Path(folder)
        for name in options.names or checks:
            if name == "models" and not options.cases:
                print("models: left out, there is no --cases")
                continue
            wrong += checks[name](options)
    left = all_workers(options.qp)
    if left:
        print(f"workers are left: {sorted(left)}")
    sys.exit(1 if wrong or left else 0)


if __name__ == "__main__":
    main()
