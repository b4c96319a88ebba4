"""What a command takes, with the processes that it starts: qp runs models in workers."""

import os
import pathlib
import subprocess
import time

SECONDS_BETWEEN = 0.02


def timed(command):
    """Seconds of a command that must succeed."""
    begin = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{command[-1]}: {done.stderr.decode('utf-8', 'replace').strip()[:300]}")
    return seconds


def most_mib(command):
    """MiB at most of a command that must succeed: what its processes have together, shared pages counted once, looked at 50 times a
    second. To look takes time, 4 to 11 % of `compare`: time is another run's."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most, ended = 0, 0
    while not ended:
        most = max(most, sum(map(share_kib, family(process.pid))))
        time.sleep(SECONDS_BETWEEN)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    if status:
        raise SystemExit(f"{command[-1]} failed")
    # A short one may not have been seen.
    return max(most, usage.ru_maxrss) / 1024


def family(root):
    """A process and those that it started, and those that they did."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            parents[int(entry.name)] = parent(entry.name)
    found = [root]
    for one in found:
        found += [pid for pid, its_parent in parents.items() if its_parent == one]
    return found


def parent(pid):
    """None if the process is gone. Its name, which stands before, may contain anything."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rsplit(")", 1)[1].split()[1])


def share_kib(pid):
    """Its share of the pages that are in memory; 0 if it is gone."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
