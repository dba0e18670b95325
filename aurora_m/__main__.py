"""The command `aurora`, also as `python -m aurora_m`."""

import sys

from aurora_m.core import interrupt


def entry() -> None:
    """Run the command line; Ctrl-C is answered from before its first import to the end of the process."""
    interrupt.install()
    from aurora_m.cli.main import main
    from aurora_m.core import streams

    streams.set_up()
    try:
        code = main()
    finally:
        interrupt.ignore()
    sys.exit(code)


if __name__ == "__main__":
    entry()
