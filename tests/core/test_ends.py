"""What begins and ends a document: as each family of bases declares it, never a name that happens to be there."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_m.core.ends import Ends, Mark, declared_ends, ends_of, template_lead, with_lead
from aurora_m.core.errors import AuroraError, DataError, RecipeError

ABOUT, CONFIG, GENERATION = "tokenizer_config.json", "config.json", "generation_config.json"


def template(*before: int, tail: bool = False) -> dict[str, Any]:
    """A post-processor that puts tokens before a text."""
    named = {f"t{number}": {"id": f"t{number}", "ids": [number], "tokens": [f"t{number}"]} for number in (*before, 9)}
    marks: list[Any] = [{"SpecialToken": {"id": f"t{number}", "type_id": 0}} for number in before]
    behind = [{"SpecialToken": {"id": "t9", "type_id": 0}}] if tail else []
    single, both = [*marks, {"Sequence": {"id": "A", "type_id": 0}}, *behind], [{"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": [*single, *both], "special_tokens": named}


def folder(
    at: Path,
    tokens: dict[str, int],
    processor: Any = None,
    about: Any = None,
    config: Any = None,
    generation: Any = None,
) -> Path:
    """A base's files; tokens are special marks, and the letters a to e are ids 50 to 54."""
    added = [{"id": number, "content": token, "special": True} for token, number in tokens.items()]
    vocab = {letter: 50 + at for at, letter in enumerate("abcde")}
    tokenizer = {"added_tokens": added, "model": {"type": "BPE", "vocab": vocab}, "post_processor": processor}
    for name, data in (("tokenizer.json", tokenizer), (ABOUT, about), (CONFIG, config), (GENERATION, generation)):
        if data is not None:
            (at / name).write_text(json.dumps(data))
    return at


def eos(value: Any) -> dict[str, Any]:
    return {"eos_token_id": value}


FAMILIES: dict[str, tuple[dict[str, int], dict[str, Any], tuple[int | None, int, list[int]]]] = {
    "llama 2": (
        {"<unk>": 0, "<s>": 1, "</s>": 2},
        {"processor": template(1), "about": {"eos_token": {"content": "</s>"}, "add_bos_token": True},
         "config": eos(2), "generation": eos(2)},
        (1, 2, []),
    ),
    "llama 3.1 instruct": (
        {"<|begin|>": 1, "<|end_of_text|>": 2, "<|eom_id|>": 3, "<|eot_id|>": 4},
        {"processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template(1)]},
         "about": {"eos_token": "<|eot_id|>", "chat_template": "{{ m }}<|eot_id|>{% if t %}<|eom_id|>{% endif %}"},
         "config": eos([2, 3, 4]), "generation": eos([2, 3, 4])},
        (1, 2, [4, 3]),
    ),
    "qwen base": (
        {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2},
        {"about": {"eos_token": "<|endoftext|>", "add_bos_token": False, "chat_template": "{{ m }}<|im_end|>"},
         "config": {**eos(0), "bos_token_id": 0}, "generation": eos(0)},
        (None, 0, []),
    ),
    "qwen instruct": (
        {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2},
        {"processor": {"type": "ByteLevel"},
         "about": {"eos_token": "<|im_end|>", "add_bos_token": False, "chat_template": "<|im_start|>{{ m }}<|im_end|>"},
         "config": eos(2), "generation": eos([2, 0])},
        (None, 0, [2]),
    ),
    "gemma it, its config nested": (
        {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<end_of_turn>": 3},
        {"processor": template(2), "about": {"eos_token": "<eos>"},
         "config": {"text_config": eos([1, 3])}, "generation": eos([1, 3])},
        (2, 1, [3]),
    ),
    "phi 3, which has </s>, too": (
        {"<s>": 1, "</s>": 2, "<|endoftext|>": 5, "<|assistant|>": 6, "<|end|>": 7},
        {"about": {"eos_token": "<|endoftext|>", "tokenizer_class": "LlamaTokenizer", "add_bos_token": False,
                   "bos_token": "<s>", "chat_template": "<|assistant|>{{ m }}<|end|>{{ eos_token }}"},
         "config": eos(5), "generation": eos([5, 6, 7])},
        (None, 5, [6, 7]),
    ),
    "yi chat: two files, two ends": (
        {"<unk>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2, "<|im_end|>": 7},
        {"about": {"eos_token": "<|im_end|>", "chat_template": [{"template": "{{ m }}<|im_end|>"}]}, "config": eos(2),
         "generation": eos(7)},
        (None, 2, [7]),
    ),
    "gpt 2, which declares by id alone": (
        {"<|endoftext|>": 9}, {"about": {"model_max_length": 1024}, "config": eos(9)}, (None, 9, [])
    ),
    "deepseek": (
        {"<｜end▁of▁sentence｜>": 0, "</s>": 1}, {"about": {"eos_token": "<｜end▁of▁sentence｜>"}}, (None, 0, [])
    ),
    "a config that was never set": (
        {"<|endoftext|>": 0}, {"about": {"eos_token": "<|endoftext|>"}, "config": eos(50)}, (None, 0, [])
    ),
    "an id beyond the vocabulary": (
        {"<|eot|>": 0},
        {"about": {"eos_token": "<|eot|>"}, "config": eos(50256), "generation": eos(None)},
        (None, 0, []),
    ),
    "an end that is no special token": ({}, {"about": {"eos_token": "c"}, "config": eos(52)}, (None, 52, [])),
    "an end that is no special token, beside turn ends that are": (
        {"<|assistant|>": 3, "<|end|>": 4},
        {"about": {"eos_token": "c", "chat_template": "<|assistant|>{{ m }}<|end|>"}, "config": eos(52),
         "generation": eos([3, 4])},
        (None, 52, [3, 4]),
    ),
    "such an end, and padding where generation stops": (
        {"<|end|>": 3, "<pad>": 5},
        {"about": {"eos_token": "c", "pad_token": "<pad>", "chat_template": "{{ m }}<|end|>"}, "config": eos(52),
         "generation": eos([3, 5])},
        (None, 52, [3]),
    ),
    "a turn's end alone, and padding where generation stops": (
        {"<|end|>": 3, "<pad>": 5},
        {"about": {"eos_token": "<|end|>", "pad_token": {"content": "<pad>"}, "chat_template": "{{ m }}<|end|>"},
         "generation": eos([3, 5])},
        (None, 3, []),
    ),
    "an end that pads, too": (
        {"<|endoftext|>": 0, "<|im_end|>": 2},
        {"about": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": "{{ m }}<|im_end|>"},
         "generation": eos([2, 0])},
        (None, 0, [2]),
    ),
    "padding alone": (
        {"<pad>": 5}, {"about": {"eos_token": "<pad>", "pad_token": "<pad>"}, "config": eos(5)}, (None, 5, [])
    ),
    "roberta's": (
        {"<s>": 0, "</s>": 2},
        {"processor": {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2]}, "config": eos(2)},
        (0, 2, []),
    ),
    "opt: one token for both": ({"</s>": 2}, {"processor": template(2), "config": eos(2)}, (2, 2, [])),
    "led by a flag alone": (
        {"<s>": 1, "</s>": 2}, {"about": {"eos_token": "</s>", "bos_token": "<s>", "add_bos_token": True}}, (1, 2, [])
    ),
    "led by its class": (
        {"<bos>": 1, "<eos>": 2},
        {"about": {"eos_token": "<eos>", "tokenizer_class": "GemmaTokenizerFast"}, "config": {"bos_token_id": 1}},
        (1, 2, []),
    ),
    "led by a template, whatever a flag says": (
        {"<s>": 1, "</s>": 2},
        {"processor": template(1), "about": {"eos_token": "</s>", "add_bos_token": False}},
        (1, 2, []),
    ),
    "of such a class, with a template that says no": (
        {"<s>": 1, "</s>": 2},
        {"processor": template(),
         "about": {"eos_token": "</s>", "bos_token": "<s>", "tokenizer_class": "LlamaTokenizer"}},
        (None, 2, []),
    ),
    "a bos token that nothing puts before a text": (
        {"<s>": 1, "</s>": 2},
        {"about": {"eos_token": "</s>", "bos_token": "<s>"}, "config": {"bos_token_id": 1, **eos(2)}},
        (None, 2, []),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_what_each_family_declares(tmp_path: Path, name: str) -> None:
    tokens, files, (lead, end, turns) = FAMILIES[name]
    found = ends_of(folder(tmp_path, tokens, **files))
    assert (found.lead.id if found.lead else None, found.end.id, [mark.id for mark in found.turn_ends]) == (
        lead, end, turns,
    )  # fmt: skip
    assert found.start == (end if lead is None else lead)
    assert found.stops == [end, *turns]
    found.write(tmp_path)
    (tmp_path / CONFIG).unlink(missing_ok=True)
    assert ends_of(tmp_path) == found, "what was decided stands"


def test_a_release_of_aurora_says_what_its_recipe_said(tmp_path: Path) -> None:
    at = folder(tmp_path, {"<a>": 0, "<b>": 1, "<c>": 2}, about={"eos_token": "<a>"}, config=eos(1))
    for token in ("<b>", "<c>"):
        declared_ends(at, token).write(at)
        assert declared_ends(at).end.token == ends_of(at).end.token == token
    Ends(Mark(7, "<gone>", "it")).write(at)
    assert refused(at).what.startswith("the base declares several ends")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 60) | st.floats(allow_nan=False) | st.sampled_from(["<a>", "A", ""]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["eos_token", "eos_token_id", "bos_token", "add_bos_token", "tokenizer_class", "text_config", "vocab_size",
             "added_tokens", "model", "vocab", "post_processor", "type", "processors", "single", "special_tokens", "id",
             "content", "special", "SpecialToken", "ids", "cls", "chat_template", "end", "token"]
        ),
        inner, max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["tokenizer.json", ABOUT, CONFIG, GENERATION, "ends.json"]), JUNK))
@settings(max_examples=300, deadline=None)
def test_whatever_files_hold_there_is_an_answer_or_an_error(files: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        at = folder(Path(name), {"<a>": 0, "<b>": 1}, template(1), {"eos_token": "<a>"})
        for file, data in files.items():
            (at / file).write_text(json.dumps(data))
        for what in (declared_ends, ends_of):
            try:
                found = what(at)
            except AuroraError:
                continue
            assert all(type(number) is int for number in [found.start, *found.stops])


def test_files_of_another_form(tmp_path: Path) -> None:
    at = folder(tmp_path, {"<a>": 0}, about={"eos_token": "<a>"})
    (at / "tokenizer.json").write_text('{"model": [1]}')
    with pytest.raises(DataError, match="has another form than transformers writes") as caught:
        ends_of(at)
    assert caught.value.at == str(at)
    assert "save_pretrained" in caught.value.hint


def test_an_older_folder_names_its_tokens_in_a_file_of_their_own(tmp_path: Path) -> None:
    at = folder(tmp_path, {"</s>": 4, "<s>": 3}, about={"add_bos_token": True}, config={})
    (at / "special_tokens_map.json").write_text('{"eos_token": {"content": "</s>"}, "bos_token": "<s>"}')
    assert ends_of(at) == Ends(Mark(4, "</s>", ABOUT), Mark(3, "<s>", ABOUT))


def test_a_template_beside_the_config_tells_turns_apart(tmp_path: Path) -> None:
    at = folder(tmp_path, {"<end>": 0, "<turn>": 1}, about={"eos_token": "<turn>"}, config=eos(0))
    with pytest.raises(RecipeError, match="the base declares several ends"):
        ends_of(at)
    (at / "chat_template.jinja").write_text("{{ m }}<turn>", encoding="utf-8")
    assert ends_of(at).stops == [0, 1]


def test_a_vocabulary_that_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [["<unk>", 0.0], ["</s>", 0.0]]}}))
    (tmp_path / CONFIG).write_text(json.dumps(eos(1)))
    assert ends_of(tmp_path) == Ends(Mark(1, "</s>", CONFIG))


def refused(at: Path, end_token: str = "") -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        declared_ends(at, end_token)
    return caught.value


def test_a_name_that_happens_to_be_there_ends_nothing(tmp_path: Path) -> None:
    error = refused(folder(tmp_path, {"<|endoftext|>": 0, "</s>": 1, "<eos>": 2}, about={}, config={}))
    assert (error.what, error.at, error.hint) == (
        "the base does not declare which token ends a document",
        "base.end_token",
        'name one of its tokens in the recipe: [base] end_token = "..."',
    )
    assert declared_ends(tmp_path, "</s>") == Ends(Mark(1, "</s>", "the recipe"))


def test_an_end_that_the_tokenizer_does_not_have(tmp_path: Path) -> None:
    error = refused(folder(tmp_path, {"<pad>": 0}, about={"eos_token": "</s>"}))
    assert error.what.endswith("ends a document: it has no token `</s>`")


def test_a_token_that_the_model_has_no_row_for_is_none(tmp_path: Path) -> None:
    tokens, about = {"<a>": 0, "<b>": 60}, {"eos_token": "<b>"}
    assert refused(folder(tmp_path, tokens, about=about, config={"vocab_size": 60})).what.endswith("no token `<b>`")
    assert ends_of(folder(tmp_path, tokens, about=about, config={"vocab_size": 60, **eos(0)})).stops == [0]
    assert ends_of(folder(tmp_path, tokens, about=about, config={"vocab_size": 61})).stops == [60]
    error = refused(folder(tmp_path, tokens, template(60), about, {"text_config": {"vocab_size": 60}}))
    assert error.what == "the base begins its texts with the id 60, which it has no token for"


def test_ends_that_nothing_tells_apart_are_left_to_the_recipe(tmp_path: Path) -> None:
    at = folder(tmp_path, {"<a>": 0, "<b>": 1}, about={"eos_token": "<a>"}, config=eos(1))
    error = refused(at)
    assert (
        error.what == "the base declares several ends: `<a>` (id 0, tokenizer_config.json), `<b>` (id 1, config.json)"
    )
    assert error.hint == 'say which one ends a document: [base] end_token = "<a>" or "<b>"'
    assert declared_ends(at, "<b>").stops == [1, 0]
    assert declared_ends(at, "<b>").end.by == "the recipe"


def test_the_recipe_decides_against_what_was_decided(tmp_path: Path) -> None:
    at = folder(tmp_path, {"<a>": 0, "<b>": 1}, about={"eos_token": "<a>"})
    ends_of(at).write(at)
    assert declared_ends(at, "<b>").stops == [1, 0]


def test_the_recipe_names_a_token_that_is_not_there(tmp_path: Path) -> None:
    at = folder(tmp_path, {"<|endoftext|>": 0, "<pad>": 1}, about={})
    error = refused(at, "<|endoftxt|>")
    assert (error.what, error.at) == ("the base's tokenizer has no token `<|endoftxt|>`", "base.end_token")
    assert error.hint == "did you mean `<|endoftext|>`?"
    assert refused(at, "?").hint == "its special tokens are `<|endoftext|>`, `<pad>`"


def test_two_tokens_before_a_text_are_refused(tmp_path: Path) -> None:
    error = refused(folder(tmp_path, {"[gMASK]": 3, "<sop>": 4, "<e>": 5}, template(3, 4), about={}, config=eos(5)))
    assert error.what == "the base begins its texts with 2 tokens: `[gMASK]`, `<sop>`"
    assert error.at == "base.model"


def test_a_file_that_is_damaged(tmp_path: Path) -> None:
    at = folder(tmp_path, {"</s>": 0}, about={})
    (at / CONFIG).write_text("{")
    with pytest.raises(DataError, match=r"`config.json` of the base is not JSON"):
        ends_of(at)


@pytest.mark.parametrize("processor", [None, {"type": "ByteLevel"}, template(), template(tail=True)])
def test_a_tokenizer_that_leads_itself(processor: Any) -> None:
    made = with_lead({"post_processor": processor, "version": "1.0"}, Mark(7, "<s>", ABOUT))
    assert template_lead(made) == [7]
    assert made["version"] == "1.0"
    assert template_lead({"post_processor": processor}) == ([] if processor and processor["type"][0] == "T" else None)
    if processor == template(tail=True):
        assert made["post_processor"]["single"][-1] == {"SpecialToken": {"id": "t9", "type_id": 0}}


def test_said_for_people(tmp_path: Path) -> None:
    found = Ends(Mark(2, "</s>", CONFIG), Mark(1, "<s>", "tokenizer.json"), (Mark(3, "<t>", GENERATION),))
    assert str(found) == (
        "documents begin with `<s>` (id 1, tokenizer.json) and end with `</s>` (id 2, config.json); "
        "turns end with `<t>` (id 3, generation_config.json)"
    )
    assert str(Ends(Mark(0, "<e>", CONFIG))) == (
        "documents begin with no token of their own and end with `<e>` (id 0, config.json)"
    )
