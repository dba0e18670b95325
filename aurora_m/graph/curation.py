"""The steps from raw text to clean text: fetch, measure, decide, rewrite."""

from collections.abc import Sequence

from aurora_m.core.step import Step
from aurora_m.data import steps as data
from aurora_m.data.columns import Column, columns_of
from aurora_m.data.measure.toxic import languages as toxic_languages
from aurora_m.data.personal.pii import CODE_KINDS as CODE_MASKS
from aurora_m.data.personal.pii import KINDS as MASKS
from aurora_m.data.read.sources import pin as pin_source
from aurora_m.data.select.expression import column_names
from aurora_m.data.select.keep import check_keep, check_model_names
from aurora_m.data.select.rules import expand
from aurora_m.graph.graph import Graph, NamedSteps, pinned
from aurora_m.model import steps as model
from aurora_m.recipe import Recipe, Source, known

# --- what all sources have


def add_fetches(graph: Graph, base_steps: NamedSteps) -> NamedSteps:
    """The documents of each source: from where it lies, or written by the base."""
    return {name: graph.add(_fetch(graph, base_steps, name, source)) for name, source in graph.recipe.source.items()}


def _fetch(graph: Graph, base_steps: NamedSteps, name: str, source: Source) -> Step:
    step, lang = f"fetch.{name}", source.lang
    if source.documents:
        base, seed = base_steps["base"], graph.recipe.seed
        return model.write(step, model=base, documents=source.documents, source=name, lang=lang, seed=seed)
    pin, form = pinned(lambda: pin_source(source.uri, graph.root)), source.form
    return data.fetch(step, uri=source.uri, source=name, lang=lang, pin=pin, revision=source.revision, form=form)


def add_duplicates(graph: Graph, docs: NamedSteps) -> Step:
    """Copies over all sources; of two, that of the source declared first stays."""
    return graph.add(data.duplicates("duplicates", docs=docs, near=graph.recipe.duplicates.near, order=[*docs]))


def add_overlap(graph: Graph, docs: NamedSteps, items: Step) -> Step:
    """Documents that hold what models are measured on."""
    return graph.add(data.overlap("overlap", docs=docs, items=items))


# --- measure, decide, rewrite


def add_columns(graph: Graph, docs: NamedSteps, duplicates: Step, overlap: Step) -> dict[str, NamedSteps]:
    """For each source the steps that make its columns. RecipeError if a rule of its curation is wrong."""
    recipe = graph.recipe
    check_model_names(recipe.quality, recipe.register)
    models = add_text_models(graph, docs)
    columns: dict[str, NamedSteps] = {}
    for name, source in recipe.source.items():
        keep, there = keep_of(recipe, source), source_columns(recipe, source)
        check_masks(recipe, source)
        check_keep(keep, there)
        used = [column for column in there if column.name in column_names(keep)]
        measured = add_measures(graph, docs, models, name, used)
        lines = add_lines(graph, docs, duplicates, source.curate)
        columns[name] = {**measured, "duplicates": duplicates, "overlap": overlap, **lines}
    return columns


def add_decisions(graph: Graph, docs: NamedSteps, columns: dict[str, NamedSteps]) -> NamedSteps:
    """Which documents of each source stay."""
    recipe = graph.recipe
    return {
        name: graph.add(
            data.decide(
                f"decide.{name}", docs=docs[name], columns=columns[name], source=name, keep=keep_of(recipe, source)
            )
        )
        for name, source in recipe.source.items()
    }


def add_rewrites(graph: Graph, docs: NamedSteps, columns: dict[str, NamedSteps], decided: NamedSteps) -> NamedSteps:
    """The clean text of each source."""
    clean: NamedSteps = {}
    for name, source in graph.recipe.source.items():
        rules = graph.recipe.curate[source.curate]
        step = data.rewrite(
            f"rewrite.{name}",
            docs=docs[name],
            kept=decided[name],
            signals=columns[name]["signals"],
            mask=rules.mask,
            held_out=source.held_out,
            source=name,
            seed=graph.recipe.seed,
            repo_marks=rules.repo_marks if rules.repo_marks and source.lang == "code" else None,
            lines=columns[name].get("lines"),
        )
        clean[name] = graph.add(step)
    return clean


# --- columns


def add_measures(graph: Graph, docs: NamedSteps, models: NamedSteps, name: str, used: Sequence[Column]) -> NamedSteps:
    """The steps that measure a source; of the columns that only some sources have, those that are used."""
    made_by = {column.step for column in used}
    recipe, source, read = graph.recipe, graph.recipe.source[name], docs[name]
    made = {"signals": graph.add(data.signals(f"signals.{name}", docs=read, lang=source.lang))}
    if "code" in made_by:
        made["code"] = graph.add(data.code_signals(f"code.{name}", docs=read))
    if "perplexity" in made_by:
        ngrams = models[f"perplexity.{source.lang}"]
        made["perplexity"] = graph.add(data.perplexity(f"perplexity.{name}", docs=read, model=ngrams))
    if "toxic" in made_by:
        words = recipe.curate[source.curate].words
        pin = graph.pin_local(words) if words else ""
        made["toxic"] = graph.add(data.toxic(f"toxic.{name}", docs=read, lang=source.lang, words=words, pin=pin))
    judges = {model: step for model, step in models.items() if any(column.model == model for column in used)}
    if judges:
        made["classes"] = graph.add(data.classify(f"classes.{name}", docs=read, models=judges))
    for column in (column.model for column in used if column.step == "subsample"):
        step = data.subsample(
            f"subsample.{name}.{column}",
            docs=read,
            classes=made["classes"],
            model=models[column],
            column=column,
            shares=recipe.register[column].shares,
            seed=recipe.seed,
        )
        made[f"subsample.{column}"] = graph.add(step)
    return made


def add_lines(graph: Graph, docs: NamedSteps, duplicates: Step, table: str) -> NamedSteps:
    """The step that finds the lines which pages of a site share, over all sources of one curation; or none."""
    recipe, name = graph.recipe, f"lines.{table}"
    pages = recipe.curate[table].boilerplate_pages
    if not pages:
        return {}
    if name not in graph.steps:
        parts = {other: docs[other] for other, source in recipe.source.items() if source.curate == table}
        graph.add(data.lines(name, docs=parts, duplicates=duplicates, min_docs=pages, order=[*parts]))
    return {"lines": graph.steps[name]}


def add_text_models(graph: Graph, docs: NamedSteps) -> NamedSteps:
    """The recipe's own models of text, by the column that they make."""
    recipe, seed = graph.recipe, graph.recipe.seed
    models: NamedSteps = {}
    for name, quality in recipe.quality.items():
        positive, negative = ({part: docs[part] for part in side} for side in (quality.positive, quality.negative))
        most = quality.max_docs
        step = data.train_classifier(f"quality.{name}", positive=positive, negative=negative, seed=seed, max_docs=most)
        models[name] = graph.add(step)
    for name, register in recipe.register.items():
        parts, label, most = {part: docs[part] for part in register.sources}, register.label, register.max_docs
        step = data.train_registers(f"register.{name}", docs=parts, field=label, seed=seed, max_docs=most)
        models[name] = graph.add(step)
    for lang, clean in recipe.perplexity.items():
        parts = {part: docs[part] for part in clean.sources}
        step = data.train_ngrams(f"ngrams.{lang}", docs=parts, seed=seed, max_bytes=clean.max_bytes)
        models[f"perplexity.{lang}"] = graph.add(step)
    return models


# --- the rules of a curation


def keep_of(recipe: Recipe, source: Source) -> str:
    """Which documents of a source stay, named rules spelled out."""
    return expand(recipe.curate[source.curate].keep, source.lang)


def check_masks(recipe: Recipe, source: Source) -> None:
    """RecipeError if a curation masks a kind of personal data that there is not."""
    kinds, what = (CODE_MASKS, "kind to mask in code") if source.lang == "code" else (MASKS, "kind to mask")
    for kind in recipe.curate[source.curate].mask:
        known(kind, kinds, f"curate.{source.curate}.mask", what)


def source_columns(recipe: Recipe, source: Source) -> tuple[Column, ...]:
    """The columns of a source."""
    rules = recipe.curate[source.curate]
    return columns_of(
        source.lang,
        boilerplate=rules.boilerplate_pages > 0,
        toxic=source.lang in toxic_languages() or bool(rules.words),
        perplexity=source.lang in recipe.perplexity,
        quality=recipe.quality,
        registers=recipe.register,
    )
