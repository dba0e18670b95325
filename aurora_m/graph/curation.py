"""The steps from raw text to clean text: fetch, measure, decide, rewrite."""

import pyarrow as pa

from aurora_m.core.errors import RecipeError
from aurora_m.core.step import Step
from aurora_m.data import steps as data
from aurora_m.data.measure.code import CODE
from aurora_m.data.measure.toxic import languages as toxic_languages
from aurora_m.data.personal.pii import CODE_KINDS as CODE_MASKS
from aurora_m.data.personal.pii import KINDS as MASKS
from aurora_m.data.read.sources import pin as pin_source
from aurora_m.data.select.decide import COLUMNS, KEYWORDS, check_keep, names
from aurora_m.data.select.rules import expand
from aurora_m.data.select.rules import table as rules_table
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
    check_models(recipe)
    models = add_text_models(graph, docs)
    columns: dict[str, NamedSteps] = {}
    for name, source in recipe.source.items():
        optional = optional_columns(recipe, source)
        check_masks(recipe, source)
        check_keep(keep_of(recipe, source), optional.values())
        measured = add_measures(graph, docs, models, name, names(keep_of(recipe, source)) & set(optional))
        lines = add_lines(graph, docs, duplicates, source.curate)
        columns[name] = {**measured, "duplicates": duplicates, "overlap": overlap, **lines}
    return columns


def add_decisions(graph: Graph, docs: NamedSteps, columns: dict[str, NamedSteps]) -> NamedSteps:
    """Which documents of each source stay."""
    recipe = graph.recipe
    return {
        name: graph.add(
            data.decide(
                f"decide.{name}",
                docs=docs[name],
                columns=columns[name],
                source=name,
                keep=keep_of(recipe, source),
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


def add_measures(graph: Graph, docs: NamedSteps, models: NamedSteps, name: str, used: set[str]) -> NamedSteps:
    """The steps that measure a source; of the columns that only some sources have, those that are used."""
    recipe, source, read = graph.recipe, graph.recipe.source[name], docs[name]
    made = {"signals": graph.add(data.signals(f"signals.{name}", docs=read, lang=source.lang))}
    if used & set(CODE.names):
        made["code"] = graph.add(data.code_signals(f"code.{name}", docs=read))
    if "perplexity" in used:
        ngrams = models[f"perplexity.{source.lang}"]
        made["perplexity"] = graph.add(data.perplexity(f"perplexity.{name}", docs=read, model=ngrams))
    if "toxic" in used:
        words = recipe.curate[source.curate].words
        pin = graph.pin_local(words) if words else ""
        made["toxic"] = graph.add(data.toxic(f"toxic.{name}", docs=read, lang=source.lang, words=words, pin=pin))
    judges = {model: step for model, step in models.items() if used & {model, f"{model}_prob", f"{model}_keep"}}
    if judges:
        made["classes"] = graph.add(data.classify(f"classes.{name}", docs=read, models=judges))
    for column in (column for column in recipe.register if f"{column}_keep" in used):
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


def check_models(recipe: Recipe) -> None:
    """RecipeError unless the columns of the recipe's own models have names of their own, which a `keep` can say."""
    taken = {*(field.name for field in COLUMNS), *CODE.names, "text", "boiler", "toxic", "perplexity", *rules_table()}
    made = [f"{name}{end}" for name in recipe.register for end in ("", "_prob", "_keep")] + [*recipe.quality]
    for name in made:
        right = name.isidentifier() and name.isascii() and name.upper() not in KEYWORDS
        if not right or name in taken or made.count(name) > 1:
            hint = "choose a name of letters, digits and `_` that no column and no rule has"
            raise RecipeError(f"a model cannot be named `{name}`", at=f"quality or register `{name}`", hint=hint)


def optional_columns(recipe: Recipe, source: Source) -> dict[str, pa.Field]:
    """The columns that only some sources have: of code, and of the recipe's own models."""
    lang, rules = source.lang, recipe.curate[source.curate]
    fields = [field for field in CODE if lang == "code" and field.name != "id"]
    fields += [pa.field("boiler", pa.float64())] if rules.boilerplate_pages > 0 else []
    fields += [pa.field("toxic", pa.float64())] if lang in toxic_languages() or rules.words else []
    fields += [pa.field("perplexity", pa.float64())] if lang in recipe.perplexity else []
    fields += [pa.field(name, pa.float64()) for name in recipe.quality]
    for name in recipe.register:
        fields += [pa.field(name, pa.string()), pa.field(f"{name}_prob", pa.float64())]
        fields += [pa.field(f"{name}_keep", pa.bool_())]
    return {field.name: field for field in fields}
