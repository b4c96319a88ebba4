"""Makes pickles of all protocols and writes what CPython's unpickler says of them to pickles.json.

    python3 pickles.py                 the file that the test reads
    python3 pickles.py PATH COUNT      so many random ones, for a longer comparison

Each row is [pickle in hexadecimal, what it is], or [pickle, null] where CPython refuses it. What a value is, is a
text in which lists, dictionaries, sets and objects have a number when they are met first, so that sharing and
cycles are compared, too. Classes and functions are never looked up: calls are recorded, as the decoder does.
"""

import _compat_pickle
import collections
import copyreg
import io
import json
import pathlib
import pickle
import random
import resource
import struct
import sys
import warnings

sys.setrecursionlimit(10_000)
warnings.filterwarnings("ignore")
# CPython makes its memo as long as the largest index.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


class Meta(type):
    def __call__(cls, *arguments, **keywords):
        return Called("call", cls, arguments, keywords)


class Named(metaclass=Meta):
    """A global; each is a subclass of its own, for NEWOBJ takes nothing but types."""

    def __new__(cls, *arguments, **keywords):
        return Called("new", cls, arguments, keywords)


class Called:
    """What a call would have returned."""

    def __init__(self, kind, callable, arguments, keywords):
        self.made = (kind, callable, arguments, keywords)
        self.state, self.items, self.elements = None, [], []

    def __call__(self, *arguments, **keywords):
        return Called("call", self, arguments, keywords)

    def __setstate__(self, state):
        self.state = (state,)

    def __setitem__(self, key, value):
        self.items.append((key, value))

    def extend(self, elements):
        self.elements.extend(elements)

    def add(self, element):
        self.elements.append(element)


class Persistent:
    def __init__(self, id):
        self.id = id


class Unpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file, encoding="utf-8", buffers=[memoryview(b"") for _ in range(9)])
        self.named = {}

    def find_class(self, module, name):
        if (module, name) in _compat_pickle.NAME_MAPPING:
            module, name = _compat_pickle.NAME_MAPPING[(module, name)]
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        key = (module, name)
        if key not in self.named:
            self.named[key] = Meta("Named", (Named,), {"of": key})
        return self.named[key]

    def persistent_load(self, id):
        return Persistent(id)


for code in (5, 300, 70_000):
    copyreg.add_extension("ext", str(code), code)


def described(value, seen):
    """The text of a value."""
    if value is None or value is True or value is False:
        return str(value)
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return str(value)
        bits = (value if value >= 0 else ~value).bit_length()
        return "big:" + value.to_bytes(bits // 8 + 1, "little", signed=True).hex()
    if isinstance(value, float):
        return "f:" + struct.pack(">d", value).hex()
    if isinstance(value, str):
        plain = "".join("\ufffd" if 0xD800 <= ord(letter) < 0xE000 else letter for letter in value)
        return "s:" + plain.encode().hex()
    if isinstance(value, (bytes, bytearray)):
        return "b:" + bytes(value).hex()
    if isinstance(value, type) and issubclass(value, Named):
        module, name = value.of
        return f"e:{name}" if module == "ext" else f"g:{module}.{name}"
    if isinstance(value, memoryview):
        return "buffer"
    if isinstance(value, Persistent):
        return f"p({described(value.id, seen)})"
    if isinstance(value, tuple):
        return "(" + ",".join(described(element, seen) for element in value) + ")"
    if isinstance(value, frozenset):
        return "frozen{" + ",".join(sorted(described(element, seen) for element in value)) + "}"
    if id(value) in seen:
        return f"#{seen[id(value)]}"
    seen[id(value)] = number = len(seen)
    if isinstance(value, list):
        return f"#{number}[" + ",".join(described(element, seen) for element in value) + "]"
    if isinstance(value, set):
        return f"#{number}set{{" + ",".join(sorted(described(element, seen) for element in value)) + "}"
    if isinstance(value, dict):
        rows = (described(key, seen) + ":" + described(row, seen) for key, row in value.items())
        return f"#{number}{{" + ",".join(rows) + "}"
    kind, callable, arguments, keywords = value.made
    parts = [described(callable, seen), described(arguments, seen)]
    parts += [described(row, seen) for pair in keywords.items() for row in pair]
    state = [] if value.state is None else ["state", described(value.state[0], seen)]
    items = [described(row, seen) for pair in value.items for row in pair]
    elements = [described(element, seen) for element in value.elements]
    return f"#{number}{kind}(" + ";".join([*parts, *state, "items", *items, "elements", *elements]) + ")"


def row(data, is_random=False):
    try:
        value = Unpickler(io.BytesIO(data)).load()
    except MemoryError:
        return None
    except Exception as error:
        # The decoder knows no code of an extension, and of a class not whether it can be called or hashed.
        is_ours = isinstance(error, (pickle.UnpicklingError, EOFError, IndexError))
        # A string that is no UTF-8 stays bytes.
        is_ours |= type(error) is ValueError and "extension" not in str(error)
        return [data.hex(), None] if is_ours or not is_random else None
    return [data.hex(), described(value, {})]


def values():
    """Data of all kinds."""
    shared = [1]
    cycle = []
    cycle.append(cycle)
    ring = {}
    ring["self"] = [ring, (ring,)]
    yield from (None, True, False, 0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63 - 1, -(2**63))
    yield from (2**63, -(2**63) - 1, 2**64, -(2**71), 10**40, 1 << 2100)
    yield from (0.0, -0.0, 1.5, -1e300, 5e-324, float("inf"), float("-inf"), float("nan"))
    yield from ("", "a", "naïve", "日本\n\\", "\\u0041 \\x41 '\"", "\x00\r\n\x1a", "\U0001f600", "\ud800x", "x" * 300)
    yield from (b"", b"a", bytes(range(256)), bytearray(b"abc"), b"y" * 300)
    yield from ([], [1], [1, 2, 3], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": 1}, {1: (2, [3])})
    yield from ({1, 2}, frozenset((1, 2)), set(), frozenset())
    yield from ([shared, shared, (shared,)], cycle, ring, [[] for _ in range(3)], [[[[[]]]]], list(range(1100)))
    yield from ({str(key): key for key in range(12)}, collections.OrderedDict(a=1, b=[2]), 1 + 2j, range(3))
    yield collections.Counter("abca")


def by_hand():
    """Streams that no pickler writes."""
    text = lambda value: b"X" + struct.pack("<I", len(value)) + value
    yield b"."  # empty stack
    yield b"N"  # no end
    yield b""
    yield b"(."
    yield b"(N."
    yield b"N(0."  # POP of a mark
    yield b"NK\x010."
    yield b"(K\x01K\x020l."
    yield b"(K\x01(0l."
    yield b"(0."
    yield b"0."
    yield b"(K\x01K\x021N."
    yield b"1N."
    yield b"K\x072\x86."
    yield b"(2."
    yield b"]q\x052h\x05\x86."
    # the memo: any index, and MEMOIZE counts what is there
    yield b"\x80\x04K\x01\x94K\x02\x940h\x00h\x01\x86."
    yield b"\x80\x04K\x01q\x05K\x02\x940h\x01\x85."
    yield b"\x80\x04K\x01q\x00K\x02q\x00K\x03\x940h\x01h\x00\x86."
    yield b"\x80\x04K\x01r\xff\xff\x01\x00K\x02\x940j\xff\xff\x01\x00h\x01\x86."
    yield b"K\x01p123456\n0g123456\n."
    yield b"K\x01p-1\n."
    yield b"g5\n."
    yield b"K\x01p0\n0gx\n."
    yield b"h\x00."
    yield b"q\x00."
    yield b"(q\x00."
    # numbers as texts
    for digits in (b"7", b"-7", b"+7", b"007", b"010", b"0x1f", b"-0x10", b"0o17", b"0b101", b"1_000", b" 5", b"5 "):
        yield b"I" + digits + b"\n."
    for digits in (b"00", b"01", b"02", b"", b"x", b"1L", b"99999999999999999999", b"-99999999999999999999", b"0x"):
        yield b"I" + digits + b"\n."
    for digits in (b"7L", b"7", b"-99999999999999999999L", b"0L", b"L", b"", b"1LL", b"0xffffffffffffffffffL"):
        yield b"L" + digits + b"\n."
    for digits in (b"1", b"-1.5e3", b"inf", b"nan", b"", b"x", b".5", b"5.", b"1e"):
        yield b"F" + digits + b"\n."
    for length, content in ((0, b""), (1, b"\xff"), (2, b"\xff\x00"), (9, b"\x01" + bytes(8)), (9, b"\xff" * 9)):
        yield b"\x8a" + bytes([length]) + content + b"."
        yield b"\x8b" + struct.pack("<i", length) + content + b"."
    yield b"\x8b\xff\xff\xff\xff."
    yield b"\x8a\x09" + b"\x00" * 8 + b"\x80."
    # strings and their escapes
    for string in (b"'a'", b'"a"', b"'\\x41\\101\\7\\n\\t\\\\'", b"'\\a\\b\\f\\r\\v\\''", b"'\\q\\ '", b"a", b"'a", b"'", b"''"):
        yield b"S" + string + b"\n."
    yield from (b"S'\\x4'\n.", b"S'\\1234'\n.", b"S'\\60'\n.", b"S'a'b'\n.")
    for string in (b"a", b"\\u0041", b"\\\\u0041", b"\\\\\\u0041", b"\\x41", b"\\n", b"\\U0001f600", b"\\u00e9\xe9", b"\\"):
        yield b"V" + string + b"\n."
    yield from (b"V\\u004\n.", b"V\\U00110000\n.", b"V\\ud800\n.")
    yield b"T\x02\x00\x00\x00ab."
    yield b"T\xff\xff\xff\xffab."
    yield b"U\x02ab."
    yield b"X\x02\x00\x00\x00\xc3\xa9."
    yield b"X\x01\x00\x00\x00\xff."
    yield b"X\x03\x00\x00\x00\xed\xa0\x80."
    yield b"X\x05\x00\x00\x00ab."
    yield b"\x8c\x02\xed\xa0."
    yield b"\x8d\x02\x00\x00\x00\x00\x00\x00\x00ab."
    yield b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab."
    yield b"B\x02\x00\x00\x00ab."
    yield b"C\x02ab."
    yield b"\x8e\x02\x00\x00\x00\x00\x00\x00\x00ab."
    yield b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab."
    # containers
    yield b"(K\x01K\x02K\x03d."
    yield b"(K\x01K\x02K\x01K\x03d."
    yield b"}(K\x01K\x02K\x05K\x06u(K\x01K\x03u."
    yield b"}K\x01K\x02sK\x01K\x04s."
    yield b"}q\x00K\x01h\x00s."
    yield b"}(K\x01u."
    yield b"](K\x01K\x02e(e(K\x03e."
    yield b"]q\x00h\x00a."
    yield b"](K\x01K\x02eK\x00K\x09s."
    yield b"](K\x01K\x02eJ\xff\xff\xff\xffK\x09s."
    yield b"](K\x01K\x02eK\x02K\x09s."
    yield b"]NNs."
    yield b"\x8f(K\x01K\x02K\x01\x90."
    yield b"\x8fK\x01a."
    yield b"](K\x01\x90."
    yield b"(K\x01K\x01\x91."
    yield b"(K\x01\x91K\x02a."
    yield b")K\x01a."
    yield b"NK\x01a."
    yield b"K\x01K\x02s."
    yield b"K\x01\x85\x86."
    yield b"K\x01\x87."
    yield b"(K\x01(K\x02\x86t."
    # calls
    yield b"cm\nf\n)R."
    yield b"cm\nf\n(K\x01K\x02tR}K\x03K\x04sb."
    yield b"cm\nf\n)RNb."
    yield b"cm\nf\n)R}X\x01\x00\x00\x00aK\x01s}X\x01\x00\x00\x00bK\x02s\x86b."
    yield b"cm\nf\n)R(K\x01K\x02e(K\x03K\x04u."
    yield b"cm\nf\n)RK\x01aK\x02K\x03s(K\x04\x90."
    yield b"cm\nf\nK\x01R."
    yield b"cm\nf\n)\x81."
    yield b"cm\nf\n(K\x01t\x81)b."
    yield b"cm\nf\n(K\x01t}" + text(b"k") + b"K\x02s\x92."
    yield b"cm\nf\n)K\x01\x92."
    yield b"(K\x01im\nf\n."
    yield b"im\nf\n."
    yield b"(cm\nf\nK\x01o."
    yield b"(o."
    yield b"o."
    yield b"cm\nf\n)R)R."
    yield b"cm\nf\nq\x00h\x00h\x00\x87."
    yield b"cm.n\nf.g\n."
    yield b"cm\n"
    yield b"\x80\x04" + text(b"m") + text(b"f.g") + b"\x93."
    yield b"\x80\x04" + text(b"m") + b"K\x01\x93."
    yield b"\x80\x04" + text(b"m") + b"\x93."
    yield b"S'\\155'\nS'\\x66'\n\x93."
    yield b"c__builtin__\nreduce\n."
    yield b"c__builtin__\neval\n."
    yield b"ccopy_reg\n_reconstructor\n(c__main__\nA\nc__builtin__\nobject\nNtR."
    yield b"Pid 7\n."
    yield b"(X\x07\x00\x00\x00storageK\x01tQ."
    yield b"Q."
    yield b"\x82\x05\x83\x2c\x01\x84\x70\x11\x01\x00\x87."
    yield b"\x82\x00."
    yield b"\x84\xff\xff\xff\xff."
    yield b"N)b."
    yield b"NNb."
    yield b"]}b."
    # frames, buffers, protocols
    yield b"\x80\x05N."
    yield b"\x80\x06N."
    yield b"N\x80\x02."
    yield b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N."
    yield b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N."
    yield b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00N."
    yield b"\x97\x97\x98\x86."
    yield b"N\x98."
    yield b"\xffN."
    yield b"N.N."
    yield b"J\x01\x00\x00."


OPCODES = b"(.012FIJKLMNPQRSTUVXabcd}eghijl]opqrstu)G" + bytes(range(0x80, 0x99)) + b"BC"


def mutated(rng, seeds):
    """A pickle with some bytes that are others, or opcodes strung together."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.random()
        if kind < 0.4 and at < len(data):
            data[at] = rng.choice(OPCODES)
        elif kind < 0.7:
            data[at:at] = bytes([rng.choice(OPCODES)])
        elif kind < 0.85:
            del data[at : at + rng.randint(1, 3)]
        else:
            other = rng.choice(seeds)
            cut = rng.randrange(len(other) + 1)
            data[at:at] = other[cut : cut + rng.randint(1, 8)]
    return bytes(data)


def main():
    seeds = [pickle.dumps(value, protocol) for value in values() for protocol in range(6)]
    hand = list(by_hand())
    if len(sys.argv) > 2:
        rng = random.Random(5)
        small = [seed for seed in seeds if len(seed) < 60] + hand[4:]
        rows = [row(mutated(rng, small), True) for _ in range(int(sys.argv[2]))]
        path = pathlib.Path(sys.argv[1])
    else:
        rows = [row(data) for data in dict.fromkeys([seed for seed in seeds if len(seed) < 700] + hand)]
        path = pathlib.Path(__file__).parent / "pickles.json"
    rows = [entry for entry in rows if entry is not None]
    path.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in rows) + "\n]\n")


main()
