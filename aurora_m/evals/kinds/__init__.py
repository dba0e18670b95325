"""The kinds of items, by name."""

from collections.abc import Mapping

from aurora_m.evals.kinds import choice, cloze, code, infill, refusal
from aurora_m.evals.kinds.kind import Kind

KINDS: Mapping[str, Kind] = {
    "choice": choice.KIND,
    "cloze": cloze.KIND,
    "code": code.KIND,
    "infill": infill.KIND,
    "refuse": refusal.REFUSE,
    "comply": refusal.COMPLY,
}
