"""The monitor: bits per byte of held-out text in every language, measured while a stage trains."""

from collections import defaultdict
from collections.abc import Callable, Mapping

import pyarrow.compute as pc
from transformers import PreTrainedModel

from aurora_m.core.canon import JSON, digest
from aurora_m.core.step import Artifact
from aurora_m.core.table import read_all
from aurora_m.model.likelihood import document_bits
from aurora_m.model.load import positions
from aurora_m.tokens.tokenizer import end_id, open_tokenizer

MARK_BYTES = 3_000  # of held-out text a language: a glance, not a verdict


def bits_per_byte(held: Mapping[str, Artifact], tokenizer: Artifact) -> Callable[[PreTrainedModel], JSON]:
    """Make the function that measures a model: bits per byte for each language."""
    encoder = open_tokenizer(tokenizer.path)
    end = end_id(encoder)
    texts: dict[str, list[str]] = defaultdict(list)
    for source in sorted(held):
        table = read_all(held[source].path, "held")
        for lang in sorted(set(table["lang"].to_pylist())):
            of_lang = table.filter(pc.equal(table["lang"], lang)).sort_by("id")
            docs = sorted(
                zip(of_lang["id"].to_pylist(), of_lang["text"].to_pylist(), strict=True), key=lambda d: digest(d[0])
            )
            texts[lang] += [text for _, text in docs]
    glances = {lang: _first_bytes(found) for lang, found in texts.items()}
    ids = {
        lang: [encoding.ids for encoding in encoder.encode_batch(found, add_special_tokens=False)]
        for lang, found in glances.items()
    }
    sizes = {lang: sum(len(text.encode()) for text in found) for lang, found in glances.items()}

    def measure(model: PreTrainedModel) -> JSON:
        model.eval()
        bits = {lang: sum(document_bits(model, docs, end, positions(model))) for lang, docs in ids.items()}
        model.train()
        return {lang: round(total / sizes[lang], 5) for lang, total in bits.items()}

    return measure


def _first_bytes(texts: list[str]) -> list[str]:
    """Whole documents until `MARK_BYTES` is reached, at least one."""
    found, size = [], 0
    for text in texts:
        if size >= MARK_BYTES:
            break
        found.append(text)
        size += len(text.encode())
    return found
