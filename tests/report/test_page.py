"""The report page: every section tells what the artifacts hold, safely, and in the same bytes each time."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from aurora_m.core.facts import to_json
from aurora_m.core.files import read_json, read_jsonl, write_json, write_jsonl
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.evals.items import write_items
from aurora_m.recipe import Merge, dumps, load
from aurora_m.report.pages import results
from aurora_m.report.pages.report import SECTIONS, page, verdict
from aurora_m.report.record import Record
from aurora_m.report.render import html
from aurora_m.report.words import SPACE
from tests.report.closed import check_closed
from tests.report.small_run import MODELS, PROMPTS, RECIPE, REPLIES, build_fixture, read_fixture

CHROMIUM = Path("/usr/bin/chromium")


def write(new_work: Callable[[], Work], folder: Path, **changes: Any) -> tuple[str, dict[str, Any]]:
    """Make the page of the fixture; returns its text and facts."""
    work = new_work()
    facts = to_json(page(work, **{**build_fixture(folder), **changes}))
    return (work.out / "report.html").read_text(encoding="utf-8"), facts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The page of the fixture, made once."""
    place = tmp_path_factory.mktemp("whole")
    for name in ("out", "scratch"):
        (place / name).mkdir()
    return write(lambda: Work(place / "out", place / "scratch", Runtime(store=place), Log(quiet=True)), place / "in")


@pytest.fixture
def text(whole: tuple[str, dict[str, Any]]) -> str:
    """The page without the spaces that do not break."""
    return whole[0].replace(SPACE, " ")


def part(text: str, name: str) -> str:
    """One section of the page."""
    return text.split(f'<section id="{name}">')[1].split("</section>")[0]


def test_the_verdict_is_one_sentence_from_the_changes(whole: tuple[str, dict[str, Any]]) -> None:
    text, facts = whole
    assert facts["verdict"].replace(SPACE, " ") == (
        "Against “base”, “safe” has lost code (+14.0 % bits per byte) and keeps English (+3.0 % bits per byte) within "
        "the margin; bits per byte fell by 62 % in Finnish, 62 % in Hindi, 62 % in Japanese and 62 % in Vietnamese; "
        "harmful prompts are refused 88 % of the time (base 0 %) and harmless ones 12 % (base 0 %)."
    )
    assert facts["bytes"] == len(text.encode())
    assert str(html.escape(facts["verdict"])) in text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("gained", "has gained in English (+3.0 % bits per byte)"),
        ("cannot tell", "leaves open whether English (+3.0 % bits per byte) is kept"),
    ],
)
def test_each_verdict_has_its_words(tmp_path: Path, said: str, words: str) -> None:
    given = build_fixture(tmp_path)
    path = given["forgetting"].path / "changes.json"
    changes = read_json(path)
    changes["rows"] = [{**row, "verdict": said} if row["lang"] == "en" else row for row in changes["rows"]]
    changes["rows"] = [
        {**row, "verdict": "lost", "change": 0.2} if row["lang"] == "vi" else
        {**row, "verdict": "cannot tell"} if row["lang"] == "ja" else row for row in changes["rows"]
    ]  # fmt: skip
    write_json(path, changes)
    sentence = verdict(read_fixture(given)).replace(SPACE, " ")
    assert words in sentence
    assert "fell by 62 % in Finnish and 62 % in Hindi and rose by 20 % in Vietnamese, with no clear change" in sentence


def test_a_run_without_tuning_or_safety_or_comparison_still_has_a_page(
    tmp_path: Path, new_work: Callable[[], Work]
) -> None:
    recipe = load(RECIPE)
    short = replace(recipe, tune={}, stage=recipe.stage[:1], release=replace(recipe.release, model="base"))
    given = build_fixture(tmp_path / "in")
    write_json(given["forgetting"].path / "changes.json", {"models": ["base"], "old": [], "rows": []})
    rows = [row for row in given["scores"]["base"].facts["scores"] if row["metric"] in ("bpb", "accuracy")]
    write_items(given["items"].path / "items.jsonl", [])
    write_jsonl(given["scores"]["base"].path / "scores.jsonl", [])
    changes = {
        "recipe": dumps(short),
        "reviewed": None,
        "items": given["items"],
        "forgetting": given["forgetting"],
        "scores": {"base": replace(given["scores"]["base"], facts={"scores": rows})},
        **{name: {"base": given[name]["base"]} for name in ("models", "mixtures", "answers")},
    }
    work = new_work()
    facts = to_json(page(work, **{**given, **changes}))
    text = (work.out / "report.html").read_text()
    assert facts["verdict"] == "The released model “base” was not compared with another one."
    for words in (
        "No model was compared",
        "No safety prompts were asked",
        "No prompts were asked",
        "no program to run",
    ):
        assert words in text


def test_the_page_has_all_sections_in_order_with_links_to_them(text: str) -> None:
    assert re.findall(r'<section id="(\w+)">', text) == list(SECTIONS)
    for name, (title, _) in SECTIONS.items():
        assert f'<a href="#{name}">{title}</a>' in text
        assert f"<h2>{title} <a" in text


def test_forgetting_shows_change_interval_margin_and_verdict(text: str) -> None:
    found = part(text, "forgetting")
    row = found[found.index(">English</th>") :].split("</tbody>")[0].split("<tr>")[2]
    assert re.sub("(<[^>]+>)+", "|", row) == ("|safe|1.900|1.957|+3.0 %| [+1.8, +4.2]|14|±5 %|=| equivalent|")
    for said in ("lost", "gained", "equivalent", "cannot-tell"):
        assert f'class="verdict {said}"' in found
    assert "exact McNemar" in found
    assert "English 14, Code 14" in found


def test_the_chain_names_its_stages_and_gives_intervals(text: str) -> None:
    found = part(text, "languages")
    assert [f">{name}</text>" in found for name in MODELS] == [True] * 4
    assert '4.100<span class="interval"> [4.079, 4.121]</span>' in found
    assert "20 marks" in found


def test_training_counts_optimizer_steps(text: str) -> None:
    found = part(text, "training")
    assert "160 optimizer steps" in found
    assert ">learning rate</text>" in found


def test_what_tokens_cost_stands_for_each_source_and_language(text: str) -> None:
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in part(text, "tokens").split("</tr>")]
    assert ["en", "1.50", "4.25", "1,200"] in rows
    assert ["Japanese", "770", "1.54"] in rows


def test_text_without_tokens_is_named_where_tokens_are(tmp_path: Path, new_work: Callable[[], Work], text: str) -> None:
    assert "no token for a part" not in text
    given = build_fixture(tmp_path)
    path = given["fertility"].path / "fertility.json"
    found = json.loads(path.read_text())
    found["base"]["sources"]["fi"]["unspelled"] = 0.0034
    found["base"]["parallel"] = {}  # not even English can be spelled
    path.write_text(json.dumps(found))
    work = new_work()
    page(work, **given)
    said = "The tokenizer has no token for a part of the text, which bits per byte leave out: fi 0.34\u00a0%."
    shown = (work.out / "report.html").read_text()
    assert said in shown
    assert "Tokens that the same sentences take" not in shown


def test_the_mixture_is_counted_from_what_was_read(text: str) -> None:
    found = part(text, "mixture")
    assert re.findall(r'<td class="n">([^<]*)</td>', found[found.index(">base</th>") :].split("</tr>")[0]) == [
        "45.0 % of bytes",
        "45.0 %",
        "50.0 %",
        "10,240",
        "2.50",
        "–",
    ]


def test_the_mixture_of_a_tuning_has_its_reviewed_rows(text: str) -> None:
    found = part(text, "mixture")
    assert "The tuning “safe” read the reviewed rows for 3 epochs; 25.0 % of its rows, as declared" in found
    body = found[found.index(">safe</th>") :].split("</tbody>")[0]
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in body.split("</tr>")[:-1]]
    assert rows == [
        ["reviewed", "75.0 % of rows", "–", "11.1 %", "2,560", "3.00", "–"],
        ["fi", "15.0 % of rows", "–", "44.4 %", "10,240", "–", "–"],
        ["en", "10.0 % of rows", "–", "44.4 %", "10,240", "–", "–"],
    ]


def test_a_tuning_that_replays_nothing(tmp_path: Path, new_work: Callable[[], Work]) -> None:
    recipe = load(RECIPE)
    given = build_fixture(tmp_path / "in")
    del given["mixtures"]["safe"]
    path = given["models"]["safe"].path / "curve.jsonl"
    curve = [
        {**entry, "by_source": {"reviewed": [9.0, 3.0]}} if "loss" in entry else entry for entry in read_jsonl(path)
    ]
    write_jsonl(path, curve)
    alone = replace(recipe, tune={"safe": replace(recipe.tune["safe"], replay=0.0, mixture="", epochs=1)})
    work = new_work()
    page(work, **{**given, "recipe": dumps(alone)})
    found = part((work.out / "report.html").read_text(encoding="utf-8").replace(SPACE, " "), "mixture")
    assert "read the reviewed rows for 1 epoch; nothing is replayed" in found
    assert (
        '<td class="w">reviewed</td><td class="n">100.0 % of rows</td><td class="n">–</td><td class="n">100.0 %'
        in found
    )


def test_curation_counts_reasons_and_keeps_samples_and_does_not_repeat_what_was_masked(text: str) -> None:
    found = part(text, "curation")
    assert '<td class="w"><code>dup_lines &lt;= 0.3</code></td><td class="n">3</td>' in found
    assert "Examples of what left hi" in found
    assert "All documents are counted, so there are no intervals; n is in the tables." in found
    assert '<div class="excerpt" dir="auto" lang="hi">मेनू होम खोज</div>' in found
    assert '<div class="excerpt" dir="auto" lang="de">メニュー ホーム 検索</div>' in found
    assert "write to <del>xxxx@xxxxxxx.xxx</del> <ins>&lt;EMAIL&gt;</ins> soon" in found
    assert "soon, or &lt;EMAIL&gt;</div>" in found
    assert "@example.org" not in text


def test_tasks_note_chance_and_the_sandbox(text: str) -> None:
    found = part(text, "tasks")
    assert "sandbox “bubblewrap”" in found
    assert '<td class="n">25 %</td><td class="n">40</td><td class="n"><span class="faint">28 %<' in found
    assert '<td class="n">58 %<span class="interval"> [44, 71]</span></td>' in found
    assert "code: bits per byte of the reference solutions" in found


def test_refusal_never_stands_without_over_refusal(text: str) -> None:
    found = part(text, "safety")
    assert '88 %<span class="interval"> [75, 100]</span></td><td class="n">12 %' in found
    assert '<td class="n">24 × 5 + 24 × 5</td>' in found
    assert "bootstrap over prompts" in found
    assert found.count("cat: before</text>") == 2
    assert "210 rows, of which 205 passed" in found
    assert "agreed in 97.6 % of cases, Krippendorff’s alpha 0.49" in found
    assert "88 % / 12 %" in text.split("<nav")[0]
    assert " of 24 × 5; prompts × languages" in text.split("<nav")[0]
    assert "no person has reviewed" not in text


def test_decisions_that_no_person_took_are_called_so(tmp_path: Path, new_work: Callable[[], Work]) -> None:
    given = build_fixture(tmp_path / "in")
    passed = given["reviewed"]["reviewed"]
    people = {**passed.facts, "reviewers": ["automated-a", "automated-b"]}
    work = new_work()
    page(work, **{**given, "reviewed": {"reviewed": replace(passed, facts=people)}})
    found = part((work.out / "report.html").read_text(encoding="utf-8"), "safety")
    assert "These decisions were automated; no person has reviewed these rows." in found


def test_samples_show_every_model_in_the_language_of_the_prompt(text: str) -> None:
    found = part(text, "samples")
    for lang, (harmful, harmless) in PROMPTS.items():
        assert f'<span lang="{lang}" dir="auto">{html.escape(harmful)}</span>' in found
        assert found.count(str(html.escape(harmless))) == 1
        assert f'lang="{lang}">{html.escape(REPLIES[lang])}</div>' in found
    assert found.count('<span class="judged">refused</span>') == len(PROMPTS)
    assert found.count('class="nothing"') == 3 * len(PROMPTS)


def test_how_it_was_made_gives_recipe_digests_and_work(text: str) -> None:
    found = part(text, "making")
    assert f"{sum(map(ord, 'models/safe')):064x}" in found
    assert '<pre tabindex="0">name = &quot;tiny&quot;' in found
    assert "the same files on the same machine with the same flags and Python version" in found
    assert "1.0 × 10¹³ floating-point operations" in found


def test_all_text_is_escaped_and_nothing_is_fetched(text: str) -> None:
    assert "\x00" not in text
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10
    assert not re.search(r"\b(src|srcset|action|data)=|@import|url\((?!#)", text)
    links = re.findall(r'(?:href|xlink:href)="([^"]*)"', text)
    assert [link for link in links if not link.startswith("#")] == []
    assert re.sub(r'xmlns(:xlink)?="[^"]*"', "", text).count("http") == 0


def test_every_id_is_used_once_and_every_link_leads_somewhere(text: str) -> None:
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    links = re.findall(r'href="#([^"]*)"', text) + re.findall(r"url\(#([^)]*)\)", text)
    assert set(links) <= set(ids)


def test_elements_are_closed_in_order(text: str) -> None:
    check_closed(text)


def test_the_same_artifacts_give_the_same_bytes(whole: tuple[str, Any], tmp_path: Path, new_work: Any) -> None:
    assert write(new_work, tmp_path / "elsewhere") == whole


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium to open the page with")
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_screen_and_a_phone(
    whole: tuple[str, Any], tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    (tmp_path / "report.html").write_text(whole[0], encoding="utf-8")
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        view.on("console", lambda message: said.append(message.text))
        view.on("pageerror", lambda error: said.append(str(error)))
        view.on("request", lambda request: said.append(request.url) if "report.html" not in request.url else None)
        view.goto(f"file://{tmp_path}/report.html")
        sizes = view.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        seen = [view.locator(f"#{name} > h2").is_visible() for name in SECTIONS]
        ink, paper = view.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
        text = view.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
        browser.close()
    assert said == []
    assert sizes[0] == sizes[1] == width
    assert seen == [True] * len(SECTIONS)
    light_on_dark = brightness(ink) > brightness(paper)
    assert light_on_dark == (scheme == "dark") == (brightness(text) > brightness(paper))


def brightness(colour: str) -> int:
    """The sum of red, green and blue of `rgb(r, g, b)`."""
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def shown(record: Record) -> str:
    """The section on forgetting."""
    return "".join(map(html.show, results.forgetting(record)))


def test_a_sweep_shows_what_old_languages_pay_for_new_ones(tmp_path: Path) -> None:
    record = read_fixture(build_fixture(tmp_path))
    assert 'aria-label="Old languages against new ones' not in shown(record)
    sweep = Merge({"cat": 1.0}, origin="base", sweep=(1.0, 0.5))
    changes = {**record.changes, "back_50": record.changes["cap"], "back_100": record.changes["cat"]}
    swept = replace(record, recipe=replace(record.recipe, merge={"back": sweep}), changes=changes)
    text = shown(swept)
    assert text.count('aria-label="Old languages against new ones along back"') == 1
    drawn = text.split("along back")[1].split("</svg>")[0]
    labels = re.findall(r">(0\.5|1)</text>", drawn)
    assert labels == ["0.5", "1"], "in the order of the scales"
    assert "where the lines cross" in text


def changed_rows(given: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """The fixture with other rows of changes."""
    path = given["forgetting"].path / "changes.json"
    changes = read_json(path)
    write_json(path, {**changes, "rows": [change(row) for row in changes["rows"]]})
    return given


def test_the_base_and_the_rule_of_eight_are_on_the_page(text: str) -> None:
    header = text.split("</header>")[0]
    assert re.search(
        r"Base: trained from scratch by this recipe, 1\.06M parameters, digest <code>\w{12}</code>\.", header
    )
    assert "nor can they from fewer than 8 documents" in part(text, "forgetting")
    assert "fewer than 8 pairs cannot tell" in part(text, "forgetting")


def test_task_rows_name_their_language(text: str) -> None:
    assert ">choice, Finnish</th>" in part(text, "tasks")
    assert ">refuse, Hindi</td>" in part(text, "forgetting")


def test_one_document_has_no_interval(tmp_path: Path, new_work: Callable[[], Work]) -> None:
    given = build_fixture(tmp_path)
    changed_rows(given, lambda row: {**row, "n": 1, "verdict": "cannot tell"} if row["lang"] == "en" else row)
    work = new_work()
    page(work, **given)
    text = (work.out / "report.html").read_text().replace(SPACE, " ")
    rows = part(text, "forgetting").split(">English</th>")[1].split("<tr>")[:3]
    assert all("one only: no interval" in row for row in rows)
    assert "[+1.8, +4.2]" not in rows[2]
    assert "one only: no interval" in text.split("</header>")[0]


def test_a_loss_that_is_folded_away_is_in_the_headline(tmp_path: Path) -> None:
    given = build_fixture(tmp_path)

    def lost(row: dict[str, Any]) -> dict[str, Any]:
        other = row["metric"] == "refusal" and row["model"] == "safe"
        return (
            {**row, "task": f"choice_{row['lang']}", "metric": "accuracy", "change": -0.125, "verdict": "lost"}
            if other
            else row
        )

    sentence = verdict(read_fixture(changed_rows(given, lost))).replace(SPACE, " ")
    names = ("English", "Finnish", "Hindi", "Japanese")
    assert sentence.endswith(
        f"; lost, too: {', '.join(f'choice, {name} (accuracy −12.5 pt)' for name in names)} and 1 more."
    )


def test_a_licence_that_is_not_kept_is_told(text: str) -> None:
    assert "PSF-2.0 (code) asks that it is named" in part(text, "making")
