"""Forecasts for whoever turns a limit: worked out in a thread, one at a time, the last one wanted first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from agentdeck.insight.what_if import RunSnapshot, predict_change

#: Forecasts that are kept, and for how many seconds one holds: a run moves on.
KEPT, HOLDS = 64, 5.0


class Foresight:
    """Ask as often as a screen is drawn: what is not known yet is "…". `standing` is taken on the caller's thread
    when a forecast begins."""

    def __init__(self, standing: Callable[[], RunSnapshot]) -> None:
        self._standing = standing
        self._told: dict[tuple[str, object], tuple[str, float]] = {}
        self._at_work = False

    def __call__(self, name: str, value: object) -> str:
        key = (name, value)
        text, until = self._told.get(key, ("…", 0.0))
        if time.monotonic() > until and not self._at_work:
            if len(self._told) >= KEPT:
                self._told.clear()
            self._at_work = True
            run = self._standing()
            threading.Thread(target=self._work, args=(run, key), name="agentdeck-foresight", daemon=True).start()
        return text

    def forget(self) -> None:
        """The run stands otherwise now."""
        self._told.clear()

    def _work(self, run: RunSnapshot, key: tuple[str, object]) -> None:
        try:
            text = predict_change(run, *key)
        except Exception as error:  # a forecast that fails is no reason to lose the screen
            text = f"no forecast: {error}"
        self._told[key] = text, time.monotonic() + HOLDS
        self._at_work = False
