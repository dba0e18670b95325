"""Metadata goes beside the text: the text stays whole, and nothing is said twice."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import RecipeError
from aurora_m.data.read.metadata import SHAPES, append_metadata, repo_head


def test_arxiv() -> None:
    meta: dict[str, Any] = {
        "title": "On Snow",
        "authors": ["Aino Lumi", "Bo Sky"],
        "categories": "cs.CL stat.ML",
        "update_date": "2024-03-30",
        "abstract": "We measure snow.",
        "doi": "10/1",
    }
    assert append_metadata("1 Introduction\nSnow falls.", meta, "arxiv") == (
        "1 Introduction\nSnow falls.\n\nTitle: On Snow\nAuthors: Aino Lumi, Bo Sky\nCategories: cs.CL, stat.ML\n"
        "Date: 2024-03-30\n\nAbstract:\nWe measure snow."
    )
    paper = "ON  SNOW\nAino Lumi and Bo Sky\nAbstract. We measure\nsnow."
    assert append_metadata(paper, meta, "arxiv") == f"{paper}\n\nCategories: cs.CL, stat.ML\nDate: 2024-03-30"


def test_uspto() -> None:
    meta: dict[str, Any] = {
        "title": "Shovel",
        "date": "2019",
        "abstract": "A tool.",
        "claims": ["1. A shovel.", "2. B."],
    }
    assert append_metadata("A shovel of 2019 is shown.", meta, "uspto") == (
        "A shovel of 2019 is shown.\n\nDate: 2019\n\nAbstract:\nA tool.\n\nClaims:\n1. A shovel.\n2. B."
    )


def test_stackexchange_puts_the_best_answers_in_order() -> None:
    answers = [
        {"text": "third", "score": 1},
        {"text": "worst", "score": -2},
        {"text": "first", "score": "7"},
        {"text": "equal", "score": 3},
        {"text": "taken", "score": 3, "accepted": True},
    ]
    meta: dict[str, Any] = {"title": "How?", "tags": "<python><list>", "score": 12, "answers": answers}
    whole = (
        "Question: How?\n\nI ask.\n\nTags: python, list\nScore: 12\n\nAnswer (score 7):\nfirst\n\n"
        "Answer (score 3, accepted):\ntaken\n\nAnswer (score 3):\nequal"
    )
    assert append_metadata("I ask.", meta, "stackexchange") == whole
    as_text = {**meta, "answers": orjson.dumps(answers).decode(), "tags": "python|list"}
    assert append_metadata("I ask.", as_text, "stackexchange") == whole
    assert append_metadata("I ask.", {"answers": "Do so."}, "stackexchange") == "I ask.\n\nAnswer:\nDo so."
    assert append_metadata("How? Do so.", {"title": "how?", "answers": ["Do so."]}, "stackexchange") == "How? Do so."


def test_what_stands_within_another_word_does_not_stand_there() -> None:
    assert append_metadata("A cart.", {"title": "Art"}, "arxiv") == "A cart.\n\nTitle: Art"
    assert append_metadata("Art, by hand.", {"title": "art"}, "arxiv") == "Art, by hand."
    assert append_metadata("これは雪の研究です。", {"title": "雪の研究"}, "arxiv") == "これは雪の研究です。"


def test_a_number_stands_there_only_with_its_label() -> None:
    assert append_metadata("I have 12.", {"score": 12}, "stackexchange") == "I have 12.\n\nScore: 12"
    assert append_metadata("Score: 12", {"score": 12}, "stackexchange") == "Score: 12"


def test_an_unknown_shape() -> None:
    with pytest.raises(RecipeError, match="there is no shape `wiki`") as error:
        append_metadata("", {}, "wiki")
    assert error.value.hint == "the shapes are `arxiv`, `uspto`, `stackexchange`"


VALUES = st.one_of(
    st.text(max_size=12), st.integers(-5, 5), st.none(), st.booleans(), st.lists(st.text(max_size=5), max_size=3)
)
ANSWERS = st.one_of(
    VALUES, st.lists(st.fixed_dictionaries({"text": st.text(max_size=8), "score": st.integers(-1, 4)}), max_size=5)
)
METAS = st.fixed_dictionaries(
    {},
    optional={
        **{name: VALUES for shape in SHAPES.values() for line in shape for name in line.names[:1]},
        "answers": ANSWERS,
    },
)


@given(st.text(max_size=60), METAS, st.sampled_from(sorted(SHAPES)))
def test_the_text_stands_whole_and_a_second_time_adds_nothing(text: str, meta: dict[str, Any], shape: str) -> None:
    once = append_metadata(text, meta, shape)
    assert text in once
    assert append_metadata(once, meta, shape) == once
    assert append_metadata(text, {}, shape) == text


CODE: dict[str, Any] = {"repo": "a/b", "path": "src/c.py", "stars": 7}


def test_the_head_of_code() -> None:
    assert repo_head(CODE) == "<reponame>a/b<filename>src/c.py<gh_stars>1-10\n"
    stack: dict[str, Any] = {"max_stars_repo_name": "a/b", "max_stars_repo_path": "c.py", "max_stars_count": 0.0}
    assert repo_head(stack) == "<reponame>a/b<filename>c.py<gh_stars>0\n"
    assert repo_head({"path": "c.py", "stars": None}) == "<filename>c.py\n"
    assert repo_head({}) == ""


def test_a_name_cannot_be_a_special_token() -> None:
    assert repo_head({"repo": "a/b", "path": "<|endoftext|>.py"}) == "<reponame>a/b\n"


@pytest.mark.parametrize(
    ("stars", "bucket"),
    [(0, "0"), (1, "1-10"), (10, "1-10"), (11, "10-100"), (100, "10-100"), (101, "100-1000"), (1000, "100-1000"),
     (1001, "1000+"), ("42", "10-100")],
)  # fmt: skip
def test_stars_fall_into_five_buckets(stars: int | str, bucket: str) -> None:
    assert repo_head({"stars": stars}) == f"<gh_stars>{bucket}\n"
    assert repo_head({"stars": "many"}) == ""


def test_each_mark_is_put_as_often_as_asked() -> None:
    put = [repo_head({**CODE, "path": f"{i}.py"}, share=0.2) for i in range(1000)]
    for mark in ("<reponame>", "<filename>", "<gh_stars>"):
        assert 150 < sum(mark in head for head in put) < 250
    assert 450 < put.count("") < 570  # 0.8 to the third
    assert put == [repo_head({**CODE, "path": f"{i}.py"}, share=0.2) for i in range(1000)]
