"""A model folder gives the ids that were trained on, whatever class its tokenizer names, and keeps all of its files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import doc, new_work, tiny_base, tiny_model, tiny_tokenizer
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurora_m.core.errors import DataError
from aurora_m.core.files import read_json
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.core.uri import pin_files
from aurora_m.model.base import base_files
from aurora_m.model.export import check_copy, rounding, write_model
from aurora_m.model.load import fetch_base, load_model, save_model
from aurora_m.model.merge import merge
from aurora_m.model.tokenizer import PLAIN_CLASSES, difference, fit_class
from aurora_m.release.export import ReleaseFacts, export

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return tiny_base(folder, tiny_tokenizer(folder), "llama").path


@pytest.fixture
def base(made: Path, tmp_path: Path) -> Path:
    """A Llama that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "base"))


def say_nothing(line: str) -> None:
    raise AssertionError(line)


def edit(path: Path, **changes: Any) -> None:
    data = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in {**data, **changes}.items() if value is not ...}))


def re_cut(base: Path, change: Callable[[Tokenizer], None]) -> None:
    """Cut text otherwise than any class of transformers does by itself."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    change(tokenizer)
    tokenizer.save(str(base / "tokenizer.json"))


def by_threes(tokenizer: Tokenizer) -> None:
    parts = [
        pre_tokenizers.Split(Regex(r"\p{N}{1,3}|\s?\p{L}|[^\p{L}\p{N}]"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)


def with_nfc(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("n", "m")])


def fetch(base: Path, tmp_path: Path, name: str = "fetched") -> tuple[Artifact, Any]:
    work = new_work(tmp_path / name, root=base.parent)
    model = f"file:{base.name}"
    facts = fetch_base(work, model=model, revision="", pin=pin_files(base_files(model, base.parent)))
    return Artifact(
        work.out, "", {"parameters": facts.parameters, **({"dtype": facts.dtype} if facts.dtype else {})}
    ), facts


def same_ids(folder: Path, text: str = "The cat sat in 2024, n times.\n\n  x = 1") -> bool:
    right = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    return bool(AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False).input_ids == right)


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer", "LlamaTokenizer", "nothing"])
@pytest.mark.parametrize("change", [by_threes, with_nfc])
def test_a_class_of_its_own_gives_way_to_the_file(base: Path, tmp_path: Path, name: str, change: Any) -> None:
    re_cut(base, change)
    edit(base / "tokenizer_config.json", tokenizer_class=... if name == "nothing" else name)
    right = same_ids(base)
    said: list[str] = []
    fit_class(base, (), "file:base", said.append)
    assert same_ids(base)
    assert difference(base, (), "file:base") == ""
    if not right:
        assert len(said) == 1
        assert said[0].endswith("is now PreTrainedTokenizerFast, which reads tokenizer.json as it stands")
        assert read_json(base / "tokenizer_config.json")["eos_token"] == "<|endoftext|>"


def test_a_class_that_reads_the_same_ids_stays(base: Path) -> None:
    before = (base / "tokenizer_config.json").read_bytes()
    fit_class(base, ["the cat"], "file:base", say_nothing)
    assert (base / "tokenizer_config.json").read_bytes() == before
    assert read_json(base / "tokenizer_config.json")["tokenizer_class"] in PLAIN_CLASSES


def test_a_tokenizer_with_code_of_its_own_is_read_without_it(base: Path) -> None:
    auto_map = {"AutoTokenizer": ["mine.Slow", "mine.Fast"]}
    edit(base / "tokenizer_config.json", tokenizer_class="MineTokenizer", auto_map=auto_map)
    (base / "mine.py").write_text("raise SystemExit('executed')\n")
    fit_class(base, (), "file:base", lambda line: None)
    assert same_ids(base)
    assert "auto_map" not in read_json(base / "tokenizer_config.json")


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"])
def test_a_token_that_is_in_no_tokenizer_is_refused(base: Path, tmp_path: Path, file: str) -> None:
    edit(base / file, **({"[PAD]": 280} if file.startswith("added") else {"pad_token": "[PAD]"}))
    with pytest.raises(DataError) as caught:
        fetch(base, tmp_path)
    assert caught.value.what == (
        "transformers reads the base's tokenizer as another: transformers gives `[PAD]` the id 280, and tokenizer.json "
        "has no such token"
    )
    assert caught.value.at == "file:base"
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize("special", [True, False])
def test_a_token_without_a_row_is_refused_when_the_base_is_taken(base: Path, tmp_path: Path, special: bool) -> None:
    add = Tokenizer.add_special_tokens if special else Tokenizer.add_tokens
    re_cut(base, lambda tokenizer: add(tokenizer, ["<pad>", " Harbour"]))
    with pytest.raises(DataError) as caught:
        fetch(base, tmp_path)
    assert caught.value.what == (
        "the base has 280 rows for its tokens, and none for 2 of its tokenizer: `<pad>` (280), ` Harbour` (281)"
    )
    assert caught.value.hint.startswith("add rows with `model.resize_token_embeddings(282)`")
    model = load_model(base)
    model.resize_token_embeddings(282)  # the hint works
    save_model(model, base, base)
    fetch(base, tmp_path, "again")


@pytest.mark.parametrize("text", ["{", '{"model": {"type": "BPE"}}', '{"version": "1.0", "model": null}'])
def test_a_tokenizer_that_cannot_be_read(base: Path, tmp_path: Path, text: str) -> None:
    (base / "tokenizer.json").write_text(text)
    with pytest.raises(DataError, match=r"the base's tokenizer\.json cannot be used: "):
        fetch(base, tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", "7", "\ufeff"])
def test_a_config_of_a_tokenizer_that_is_damaged(base: Path, tmp_path: Path, text: str) -> None:
    (base / "tokenizer_config.json").write_text(text)
    with pytest.raises(DataError, match=r"the base's file `tokenizer_config\.json` is not read: ") as caught:
        fetch(base, tmp_path)
    assert (caught.value.at, caught.value.hint) == ("file:base", "copy it again, or save the model again")


def furnished(base: Path) -> dict[str, bytes]:
    """A base with all that may belong to its tokenizer and its generation; returns these files."""
    (base / "chat_template.jinja").write_text(TEMPLATE)
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates/rag.jinja").write_text(f"rag {TEMPLATE}")
    edit(base / "special_tokens_map.json", pad_token="<fim_suffix>")
    edit(base / "generation_config.json", temperature=0.6, do_sample=False, eos_token_id=[0, 1])  # refused if written
    names = ("chat_template.jinja", "additional_chat_templates/rag.jinja", "special_tokens_map.json")
    return {name: (base / name).read_bytes() for name in names}


def test_what_belongs_to_a_model_goes_through_every_step(base: Path, tmp_path: Path) -> None:
    files = furnished(base)
    assert "additional_chat_templates/rag.jinja" in base_files("file:base", tmp_path)
    fetched, _ = fetch(base, tmp_path)
    model = load_model(fetched.path)
    save_model(model, tmp_path / "trained", fetched.path)
    work = new_work(tmp_path / "merged")
    parts = {"a": fetched, "b": Artifact(tmp_path / "trained", "", {})}
    merge(work, models=parts, weights={"a": 0.5, "b": 0.5}, method="linear")
    (tmp_path / "README.md").write_text("# a card\n")
    last, card = Artifact(work.out, "", fetched.facts), Artifact(tmp_path, "", {})
    done = new_work(tmp_path / "released")
    export(done, model=last, base=fetched, card=card, docs={}, license="CC0-1.0", dtype="base")
    for folder in (fetched.path, tmp_path / "trained", work.out, done.out):
        assert {name: (folder / name).read_bytes() for name in files} == files
        generation = read_json(folder / "generation_config.json")
        assert (generation["temperature"], generation["do_sample"], generation["eos_token_id"]) == (0.6, False, [0, 1])
    tokenizer = AutoTokenizer.from_pretrained(done.out)
    assert tokenizer.chat_template == {"default": TEMPLATE, "rag": f"rag {TEMPLATE}"}
    assert tokenizer.pad_token == "<fim_suffix>"


def test_saving_writes_the_same_generation_config_as_before(made: Path, tmp_path: Path) -> None:
    save_model(load_model(made), tmp_path / "copy", made)
    name = "generation_config.json"
    assert (tmp_path / "copy" / name).read_bytes() == (made / name).read_bytes()
    save_model(tiny_model("llama"), tmp_path / "other", tmp_path)
    assert read_json(tmp_path / "other" / name)["eos_token_id"] == 0


@pytest.mark.parametrize(
    ("ids", "left"),
    [
        ({"pad_token_id": 300}, {"pad_token_id": None}),
        ({"pad_token_id": -1}, {"pad_token_id": None}),
        ({"pad_token_id": 279, "eos_token_id": [0, 310, 3]}, {"pad_token_id": 279, "eos_token_id": [0, 3]}),
        ({"eos_token_id": [310], "bos_token_id": 2}, {"eos_token_id": None, "bos_token_id": 2}),
    ],
)
def test_ids_without_a_row_leave_the_configs(base: Path, tmp_path: Path, ids: Any, left: Any) -> None:
    model = load_model(base)
    model.resize_token_embeddings(320, mean_resizing=False)
    save_model(model, tmp_path / "padded", base)
    for name in ("config.json", "generation_config.json"):
        edit(tmp_path / "padded" / name, **ids)
    copy = Path(shutil.copytree(tmp_path / "padded", tmp_path / "copy"))
    write_model(tmp_path / "padded", copy)
    check_copy(tmp_path / "padded", copy)
    for name in ("config.json", "generation_config.json"):
        assert {key: read_json(copy / name).get(key) for key in left} == left, name
    AutoModelForCausalLM.from_pretrained(copy)


def test_a_class_is_fitted_to_the_texts_of_the_recipe_at_release(base: Path, tmp_path: Path) -> None:
    """A difference that only these texts show: a class of its own that cuts one of their words otherwise."""
    fetched, _ = fetch(base, tmp_path)
    word = "kissakoirahevonen"

    def cut(tokenizer: Tokenizer) -> None:
        own = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex("kissa"), "isolated"), own])

    re_cut(fetched.path, cut)
    edit(fetched.path / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    write_docs(tmp_path / "docs", [doc("d", f"a {word} b")])
    (tmp_path / "README.md").write_text("# a card\n")
    work = new_work(tmp_path / "released")
    docs = {"fi": Artifact(tmp_path / "docs", "", {})}
    card = Artifact(tmp_path, "", {})
    export(work, model=fetched, base=fetched, card=card, docs=docs, license="CC0-1.0", dtype="base")
    assert same_ids(work.out, f"a {word} b")


def test_a_padding_token_beyond_the_rows_is_named(base: Path, tmp_path: Path) -> None:
    edit(base / "config.json", pad_token_id=600)
    with pytest.raises(DataError) as caught:
        fetch(base, tmp_path)
    assert caught.value.hint.startswith("let `pad_token_id` in its config.json be `null`")
    edit(base / "config.json", pad_token_id=None)
    fetch(base, tmp_path, "again")


# --- the type of the weights


def rounded_base(base: Path, dtype: torch.dtype) -> Path:
    model = load_model(base).to(dtype)
    model.save_pretrained(base)
    return base


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("wanted", ["base", "float32"])
def test_the_release_has_the_bases_type_unless_the_recipe_says_another(
    base: Path, tmp_path: Path, name: str, wanted: str
) -> None:
    fetched, facts = fetch(rounded_base(base, getattr(torch, name)), tmp_path)
    assert facts.dtype == name
    assert read_json(fetched.path / "config.json")["dtype"] == "float32"
    model = load_model(fetched.path)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.001)  # as training leaves it, in float32
    save_model(model, tmp_path / "trained", fetched.path)
    (tmp_path / "README.md").write_text("# a card\n")
    trained, card = Artifact(tmp_path / "trained", "", fetched.facts), Artifact(tmp_path, "", {})
    work = new_work(tmp_path / "released")
    done = export(work, model=trained, base=fetched, card=card, docs={}, license="CC0-1.0", dtype=wanted)
    kind = torch.float32 if wanted == "float32" else getattr(torch, name)
    assert {value.dtype for value in load_file(work.out / "model.safetensors").values()} == {kind}
    assert AutoModelForCausalLM.from_pretrained(work.out).dtype == kind
    if wanted == "float32":
        assert done == ReleaseFacts(0.0, facts.parameters, "CC0-1.0")
    else:
        assert (done.max_logit_difference, done.dtype) == (0.0, name)
        assert done.rounding == pytest.approx(rounding(trained.path, name), abs=1e-6)
        assert done.rounding > 0


def test_a_base_in_float32_says_no_type(base: Path, tmp_path: Path) -> None:
    assert fetch(base, tmp_path)[1].dtype is None
