"""Numbers as people read them: with their interval, their sign, and one width."""

from dataclasses import dataclass

MINUS, SPACE = "\u2212", "\u00a0"
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval, over `n` items or documents."""

    value: float
    low: float
    high: float
    n: int


def percent(share: float, digits: int = 0) -> str:
    """Write a share of 1: `84 %`."""
    return f"{share * 100:.{digits}f}{SPACE}%"


def signed(share: float, digits: int = 1) -> str:
    """Write a change as a share, with its sign: `+1.2 %`; a change that rounds to nothing has none."""
    text = f"{abs(share) * 100:.{digits}f}"
    sign = "" if float(text) == 0 else MINUS if share < 0 else "+"
    return f"{sign}{text}{SPACE}%"


def points(change: float) -> str:
    """Write a difference of two shares, in points of a hundred: `+12.5 pt`."""
    return signed(change).replace("%", "pt")


def decimal(value: float, digits: int = 3) -> str:
    """Write a plain number with a fixed number of digits after the point."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def power(value: float) -> str:
    """Write a large number as a power of ten: `3.2 × 10¹⁵`."""
    if value == 0:
        return "0"
    figures, _, exponent = f"{value:.1e}".partition("e")
    return f"{figures}{SPACE}×{SPACE}10{str(int(exponent)).translate(SUPERSCRIPT)}"
