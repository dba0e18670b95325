"""What one value of a recipe may be: names, languages, ranges, and what it may refer to."""

import re
from collections.abc import Callable, Iterable, Mapping

from aurora_m.core.errors import RecipeError, did_you_mean

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # what can be a folder anywhere

# What a number may be, by its key wherever that stands.
RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "seed": (lambda n: 0 <= n < 2**32, "write an integer from 0 to 4294967295"),
    **dict.fromkeys(("near", "density"), (lambda n: 0 < n <= 1, "write a number above 0 and up to 1")),
    **dict.fromkeys(("reviewers", "epochs", "max_new_tokens", "max_held_bytes"), (lambda n: n >= 1, "write 1 or more")),
    **dict.fromkeys(("weight_decay", "expand", "kl", "l2"), (lambda n: n >= 0, "write 0 or more")),
    **dict.fromkeys(("rank", "alpha"), (lambda n: n >= 1, "write 1 or more")),
    "beta2": (lambda n: 0 <= n < 1, "write a number from 0 and below 1"),
    "clip": (lambda n: n > 0, "write a number above 0"),
    **dict.fromkeys(("ema", "wsm"), (lambda n: 0 <= n < 1, "write a number from 0 and below 1")),
    "spike": (lambda n: n >= 3, "write 3 standard deviations or more"),
    "eval_points": (lambda n: n >= 1, "write 1 or more"),
    "max_old_rise": (lambda n: n >= 0, "write 0 or more"),
    "boilerplate_pages": (lambda n: n == 0 or n >= 2, "write 2 pages or more, or 0 for none"),
    "max_docs": (lambda n: n >= 10, "write 10 or more"),
    "max_bytes": (lambda n: n >= 1, "write 1 or more"),
}

# ISO 639-1, and two words of ours: source code, and many languages in one source.
LANGUAGES = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en"  # noqa: SIM905
    " eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv"
    " ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne"
    " ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st"
    " su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu code mul".split()
)


def need(right: bool, what: str, at: str, hint: str) -> None:
    if not right:
        raise RecipeError(what, at=at, hint=hint)


def check_name(name: str, at: str) -> None:
    need(bool(NAME.fullmatch(name)), f"`{name}` is not a name", at, "use up to 100 letters, digits, `-`, `_` and `.`")


def check_ranges(part: object, at: str) -> None:
    for key, (right, hint) in RANGES.items():
        value = getattr(part, key, None)
        need(value is None or right(value), f"`{value}` is out of range", f"{at}{key}", hint)


def check_pinned(revision: str, at: str) -> None:
    pinned = len(revision) == 40 and not set(revision) - set("0123456789abcdef")
    need(pinned, "a hub revision must be pinned", at, "write the full commit, 40 hex digits, not a branch")


def check_share(value: float, at: str, below: float = 1.0 + 1e-9) -> None:
    need(0 <= value < below, f"`{value:g}` is not a share", at, "write a number from 0 to 1")


def known(name: str, among: Iterable[str], at: str, what: str) -> None:
    """RecipeError, with the nearest name, unless `name` is one of `among`."""
    names = list(among)
    if name not in names:
        listed = ", ".join(f"`{n}`" for n in names[:12]) + (", ..." if len(names) > 12 else "")
        hint = "use its ISO 639-1 code" if what == "language" and len(names) > 12 else f"there are {listed or 'none'}"
        raise RecipeError(f"there is no {what} `{name}`", at=at, hint=did_you_mean(name, names, hint))
