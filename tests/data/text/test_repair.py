"""Repair: misread bytes mended, composed, both counted once a document; sound text is left alone."""

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from ftfy.badness import is_bad
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_m.data.text.repair import _BAD, repair

SENTENCES = {
    "fi": "Hän lähti töihin yöllä ja palasi äitinsä luo.",
    "hi": "हिन्दी भाषा भारत में बोली जाती है।",
    "ja": "日本語の文章をここに書きます。",
    "vi": "Tiếng Việt là ngôn ngữ của người Việt.",
}


@pytest.mark.parametrize("lang", SENTENCES)
def test_a_misread_text_of_every_language_is_mended(lang: str) -> None:
    sound = SENTENCES[lang]
    misread = sound.encode().decode("latin-1")
    names = pa.chunked_array([["a", "b"]])
    texts, edits = repair(names, pa.array([sound, misread], pa.large_string()))
    assert texts.to_pylist() == [sound, sound]
    assert edits.counted() == {"encoding": 1}
    (sample,) = edits.shown()
    assert isinstance(sample, dict)
    assert sample["id"] == "b"


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=6))
def test_texts_that_are_not_bad_are_composed_and_no_more(texts: list[str]) -> None:
    found, edits = repair(
        pa.chunked_array([[str(i) for i in range(len(texts))]], pa.string()), pa.array(texts, pa.large_string())
    )
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    for text, before, after in zip(texts, composed, found.to_pylist(), strict=True):
        if not is_bad(text):
            assert before == after
    assert edits.counts.get("encoding", 0) + edits.counts.get("nfc", 0) >= sum(
        a != b for a, b in zip(texts, found.to_pylist(), strict=True)
    )


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("abcä”…\x85Ã©â€™ ЂвСГÐ°¤_\n1½‚Äô②\u3000\u00a0"))))
def test_ftfy_tests_no_fewer_texts_than_its_own_test(texts: list[str]) -> None:
    column = pa.array(texts, pa.large_string())
    assert pc.match_substring_regex(column, _BAD).to_pylist() == [is_bad(text) for text in texts]
