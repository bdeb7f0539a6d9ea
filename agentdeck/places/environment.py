"""The variables of the engine's environment that processes of places get."""

from __future__ import annotations

import os
from collections.abc import Iterable

#: What every process needs; no key of any service is among them.
USUAL = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "SYSTEMROOT"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
)


def usual(more: Iterable[str] = (), starts: tuple[str, ...] = ()) -> dict[str, str]:
    """The usual variables, as far as they are set; `more` by name, and those whose names start in some way."""
    found = {name: os.environ[name] for name in (*USUAL, *more) if name in os.environ}
    return found | {name: value for name, value in os.environ.items() if name.startswith(("LC_", *starts))}
