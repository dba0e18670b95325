"""What a step was computed on, for the manifest: no artifact's bytes or name depend on it."""

import platform
import re
import sys
from pathlib import Path

from aurora_m.core.machine import processors

_CPU = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
CPUINFO = Path("/proc/cpuinfo")  # of Linux


def hardware() -> str:
    """The processors that this process may use, and the GPUs if it has used them: `2 × Intel Xeon (x86_64)`."""
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
