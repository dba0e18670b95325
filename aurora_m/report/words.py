"""Numbers, languages and turns of phrase as people read them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aurora_m.core.interval import Estimate
from aurora_m.recipe import Recipe
from aurora_m.report.render.blocks import Parts, Span

MINUS, SPACE = "\u2212", "\u00a0"
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
CODE, MIXED = "code", "mul"
NAMES = {
    "ar": "Arabic", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "et": "Estonian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sv": "Swedish", "sw": "Swahili",
    "ta": "Tamil", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
    CODE: "code", MIXED: "many languages",
}  # fmt: skip


@dataclass(frozen=True)
class Pooled(Estimate):
    """A rate over all languages; `n` answers."""

    prompts: int
    langs: int


def percent(share: float, digits: int = 0) -> str:
    """Write a share of 1: `84 %`."""
    return f"{share * 100:.{digits}f}{SPACE}%"


def signed(share: float, digits: int = 1) -> str:
    """Write a change as a share, with its sign: `+1.2 %`; a change that rounds to nothing has none."""
    text = f"{abs(share) * 100:.{digits}f}"
    sign = "" if float(text) == 0 else MINUS if share < 0 else "+"
    return f"{sign}{text}{SPACE}%"


def points(change: float) -> str:
    """Write a difference of two shares, in points of a hundred: `+12.5 pt`."""
    return signed(change).replace("%", "pt")


def decimal(value: float, digits: int = 3) -> str:
    """Write a plain number with a fixed number of digits after the point."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def power(value: float) -> str:
    """Write a large number as a power of ten: `3.2 × 10¹⁵`."""
    if value == 0:
        return "0"
    figures, _, exponent = f"{value:.1e}".partition("e")
    return f"{figures}{SPACE}×{SPACE}10{str(int(exponent)).translate(SUPERSCRIPT)}"


def interval(low: float, high: float, n: int, form: Callable[[float], str]) -> Span:
    """The 95 % interval of a number over `n` items, to stand beside it; one item has none."""
    if n <= 1:
        return Span("one only: no interval", "faint")
    ends = [form(end).removesuffix(f"{SPACE}%").removesuffix(f"{SPACE}pt") for end in (low, high)]
    return Span(", ".join(ends), "interval")


def estimated(measured: Estimate | None, form: Callable[[float], str]) -> Parts:
    """A number and its interval; a dash where there is none."""
    if measured is None:
        return [Span("–", "faint")]
    return [form(measured.value), interval(measured.low, measured.high, measured.n, form)]


def size_of(rate: Estimate) -> str:
    """How many answers a rate stands on, one over all languages as prompts × languages."""
    return f"{rate.prompts} × {rate.langs}" if isinstance(rate, Pooled) else str(rate.n)


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def name_of(lang: str) -> str:
    """The English name of a language, as it stands inside a sentence."""
    return NAMES.get(lang, lang)


def title_of(lang: str) -> str:
    """The English name of a language, as it stands in a heading."""
    name = name_of(lang)
    return name[:1].upper() + name[1:]


def task_of(task: str, lang: str) -> str:
    """A task with its language by name: `choice, Finnish`."""
    name = task.removesuffix(f"_{lang}").replace("_", " ")
    return name if name == name_of(lang) else f"{name}, {name_of(lang)}"


def automated_words(reviewers: Sequence[str]) -> str:
    """The sentence to add where no reviewer is a person; else nothing."""
    automated = bool(reviewers) and all(name.startswith("automated-") for name in reviewers)
    return " These decisions were automated; no person has reviewed these rows." if automated else ""


def tuning_words(recipe: Recipe, name: str) -> str:
    """What a tuning reads, in a sentence; nothing for a stage."""
    tune = recipe.tune.get(name)
    if not tune:
        return ""
    times = f"{tune.epochs} epoch{'' if tune.epochs == 1 else 's'}"
    replay = (
        f"{percent(tune.replay, 1)} of its rows, as declared, are replay from the mixture “{tune.mixture}”"
        if tune.replay
        else "nothing is replayed"
    )
    return (
        f"The tuning “{name}” read the reviewed rows for {times}; {replay}. Its declared shares are by row, its "
        "achieved ones by tokens learnt from, which in a reviewed row are those of the response alone."
    )
