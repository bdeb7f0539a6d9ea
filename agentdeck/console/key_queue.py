"""Hands keys to the screen one at a time.

Textual passes a key to the focused widget, from where it bubbles up to the app, which then runs the action that
is bound to it. The next key is passed on before that: of `/` and `x`, typed fast or handled late, `x` reached the
table before the filter was open. And a key that acts on rows did nothing before they were read.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable

from textual import events
from textual.app import App
from textual.message import Message

from agentdeck.console.screens.base import SizedScreen

MOST = 50  # keys that wait
PATIENCE = 0.5  # seconds after which a key counts as handled whose widget is gone
LEAVING = ("ctrl+q", "escape")  # keys that do not wait for rows


class KeyHandled(Message):
    """Follows a key through the widgets to the app: what the key does is done when it arrives."""


class KeyQueue:
    """The keys that the app has received and not passed on yet. `forward` passes one on, as Textual does."""

    def __init__(self, app: App[None], forward: Callable[[events.Key], Awaitable[None]]) -> None:
        self._app = app
        self._forward = forward
        self._keys: deque[events.Key] = deque(maxlen=MOST)
        self._since: float | None = None  # when the key was passed on that is being handled
        self._screen: object = None

    async def add(self, key: events.Key) -> None:
        """Pass a key on, after those before it."""
        if key.key in LEAVING and self._reads_rows:
            self._keys.clear()
            self._since = None
        self._keys.append(key)
        await self.pass_on()
        if self._keys:
            self._app.set_timer(PATIENCE, self.pass_on)

    async def pass_on(self) -> None:
        """Pass the next key on, if the one before it was handled and the screen has what keys act on."""
        if not self._keys or self._handling or (self._reads_rows and self._keys[0].key not in LEAVING):
            return
        self._screen, self._since = self._app.screen, time.monotonic()
        target = self._app.focused or self._app.screen
        await self._forward(self._keys.popleft())
        if not target.post_message(KeyHandled()):
            await self.handled()

    async def handled(self) -> None:
        """The key that was passed on last was handled. A screen that it opened has its focus first."""
        if not self._app.screen_stack:
            return  # the console ends
        if self._app.screen is not self._screen:
            self._screen = self._app.screen
            self._app.screen.call_after_refresh(self.handled)
            return
        self._since = None
        await self.pass_on()

    @property
    def busy(self) -> bool:
        """Whether a key is being handled, or will be without waiting for rows."""
        return self._handling or (bool(self._keys) and not self._reads_rows)

    @property
    def _handling(self) -> bool:
        return self._since is not None and time.monotonic() - self._since <= PATIENCE

    @property
    def _reads_rows(self) -> bool:
        screen = self._app.screen
        return isinstance(screen, SizedScreen) and screen.reads_rows
