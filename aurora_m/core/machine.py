"""What this process may use of its machine, and what that is called."""

import os
import platform
import re
import sys
from pathlib import Path

_CPU = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
CPUINFO = Path("/proc/cpuinfo")  # of Linux


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


def hardware() -> str:
    """The processors that this process may use, and the GPUs if it has used them: `2 × Intel Xeon (x86_64)`.

    For the manifest: no artifact's bytes or name depend on it.
    """
    try:
        named = _CPU.search(CPUINFO.read_text(errors="replace"))
    except OSError:
        named = None
    name = " ".join(named[1].split()) if named else platform.processor() or "processor"
    parts = [f"{processors()} × {name} ({platform.machine()})"]
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        parts += [f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)]
    return ", ".join(parts)
