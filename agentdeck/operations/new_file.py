"""Files that a command makes anew: those of `agentdeck import` and `agentdeck export`."""

from __future__ import annotations

import os
from pathlib import Path

from agentdeck.errors import UsageError


def write_new(out: str, text: str, replace: bool) -> None:
    """Write the text to a file. Raises UsageError if it exists and may not be replaced, or cannot be written."""
    path = Path(out)
    try:
        if path.is_dir():
            raise UsageError(f"-o {out}: this is a folder; name a file in it")
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL)
        with os.fdopen(os.open(path, flags, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"-o {out}: this file exists; --force replaces it") from None
    except OSError as error:
        raise UsageError(f"-o {out}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise UsageError(f"-o {out!r}: {error}") from None
