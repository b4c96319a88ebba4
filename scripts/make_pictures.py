#!/usr/bin/env python3
"""Draws what qp shows on a terminal as SVG pictures for the README.

    scripts/make_pictures.py [--qp target/release/qp]

Each picture is a script of the folder models/, run with colors at a fixed width, or what `plot` draws. Needs nothing but
Python.
"""

import argparse
import html
import os
import pathlib
import re
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
PICTURES = {"session.svg": ("models/readme.qp", 110), "look.svg": ("models/look.qp", 110), "compare.svg": ("models/compare.qp", 110)}
# What `plot` draws of the sample models.
PLOTS = {
    "histogram.svg": "weights layer1.conv1 --model resnet8.onnx --compare resnet8_int8.onnx resnet8_int8.pt --bins 40",
    "ranges.svg": "ranges resnet8.onnx resnet8_int8.onnx --log",
}

CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 19, 18
BACKGROUND, FOREGROUND = "#10151c", "#c9d1d9"
COLORS = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 36: "#79c0ff"}
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    arguments = parser.parse_args()
    folder = CHECKOUT / "scripts/pictures"
    folder.mkdir(exist_ok=True)
    for name, (script, columns) in PICTURES.items():
        command = [arguments.qp, "run", "--color", "always", "--echo", script]
        environment = {**os.environ, "COLUMNS": str(columns)}
        shown = subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, capture_output=True, text=True)
        places = {str(pathlib.Path(arguments.qp).resolve().parent), str(CHECKOUT), str(pathlib.Path.home())}
        if any(place in shown.stdout for place in places):
            sys.exit(f"{script} shows a path of this machine: build qp with all its plugins and the engine first")
        (folder / name).write_text(draw(shown.stdout), encoding="utf-8")
        print(f"scripts/pictures/{name}: {len(shown.stdout.splitlines())} lines")
    for name, command in PLOTS.items():
        line = f"open models; plot --force '{folder / name}' {command}"
        subprocess.run([arguments.qp, "-c", line], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        print(f"scripts/pictures/{name}")


if __name__ == "__main__":
    main()
