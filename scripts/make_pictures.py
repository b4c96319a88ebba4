#!/usr/bin/env python3
"""Draws every kind of screen that qp shows as an SVG picture, for README.md and TOUR.md.

    scripts/make_pictures.py [--qp target/release/qp]

A picture shows a script in models/, some commands, or a failed command line, in color at a fixed width; or it is what
`plot` draws. Needs only Python, and qp with all its plugins and the engine.
"""

import argparse
import html
import os
import pathlib
import re
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = "110"
# Whole scripts.
SCRIPTS = {"session.svg": "models/readme.qp", "look.svg": "models/look.qp", "compare.svg": "models/compare.qp"}
# Commands, without what `open .` shows before them.
VIEWS = {
    "sensitivity.svg": ["sensitivity resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 64 --top 8"],
    "diff.svg": ["diff resnet8.onnx resnet8_int8.onnx --no-values"],
    "graph.svg": ["graph layer2.conv2 --model resnet8_int8.onnx"],
    "help.svg": ["help sensitivity"],
}
# Command lines that fail.
ERRORS = {"error.svg": "open models; compare resnet8.onnx resnet8_int8.onnx --topp 6"}
# What `plot` draws of the sample models.
PLOTS = {
    "histogram.svg": "weights layer1.conv1 --model resnet8.onnx --compare resnet8_int8.onnx resnet8_int8.pt --bins 40",
    "ranges.svg": "ranges resnet8.onnx resnet8_int8.onnx --log",
}

CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 19, 18
BACKGROUND, FOREGROUND = "#10151c", "#c9d1d9"
COLORS = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 36: "#79c0ff", 91: "#ff7b72", 94: "#79c0ff"}
# comfy-table writes palette colors: the dark half of the first sixteen.
PALETTE = {1: COLORS[31], 2: COLORS[32], 3: COLORS[33], 6: COLORS[36]}
ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")


def spans(line):
    """The pieces of a line with their style: (text, color, is_bold, is_dim)."""
    color, is_bold, is_dim, position = None, False, False, 0
    for escape in ESCAPE.finditer(line):
        if escape.start() > position:
            yield line[position:escape.start()], color, is_bold, is_dim
        position = escape.end()
        codes = [int(code or 0) for code in escape.group(1).split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                color, is_bold, is_dim = None, False, False
            elif code == 1:
                is_bold = True
            elif code == 2:
                is_dim = True
            elif code == 22:
                is_bold = is_dim = False
            elif code == 39:
                color = None
            elif code == 38 and codes[:1] == [5]:
                color, codes = PALETTE.get(codes[1]), codes[2:]
            elif code in COLORS:
                color = COLORS[code]
    if position < len(line):
        yield line[position:], color, is_bold, is_dim


def draw(text):
    """The SVG of a terminal that shows `text`."""
    lines = text.rstrip("\n").split("\n")
    columns = max(len(ESCAPE.sub("", line)) for line in lines)
    width, height = columns * CELL_WIDTH + 2 * MARGIN, len(lines) * LINE_HEIGHT + 2 * MARGIN
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">',
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        '<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">',
    ]
    for row, line in enumerate(lines):
        column, baseline = 0, MARGIN + row * LINE_HEIGHT + 14
        for piece, color, is_bold, is_dim in spans(line):
            style = f'fill="{color or FOREGROUND}"'
            style += ' font-weight="bold"' if is_bold else ""
            style += ' fill-opacity="0.6"' if is_dim else ""
            # Each word at its own place: columns line up whatever font a viewer has.
            for word in re.finditer(r"\S+", piece):
                left, length = MARGIN + (column + word.start()) * CELL_WIDTH, len(word.group()) * CELL_WIDTH
                place = f'x="{left:.1f}" y="{baseline}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"'
                svg.append(f"<text {place} {style}>{html.escape(word.group())}</text>")
            column += len(piece)
    return "\n".join([*svg, "</g>", "</svg>", ""])


def script_shown(qp, script):
    """What a script shows, with its commands."""
    command = [qp, "run", "--color", "always", "--echo", script]
    environment = {**os.environ, "COLUMNS": COLUMNS}
    return subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, capture_output=True, text=True).stdout


def commands_shown(qp, commands):
    """What commands show after `open .` in models/, with the commands."""
    script = CHECKOUT / "models/.picture.qp"
    script.write_text("\n".join(["open .", *commands, ""]), encoding="utf-8")
    try:
        lines = script_shown(qp, script).split("\n")
    finally:
        script.unlink()
    first = next(index for index, line in enumerate(lines) if ESCAPE.sub("", line).endswith("> " + commands[0]))
    return "\n".join(lines[first:])


def error_shown(qp, line):
    """What a failed command line shows, below the line as typed in a shell."""
    command = [qp, "--color", "always", "--quiet", "-c", line]
    ran = subprocess.run(command, cwd=CHECKOUT, env={**os.environ, "COLUMNS": COLUMNS}, capture_output=True, text=True)
    if ran.returncode == 0:
        sys.exit(f"`{line}` does not fail")
    return f"$ qp -c '{line}'\n{ran.stderr}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path, help="the program")
    qp = parser.parse_args().qp.resolve()
    folder = CHECKOUT / "scripts/pictures"
    folder.mkdir(exist_ok=True)
    pictures = {name: script_shown(qp, script) for name, script in SCRIPTS.items()}
    pictures |= {name: commands_shown(qp, commands) for name, commands in VIEWS.items()}
    pictures |= {name: error_shown(qp, line) for name, line in ERRORS.items()}
    places = {str(qp.parent), str(CHECKOUT), str(pathlib.Path.home())}
    for name, shown in pictures.items():
        if any(place in shown for place in places):
            sys.exit(f"{name} shows a path of this machine: build qp with all its plugins and the engine first")
        (folder / name).write_text(draw(shown), encoding="utf-8")
        print(f"scripts/pictures/{name}: {len(shown.splitlines())} lines")
    for name, command in PLOTS.items():
        line = f"open models; plot --force '{folder / name}' {command}"
        subprocess.run([qp, "-c", line], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        print(f"scripts/pictures/{name}")


if __name__ == "__main__":
    main()
