"""Time and memory of the tiny recipe in an empty store, as a whole process: `python benchmarks/tiny.py`.

What stands after it goes to `aurora run`. Writes benchmarks/results/tiny-<date>.json: seconds and peak memory of the
run, and the seconds of each step.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HOUSE = Path(__file__).parents[1]


def main() -> None:
    """Run once and write the result."""
    _, more = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0]).parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        started_s = time.monotonic()
        words = ["run", "recipes/tiny.toml", "--store", str(store), *more]
        subprocess.run([sys.executable, "-m", "aurora_m", *words], cwd=HOUSE, check=True)
        seconds = time.monotonic() - started_s
        manifests = [json.loads(path.read_text()) for path in store.glob("artifacts/*/manifest.json")]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds, 1),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "commit": manifests[0]["commit"],
        "packages": manifests[0]["packages"],
        "step_seconds": {
            m["key"]["name"]: m["seconds"] for m in sorted(manifests, key=lambda m: -m["seconds"]) if m["seconds"] >= 1
        },
    }
    path = HOUSE / "benchmarks/results" / f"tiny-{result['date']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path, f"{seconds:.0f} s", f"{result['peak_memory_bytes'] / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
