"""Pieces are cut as said, characters and lines are counted as a slow reference counts them."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.measure import pieces as cutter
from aurora_m.data.measure.signals import measures

PIECES = [
    "foo", "Foo ", "BAR baz ", "\n", "\n\n", "漢字", "かな", "゙", "नमस्ते ", "क्‍ष", "tiếng Việt ", "e\u0301", "#", "1", "²",
    "👩‍💻",
    "สวัสดี", " ", "...", "…", "-", "don't", "İ", "。", "{x}", "\u3000", "\x85", "\u2028", "\U000e0100", "Ⅷ", "〇", "ｶﾅ",
    "a.b", "x/y", "://", ".", "'", "--",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=40).map("".join)


def split(text: str) -> tuple[list[int], list[int], list[int]]:
    """Lengths and kinds of the pieces, and the pieces before each line end."""
    data = np.frombuffer(text.encode(), np.uint8)
    _, lengths, kinds, line_ends = rows = cutter.room(len(data) + 2)
    count = cutter.split_pieces(cutter.Text(data, len(data), cutter.traits()), 0, rows)
    return lengths[:count].tolist(), kinds[:count].tolist(), line_ends[: text.count("\n") + 1].tolist()


def cut(text: str) -> list[str]:
    """The pieces of a text in a script with spaces."""
    flat, pieces = "".join(text.split()), []
    for length in split(text)[0]:
        pieces.append(flat[:length])
        flat = flat[length:]
    assert not flat
    return pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello, world!", "Hello , world !"),
        ("don't we'll John's O'Brien", "don 't we 'll John 's O'Brien"),
        ("(well-known) covid-19 1990-1995", "( well - known ) covid-19 1990 - 1995"),
        ("3.14 1,000 a,b 10:30 either/or", "3.14 1,000 a , b 10:30 either / or"),
        ("U.S. e.g. J. Smith. end.Start", "U.S. e.g. J. Smith . end . Start"),
        ("wait...what -- a--b - x", "wait ... what -- a -- b - x"),
        ("see http://a.org/b-c?d=e, example.com/a-b.", "see http://a.org/b-c?d=e , example.com/a-b ."),
        ("me@x.org AT&T foo_bar .net --opt -x", "me@x.org AT&T foo_bar .net --opt -x"),
        ("50% $5 #tag a|b", "50 % $ 5 # tag a|b"),
        ('He said: "go."', 'He said : " go . "'),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया ।"),
    ],
)
def test_pieces_are_cut_as_spacy_cuts_english(text: str, pieces: str) -> None:
    assert cut(text) == pieces.split()


def test_scripts_without_spaces_give_two_character_pieces() -> None:
    lengths, kinds, _ = split("これは。x 漢")
    assert lengths == [1, 2, 1, 1, 1]
    word = cutter.HAS_LETTER | cutter.HAS_WORD
    wide = word | cutter.WIDE
    assert kinds == [wide | cutter.FIRST, wide, cutter.ENDS, word, wide | cutter.FIRST]


@given(TEXTS, TEXTS)
def test_white_space_parts_pieces(left: str, right: str) -> None:
    lengths, kinds, ends = split(left + "\n" + right)
    assert (lengths, kinds) == tuple(a + b for a, b in zip(split(left)[:2], split(right)[:2], strict=True))
    assert ends[left.count("\n")] == len(split(left)[0])
    assert all(length > 0 for length in lengths)


def ranges(name: str) -> set[int]:
    """The code points of a script."""
    parts = [part.split("-") for part in cutter.SCRIPTS[name].split()]
    return {point for first, last in parts for point in range(int(first, 16), int(last, 16) + 1)}


LATIN, KANA = ranges("latin"), ranges("kana")


@given(TEXTS)
def test_characters_equal_a_slow_reference(text: str) -> None:
    found = {name: column[0] for name, column in measures(pa.chunked_array([[text]])).items()}
    assert found["num_bytes"] == len(text.encode())
    assert found["chars"] == len(text)
    assert found["longest_line"] == max(len(line) for line in text.split("\n"))
    lines = [line for line in text.split("\n") if line.strip()]
    assert found["lines"] == len(lines)
    assert found["mean_line_chars"] == round(sum(map(len, lines)) / max(len(lines), 1), 6)
    assert found["short_lines"] == round(sum(len(line) <= 30 for line in lines) / max(len(lines), 1), 6)
    pieces = max(int(found["pieces"]), 1)
    assert found["hashes"] == round(text.count("#") / pieces, 6)
    assert found["newlines"] == round(text.count("\n") / pieces, 6)
    dots = sum(line.count("...") + line.count("…") for line in text.split("\n"))
    assert found["ellipses"] == round(dots / pieces, 6)
    ended = sum(line.rstrip()[-1] in cutter.STOPS_OF_SENTENCES + cutter.CLOSING_QUOTES for line in lines)
    assert found["ended_lines"] == round(ended / max(len(lines), 1), 6)
    cut_off = sum(line.rstrip().endswith(("...", "…")) for line in lines)
    assert found["ellipsis_lines"] == round(cut_off / max(len(lines), 1), 6)
    letters = [char for char in text if cutter.class_of(int(cutter.traits()[ord(char)])) >= 5]
    for name, script in (("latin", LATIN), ("kana", KANA)):
        assert found[name] == round(sum(ord(char) in script for char in letters) / max(len(letters), 1), 6)


def test_capitals_are_what_has_a_lower_case() -> None:
    text = "Äiti JA x ß Σ İ"
    assert measures(pa.chunked_array([[text]]))["upper"][0] == round(4 / len(text), 6)
    assert all(unicodedata.category(char) == "Lu" for char in "ÄJAΣ")


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("MAIN MENU", "upper_lines"), ("Hello WORLD THERE", "upper_lines"), ("2024-01-02", "digit_lines"),
        ("12 345 €", "digit_lines"), ("3 likes", "counter_lines"), ("12件", "counter_lines"),
        ("- one thing", "bullet_lines"), ("• one thing", "bullet_lines"), ("・ひとつ", "bullet_lines"),
    ],
)  # fmt: skip
def test_lines_of_a_kind(line: str, column: str) -> None:
    text = f"An ordinary line of words, it is.\n{line}\n"
    found = measures(pa.chunked_array([[text]]))
    kinds = ("upper_lines", "digit_lines", "counter_lines", "bullet_lines")
    assert [name for name in kinds if found[name][0] > 0] == [column]
    assert found[column][0] == 0.5


C4 = "One two three. Four five six. "


@pytest.mark.parametrize(
    ("text", "sentences", "lorem", "curly"),
    [
        (C4, 2, 0, 0),
        (C4 + "\n" + C4, 4, 0, 0),
        ("No end here at all", 0, 0, 0),
        ("Cut off in the...", 0, 0, 0),
        ("Two words.", 0, 0, 0),
        ('He said "we go home"', 1, 0, 0),
        ("Please enable JavaScript to see it.", 0, 0, 0),
        ("Read our Privacy Policy for more.", 0, 0, 0),
        ("Evästekäytäntö koskee meitä kaikkia täällä. Lue tietosuojaseloste tästä.", 0, 0, 0),
        ("This is lorem ipsum dolor text.", 1, 1, 0),
        ("A function { x } it is.", 0, 0, 1),
        ("Dr. J. Smith paid 3.14 e.g. for it. Really so!", 3, 0, 0),
        ("今日は晴れです。明日は雨でしょう。", 2, 0, 0),
        ("x" * 1001 + " and two more.", 0, 0, 0),
    ],
)
def test_c4_lines(text: str, sentences: int, lorem: int, curly: int) -> None:
    found = measures(pa.chunked_array([[text]]), "fi")
    names = ("c4_sentences", "lorem_lines", "curly_lines")
    assert [found[name][0] for name in names] == [sentences, lorem, curly]


@pytest.mark.parametrize(
    ("lang", "text", "stops", "kinds"),
    [
        ("en", "The cat and the dog of Mary", 4 / 7, 3),
        ("en", "THE AND OF", 1, 0),
        ("fi", "koira ja kissa", 1 / 3, 1),
        ("hi", "घर में है", 2 / 3, 2),
        ("ja", "学生です", 1 / 3, 1),
        ("vi", "nhà và cửa", 1 / 3, 1),
        ("code", "the be to of", 0, 0),
    ],
)
def test_stop_words(lang: str, text: str, stops: float, kinds: int) -> None:
    found = measures(pa.chunked_array([[text]]), lang)
    assert (found["stop_words"][0], found["stop_kinds"][0]) == (round(stops, 6), kinds)


def test_flagged_words_are_phrases() -> None:
    text = pa.chunked_array([["Play Online Casino now, online or in a casino"]])
    assert measures(text, "en")["flagged_words"][0] == round(2 / 9, 6)
    assert measures(text, "fi")["flagged_words"][0] == 0
    assert measures(pa.chunked_array([["これは無修正です"]]), "ja")["flagged_words"][0] == round(2 / 7, 6)
