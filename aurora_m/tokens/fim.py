"""Fill in the middle: documents of a row are cut in three and moved, and back again exactly.

A document grows by its three marks. Rows end to end (`packing = "concat"`) lose what no longer fits; packed rows keep
room for the marks, so that every document keeps its end.

source  Bavarian et al. 2022 (arXiv 2207.14255): PSM and SPM, half each, at token level
"""

from itertools import pairwise

import numpy as np

MIN_TOKENS = 8  # a shorter piece has no middle worth filling


def infill(
    tokens: np.ndarray,
    starts: np.ndarray,
    room: int,
    *,
    rate: float,
    marks: tuple[int, int, int],
    seed: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Transform a share `rate` of a row's documents.

    tokens   int64[n]
    starts   int64[docs], where documents begin, the first at 0
    room     the most tokens to return; what does not fit is cut off
    marks    ids of prefix, middle, suffix
    seed     decides which documents and where they are cut
    returns  the new tokens and starts
    """
    random = np.random.Generator(np.random.Philox(key=np.array(seed, np.uint64)))
    begins = starts.tolist()
    pieces, new_starts, length = [], [], 0
    for start, stop in pairwise([*begins, len(tokens)]):
        # The end token stays last, so that a filled middle is known to end. Where a row end to end cuts a document off,
        # there is none: its last token goes there instead, and the row's end cuts it away.
        body, end = tokens[start : stop - 1], tokens[stop - 1 : stop]
        chosen, spm = random.random(2).tolist()
        cuts = random.integers(1, max(len(body), 2), 2).tolist()
        if chosen < rate and len(body) >= MIN_TOKENS:
            body = arrange(body, min(cuts), max(cuts), marks, spm < 0.5)
        pieces += [body, end]
        new_starts.append(length)
        length += len(body) + len(end)
    return np.concatenate(pieces)[:room], np.array([start for start in new_starts if start < room])


def arrange(piece: np.ndarray, a: int, b: int, marks: tuple[int, int, int], spm: bool) -> np.ndarray:
    """Move piece[a:b], the middle, to the end; in SPM form the suffix comes before the prefix."""
    prefix_id, middle_id, suffix_id = marks
    prefix, middle, suffix = piece[:a], piece[a:b], piece[b:]
    if spm:
        return np.concatenate([[prefix_id, suffix_id], suffix, [middle_id], prefix, middle])
    return np.concatenate([[prefix_id], prefix, [suffix_id], suffix, [middle_id], middle])


def restore(piece: np.ndarray, marks: tuple[int, int, int]) -> np.ndarray:
    """Undo `arrange`, in either form: what stands before the suffix's mark, after the middle's, and between them."""
    _, middle_id, suffix_id = marks
    cut_s, cut_m = int(np.flatnonzero(piece == suffix_id)[0]), int(np.flatnonzero(piece == middle_id)[0])
    return np.concatenate([piece[1:cut_s], piece[cut_m + 1 :], piece[cut_s + 1 : cut_m]])
