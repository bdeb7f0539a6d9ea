"""Forecasts of what changing a limit would do, made in a thread: one at a time, the last one asked for first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from agentdeck.insight.what_if import RunSnapshot, predict_change

MAX_CACHED = 64
VALID = 5.0  # seconds for which a forecast holds: the run goes on


class Forecasts:
    """Gives the forecast of a limit and a value as a sentence; "…" while it is not known. May be called as often
    as a screen is drawn. `snapshot` takes the run as it is now, on the caller's thread, before a forecast."""

    def __init__(self, snapshot: Callable[[], RunSnapshot]) -> None:
        self._snapshot = snapshot
        self._cache: dict[tuple[str, object], tuple[str, float]] = {}
        self._working = False

    def __call__(self, name: str, value: object) -> str:
        key = (name, value)
        text, until = self._cache.get(key, ("…", 0.0))
        if time.monotonic() > until and not self._working:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._working = True
            run = self._snapshot()
            threading.Thread(target=self._work, args=(run, key), name="agentdeck-forecast", daemon=True).start()
        return text

    def clear(self) -> None:
        """Forget all forecasts: the run has changed."""
        self._cache.clear()

    def _work(self, run: RunSnapshot, key: tuple[str, object]) -> None:
        try:
            text = predict_change(run, *key)
        except Exception as error:  # a forecast that fails is no reason to lose the screen
            text = f"no forecast: {error}"
        self._cache[key] = text, time.monotonic() + VALID
        self._working = False
