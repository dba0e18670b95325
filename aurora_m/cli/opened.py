"""A page as it is opened: with when, where and in what time it was made. Its artifact is the same everywhere."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aurora_m.cli.show import artifact_row
from aurora_m.core.files import replacing
from aurora_m.core.step import Artifact
from aurora_m.core.store import Store
from aurora_m.core.units import format_duration

HEADING_ENDS = "</h1>"


def pages(store: Store, artifact: Artifact) -> list[Path]:
    """The artifact's pages, copied into the store's `pages` with a line below the heading on how they were made."""
    about: Any = artifact_row(store, artifact, up=True)
    line = f'\n<p class="over">{html.escape(made_words(about))}</p>'
    opened = []
    for page in sorted(artifact.path.glob("*.html")):
        path = store.pages / artifact.path.name / page.name
        with replacing(path) as file:
            file.write(page.read_text("utf-8").replace(HEADING_ENDS, HEADING_ENDS + line, 1).encode())
        opened.append(path)
    return opened


def made_words(about: Mapping[str, Any]) -> str:
    """When the last of some steps ended, what all took, and on which hardware, from their manifests."""
    manifests = [about, *about.get("made_from", [])]
    seconds = sum(manifest["seconds"] for manifest in manifests)
    machines = sorted({manifest["hardware"] for manifest in manifests if manifest.get("hardware")})
    date = max(str(manifest["finished"]) for manifest in manifests)[:10]
    where = f" on {'; '.join(machines)}" if machines else ""
    took = f"{len(manifests)} step{'s' if len(manifests) > 1 else ''} took {format_duration(seconds)}"
    return f"Made {date}{where}. Its {took}, each counted once, whenever it ran."
