#!/usr/bin/env python3
"""Finds circles in the import graph of each crate, between files and between rooms.

A room is a top-level module of a crate: a folder, or a file at the crate's root. Edges are paths that the code of a file
spells (`use` and in place), followed through `pub use` to the file that defines the name; unit tests, comments, and the
crate's root file do not count. What this cannot see: calls of methods that another file implements for a type.

    scripts/check/circles.py                    every crate, both grains
    scripts/check/circles.py plugins/pytorch    one crate
    scripts/check/circles.py --rooms            exit code 1 if there is a circle between rooms
    scripts/check/circles.py --json FOLDER      the rooms of one crate with those that each imports

Standard library only.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CRATES = [
    "host",
    "host/analysis",
    "plugins/abi",
    "plugins/elements",
    "plugins/onnx",
    "plugins/pytorch",
    "plugins/pytorch/contract",
    "plugins/pytorch/engine",
    "plugins/toy",
]

BLANK = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\\n])'""",
    re.DOTALL,
)
PATH = re.compile(r"(?<![\w:$])(\w+)((?:\s*::\s*\w+)+)")
USE = re.compile(r"(?:^|(?<=[;}\]\n]))\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
CHILD = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;", re.MULTILINE)


def blanked(text):
    """The code of a file without its comments, texts and unit tests."""
    code = BLANK.sub(lambda found: " " if found.group().startswith("/") else '""', text)
    return re.split(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*\{", code)[0]


def leaves(tree):
    """The paths that a `use` tree names, each with the name that it is known by afterwards."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        path, _, alias = (part.strip() for part in tree.partition(" as "))
        parts = [part.strip() for part in path.split("::")]
        if parts[-1] == "self":
            parts.pop()
        yield parts, alias or (parts[-1] if parts else "")
        return
    prefix = [part.strip() for part in tree[:brace].split("::") if part.strip()]
    inner = tree[brace + 1 : tree.rindex("}")] + ","
    depth, start = 0, 0
    for at, sign in enumerate(inner):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and depth == 0:
            if inner[start:at].strip():
                for parts, name in leaves(inner[start:at]):
                    yield prefix + parts, name or prefix[-1]
            start = at + 1


class Crate:
    def __init__(self, folder):
        source = ROOT / folder / "src"
        self.files = {}
        for path in sorted(source.rglob("*.rs")):
            parts = path.relative_to(source).with_suffix("").parts
            if parts == ("main",):
                continue
            module = () if parts == ("lib",) else parts[:-1] if parts[-1] == "mod" else parts
            self.files[module] = (path.relative_to(source), blanked(path.read_text()))
        self.uses = {
            module: [(bool(public), *leaf) for public, tree in USE.findall(code) for leaf in leaves(tree)]
            for module, (_, code) in self.files.items()
        }
        self.names = {
            module: {name: path for _, path, name in uses if name != "*"} for module, uses in self.uses.items()
        }

    def resolve(self, module, path, seen=()):
        """The module that defines what `path` means in `module`, or None if that is another crate."""
        head, rest = path[0], list(path[1:])
        if head == "crate":
            at = ()
        elif head == "self":
            at = module
        elif head == "super":
            at = module[:-1]
            while rest and rest[0] == "super":
                at, rest = at[:-1], rest[1:]
        elif module + (head,) in self.files:
            at = module + (head,)
        else:
            return None
        while rest and at + (rest[0],) in self.files:
            at, rest = at + (rest[0],), rest[1:]
        if rest and (at, rest[0]) not in seen:
            further = self.names[at].get(rest[0])
            if further:
                found = self.resolve(at, further + rest[1:], (*seen, (at, rest[0])))
                if found is not None:
                    return found
        return at

    def edges(self):
        """For each file, the files that it uses, each with the names."""
        graph = {module: {} for module in self.files if module}
        for module in graph:
            paths = [path for public, path, _ in self.uses[module] if not public]
            code = USE.sub(";", self.files[module][1])
            paths += [[head, *re.findall(r"\w+", rest)] for head, rest in PATH.findall(code)]
            for path in paths:
                target = self.resolve(module, path)
                if target and target != module:
                    graph[module].setdefault(target, set()).add(path[-1])
        return graph


def components(graph):
    """Strongly connected components of more than one member (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(sorted(members))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found, key=len, reverse=True)


def closing(graph, members):
    """A few edges without which the members are no circle (the heuristic of Eades, Lin and Smyth)."""
    inner = {node: {other: names for other, names in graph[node].items() if other in members} for node in members}
    left, first, last = set(members), [], []
    while left:
        weight = {
            node: sum(len(names) for other, names in inner[node].items() if other in left)
            - sum(len(inner[other][node]) for other in left if node in inner[other])
            for node in left
        }
        sinks = [node for node in left if not any(other in left for other in inner[node])]
        if sinks:
            last.insert(0, min(sinks))
            left.remove(min(sinks))
            continue
        node = max(sorted(left), key=weight.get)
        first.append(node)
        left.remove(node)
    order = {node: at for at, node in enumerate(first + last)}
    return [
        (node, other, names)
        for node in members
        for other, names in inner[node].items()
        if order[other] < order[node]
    ]


def by_room(graph):
    rooms = {module[0]: {} for module in graph}
    for module, targets in graph.items():
        for target, names in targets.items():
            if module[0] != target[0]:
                rooms[module[0]].setdefault(target[0], set()).update(names)
    return rooms


def show(title, graph, write):
    found = components(graph)
    sizes = " + ".join(str(len(members)) for members in found) or "none"
    print(f"  {title}: {len(graph)}, in circles: {sizes}")
    for members in found:
        print("    circle of", ", ".join(write(member) for member in members))
        for node, other, names in closing(graph, members):
            print(f"      closed by {write(node)} -> {write(other)}: {', '.join(sorted(names))}")
    return len(found)


def main():
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--")] or CRATES
    if "--json" in sys.argv:
        rooms = by_room(Crate(wanted[0]).edges())
        print(json.dumps({room: sorted(imported) for room, imported in rooms.items()}))
        return 0
    between_rooms = 0
    for folder in wanted:
        print(folder)
        graph = Crate(folder).edges()
        between_rooms += show("rooms", by_room(graph), str)
        if "--rooms" not in sys.argv:
            show("files", graph, "/".join)
    return int("--rooms" in sys.argv and between_rooms > 0)


if __name__ == "__main__":
    sys.exit(main())
