"""The interpreter's quick ways give what its general ones do, which native code takes."""

import gc
import random

import micropython

LARGEST = 0x3FFFFFFF  # of the integers that are no objects
NUMBERS = [0, 1, -1, 2, 7, 29, 30, 31, 32, -31, 1000, -46341, 46341, 65536]
NUMBERS += [LARGEST, -LARGEST - 1, LARGEST - 1, -LARGEST, LARGEST + 1, -LARGEST - 2, 1 << 40]
FLOATS = [0.0, -0.0, 1.0, -1.5, 1e300, 5e-324, float("inf"), -float("inf"), float("nan")]
OTHERS = [True, False, None, "text", 2j]
OPERATORS = "+ - * / // % ** << >> & | ^ < > <= >= == != in is".split()


def both_ways(code):
    """A function of x and y in bytecode, and the same as native code."""
    names = {"micropython": micropython}
    exec(f"def plain(x, y):\n {code}\n", names)
    exec(f"@micropython.native\ndef native(x, y):\n {code}\n", names)
    return names["plain"], names["native"]


def outcome(function, x, y):
    try:
        value = function(x, y)
    except Exception as error:
        return repr(error)
    return type(value), repr(value)


def agree(code, xs, ys):
    plain, native = both_ways(code)
    for x in xs:
        for y in ys:
            assert outcome(plain, x, y) == outcome(native, x, y), (code, x, y)


def test_operators_on_numbers():
    for operator in OPERATORS:
        for x in NUMBERS:
            # A power or a shift by these is a number that fills the memory.
            ys = [y for y in NUMBERS if operator not in ("**", "<<") or abs(y) < 64]
            agree(f"return x {operator} y", [x], ys)
        agree(f"return x {operator} y", FLOATS, FLOATS + NUMBERS[:5])
        agree(f"return x {operator} y", NUMBERS[:5] + FLOATS, OTHERS)
        agree(f"return x {operator} y", OTHERS, NUMBERS[:5] + FLOATS)


def test_operators_in_place():
    for operator in OPERATORS[:12]:
        xs, ys = [5, -3, LARGEST, -LARGEST - 1, 2.5], [0, 1, 3, -2, 30, 0.0, 1.5]
        agree(f"x {operator}= y\n return x", xs, ys)


class Index:
    def __getitem__(self, index):
        return index


def test_items():
    indices = [0, 1, 2, 3, -1, -3, -4, LARGEST, -LARGEST - 1, 1 << 40, True, 1.0, "1"]
    indices.append(Index()[1:2])
    for make in (list, tuple, bytes, bytearray, lambda items: dict(enumerate(items))):
        agree("return x[y]", [make([10, 20, 30])], indices)
        for index in indices:
            for code in ("x[y] = 40\n return x", "del x[y]\n return x"):
                plain, native = both_ways(code)
                ways = [outcome(way, make([10, 20, 30]), index) for way in (plain, native)]
                assert ways[0] == ways[1], (code, index)


def test_truth():
    for code in ("return 1 if x else 2", "return not x", "return x and y", "return x or y"):
        agree(code, NUMBERS + FLOATS + OTHERS + [[], [0], "", {}, {1: 2}], [3])


class Counter:
    def __init__(self):
        self.n = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.n += 1
        if self.n > 3:
            raise StopIteration
        return self.n


def test_loops_over_whatever_iterates():
    def generate():
        yield from (1, 2, 3)

    makers = [Counter, generate, lambda: [1, 2, 3], lambda: (1, 2, 3), lambda: range(1, 4)]
    makers += [lambda: iter([1, 2, 3]), lambda: bytes([1, 2, 3]), lambda: {1: 0, 2: 0, 3: 0}]
    makers += [lambda: map(lambda n: n, [1, 2, 3]), lambda: (n for n in (1, 2, 3))]
    for make in makers:
        found = []
        for n in make():
            found.append(n)
        assert sorted(found) == [1, 2, 3], found
    for wrong in (1, None, 1.0):
        agree("for n in x: pass", [wrong], [0])


def fill(size, mark):
    return bytearray(bytes([mark]) * size)


def test_no_two_objects_share_memory():
    random.seed(1)
    kept = []
    for n in range(6000):
        size = random.choice((1, 15, 17, 40, 60, 65, 130, 300, 700, 1000, 1025, 5000))
        mark = n % 255 + 1
        kept.append((mark, size, fill(size, mark), [n] * (n % 7), complex(n, 1)))
        if len(kept) > 400:
            for _ in range(random.randrange(300)):
                kept.pop(random.randrange(len(kept)))
        if n % 100 == 0:
            grown = kept[random.randrange(len(kept))]
            grown[3].extend(range(n % 50))
        if n % 500 == 0:
            gc.collect()
        if n % 50 == 0:
            for mark, size, data, _, number in kept:
                assert len(data) == size and data.count(bytes([mark])) == size
                assert number.imag == 1


def test_names_are_found_again_whoever_made_them():
    class Names:
        pass

    made = ["name_" + str(i) for i in range(200)] + ["append", "keys", "a_" + "b" * 30]
    for name in made:
        setattr(Names, name, name)
    for name in made:
        assert getattr(Names, "".join(list(name))) == name
    assert not hasattr(Names, "name_200") and not hasattr(Names, "")


def test_calls_of_functions_with_other_arguments_than_they_take():
    def two(x, y):
        return x, y

    def three(x, y, z=3):
        held = lambda: (x, y, z)
        return held()

    def many(x, *rest, **names):
        return x, rest, names

    assert two(1, 2) == two(1, y=2) == (1, 2) and three(1, 2) == (1, 2, 3)
    assert three(1, 2, 4) == three(1, z=4, y=2) == (1, 2, 4)
    assert many(1, 2, k=3) == (1, (2,), {"k": 3})
    for wrong in ((1,), (1, 2, 3)):
        try:
            two(*wrong)
        except TypeError:
            continue
        assert False, wrong


def test_what_grows_keeps_its_bytes():
    grown, between = bytearray(), []
    for i in range(3000):
        grown.append(i & 255)
        between.append(bytes(i % 70))
    assert grown == bytes(i & 255 for i in range(3000))
