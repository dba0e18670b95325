"""Keys of recipes that are called something else now, by dataclass: old name, new name. Nothing reads an old one."""

from collections.abc import Mapping

RENAMED: Mapping[str, Mapping[str, str]] = {
    "Anchor": {"batch": "batch_tokens"},
    "Curate": {"boilerplate": "boilerplate_pages"},
    "Evals": {"max_held": "max_held_bytes"},
    "Training": {
        "batch": "batch_tokens",
        "cooldown": "cooldown_tokens",
        "horizon": "horizon_tokens",
        "marks": "eval_points",
        "warmup": "warmup_tokens",
    },
}
