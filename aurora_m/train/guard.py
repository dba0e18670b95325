"""Guards of a running stage: a loss or gradient that is not finite stops it before the update."""

import math

from aurora_m.core.errors import TrainError


def check_finite(loss: float, norm: float, name: str, opt_step: int, rows: range) -> None:
    """Stop with the rows of the batch named. The last checkpoint stays good."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    raise TrainError(
        f"the loss is {loss:g} and the gradient norm {norm:g}",
        at=f"{name}, optimizer step {opt_step}, rows {rows.start} to {rows.stop - 1}",
        hint="lower `peak_lr` or lengthen `warmup`; the weights were not updated with this batch",
    )
