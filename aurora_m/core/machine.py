"""What this process may use of its machine."""

import os


def processors() -> int:
    """How many processors this process may run on."""
    here = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(here(0)) if here else os.cpu_count() or 1
