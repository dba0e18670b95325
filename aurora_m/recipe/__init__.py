"""The recipe: what a run makes. Frozen dataclasses, strict TOML in, canonical TOML out.

A recipe holds no device and no worker count, and no path but `file:` names relative to itself: where and how
a run happens is `Runtime`.
"""

from aurora_m.recipe.checks import check
from aurora_m.recipe.shape import (
    Anchor,
    Base,
    Curate,
    Duplicates,
    Evals,
    Extend,
    Lora,
    Merge,
    Mixture,
    Perplexity,
    Quality,
    Recipe,
    Redteam,
    Register,
    Release,
    Review,
    Scratch,
    Shape,
    Shards,
    Source,
    Stage,
    Training,
    Tune,
)
from aurora_m.recipe.text import dumps, load, loads
from aurora_m.recipe.values import LANGUAGES, NAME, RANGES, known

__all__ = [
    "LANGUAGES",
    "NAME",
    "RANGES",
    "Anchor",
    "Base",
    "Curate",
    "Duplicates",
    "Evals",
    "Extend",
    "Lora",
    "Merge",
    "Mixture",
    "Perplexity",
    "Quality",
    "Recipe",
    "Redteam",
    "Register",
    "Release",
    "Review",
    "Scratch",
    "Shape",
    "Shards",
    "Source",
    "Stage",
    "Training",
    "Tune",
    "check",
    "dumps",
    "known",
    "load",
    "loads",
]
