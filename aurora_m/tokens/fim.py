"""Fill in the middle: documents of a row are cut in three and moved, and back again exactly.

source  Bavarian et al. 2022 (arXiv 2207.14255): PSM and SPM, half each, at token level
"""

import numpy as np

MIN_TOKENS = 8  # a shorter piece has no middle worth filling


def infill(
    tokens: np.ndarray, starts: np.ndarray, rate: float, marks: tuple[int, int, int], seed: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Transform a share `rate` of a row's documents; the row keeps its length, so its end may be cut.

    tokens   int64[n]
    starts   int64[docs], where documents begin, the first at 0
    marks    ids of prefix, middle, suffix
    seed     decides which documents and where they are cut
    returns  the new tokens and starts
    """
    random = np.random.Generator(np.random.Philox(key=np.array(seed, np.uint64)))
    pieces, new_starts, length = [], [], 0
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        # The end token stays last, so that a filled middle is known to end. Where the row cuts a document off, there is
        # none: its last token goes there instead, and the row's end cuts it away.
        body, end = tokens[start : stop - 1], tokens[stop - 1 : stop]
        chosen, spm = random.random(2)
        cuts = np.sort(random.integers(1, max(len(body), 2), 2))
        if chosen < rate and len(body) >= MIN_TOKENS:
            body = arrange(body, int(cuts[0]), int(cuts[1]), marks, spm < 0.5)
        pieces += [body, end]
        new_starts.append(length)
        length += len(body) + len(end)
    kept = np.array(new_starts)
    return np.concatenate(pieces)[: len(tokens)], kept[kept < len(tokens)]


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
