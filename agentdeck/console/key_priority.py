"""Keys come first: work that can wait does not begin while a key waits for its repaint.

A frame and its paint take tens of milliseconds where the processor is shared with a busy engine. A key that
arrives meanwhile waits for both, and for its own repaint.
"""

from __future__ import annotations

import time

#: Seconds within which a key is handled and its repaint is on its way, where nothing else delays it.
REPAINT = 0.03


class KeyPriority:
    """When the operator last pressed a key."""

    def __init__(self) -> None:
        self._pressed = -REPAINT

    def pressed(self) -> None:
        """Note a key that was pressed now."""
        self._pressed = time.monotonic()

    @property
    def waits(self) -> bool:
        """Whether a key may still wait for its repaint."""
        return time.monotonic() - self._pressed < REPAINT


#: The keys of this process: a console has one terminal.
KEYS = KeyPriority()
