"""Recall and precision of data/pii.py on planted texts: `python benchmarks/pii.py [--size 200] [--seed 1] [--json]`.

For each kind and language `--size` true values, and as many near misses (a wrong check digit, a version, a date, an
ISBN, an order number, a hash), are made from the seed and put into the sentences of pii.toml. A value is recalled if
its own kind covers all of it; precision counts every find of a kind, also in the texts of other kinds. Intervals are
Wilson's (1927), 95 %. The sentences were written for this file: the figures compare versions of the detector.
Sets `a` and `b` are those that it was mended on; `c` came after (see pii.toml).
"""

import argparse
import json
import random
import re
import string
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_m.core.interval import wilson
from aurora_m.data.personal import national_ids, pii

PLANTS: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
LANGS = ("en", "fi", "hi", "ja", "vi")
CODE_KINDS = ("secret", "email", "ip")
CHECKED = ("iban", "card", "fi_hetu", "in_aadhaar", "jp_my_number")
ALPHABETS = {
    "#": string.digits,
    "%": "0123456789abcdef",
    "^": string.ascii_uppercase,
    "~": string.ascii_letters + string.digits,
    "a": string.ascii_lowercase,
}
TOKEN = re.compile(r"<(.)([0-9]+)>|«([^»]*)»|@([a-z_]+(?=[^a-z_]|$))")
COUNTRIES = (("FI", 18), ("DE", 22), ("EE", 20), ("ES", 24), ("SE", 24), ("PL", 28), ("NO", 15), ("GB", 22), ("NL", 18))
BRANDS = (("4", 16), ("53", 16), ("37", 15), ("6011", 16), ("3569", 16))


@dataclass(frozen=True)
class Plan:
    """One draw of values: the random numbers, the language, and the set of sentences and labels."""

    rng: random.Random
    lang: str
    part: str

    def digits(self, count: int, first: str = string.digits) -> str:
        """Random digits."""
        return self.rng.choice(first) + "".join(self.rng.choices(string.digits, k=count - 1))

    def grouped(self, plain: str, size: int = 4, marks: tuple[str, ...] = ("", " ", "-")) -> str:
        """Digits in groups, or as they are; some in the full-width form of Japan or the digits of Hindi."""
        value = self.rng.choice(marks).join(plain[at : at + size] for at in range(0, len(plain), size))
        return self.wide(value)

    def wide(self, value: str) -> str:
        """A quarter of Japanese and Hindi values in their own digits."""
        zero = {"ja": 0xFF10, "hi": 0x0966}.get(self.lang)
        if zero is None or self.rng.random() > 0.25:
            return value
        value = value.translate({48 + digit: zero + digit for digit in range(10)})
        return value.replace("-", "－") if self.lang == "ja" else value

    def first(self, make: Callable[[], str], test: Callable[[str], bool]) -> str:
        """The first made value that passes."""
        while True:
            value = make()
            if test(value):
                return value

    def label(self, kind: str) -> str:
        """A name of a kind of number."""
        return str(self.rng.choice(PLANTS["labels"][self.part][kind][self.lang]))

    def filled(self, template: str, kind: str) -> str:
        """A value from a template of pii.toml."""
        template = TOKEN.sub(lambda m: m[0] if m[3] is None else self.rng.choice(m[3].split("|")), template)
        return TOKEN.sub(lambda m: self._token(m, kind), template)

    def _token(self, match: "re.Match[str]", kind: str) -> str:
        if match[1]:
            return "".join(self.rng.choices(ALPHABETS[match[1]], k=int(match[2])))
        name = match[4]
        if name == "octet":
            return str(self.rng.randrange(33, 255))
        if name == "broken":
            return broken(self, kind)
        if name == "date":
            return date(self)
        if name == "isbn":
            return isbn(self)
        return value_of(self, name) if name in pii.KINDS else match[0]


def value_of(plan: Plan, kind: str) -> str:
    """A true value of a kind."""
    if kind in MAKERS:
        return MAKERS[kind](plan)
    forms = PLANTS["values"]["secret_code" if kind == "secret" and plan.lang == "code" else kind]
    if isinstance(forms, dict):
        forms = forms[plan.lang]
    form = plan.rng.choice(forms)
    if form == "@secret":
        form = plan.rng.choice(PLANTS["values"]["secret"])
    value = plan.filled(form, kind)
    return plan.wide(value) if kind == "phone" else value


def iban(plan: Plan) -> str:
    """With its check digits."""
    country, size = plan.rng.choice(COUNTRIES)
    bank = "ABCD" if country in ("GB", "NL") else ""
    account = bank + plan.digits(size - 4 - len(bank))
    number = int("".join(str(int(char, 36)) for char in account + country + "00"))
    plain = f"{country}{98 - number % 97:02d}{account}"
    return plan.rng.choice(("", " ")).join(plain[at : at + 4] for at in range(0, size, 4))


def card(plan: Plan) -> str:
    """With Luhn's digit."""
    head, size = plan.rng.choice(BRANDS)
    plain = plan.first(lambda: head + plan.digits(size - len(head)), pii.is_card)
    return plan.grouped(plain) if size == 16 else plan.rng.choice((plain, f"{plain[:4]} {plain[4:10]} {plain[10:]}"))


def hetu(plan: Plan) -> str:
    """Of any century sign."""

    def make() -> str:
        sign, check = plan.rng.choice("+-YXWVUABCDEF"), plan.rng.choice(national_ids.CHECK_CHARS)
        day, month, year = plan.rng.randrange(1, 32), plan.rng.randrange(1, 13), plan.rng.randrange(100)
        return f"{day:02d}{month:02d}{year:02d}{sign}{plan.rng.randrange(2, 900):03d}{check}"

    return plan.first(make, national_ids.is_hetu)


def aadhaar(plan: Plan) -> str:
    """With Verhoeff's digit."""
    return plan.grouped(plan.first(lambda: plan.digits(12, "23456789"), national_ids.is_aadhaar))


def pan(plan: Plan) -> str:
    """Mostly of a person."""
    return (
        plan.filled("<^3>«P|P|P|P|C|H|F|T»<^1>", "in_pan") + plan.digits(4, "123456789") + plan.filled("<^1>", "in_pan")
    )


def my_number(plan: Plan) -> str:
    """With its check digit."""
    return plan.grouped(plan.first(lambda: plan.digits(12), national_ids.is_my_number))


def cccd(plan: Plan) -> str:
    """Of a person alive."""
    century, year = plan.rng.choice((("0", 50), ("1", 60), ("2", 0), ("3", 0)))
    province = plan.rng.choice(sorted(national_ids.PROVINCES))
    plain = f"{province:03d}{century}{year + plan.rng.randrange(24):02d}{plan.digits(6)}"
    return plan.rng.choice((plain, plain, " ".join(re.findall("...", plain)), " ".join(re.findall("....", plain))))


def ssn(plan: Plan) -> str:
    """Dashed, spaced or bare."""
    area = plan.rng.choice([number for number in range(1, 900) if number != 666])
    parts = f"{area:03d}", f"{plan.rng.randrange(1, 100):02d}", f"{plan.rng.randrange(1, 10000):04d}"
    return plan.rng.choice(("-", "-", " ", "")).join(parts)


MAKERS: dict[str, Callable[[Plan], str]] = {
    "iban": iban,
    "card": card,
    "fi_hetu": hetu,
    "in_aadhaar": aadhaar,
    "in_pan": pan,
    "jp_my_number": my_number,
    "vn_cccd": cccd,
    "us_ssn": ssn,
}


def broken(plan: Plan, kind: str) -> str:
    """A true value with one other digit, so that its check fails."""
    tests: dict[str, Callable[[str], bool]] = {
        "iban": lambda value: bool(pii.find(value, "en", ["iban"])),
        "card": lambda value: pii.is_card(national_ids.digits(value)),
        "fi_hetu": lambda value: not value[9].isdigit() or national_ids.is_hetu(value),
        "in_aadhaar": national_ids.is_aadhaar,
        "jp_my_number": national_ids.is_my_number,
    }

    def make() -> str:
        value = plan.first(lambda: MAKERS[kind](plan), str.isascii)
        at = plan.rng.choice([at for at, char in enumerate(value) if char.isdigit()])
        return value[:at] + plan.rng.choice(string.digits) + value[at + 1 :]

    return plan.first(make, lambda value: not tests[kind](value))


def date(plan: Plan) -> str:
    """A day, in one of five forms."""
    year, month, day = plan.rng.randrange(1950, 2026), plan.rng.randrange(1, 13), plan.rng.randrange(1, 29)
    iso, european = f"{year}-{month:02d}-{day:02d}", f"{day:02d}.{month:02d}.{year}"
    slashes, plain = f"{day:02d}/{month:02d}/{year}", f"{year}{month:02d}{day:02d}"
    return plan.rng.choice((iso, european, slashes, plain, f"{year}/{month:02d}/{day:02d} {day:02d}:{month:02d}:59"))


def isbn(plan: Plan) -> str:
    """Of thirteen or ten digits."""
    return plan.filled(plan.rng.choice(("ISBN 978-<#1>-<#2>-<#6>-<#1>", "ISBN 0-<#3>-<#5>-<#1>", "978<#10>")), "")


@dataclass(frozen=True)
class Case:
    """One text; text[start:end] is the value, true or nearly so."""

    kind: str
    lang: str
    text: str
    start: int
    end: int
    true: bool
    check: bool  # it has the label of a true one and but for its check digit the form


def stands_alone(kind: str, lang: str, value: str) -> bool:
    """Whether the value shows its kind without a label."""
    if kind in ("email", "ip", "iban", "card", "secret", "fi_hetu"):
        return lang != "code" or kind != "secret"
    if kind == "us_ssn":
        return "-" in value
    if kind == "phone":
        return any(mark in value for mark in " -－.+") and not (lang == "en" and value[0] in "6789")
    return lang in ("en", "hi") and (kind == "in_pan" or (kind == "in_aadhaar" and len(value) > 12))


def planted(plan: Plan, kind: str, true: bool) -> Case:
    """One case."""
    label, template = ("$label", "") if true else plan.rng.choice(PLANTS["near"][kind])
    value = value_of(plan, kind) if true else plan.filled(template, kind)
    alone = stands_alone(kind, plan.lang, value) and plan.rng.random() < 0.4 if true else label == ""
    carriers = PLANTS["carriers"][plan.part][plan.lang]
    check = template == "@broken"
    label = {"$label": plan.label(kind), "$order": PLANTS["order"][plan.lang]}.get(label, label)
    sentence = plan.rng.choice(carriers["alone" if alone else "labelled"]).replace("{label}", label)
    before, after = carriers["filler"] if plan.lang == "code" else plan.rng.choices(carriers["filler"], k=2)
    text = f"{before}{sentence}{after}" if plan.lang == "code" else f"{before} {sentence} {after}"
    start = text.index("{value}")
    return Case(kind, plan.lang, text.replace("{value}", value), start, start + len(value), true, check)


def interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share; all there is where nothing was counted."""
    low, high = wilson(hits, total) if total else (0.0, 1.0)
    return round(low, 3), round(high, 3)


def tallied(cases: list[Case]) -> tuple[Counter[tuple[str, str, str]], list[str]]:
    """What was found and what was not, by kind and language; and a note for each that was missed or is wrong."""
    tally: Counter[tuple[str, str, str]] = Counter()
    notes = []
    for case in cases:
        found = pii.find(case.text, case.lang)
        ours = [one for one in found if one.kind == case.kind and one.start <= case.start and one.end >= case.end]
        tally[case.kind, case.lang, "true" if case.true else "near"] += 1
        tally[case.kind, case.lang, "hit"] += case.true and bool(ours)
        tally[case.kind, case.lang, "check"] += case.check
        tally[case.kind, case.lang, "check hit"] += case.check and bool(ours)
        if case.true and not ours:
            notes.append(f"missed {case.kind} {case.lang}: {case.text!r}: {case.text[case.start : case.end]}")
        for one in found:
            right = case.true and one.kind == case.kind and one.start < case.end and case.start < one.end
            tally[one.kind, case.lang, "right" if right else "wrong"] += 1
            if not right:
                notes.append(f"wrong {one.kind} {case.lang}: {case.text!r}: {case.text[one.start : one.end]}")
    return tally, notes


def scored(tally: Counter[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """A row for each kind and language."""
    rows = []
    for kind, lang in sorted({(kind, lang) for kind, lang, what in tally if what == "true"}):
        get = {what: count for (k, la, what), count in tally.items() if (k, la) == (kind, lang)}
        finds = get.get("right", 0) + get.get("wrong", 0)
        row = {"kind": kind, "lang": lang, "positives": get["true"], "near_misses": get["near"]}
        row |= {"recall": round(get["hit"] / get["true"], 4), "recall_interval": interval(get["hit"], get["true"])}
        row |= {"precision": round(get.get("right", 0) / max(finds, 1), 4)}
        row |= {"precision_interval": interval(get.get("right", 0), finds)}
        rows.append({**row, "wrong_checks": get["check"], "wrong_checks_found": get["check hit"]})
    return rows


def main() -> None:
    """Build, score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", choices=("a", "b", "c"), default="c", help="of sentences and labels")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--notes", type=int, default=0, help="show so many misses and wrong finds")
    args = parser.parse_args()
    cases = []
    for kind, lang in [(kind, lang) for kind in pii.KINDS for lang in LANGS] + [(kind, "code") for kind in CODE_KINDS]:
        plan = Plan(random.Random(f"{args.seed} {kind} {lang}"), lang, args.set)
        cases += [planted(plan, kind, true) for true in (True, False) for _ in range(args.size)]
    tally, notes = tallied(cases)
    rows = scored(tally)
    if args.json:
        print(json.dumps({"seed": args.seed, "size": args.size, "set": args.set, "rows": rows}, indent=1))
        return
    print(f"{'kind':14}{'lang':6}{'recall':>6}  {'95 %':16}{'precision':>9}  {'95 %':16}wrong check digits found")
    for row in rows:
        checks = f"{row['wrong_checks_found']} of {row['wrong_checks']}" if row["wrong_checks"] else ""
        recall = f"{row['recall']:6.3f}  {row['recall_interval']!s:16}"
        print(
            f"{row['kind']:14}{row['lang']:6}{recall}{row['precision']:9.3f}  {row['precision_interval']!s:16}{checks}"
        )
    print("\n".join(random.Random(args.seed).sample(notes, min(args.notes, len(notes)))))


if __name__ == "__main__":
    main()
