"""Work that may be done less often when it takes long."""

from __future__ import annotations

import time
from types import TracebackType

#: Less than this is always done, in seconds.
LITTLE = 0.001
#: What takes longer may take this share of the time.
SHARE = 0.04


class Seldom:
    """Around work that is done only so often that it takes SHARE of the time: `if s.due(): with s: …`."""

    def __init__(self) -> None:
        self._began = self._again = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._again

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = time.monotonic()
        took = ended - self._began
        self._again = ended + took / SHARE if took > LITTLE else 0.0
