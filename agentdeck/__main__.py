"""Starts the command line: `agentdeck`, or `python -m agentdeck`.

Importing the command line takes 0.1 s. Ctrl-C in that time, and in the imports that a verb makes, ends the
process here: a KeyboardInterrupt inside an import can be swallowed, or come out of the import as another error.
"""

from __future__ import annotations

# The module `signal` imports `enum` and `re`; Ctrl-C in that time would show a traceback.
import _signal as signal  # type: ignore[import-not-found]
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Called by the `agentdeck` script. Leaves by SystemExit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where SIGINT is ignored, as by nohup
        signal.signal(signal.SIGINT, interrupted)
    from agentdeck.cli.main import main as start

    start()


def interrupted(number: int, frame: FrameType | None) -> None:
    """Handle SIGINT: end the process if it is importing a module, else raise KeyboardInterrupt."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"agentdeck: interrupted\n")
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
