"""Aurora: continual pre-training of open language models, from raw text to a released model, in one recipe.

The names that programs use, each imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aurora_m.core.log import Log
    from aurora_m.core.run import plan, run
    from aurora_m.core.step import Runtime
    from aurora_m.core.store import Store
    from aurora_m.graph.build import build
    from aurora_m.recipe import load
    from aurora_m.review.decisions import Decision, append, item_digest
    from aurora_m.tokens.megatron import export_pair

__version__ = "0.1.0"
__all__ = [
    "Decision",
    "Log",
    "Runtime",
    "Store",
    "append",
    "build",
    "export_pair",
    "item_digest",
    "load",
    "plan",
    "run",
]

if not TYPE_CHECKING:
    HOMES = {
        "aurora_m.core.log": ("Log",),
        "aurora_m.core.run": ("plan", "run"),
        "aurora_m.core.step": ("Runtime",),
        "aurora_m.core.store": ("Store",),
        "aurora_m.graph.build": ("build",),
        "aurora_m.recipe": ("load",),
        "aurora_m.review.decisions": ("Decision", "append", "item_digest"),
        "aurora_m.tokens.megatron": ("export_pair",),
    }

    def __getattr__(name):
        for module, names in HOMES.items():
            if name in names:
                return getattr(importlib.import_module(module), name)
        raise AttributeError(f"module `aurora_m` has no attribute `{name}`")

    def __dir__():
        return sorted({*globals(), *__all__})
