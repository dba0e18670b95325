"""Plots as SVG text that takes its colours from the page: plain data in, the same bytes out each time."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from aurora_m.core.canon import digest
from aurora_m.core.interval import Estimate
from aurora_m.core.units import format_count
from aurora_m.report.render.html import escape
from aurora_m.report.words import percent, signed

WIDTH_IN = 9.4
INK, MUTED, RULE, PAPER, SHADE = "#000001", "#000002", "#000003", "#000004", "#000005"  # stand-ins, see `_drawn`
LANGS = [f"#0001{index:02x}" for index in range(8)]
PARTS = [f"#0002{index:02x}" for index in range(8)]
VARIABLES = {
    **{INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper", SHADE: "--shade"},
    **{colour: f"--lang-{index}" for index, colour in enumerate(LANGS)},
    **{colour: f"--part-{index}" for index, colour in enumerate(PARTS)},
}
MARKERS = "osD^vPXh"  # a second way, beside colour, to tell languages apart
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "text.parse_math": False, "font.family": "sans-serif", "font.size": 9,
    "axes.titlesize": 9, "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlecolor": INK,
    "axes.labelcolor": MUTED, "axes.edgecolor": RULE, "axes.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "text.color": INK, "xtick.color": RULE, "ytick.color": RULE, "xtick.labelcolor": MUTED, "ytick.labelcolor": INK,
    "grid.color": RULE, "grid.linewidth": 0.6, "lines.linewidth": 1.6, "lines.markersize": 4.5, "legend.frameon": False,
}  # fmt: skip

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One line of a plot in pieces, one for each stage, so that no stage is joined to the next."""

    name: str
    colour: int
    pieces: Sequence[Points]


@dataclass(frozen=True)
class Band:
    """A stretch of tokens with a name: a stage."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Strip:
    """Changes or rates of one language, by model, with the margin that counts as no change."""

    name: str
    colour: int
    estimates: Mapping[str, Estimate]
    margin: float = 0.0


@dataclass(frozen=True)
class Share:
    """What a source was to have of a stage's tokens, and what it had."""

    source: str
    colour: int
    declared: float
    achieved: float


def forest(panels: Mapping[str, Sequence[Strip]]) -> str:
    """Points with intervals, a panel for each title, a line for each language and model; the margins are shaded."""
    sizes = {title: sum(len(strip.estimates) for strip in strips) for title, strips in panels.items()}

    def draw(figure: Figure) -> None:
        figure.get_layout_engine().set(h_pad=0.12)  # type: ignore[union-attr, call-arg]
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[size + 1.5 for size in sizes.values()])
        for ax, (title, strips) in zip(axes[:, 0], panels.items(), strict=True):
            ax.set_title(title)
            _strips(ax, strips)
        axes[-1, 0].set_xlabel("change in bits per byte against the base: further left is better")

    return _drawn("forest", "Change in bits per byte by language and model", 0.26 * sum(sizes.values()) + 1.6, draw)


def _strips(ax: Axes, strips: Sequence[Strip]) -> None:
    labels: list[str] = []
    for strip in strips:
        first, last = len(labels), len(labels) + len(strip.estimates) - 1
        ax.barh((first + last) / 2, 2 * strip.margin, last - first + 0.9, -strip.margin, color=SHADE, lw=0)
        away = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False}
        ax.annotate(strip.name, (0, first), (-118, 0), va="center", color=INK, weight="bold", **away)  # type: ignore[arg-type]
        for at, (model, estimate) in enumerate(strip.estimates.items(), first):
            dot: Any = {"fmt": MARKERS[strip.colour], "color": LANGS[strip.colour], "capsize": 2.5, "zorder": 3}
            ax.errorbar(estimate.value, at, xerr=_reach(estimate), **dot)
            labels.append(model)
        if first:
            ax.axhline(first - 0.5, color=RULE, lw=0.6)
    ax.axvline(0, color=INK, lw=0.9)
    ax.set_yticks(range(len(labels)), labels, color=MUTED)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.xaxis.set_major_formatter(FuncFormatter(_change))
    ax.spines["left"].set_visible(False)


def _change(value: float, _: object) -> str:
    return signed(value, 1 if round(value * 1000) % 10 else 0)


def frontier(title: str, changes: Mapping[str, tuple[float, float]]) -> str:
    """Changes of old and new languages, a labelled point for each, joined in their order; no change is ruled."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.set_title(title)
        ax.axvline(0, color=RULE)
        ax.axhline(0, color=RULE)
        ax.plot(*zip(*changes.values(), strict=True), "o-", color=INK, mec=PAPER, mew=0.6)
        for label, place in changes.items():
            ax.annotate(label, place, (5, 5), textcoords="offset points", color=INK)
        for axis, langs in ((ax.xaxis, "old"), (ax.yaxis, "new")):
            axis.set_major_formatter(FuncFormatter(_change))
            axis.set_label_text(f"{langs} languages")
        ax.tick_params(axis="y", labelcolor=MUTED)
        ax.margins(0.15)

    return _drawn(f"frontier-{title}", f"Old languages against new ones along {title}", 3.2, draw, WIDTH_IN / 2)


def journey(lines: Sequence[Line], bands: Sequence[Band]) -> str:
    """Bits per byte over tokens, a line for each language with its name at the end."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for line in lines:
            for piece in line.pieces:
                xs, ys = zip(*piece, strict=True)
                ax.plot(xs, ys, color=LANGS[line.colour], marker=MARKERS[line.colour], mec=PAPER, mew=0.6)
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(MaxNLocator(5))
        ax.tick_params(axis="y", which="both", labelcolor=MUTED, color=RULE)
        ax.set_ylabel("bits per byte (log scale)")
        _over_tokens(ax, bands)
        _names_at_end(ax, lines)

    return _drawn("journey", "Bits per byte of each language along the chain of models", 4.0, draw)


def _names_at_end(ax: Axes, lines: Sequence[Line]) -> None:
    """Write each line's name where it ends, moved apart where names would touch."""
    gap = 0.06  # of the axes' height: a line of text
    to_axes = ax.transScale + ax.transLimits
    ends = sorted((float(to_axes.transform(line.pieces[-1][-1])[1]), line) for line in lines) if lines else []
    places: list[float] = []
    for height, _ in ends:
        places.append(max(height, places[-1] + gap) if places else height)
    over = max(0.0, places[-1] - 1) if places else 0.0
    for place, (_, line) in zip(places, ends, strict=True):
        colour = LANGS[line.colour]
        ax.text(1.012, place - over, line.name, transform=ax.transAxes, color=colour, va="center", weight="bold")


def losses(total: Line, by_source: Sequence[Line], rates: Line, bands: Sequence[Band]) -> str:
    """Loss, with that of each source behind it, and below it the learning rate, over the same tokens."""

    def draw(figure: Figure) -> None:
        loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
        for line in by_source:
            for number, piece in enumerate(line.pieces):
                named = {"label": line.name} if number == 0 else {}
                colour = LANGS[line.colour] if line.colour >= 0 else MUTED
                loss.plot(*zip(*piece, strict=True), color=colour, lw=1, alpha=0.55, **named)
        for piece in total.pieces:
            loss.plot(*zip(*piece, strict=True), color=INK, lw=1.8)
        for piece in rates.pieces:
            rate.plot(*zip(*piece, strict=True), color=INK, lw=1.4)
        loss.set_ylabel("loss (nats a token)")
        rate.set_ylabel("learning rate")
        rate.set_ylim(bottom=0)
        rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}" if value else "0"))
        for ax in (loss, rate):
            ax.tick_params(axis="y", labelcolor=MUTED)
            _over_tokens(ax, bands, named=ax is loss)
        loss.set_xlabel("")
        figure.legend(loc="outside lower left", ncols=8, labelcolor=INK)

    return _drawn("losses", "Training loss and learning rate over tokens", 4.8, draw)


def shares(stage: str, sources: Sequence[Share]) -> str:
    """Each source's achieved share of a stage's tokens as a bar and the declared one as a mark."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.set_title(stage)
        for at, share in enumerate(sources):
            ax.barh(at, share.achieved, 0.62, color=LANGS[share.colour] if share.colour >= 0 else MUTED)
            ax.vlines(share.declared, at - 0.44, at + 0.44, color=INK, lw=1.8)
        _sides(ax, [share.source for share in sources])
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(5))

    label = f"Declared and achieved share of tokens in the stage {stage}"
    return _drawn(f"shares-{stage}", label, 0.27 * len(sources) + 0.7, draw, WIDTH_IN / 3)


def stacks(rows: Mapping[str, Sequence[float]], parts: Sequence[str]) -> str:
    """A bar for each source in parts that add up to 1; the first part is what stayed."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for number, part in enumerate(parts):
            widths = [row[number] for row in rows.values()]
            lefts = [sum(row[:number]) for row in rows.values()]
            colour = SHADE if number == 0 else PARTS[(number - 1) % len(PARTS)]
            ax.barh(range(len(rows)), widths, 0.66, lefts, color=colour, label=part, edgecolor=PAPER, lw=0.8)
        _sides(ax, list(rows))
        ax.set_xlim(0, 1)
        figure.legend(loc="outside lower left", ncols=4, labelcolor=INK)

    legend = 0.2 * -(-len(parts) // 4)
    return _drawn("stacks", "What stayed and what left, by source and reason", 0.3 * len(rows) + 0.6 + legend, draw)


def pairs(title: str, strips: Sequence[Strip]) -> str:
    """Rates before (hollow) and after (full) with intervals, a line for each language."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.set_title(title)
        for at, strip in enumerate(strips):
            colour = LANGS[strip.colour]
            for shift, rate, fill in zip((-0.17, 0.17), strip.estimates.values(), (PAPER, colour), strict=True):
                dot: Any = {"fmt": "o", "color": colour, "mfc": fill, "mew": 1.4, "ms": 6, "capsize": 2.5}
                ax.errorbar(rate.value, at + shift, xerr=_reach(rate), elinewidth=1.2, zorder=3, **dot)
        for label, fill in zip(strips[0].estimates, (PAPER, INK), strict=True):
            ax.plot([], [], "o", color=INK, mfc=fill, mew=1.4, ms=6, label=label)
        _sides(ax, [strip.name for strip in strips])
        ax.set_xlim(-0.03, 1.03)
        figure.legend(loc="outside lower left", ncols=2, labelcolor=INK)

    return _drawn(f"pairs-{title}", title, 0.42 * len(strips) + 1.0, draw, WIDTH_IN / 2)


def _reach(estimate: Estimate) -> list[list[float]]:
    """How far an interval goes to either side."""
    return [[estimate.value - estimate.low], [estimate.high - estimate.value]]


def _sides(ax: Axes, names: Sequence[str]) -> None:
    """Names down the side, the first on top, and shares along the bottom."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    ax.spines["left"].set_visible(False)


def _over_tokens(ax: Axes, bands: Sequence[Band], named: bool = True) -> None:
    """Tokens on the x axis, every other stage shaded."""
    ax.grid(axis="y")
    for number, band in enumerate(bands):
        if number % 2 == 0:
            ax.axvspan(band.start, band.end, color=SHADE, lw=0, zorder=0)
        if named:
            middle, above = (band.start + band.end) / 2, ax.get_xaxis_transform()
            ax.text(middle, 1.02, band.name, transform=above, ha="center", va="bottom", weight="bold")
    ax.set_xlim(bands[0].start, bands[-1].end)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    ax.set_xlabel("tokens seen along the chain")


def _drawn(name: str, label: str, height_in: float, draw: Callable[[Figure], Any], width_in: float = WIDTH_IN) -> str:
    """Draw a figure as SVG: no date, no outside reference, ids of its own, and the page's colours for the stand-ins."""
    file = io.StringIO()
    style: Any = {**STYLE, "svg.hashsalt": name}
    with rc_context(style):
        figure = Figure((width_in, height_in), layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg, slug = file.getvalue(), digest(name)[:8]
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index(">", box.end()) + 1 :], flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{slug}-", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {links} role="img" aria-label="{escape(label)}" {box[0]}>{body.strip()}'
