"""Plots: the marks stand where the numbers say, in the page's colours, in the same bytes each time."""

import re
from collections.abc import Callable
from functools import partial
from xml.etree import ElementTree

import pytest

from aurora_m.core.interval import Estimate
from aurora_m.report.render import plots

SVG = "{http://www.w3.org/2000/svg}"
SURE, UNSURE = Estimate(-0.4, -0.5, -0.3, 12), Estimate(0.03, -0.02, 0.08, 12)
BANDS = [plots.Band("base", 0, 700_000), plots.Band("cap", 700_000, 1_300_000)]
RISE = plots.Line("English", 0, [[(0.0, 8.0), (700_000.0, 2.0)], [(700_000.0, 2.0), (1_300_000.0, 2.02)]])
FALL = plots.Line("Finnish", 2, [[(0.0, 8.0), (700_000.0, 4.0)], [(700_000.0, 4.0), (1_300_000.0, 2.01)]])
PLOTS: dict[str, Callable[[], str]] = {
    "forest": partial(
        plots.forest,
        {
            "Old": [plots.Strip("English", 0, {"cap": UNSURE, "cat": UNSURE}, 0.05)],
            "New": [plots.Strip("Finnish", 2, {"cap": SURE, "cat": SURE})],
        },
    ),
    "frontier": partial(plots.frontier, "back", {"0.5": (0.01, -0.3), "1": (0.04, -0.5)}),
    "journey": partial(plots.journey, [RISE, FALL], BANDS),
    "losses": partial(plots.losses, RISE, [FALL], plots.Line("rate", -1, [[(0.0, 1e-3), (1e6, 0.0)]]), BANDS),
    "shares": partial(plots.shares, "base", [plots.Share("en", 0, 0.4, 0.41), plots.Share("code", 1, 0.6, 0.59)]),
    "grey": partial(plots.shares, "cat", [plots.Share("instruct", -1, 1.0, 1.0)]),
    "stacks": partial(plots.stacks, {"en": [0.9, 0.1], "$x$ <fi>": [1.0, 0.0]}, ["stayed", "chars >= 200"]),
    "pairs": partial(
        plots.pairs,
        "Harmful",
        [plots.Strip("Hindi", 3, {"cat: before": UNSURE, "safe: after": Estimate(0.9, 0.8, 0.95, 12)})],
    ),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    """Every plot once."""
    return {name: draw() for name, draw in PLOTS.items()}


def texts(svg: str) -> list[str]:
    """All texts of a plot."""
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_one_svg_that_tells_what_it_is(drawn: dict[str, str], name: str) -> None:
    root = ElementTree.fromstring(drawn[name])
    assert root.tag == f"{SVG}svg"
    assert root.attrib["role"] == "img"
    assert len(root.attrib["aria-label"]) > 6
    assert set(root.attrib) == {"role", "aria-label", "viewBox"}, "no width: the page says how wide"


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_the_same_bytes_each_time(drawn: dict[str, str], name: str) -> None:
    assert PLOTS[name]() == drawn[name]


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_has_the_colours_and_letters_of_the_page_only(drawn: dict[str, str], name: str) -> None:
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", drawn[name])) <= {"#ffffff", "#000000"}, "stand-ins are replaced"
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", drawn[name])) == set()
    assert {"var(--ink)", "var(--muted)"} <= set(re.findall(r"var\(--[\w-]+\)", drawn[name]))
    assert set(re.findall(r"font-family: ([^;\"]*)", drawn[name])) == {"var(--sans)"}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_says_nothing_of_when_and_by_what_it_was_drawn(drawn: dict[str, str], name: str) -> None:
    assert not re.search(r"<metadata|<\?xml|<!DOCTYPE|matplotlib v|created", drawn[name], re.IGNORECASE)
    outside = re.sub(r'xmlns(:xlink)?="[^"]*"', "", drawn[name])
    assert "http" not in outside


def test_ids_of_two_plots_never_meet(drawn: dict[str, str]) -> None:
    ids = [found for svg in drawn.values() for found in re.findall(r'\bid="([^"]*)"', svg)]
    assert len(ids) == len(set(ids)) > 100


def test_the_forest_names_languages_once_and_models_each_time(drawn: dict[str, str]) -> None:
    found = texts(drawn["forest"])
    assert found.count("English") == found.count("Finnish") == 1
    assert found.count("cap") == found.count("cat") == 2
    assert {"Old", "New"} <= set(found)


def test_the_forest_shades_the_margin_and_puts_points_where_they_belong(drawn: dict[str, str]) -> None:
    svg = drawn["forest"]
    assert svg.count("fill: var(--shade)") >= 1
    left = [float(x) for x in re.findall(r'<use [^>]*x="([\d.]+)"[^>]*style="fill: var\(--lang-0\)', svg)]
    assert len(left) >= 2
    assert len(set(left)) <= 3, "both models have the same change and interval"


def test_the_frontier_labels_its_points_further_right_and_lower(drawn: dict[str, str]) -> None:
    half, whole = (
        next(text.attrib for text in ElementTree.fromstring(drawn["frontier"]).iter(f"{SVG}text") if text.text == label)
        for label in ("0.5", "1")
    )
    assert float(half["x"]) < float(whole["x"])
    assert float(half["y"]) < float(whole["y"])
    assert {"back", "old languages", "new languages"} <= set(texts(drawn["frontier"]))


def test_names_at_the_end_of_lines_do_not_touch(drawn: dict[str, str]) -> None:
    ends = {
        "".join(text.itertext()): float(text.attrib["y"])
        for text in ElementTree.fromstring(drawn["journey"]).iter(f"{SVG}text")
        if "".join(text.itertext()) in ("English", "Finnish")
    }
    assert ends["Finnish"] - ends["English"] > 9, "a line of text apart, the better one below"


def test_stages_are_named_over_the_tokens(drawn: dict[str, str]) -> None:
    for name in ("journey", "losses"):
        assert [text for text in texts(drawn[name]) if text in ("base", "cap")] == ["base", "cap"]


def test_texts_are_escaped_and_are_no_formulas(drawn: dict[str, str]) -> None:
    assert {"$x$ <fi>", "chars >= 200", "stayed"} <= set(texts(drawn["stacks"]))


def test_bars_are_as_long_as_the_shares(drawn: dict[str, str]) -> None:
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--lang-[01]\)', drawn["shares"])
    widths = []
    for path in paths:
        xs = [float(x) for x, _ in re.findall(r"([\d.]+) ([\d.]+)", path)]
        widths.append(max(xs) - min(xs))
    assert widths[0] / widths[1] == pytest.approx(0.41 / 0.59, rel=1e-3)


def test_before_is_hollow_and_after_is_full(drawn: dict[str, str]) -> None:
    assert {"cat: before", "safe: after", "Hindi"} <= set(texts(drawn["pairs"]))
    assert "fill: var(--paper); stroke: var(--lang-3)" in drawn["pairs"]
    assert "fill: var(--lang-3); stroke: var(--lang-3)" in drawn["pairs"]
