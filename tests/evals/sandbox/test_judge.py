"""The tests' process decides: what honest code gives it passes, and what code does to seem right does not."""

import pytest

from aurora_m.evals.sandbox.run import Program, Result, run, wall

pytestmark = pytest.mark.skipif(wall() is None, reason="bubblewrap does not hold here: nothing is run")

PROMPT, SOLUTION = "def double(x):\n", "    return 2 * x\n"
TESTS = "assert double(4) == 8\nassert double(-1) == -2\nassert double(0.5) - 1 < 1e-9\nassert double('a') > 'a'\n"
YES = "class Yes:\n    def _yes(self, *args): return True\n    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = _yes\n"
ZERO = "    def _self(self, *args): return self\n    __sub__ = __rsub__ = __abs__ = __add__ = _self\n"
FORGED = 'b\'{"ok": true, "why": ""}\''

HOSTILE = {  # what goes on from the prompt, and is wrong
    "yes to everything": f"    return Yes()\n{YES}{ZERO}",
    "a number that says yes": "    return Yes(3)\nclass Yes(int):\n    def __eq__(self, other): return True\n",
    "a list that says yes": "    return Yes()\nclass Yes(list):\n    def __eq__(self, other): return True\n",
    "leaves when it is called": "    import os; os._exit(0)\n",
    "leaves with a code": "    raise SystemExit(0)\n",
    "leaves at once": "    return 0\nimport os\nos._exit(0)\n",
    "leaves at the end": "    return 0\nimport atexit, os\natexit.register(os._exit, 0)\n",
    "reads the token and prints it": (
        "    import os\n    os.write(1, b'\\n' + os.read(0, 64)); os._exit(0)\n    return 0\n"
    ),
    "prints a verdict": f"    return 0\nimport os\nfor n in range(20):\n    try: os.write(n, {FORGED})\n"
    "    except OSError: pass\n",
    "speaks the protocol": "    return 0\nimport json, os, struct\nfor n in range(20):\n"
    "    data = json.dumps({'value': None, 'objects': []}).encode()\n"
    "    try: os.write(n, struct.pack('=Q', len(data)) + data)\n    except OSError: pass\n",
    "replaces what compares": "    return 0\nimport builtins, operator, sys\nbuiltins.abs = lambda x: 0\n"
    "operator.eq = lambda a, b: True\nsys.stdout = None\n",
    "replaces assert's error": "    return 0\nimport builtins\nbuiltins.AssertionError = SystemExit\n",
    "replaces the reader": "    return 0\nimport os, sys\nos.read = lambda *a: b''\nos._exit = lambda *a: None\n"
    "os.write = lambda *a: 0\n",
    "looks for the tests": "    import gc, re\n    for text in gc.get_objects():\n"
    "        if isinstance(text, (str, bytes, dict)) and 'assert double(4)' in str(text): return 2 * x\n    return 0\n",
    "looks into the frames": "    import sys\n    frame = sys._getframe()\n    while frame:\n"
    "        for value in frame.f_globals.values():\n            if type(value) is str and 'assert double' in value:\n"
    "                return 2 * x\n        frame = frame.f_back\n    return 0\n",
    "looks into the memory": "    try: found = b'assert double' in open('/proc/self/mem', 'rb').read()\n"
    "    except OSError: return 0\n    return 2 * x\n",
    "shadows the tests' names": "    return 0\nabs = lambda x: 0\nint = float = str = lambda *a: 0\n",
    "changes its peer": "    return 0\nimport gc\nfor o in gc.get_objects():\n"
    "    if type(o).__name__ == '_Candidate': o.perform = lambda *a: True\n",
    "answers with the tests' own function": "    return print\n",
    "answers with a type": "    return object\n",
    "answers with nan and more": "    return float('nan')\n",
    "is never there": "    return 0\ndel double\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_but_the_right_answer_passes(name: str) -> None:
    assert run(Program(PROMPT, SOLUTION, SOLUTION, TESTS)) == Result(True)
    assert not run(Program(PROMPT, HOSTILE[name], SOLUTION, TESTS), 2).ok


def test_who_dies_is_not_who_raises() -> None:
    tests = "try:\n    double(None)\nexcept BaseException:\n    pass\nelse:\n    raise AssertionError\n"
    assert run(Program(PROMPT, SOLUTION, SOLUTION, tests)) == Result(True)
    found = run(Program(PROMPT, "    import os; os._exit(0)\n", SOLUTION, tests))
    assert found == Result(False, "left before its end")


def test_a_helper_of_the_prompt_is_the_prompts() -> None:
    prompt = "def at(coefficients, x):\n    return sum(c * x**n for n, c in enumerate(coefficients))\n\ndef root(c):\n"
    solution, tests = "    return -c[0] / c[1]\n", "assert abs(at([1, 2], root([1, 2]))) < 1e-9"
    assert run(Program(prompt, solution, solution, tests)).ok
    assert not run(Program(prompt, "    return 5\ndef at(coefficients, x):\n    return 0\n", solution, tests)).ok


def test_an_import_of_the_solution_is_no_name_of_the_code() -> None:
    solution = "from math import isclose\n\ndef third():\n    return 1 / 3\n"
    tests = "assert isclose(third() * 3, 1)"
    assert run(Program("", solution, solution, tests)).ok
    assert not run(
        Program("", "def isclose(*args):\n    return True\ndef third():\n    return 1\n", solution, tests)
    ).ok


def test_the_code_calls_nothing_that_it_was_not_given() -> None:
    """It makes no class there whose objects say yes."""
    code = (
        "    import gc\n    peer = next(o for o in gc.get_objects() if type(o).__name__ == '_Candidate')\n"
        "    made = peer.ask('call', type, ('A', (int,), {'__eq__': lambda *a: True}), {})\n    return made\n"
    )
    found = run(Program(PROMPT, code, SOLUTION, TESTS))
    assert found == Result(False, "TypeError: this was not passed on")


HONEST = {
    "changes its argument": ("def f(x):\n", "    x.sort()\n", "a = [3, 1]\nassert f(a) is None\nassert a == [1, 3]"),
    "changes what is inside": ("def f(x):\n", "    x['a'].append(1)\n", "d = {'a': []}\nf(d)\nassert d == {'a': [1]}"),
    "gives its argument back": ("def f(x):\n", "    return x\n", "a = [1]\nassert f(a) is a\nassert f([1]) is not a"),
    "gives a copy": ("def f(x):\n", "    return x[:]\n", "a = [1]\nassert f(a) is not a and f(a) == a"),
    "one object twice": ("def f():\n", "    a = []\n    return a, a\n", "a, b = f()\na.append(1)\nassert b == [1]"),
    "an object that holds itself": ("def f():\n", "    a = []\n    a.append(a)\n    return a\n",
                                    "a = f()\nassert a[0] is a"),
    "yields": ("def f(n):\n", "    yield from range(n)\n", "assert list(f(3)) == [0, 1, 2]\nassert 2 in f(3)"),
    "yields without end": ("def f():\n", "    while True: yield 1\n", "import itertools\n"
                           "assert list(itertools.islice(f(), 2)) == [1, 1]"),
    "a lazy map": ("def f(x):\n", "    return map(str, x)\n", "assert sorted(f([2, 1])) == ['1', '2']"),
    "a function": ("def f(n):\n", "    return lambda x: x + n\n", "assert f(2)(3) == 5"),
    "a decorator": ("def twice(f):\n", "    return lambda *a, **k: 2 * f(*a, **k)\n",
                    "@twice\ndef g(x, y=1): return x + y\nassert g(1, y=2) == 6"),
    "calls what it is given": ("def f(g, x):\n", "    return [g(v) for v in x]\n",
                               "assert f(lambda v: v * 2, iter([1, 2])) == [2, 4]\nassert f(str.upper, 'a') == ['A']"),
    "an error from a callback": ("def f(g):\n", "    try: g()\n    except ValueError: return 1\n",
                                 "def g(): raise ValueError\nassert f(g) == 1"),
    "raises": ("def f(x):\n", "    raise KeyError(x)\n", "try: f(1)\nexcept KeyError as e: assert e.args == (1,)\n"
               "else: assert False"),
    "raises its own": ("class Odd(ValueError): pass\ndef f():\n", "    raise Odd('no')\n",
                       "try: f()\nexcept Odd as e: assert str(e) == 'no'\nelse: assert False"),
    "raises a new one": ("def f():\n", "    raise Odd('no')\nclass Odd(ValueError): pass\n",
                         "for kind in (Odd, ValueError):\n    try: f()\n    except kind: pass\n    else: assert False"),
    "prints": ("def f():\n", "    print('hi')\n", "import contextlib, io\n"
               "with contextlib.redirect_stdout(io.StringIO()) as out: f()\nassert out.getvalue() == 'hi\\n'"),
    "large numbers": ("def f(n):\n", "    return 7**n\n", "assert f(9999) == 7**9999"),
    "all kinds of values": (
        "import collections, datetime, decimal, fractions\ndef f(x):\n", "    return x\n",
        "for x in (None, ..., 1.5, float('inf'), 1j, b'a', bytearray(b'b'), (1, (2,)), {1: {2}}, frozenset({1}),"
        " range(3), slice(2), '\\ud800', True, int, ValueError, collections.deque([1]), collections.Counter('aab'),"
        " collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), decimal.Decimal('1.10'),"
        " fractions.Fraction(1, 3), datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3), datetime.time(1),"
        " datetime.timedelta(1, 2, 3)):\n    assert f(x) == x and type(f(x)) is type(x), x\n"),
    "a subclass of a plain type": ("import enum, collections\ndef f():\n",
                                   "    return enum.IntEnum('E', 'A').A, collections.namedtuple('P', 'x')(2)\n",
                                   "assert f() == (1, (2,))"),
    "a constant": ("", "LIMIT = 3\ndef f(): return LIMIT\n", "assert f() == LIMIT == 3"),
    "a module": ("", "import math\ndef f(): return math.pi\n", "assert f() == math.pi"),
    "several functions": ("def f(x):\n", "    return g(x)\n\ndef g(x):\n    return x\n", "assert f(1) == g(1) == 1"),
    "a check of a candidate": ("def f(x):\n", "    return x\n", "def check(candidate):\n    assert candidate(1) == 1\n"
                               "check(f)"),
    "a class": (
        "class Bag:\n    def __init__(self, *items):\n", "        self.items = list(items)\n"
        "    def __len__(self): return len(self.items)\n    def __iter__(self): return iter(self.items)\n"
        "    def __eq__(self, other): return self.items == other.items\n    def __add__(self, other):\n"
        "        return Bag(*self.items, *other.items)\n    def __enter__(self): return self\n"
        "    def __exit__(self, *args): self.items = []\n    def __lt__(self, other): return len(self) < len(other)\n",
        "a = Bag(1) + Bag(2)\nassert len(a) == 2 and list(a) == [1, 2] and a == Bag(1, 2) and a != Bag()\n"
        "assert isinstance(a, Bag) and not isinstance(3, Bag) and a != 3 and Bag() < a\n"
        "with a as b: assert b.items == [1, 2]\nassert a.items == []\na.items = [5]\nassert list(a) == [5]\n"
        "assert hasattr(a, 'items') and not hasattr(a, 'other')"),
    "nodes of the prompt": (
        "class Node:\n    def __init__(self, value, next=None):\n        self.value, self.next = value, next\n\n"
        "def values(node):\n    found = []\n    while node:\n        found.append(node.value)\n"
        "        node = node.next\n    return found\n\ndef reverse(node):\n",
        "    last = None\n    while node:\n        last, node = Node(node.value, last), node.next\n    return last\n",
        "assert values(reverse(Node(1, Node(2)))) == [2, 1]"),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_code_passes(name: str) -> None:
    prompt, solution, tests = HONEST[name]
    assert run(Program(prompt, solution, solution, tests)) == Result(True)


def test_what_tests_cannot_pass_on_is_said() -> None:
    found = run(Program(PROMPT, SOLUTION, SOLUTION, "class A: pass\ndouble(A())"))
    assert found == Result(False, "TypeError: a value of the type `A` cannot be passed on")


def test_an_object_that_says_yes_equals_nothing_plain_where_there_are_classes_too() -> None:
    prompt, solution = "class Pair:\n    def total(self):\n", "        return 3\n"
    assert run(Program(prompt, solution, solution, "assert Pair().total() == 3")).ok
    assert not run(Program(prompt, f"        return Yes()\n{YES}", solution, "assert Pair().total() == 3")).ok
    assert not run(Program(prompt, f"        return Yes()\n{YES}", solution, "assert Pair().total() < 4")).ok


HOLDER = "class Holder:\n    def __init__(self, value): self.value = value\n    def get(self):\n"
AGREES = f"        return Agrees()\n{YES}".replace("Yes", "Agrees") + (
    "    def _self(self, *args): return self\n    __sub__ = __rsub__ = __add__ = __mul__ = __neg__ = _self\n"
    "    __contains__ = lambda *args: True\n    __abs__ = __float__ = __round__ = lambda *args: 3.0\n"
    "    __int__ = __index__ = lambda *args: 3\n"
)


@pytest.mark.parametrize(
    ("solution", "tests"),
    [
        ("self.value", "assert abs(Holder(3).get() - 3) < 4"),
        ("self.value", "assert abs(3 - Holder(3).get()) < 4"),
        ("self.value", "assert abs(Holder(3).get()) == 3"),
        ("self.value", "assert float(Holder(3).get()) == 3"),
        ("self.value", "assert int(Holder(3).get()) == 3"),
        ("self.value", "assert round(Holder(3).get(), 1) == 3"),
        ("[self.value]", "assert 3 in Holder(3).get()"),
    ],
)
def test_an_object_is_no_number_and_holds_nothing_unless_a_class_of_the_item_does(solution: str, tests: str) -> None:
    honest = f"        return {solution}\n"
    assert run(Program(HOLDER, honest, honest, tests)) == Result(True)
    assert "TypeError" in run(Program(HOLDER, AGREES, honest, tests)).why


def test_what_classes_of_the_item_declare_is_asked_of_their_objects() -> None:
    solution = (
        "        return self.value\n    def __add__(self, other): return Holder(self.value + other)\n"
        "    __radd__ = __add__\n    def __abs__(self): return abs(self.value)\n"
        "    def __contains__(self, value): return value == self.value\n"
    )
    tests = "a = 1 + (Holder(-5) + 2)\nassert abs(a) == 2 and -2 in a and 2 not in a"
    assert run(Program(HOLDER, solution, solution, tests)) == Result(True)
    solution = "        return self.value\n    def __iter__(self): return iter(self.value)\n"
    tests = "assert 2 in Holder([1, 2]) and 3 not in Holder([1, 2])"
    assert run(Program(HOLDER, solution, solution, tests)) == Result(True)
