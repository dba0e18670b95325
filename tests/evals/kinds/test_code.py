"""Code: the rendered requests, what is kept of a completion, the program and the scores."""

from dataclasses import replace
from math import log

import pytest

from aurora_m.core.errors import DataError
from aurora_m.evals.kinds.code import KIND, body
from aurora_m.evals.kinds.kind import Generate, Loglikelihood, Outputs, Score
from aurora_m.evals.sandbox.run import Program
from aurora_m.evals.task import Item

ITEM = Item("p1", "code", "code", "code", "def f():\n", answer="    return 1\n", tests="assert f() == 1", entry="f")


def test_what_the_model_is_asked() -> None:
    solution, completion = KIND.requests(ITEM)
    assert solution == Loglikelihood("def f():\n", ("    return 1\n",))
    assert completion == Generate("def f():\n", stop="", reference="    return 1\n")


def test_what_is_kept_and_scored() -> None:
    answer = KIND.answer(ITEM, Outputs([[-26 * log(2)]], ["    return 2\nprint(f())\n"]))
    assert answer == {"text": "    return 2\n", "solution_nats": -26 * log(2), "solution_bytes": 13}
    assert list(KIND.score(ITEM, answer)) == [Score("solution_bpb", 26.0, 13)]


def test_the_program_is_the_function_its_solution_and_its_tests() -> None:
    """The solution goes the way of a completion."""
    assert KIND.program
    item = replace(ITEM, answer="    return 1\nprint(f())\n")
    wanted = Program("def f():\n", "    return 2\n", "    return 1\n", "assert f() == 1")
    assert KIND.program(item, "    return 2\nassert f()\n") == wanted


def test_wrong_items() -> None:
    with pytest.raises(DataError, match="an item has no `tests`") as error:
        KIND.check(replace(ITEM, tests=""), "here")
    assert (error.value.at, error.value.hint) == ("here", "write Python that raises if the answer is wrong")
    with pytest.raises(DataError, match="an item has no `answer`"):
        KIND.check(replace(ITEM, answer=""), "here")


KEPT = [  # after `def f():` and a newline: what is kept, what is not
    ("    a\n\n    b\n", "c\n    d\n"),
    ("\ta", ""),
    ("", "a\n"),
    ("", ""),
    ("\n\n  a\n", "@"),
    ('    return """one\ntwo"""\n', "print(f())"),
    ("    return '''\ndef g():\nclass A:\n'''\n", "if x:\n    pass"),
    ("    return sum([\n1, 2,\n3])\n", "assert f() == 6\n"),
    ("    return {\n'a': (\n1,\n),\n}\n", "f()\n"),
    ("    return 1 + \\\n2\n", "f()\n"),
    ("    if a:\n# why\n        b\n# and\n    c\n", "f()"),
    ('    return f"""\n{x}\n"""\n', "f()"),
    ('    """A doc\nof lines with def g(): in it\n"""\n    return 1\n\n', "This isn't code"),
    ("    return '\\\nx'\n", "f()\n"),
    ("    return g()\n\ndef g():\n    return 1\n\n", "print(f())\n"),
    ("    return g()\n\n@cache\nasync def g():\n    return 1\n", "def f():\n    return 2\n"),
    ("    return A\n\nimport os\nclass A:\n    x = 1\nB = 2\n", "B = 3\n"),
    ("    return 1\n\n", 'if __name__ == "__main__":\n    f()\n'),
    ("    return 1\n\n", "while True:\n    f()\n"),
    ("    return 1\n\n", "def g(x):\n    return [x,"),  # cut off by the number of tokens
    ("    return 1\n\n", "n = int(input())\n"),
    ("    return 1\n\n", "for i in range(3):\n    print(f())\n"),
    ("    return 1\n\n", "import numpy as np\n"),
    ("    return 1\n\n", "import numpy as np\n# of the array\nprint(np.array([f()]))\n"),
    ("    return 1\n\n", "with open('a') as h:\n    h.write(f())\n"),
    ("    return 1\n\n", "try:\n    x = f()\nexcept ValueError:\n    x = 0\n"),
    ("    return 1\n\n", "n += 1\n"),
    ("    return 1\n\n", "if f():\n    x = 1\n"),
    ("    return math.pi + N\n\nimport math\nN: int = 2\n", "import numpy\n"),
    ("    return g()\n\nfrom functools import lru_cache\n\n@lru_cache()\ndef g():\n    return 1\n", "x = g()\n"),
    ("    return 1\n", "```\n\nThis is right.\n"),
    ("    return 1\n", "    ```\n    Output: 1\n"),
    ("    return g()\ndef g():\n    return 1\n", "   ```python\nf()\n"),
    ("", "```python\n    return 1\n```\n"),
    ('    """\n    ```\n    f()\n    ```\n    """\n    return 1\n', "f()\n"),
    ("    return [1,\n", "2"),
    ("    return (\n", "def g():\n    return 1\n"),  # no Python at all
    ("    return 1\n", "<|endoftext|>\ndef g(): pass\n"),
    ("    return '\u2028'\n    b\x0c\n", "f()"),
]


@pytest.mark.parametrize(("kept", "rest"), KEPT)
def test_the_body_of_a_completion(kept: str, rest: str) -> None:
    assert body("def f():\n", kept + rest) == kept
    assert body("def f():\n", kept) == kept


METHODS = "        return 1\n\n    def g(self): pass\n"


@pytest.mark.parametrize(
    ("prompt", "text", "kept"),
    [
        ("", "import re\n\ndef f():\n    return 1\n\nprint(f())\n", "import re\n\ndef f():\n    return 1\n\n"),
        ("# f\n", "import re\nP = re.compile('a')\ndef f():\n    return P\nf = f()\n",
         "import re\nP = re.compile('a')\ndef f():\n    return P\n"),
        ("# Write f.\n", "def f():\n    return 1\nassert f()\n", "def f():\n    return 1\n"),
        ("def f():\n    return", " 1\nf()\n", " 1\n"),
        ("def f():\n    return g", "(1)\nf()\n", "(1)\n"),
        ('def f():\n    """One."""\n', "print(f())\n", ""),
        ('def f():\n    """One."""\n', "    return 1\nprint(f())\n", "    return 1\n"),
        ("class A:\n    def f(self):\n", f"{METHODS}A()\n", METHODS),
        ("@wraps(g)\n", "def f():\n    return 1\nf()\n", "def f():\n    return 1\n"),
        ("def f():\n    x = [\n", "1,\n]\n    return x\nf()\n", "1,\n]\n    return x\n"),
        ("try:\n    import re\n", "except ImportError:\n    re = None\nre()\n", "except ImportError:\n    re = None\n"),
        ("def f():\n", "    return '\\d'\n", "    return '\\d'\n"),
        ("def f():\n", "    return 1\x00\nx\n", "    return 1\x00\n"),
        ("def f():\n", "    return " + "(" * 999 + "\nx", "    return " + "(" * 999 + "\n"),
    ],
)  # fmt: skip
def test_the_body_after_other_prompts(prompt: str, text: str, kept: str) -> None:
    assert body(prompt, text) == kept
