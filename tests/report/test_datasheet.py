"""The datasheet: every document is accounted for, by source and by language, and no sample becomes markup."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import DataError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_json, write_json, write_jsonl
from aurora_m.core.log import Log
from aurora_m.core.step import Artifact, Runtime, Work
from aurora_m.core.table import FetchFacts
from aurora_m.data.dedup.duplicates import Repeats
from aurora_m.data.select.decide import DecideFacts
from aurora_m.data.select.rewrite import RewriteFacts
from aurora_m.recipe import Source, load
from aurora_m.report.accounts import SCHEMA, Account, Sheet, Size, check
from aurora_m.report.pages.datasheet import SECTIONS, datasheet
from aurora_m.report.record import account
from aurora_m.report.words import SPACE
from tests.report.closed import check_closed
from tests.report.small_run import EVIL, RECIPE, build_fixture

CHROMIUM = Path("/usr/bin/chromium")
SUMS = ("fetched", "kept", "training", "held_out")
Whole = dict[str, str]  # each file's text by its suffix

counts = st.integers(0, 10**12)
sizes = st.builds(Size, counts, counts)
tallies = st.dictionaries(st.sampled_from(["a", "b", "c"]), counts)
accounts = st.builds(
    Account, tallies, sizes, st.dictionaries(st.sampled_from(["x", "y", "z"]), sizes), sizes, sizes, sizes,
    counts, counts, counts, counts, counts, tallies,
)  # fmt: skip


def build(folder: Path) -> dict[str, Any]:
    """The artifacts of the small run whose figures add up; returns what `datasheet` takes besides `work`."""
    run = build_fixture(folder)
    made: dict[str, Any] = {"fetched": {}, "decided": {}, "rewritten": {}, "recipe": run["recipe"]}
    for source, decided in run["decided"].items():
        (folder / "fetched").mkdir(exist_ok=True)
        write_jsonl(folder / "fetched/samples.jsonl", [])
        reasons = read_json(decided.path / "reasons.json")
        left, gone = (sum(reason[what] for reason in reasons) for what in ("docs", "bytes"))
        size = {"docs": 90, "bytes": 140_000}
        skipped = {"not utf-8": 2, f"{EVIL} | x": 1} if source == "code" else {}
        made["fetched"][source] = Artifact(folder / "fetched", "f" * 64, {**size, "skipped": skipped, "repairs": {}})
        facts = to_json(DecideFacts(90, 90 - left, 140_000, 140_000 - gone, {}))
        made["decided"][source] = replace(decided, facts=facts)
        clean = {**run["rewritten"][source].facts, "docs": 90 - left - 13, "emptied": 1}
        made["rewritten"][source] = replace(run["rewritten"][source], facts=clean)
    repeats = {source: {"docs": 90, "exact": 1, "near": 2, "bytes": 3000} for source in run["decided"]}
    made["duplicates"] = Artifact(folder, "d" * 64, {"sources": repeats})
    held: Any = {"items": 1200, "items_too_short": 4, "items_found": 7, "docs": dict.fromkeys(run["decided"], 1)}
    return {**made, "overlap": Artifact(folder, "e" * 64, held)}


def write(place: Path, made: dict[str, Any]) -> Whole:
    """Make the datasheet; returns its files."""
    for name in ("out", "scratch"):
        (place / name).mkdir(parents=True)
    work = Work(place / "out", place / "scratch", Runtime(store=place), Log(quiet=True))
    facts = datasheet(work, **made)
    files = {path.suffix[1:]: path.read_text(encoding="utf-8") for path in (place / "out").iterdir()}
    return {**files, "facts": json.dumps(to_json(facts))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The datasheet of the small run, made once."""
    place = tmp_path_factory.mktemp("whole")
    return write(place / "work", build(place / "in"))


def test_every_document_and_byte_is_accounted_for_in_the_json(whole: Whole) -> None:
    told = json.loads(whole["json"])
    assert told["schema"] == SCHEMA
    assert list(told["sources"]) == [*load(RECIPE).source]
    for found in [told["total"], *told["sources"].values(), *told["languages"].values(), *told["licenses"].values()]:
        for what in ("docs", "num_bytes"):
            assert found["fetched"][what] == found["kept"][what] + sum(left[what] for left in found["left"])
        assert found["kept"]["docs"] == found["training"]["docs"] + found["held_out"]["docs"] + found["emptied"]
    assert told["total"]["fetched"] == {"docs": 90 * 7, "num_bytes": 140_000 * 7}
    assert told["total"]["skipped"] == {"not utf-8": 2, f"{EVIL} | x": 1}


def test_the_facts_are_the_totals(whole: Whole) -> None:
    total = json.loads(whole["json"])["total"]
    left = sum(part["docs"] for part in total["left"]), sum(part["num_bytes"] for part in total["left"])
    assert json.loads(whole["facts"]) == {
        "held_docs": 84, "docs_in": 630, "bytes_in": 980_000, "docs_left": left[0], "bytes_left": left[1],
        "docs_kept": 630 - left[0], "bytes_kept": 980_000 - left[1],
    }  # fmt: skip


def test_languages_and_licences_add_up_to_what_the_sources_do(whole: Whole) -> None:
    told = json.loads(whole["json"])
    for kind in ("sources", "languages", "licenses"):
        parts = told[kind].values()
        for name in SUMS:
            for what in ("docs", "num_bytes"):
                assert sum(part[name][what] for part in parts) == told["total"][name][what]
        for name in ("emptied", "exact", "near", "repeated_bytes", "overlap"):
            assert sum(part[name] for part in parts) == told["total"][name]


@given(st.lists(st.tuples(st.sampled_from(["en", "fi", "code"]), accounts), min_size=1, max_size=6))
def test_a_sum_over_languages_is_the_sum_over_sources(parts: list[tuple[str, Account]]) -> None:
    recipe = load(RECIPE)
    sources = {f"s{n}": Source("file:x", lang, "MIT", "text") for n, (lang, _) in enumerate(parts)}
    found = {f"s{n}": part for n, (_, part) in enumerate(parts)}
    sheet = Sheet(replace(recipe, source=sources), "", found, {}, {}, {}, {})
    per_lang = sheet.by(lambda source: source.lang)
    assert list(per_lang) == list(dict.fromkeys(lang for lang, _ in parts))
    assert asdict(sum(per_lang.values(), Account())) == asdict(sheet.total)
    for name in SUMS:
        assert getattr(sheet.total, name).docs == sum(getattr(part, name).docs for _, part in parts)
    for clause, size in sheet.total.left.items():
        assert size.num_bytes == sum(part.left[clause].num_bytes for _, part in parts if clause in part.left)


@given(st.lists(sizes, max_size=4), sizes, counts, counts)
def test_figures_that_add_up_pass_and_no_others(left: list[Size], kept: Size, held: int, missing: int) -> None:
    held = min(held, kept.docs)
    reasons = [{"clause": f"x > {n}", "docs": size.docs, "bytes": size.num_bytes} for n, size in enumerate(left)]
    came = sum(left, kept)
    fetched = FetchFacts(came.docs, came.num_bytes, {}, {})
    decided = DecideFacts(came.docs, kept.docs, came.num_bytes, kept.num_bytes, {})
    clean = RewriteFacts(kept.docs - held, 5, held, 0, emptied=0, edits={})
    repeats = Repeats(came.docs, 0, 0, 0)
    check("web", account(fetched, repeats, 0, decided, reasons, clean), fetched)
    for wrong in (
        (replace(fetched, docs=came.docs + missing + 1), decided, clean),
        (fetched, replace(decided, bytes_kept=kept.num_bytes + missing + 1), clean),
        (fetched, decided, replace(clean, held_docs=held + missing + 1)),
        (fetched, decided, replace(clean, emptied=missing + 1)),
    ):
        with pytest.raises(DataError, match="source `web`"):
            check("web", account(wrong[0], repeats, 0, wrong[1], reasons, wrong[2]), wrong[0])


def test_figures_that_do_not_add_up_are_no_datasheet(tmp_path: Path) -> None:
    made = build(tmp_path / "in")
    clean = made["rewritten"]["fi"]
    made["rewritten"]["fi"] = replace(clean, facts={**clean.facts, "held_docs": 9})
    with pytest.raises(DataError, match=r"3 documents .* are kept, but neither for training nor held out nor emptied"):
        write(tmp_path / "work", made)


def test_both_texts_have_the_questions_in_order(whole: Whole) -> None:
    assert re.findall("^## (.*)$", whole["md"], re.MULTILINE) == list(SECTIONS)
    assert re.findall(r'<section id="(\w+)">', whole["html"]) == [name.lower() for name in SECTIONS]
    assert whole["md"].count("Not known to this run") == 5


@pytest.mark.parametrize("suffix", ["md", "html"])
def test_figures_have_separators_and_units(whole: Whole, suffix: str) -> None:
    text = whole[suffix].replace(SPACE, " ")
    for words in (
        "630 · 957 KiB",
        "90 · 137 KiB",
        "1,200 evaluation items",
        "70 % of its runs",
        "left nothing: 7.",
        "CC0-1.0",
        "PSF-2.0",
    ):
        assert words in text


def test_what_left_stands_under_its_clause_in_both_texts(whole: Whole) -> None:
    text = whole["html"].replace(SPACE, " ")
    assert '<td class="w"><code>dup_lines &lt;= 0.3</code></td><td class="n">3</td><td class="n">900 B</td>' in text
    assert "<code>lang_id = lang</code> removed <code>hi-1</code>, lang_id = de</p>" in text
    assert '<div class="excerpt" dir="auto" lang="hi">मेनू होम खोज</div>' in text
    markdown = whole["md"].replace(SPACE, " ")
    assert "| `hi` | `dup_lines <= 0.3` | 3 | 900 B | 0.6 % |" in markdown
    assert "| Hindi | `dup_lines <= 0.3` | 3 | 900 B | 0.6 % |" in markdown
    assert "`lang_id = lang` removed `hi-1`, lang\\_id = de\n\n```\nमेनू होम खोज\n```" in markdown


def test_edits_are_shown_before_and_after_and_personal_data_are_not(whole: Whole) -> None:
    assert "write to <del>xxxx@xxxxxxx.xxx</del> <ins>&lt;EMAIL&gt;</ins> soon, or &lt;EMAIL&gt;</div>" in whole["html"]
    before, after = "write to xxxx@xxxxxxx.xxx soon, or <EMAIL>", "write to <EMAIL> soon, or <EMAIL>"
    assert f"```diff\n-{before}\n+{after}\n```" in whole["md"]
    sample = {"kind": "email", "id": "fi-7", "before": before, "after": after}
    assert json.loads(whole["json"])["sources"]["fi"]["samples_edited"] == [sample]
    assert "example.org" not in "".join(whole.values())


def test_a_run_in_which_nothing_left_and_nothing_was_edited(tmp_path: Path) -> None:
    made = build(tmp_path / "in")
    for source in made["decided"]:
        write_json(made["decided"][source].path / "reasons.json", [])
        write_jsonl(made["rewritten"][source].path / "samples.jsonl", [])
        none = {"docs_in": 0, "docs_kept": 0, "bytes_in": 0, "bytes_kept": 0, "reasons": {}}
        empty = {"docs": 0, "bytes": 0, "held_docs": 0, "held_bytes": 0, "emptied": 0, "edits": {}}
        none_came = {"docs": 0, "bytes": 0, "skipped": {}, "repairs": {}}
        made["fetched"][source] = replace(made["fetched"][source], facts=none_came)
        made["decided"][source] = replace(made["decided"][source], facts=none)
        made["rewritten"][source] = replace(made["rewritten"][source], facts=empty)
    found = write(tmp_path / "work", made)
    assert "No document was changed." in found["md"]
    assert "| all | – | – | – | – | – | – |" in found["md"]


def test_the_conditions_masks_and_declared_shares_are_told(whole: Whole) -> None:
    text = whole["md"].replace(SPACE, " ")
    assert "| instruct | `chars >= 40 AND dup_of IS NULL AND contaminated_items = 0` | – |" in text
    assert "| cap | `fi` | 15.0 % of bytes |" in text
    assert "| `code` | code | `python:stdlib` | 90 documents | 1 × \\<script\\>" in text


def test_all_text_is_escaped_and_nothing_is_fetched(whole: Whole) -> None:
    text = whole["html"]
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10
    assert not re.search(r"\b(src|srcset|action|data)=|@import|url\((?!#)", text)
    links = re.findall(r'(?:href|xlink:href)="([^"]*)"', text)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert re.sub(r'xmlns(:xlink)?="[^"]*"', "", text).count("http") == 0
    outside = re.sub("^(`{3,}).*?^\\1$", "", whole["md"], flags=re.DOTALL | re.MULTILINE)
    assert outside.count("script") == 2
    assert outside.count("\\<script\\>") == 1


def test_elements_are_closed_in_order(whole: Whole) -> None:
    check_closed(whole["html"])


def test_the_same_artifacts_give_the_same_bytes_in_any_order(whole: Whole, tmp_path: Path) -> None:
    made = build(tmp_path / "in")
    turned = {name: dict(reversed(value.items())) if isinstance(value, dict) else value for name, value in made.items()}
    assert write(tmp_path / "work", turned) == whole


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium to open the page with")
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_fits_a_screen_and_a_phone(whole: Whole, tmp_path: Path, width: int) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    (tmp_path / "datasheet.html").write_text(whole["html"], encoding="utf-8")
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900})
        view.on("console", lambda message: said.append(message.text))
        view.on("pageerror", lambda error: said.append(str(error)))
        view.on("request", lambda request: said.append(request.url) if "datasheet.html" not in request.url else None)
        view.goto(f"file://{tmp_path}/datasheet.html")
        view.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        extent = view.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        seen = [view.locator(f"#{name.lower()} > h2").is_visible() for name in SECTIONS]
        shown = view.locator(".excerpt").first.inner_text()
        browser.close()
    assert said == []
    assert extent == [width, width]
    assert seen == [True] * len(SECTIONS)
    assert EVIL in shown
