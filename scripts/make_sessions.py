#!/usr/bin/env python3
"""Writes what qp prints into the sessions that README.md and TOUR.md show.

    scripts/make_sessions.py [--qp target/release/qp]

A session is a fenced text block after a mark that names its script: `<!-- golden: models/look.qp; … -->` or
`<!-- session: … -->`. It keeps the commands that it shows and gets what the script prints for them. Needs qp with all its
plugins and the engine.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
SESSION = re.compile(r"(<!-- (?:golden|session): ([^;]+);[^>]*-->\n```text\n)(.*?)(?=```)", re.DOTALL)
COLUMNS = "110"


def parts_of(text):
    """The commands of a session, each with the lines below it."""
    return {part.partition("\n")[0]: part for part in re.split(r"(?m)^(?=qp> )", text) if part.startswith("qp> ")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path, help="the program")
    qp = parser.parse_args().qp.resolve()
    home = os.environ.get("QP_HOME")
    data = pathlib.Path(home, "data") if home else pathlib.Path.home() / ".local/share/qp"
    runtimes = os.environ.get("QP_RUNTIMES", str(data / "runtimes"))

    def session(match):
        command = [qp, "run", "--color", "never", "--echo", match[2]]
        # In a home of its own: nothing was measured before.
        with tempfile.TemporaryDirectory() as new_home:
            env = {**os.environ, "COLUMNS": COLUMNS, "QP_HOME": new_home, "QP_RUNTIMES": runtimes}
            ran = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True)
        if ran.returncode != 0:
            sys.exit(f"{match[2]}: {ran.stderr}")
        printed = parts_of(ran.stdout)
        missing = [command for command in parts_of(match[3]) if command not in printed]
        if missing:
            sys.exit(f"{match[2]} has no command `{missing[0]}`")
        return match[1] + "".join(printed[command].rstrip() + "\n\n" for command in parts_of(match[3])).rstrip() + "\n"

    for name in ("README.md", "TOUR.md"):
        document = CHECKOUT / name
        text = SESSION.sub(session, document.read_text(encoding="utf-8"))
        document.write_text(text, encoding="utf-8")
        print(f"{name}: {len(text.encode())} bytes")


if __name__ == "__main__":
    main()
