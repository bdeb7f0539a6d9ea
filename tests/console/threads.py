"""The rule of threads: widgets are touched from the app's thread only. Textual does not mind, and then draws
nonsense once a month; here every breach is noted, by whom it was done."""

from __future__ import annotations

import functools
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from textual.dom import DOMNode
from textual.widget import Widget

TOUCHING = (
    (Widget, "refresh"), (Widget, "mount"), (Widget, "mount_all"), (Widget, "remove"), (Widget, "focus"),
    (Widget, "scroll_to"), (DOMNode, "add_class"), (DOMNode, "remove_class"), (DOMNode, "set_class"),
)  # fmt: skip


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note from now on who touches a widget from another thread than the app's, which in tests is the first."""
    breaches: list[str] = []

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: DOMNode, *args: Any, **named: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                who = traceback.extract_stack(limit=3)[0]
                thread = threading.current_thread().name
                breaches.append(f"{thread}: {type(self).__name__}.{method.__name__} from {who.name}:{who.lineno}")
            return method(self, *args, **named)

        return call

    for kind, name in TOUCHING:
        monkeypatch.setattr(kind, name, watched(getattr(kind, name)))
    return breaches
