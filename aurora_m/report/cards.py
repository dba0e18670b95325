"""The model card: what a reader of the release must know, every number taken from the steps that made it."""

from collections.abc import Iterable, Mapping
from typing import Any

from aurora_m.core.files import read_json
from aurora_m.core.interval import wilson
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.units import format_count
from aurora_m.recipe import Merge, Recipe, loads
from aurora_m.report.forgetting import FILE
from aurora_m.report.reading import readings, tuning_words
from aurora_m.report.record import automated_words

SAME = (
    "This text and the sources it names make the same files again on the same machine with the same flags and Python "
    "version; elsewhere the files may differ."
)


def model_card(
    work: Work,
    *,
    forgetting: Artifact,
    models: dict[str, Artifact],
    decided: dict[str, Artifact],
    rewritten: dict[str, Artifact],
    mixtures: dict[str, Artifact],
    reviewed: dict[str, Artifact],
    recipe: str,
) -> Facts:
    """Write README.md, a card in the form that model hubs read."""
    told = loads(recipe)
    changes = read_json(forgetting.path / FILE)
    parts = [
        _head(told),
        _what(told, models),
        "## Data\n\n" + _data(told, decided, rewritten),
        "## Training\n\n" + _training(told, models, mixtures),
        "## What it gained and lost\n\n" + _changes(told, changes),
        "## Safety\n\n" + _safety(told, changes, reviewed),
        _limits(),
        "## Recipe\n\n" + SAME + "\n\n```toml\n" + recipe + "```\n",
    ]
    (work.out / "README.md").write_text("\n".join(parts), encoding="utf-8")
    return {"sections": len(parts)}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _head(recipe: Recipe) -> str:
    langs = sorted({s.lang for s in recipe.source.values()} - {"code", "mul"})
    lines = ["---", f"license: {recipe.release.license.lower()}", "language:", *(f"- {lang}" for lang in langs)]
    if recipe.base.model.startswith("hf:"):
        lines += [f"base_model: {recipe.base.model[3:]}"]
    return "\n".join([*lines, "library_name: transformers", "pipeline_tag: text-generation", "---", ""])


def _what(recipe: Recipe, models: Mapping[str, Artifact]) -> str:
    facts = models[recipe.release.model].facts
    base = (
        "a base trained from scratch by the same recipe"
        if recipe.base.scratch
        else f"`{recipe.base.model}`" + (f" at `{recipe.base.revision}`" if recipe.base.revision else "")
    )
    chain = " → ".join(f"`{name}`" for name in recipe.models())
    return (
        f"# {recipe.name}\n\nThe model `{recipe.release.model}` of the Aurora recipe `{recipe.name}`: "
        f"{format_count(float(str(facts['parameters'])))} parameters, continued from {base}. The chain: {chain}.\n"
    )


def _data(recipe: Recipe, decided: Mapping[str, Artifact], rewritten: Mapping[str, Artifact]) -> str:
    rows = []
    for name, source in recipe.source.items():
        came, clean = decided[name].facts, rewritten[name].facts
        edits = sum(_numbers(clean["edits"]).values())
        rows.append(
            [
                name,
                source.lang,
                f"`{source.uri}`",
                source.license,
                came["docs_in"],
                came["docs_kept"],
                clean["held_docs"],
                edits,
            ]
        )
    head = ["source", "language", "from", "licence", "documents in", "kept", "of these held out", "edits"]
    return table(head, rows) + "\nWhat left, and under which rule, is in the report.\n"


def _training(recipe: Recipe, models: Mapping[str, Artifact], mixtures: Mapping[str, Artifact]) -> str:
    rows = []
    for name in recipe.models():
        facts = models[name].facts
        if "tokens" in facts:
            found = readings(recipe, name, models[name], mixtures.get(name))
            read = ", ".join(f"{reading.source} {reading.achieved:.1%}" for reading in found)
            rows.append(
                [name, f"{facts['tokens']:,}", f"{facts['opt_steps']:,}", f"{float(str(facts['flop'])):.2e}", read]
            )
    text = table(["model", "tokens", "optimizer steps", "FLOP", "shares of tokens learnt from"], rows)
    text += "".join(f"\n{_merge_words(name, how, scale)}\n" for name, (how, scale) in recipe.merges().items())
    return text + "".join(f"\n{tuning_words(recipe, name)}\n" for name in recipe.tune)


def _merge_words(name: str, how: Merge, scale: float) -> str:
    """What a merged model is the sum of."""
    parts = " + ".join(f"{weight:g} × `{model}`" for model, weight in how.models.items())
    if not how.origin:
        return f"The model `{name}` was not trained: it is {parts}, weight by weight."
    trim = f", the largest {how.density:.0%} of each" if how.method == "ties" else ""
    changes = f"{scale:g} times what {parts} changed in it"
    return f"The model `{name}` was not trained: it is `{how.origin}` and {changes}, merged by {how.method}{trim}."


def _changes(recipe: Recipe, changes: Mapping[str, Any]) -> str:
    rows = [
        [
            row["lang"],
            f"{row['before']:.3f}",
            f"{row['after']:.3f}",
            f"{row['change']:+.1%} [{row['low']:+.1%}, {row['high']:+.1%}]",
            row["n"],
            row["verdict"],
        ]
        for row in changes["rows"]
        if row["task"] == "bpb" and row["model"] == recipe.release.model
    ]
    told = "Bits per byte of held-out documents; lower is better; 95 % paired bootstrap intervals.\n\n"
    return told + table(["language", "base", "this model", "change", "documents", "verdict"], rows)


def _safety(recipe: Recipe, changes: Mapping[str, Any], reviewed: Mapping[str, Artifact]) -> str:
    mine = [row for row in changes["rows"] if row["model"] == recipe.release.model]
    over = {row["lang"]: row for row in mine if row["metric"] == "over_refusal"}
    rows = []
    for row in mine:
        if row["metric"] == "refusal" and row["lang"] in over:
            twin = over[row["lang"]]
            cells = [_rate(r[side], r["n"]) for r in (row, twin) for side in ("before", "after")]
            rows.append([row["lang"], *cells, row["n"]])
    head = ["language", "harmful refused, base", "this model", "benign twins refused, base", "this model", "pairs"]
    told = "Rates with 95 % intervals (Wilson).\n\n"
    text = told + table(head, rows) if rows else "Safety was not measured.\n"
    for artifact in reviewed.values():
        f = artifact.facts
        names = _names(f["reviewers"])
        about = f"reviewers {', '.join(names)}; agreement {f['agreement']}.{automated_words(names)}"
        text += f"\nTuned on {f['passed']} of {f['rows']} rows; {about}\n"
    return text


def _rate(share: float, n: int) -> str:
    low, high = wilson(round(share * n), n)
    return f"{share:.0%} [{low:.0%}, {high:.0%}]"


def _limits() -> str:
    return (
        "## Limits\n\nRefusals are judged by their opening words in each language, so a garbled answer counts as no "
        "refusal. Held-out text comes from the same sources as the training text. Nothing here replaces your own "
        "tests before people use the model.\n"
    )


def _numbers(value: Any) -> dict[str, Any]:
    return dict(value)


def _names(value: Any) -> list[str]:
    return [str(name) for name in value]
