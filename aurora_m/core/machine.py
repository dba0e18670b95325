"""What this process may use of its machine."""

import os


def load() -> float:
    """How many processes wanted a processor over the last minute, on average; 0 where nobody counts them."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0


def processors() -> int:
    """How many processors this process may run on."""
    here = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(here(0)) if here else os.cpu_count() or 1
