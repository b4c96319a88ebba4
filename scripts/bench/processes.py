"""What a command takes, with the processes that it starts: qp runs models in workers."""

import os
import pathlib
import subprocess
import threading
import time

SECONDS_BETWEEN = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


def measured(command):
    """Seconds, seconds of CPU, and MiB at most of a command that must succeed. Memory is what its processes have together, shared
    pages counted once, looked at 50 times a second."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    taken, most, is_over = {}, [0], threading.Event()

    def watch():
        while not is_over.wait(SECONDS_BETWEEN):
            own = family(process.pid)
            taken.update({pid: seconds for pid, seconds in ((pid, cpu_seconds(pid)) for pid in own) if seconds is not None})
            most[0] = max(most[0], sum(map(resident_kib, own)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    is_over.set()
    watcher.join()
    if status:
        raise SystemExit(f"{command[-1]}: {said.decode('utf-8', 'replace').strip()[:300]}")
    # Its own and that of the children that it waited for are exact; others are as last seen.
    own = usage.ru_utime + usage.ru_stime
    seen = sum(taken.values())
    return seconds, max(own, seen), max(most[0], usage.ru_maxrss) / 1024


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


def fields(pid):
    """Those of /proc/PID/stat behind the name, which may contain anything; none if the process is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
    except OSError:
        return None


def parent(pid):
    stat = fields(pid)
    return int(stat[1]) if stat else None


def cpu_seconds(pid):
    stat = fields(pid)
    return (int(stat[11]) + int(stat[12])) / TICKS if stat else None


def resident_kib(pid):
    """Its share of the pages that are in memory; 0 if it is gone."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
