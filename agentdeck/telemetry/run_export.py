"""Exports the spans of one run: folds its events in order, and sends the spans that the receiver lacks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agentdeck.errors import AgentdeckError
from agentdeck.store.reader import Reader
from agentdeck.telemetry.attempt_spans import Model
from agentdeck.telemetry.content import Content
from agentdeck.telemetry.settings import longest_value
from agentdeck.telemetry.span import Span
from agentdeck.telemetry.span_fold import SpanFold
from agentdeck.telemetry.tool_log import ToolLog
from agentdeck.workflow.deck import deck_for
from agentdeck.workflow.model import Definition, Prompt

#: Spans of one request.
BATCH = 512
#: Seconds between two writes of the progress of the export into the store. Where the process is killed between
#: them, the receiver gets some spans twice, with the same ids.
SAVE = 2.0
#: What the GenAI conventions call the providers of a deck, by their type.
PROVIDERS: Mapping[str, str] = {"openai": "openai", "anthropic": "anthropic"}


class SpanSender(Protocol):
    """Sends spans; returns why that failed, empty where it did not."""

    def send(self, spans: list[Span]) -> str: ...


@dataclass(slots=True)
class RunExport:
    """`exported` is the number of the last event whose spans the receiver has; `save` records it in the store,
    every SAVE seconds and in `save_now`. `seq` is the last event that was folded. `sent` counts spans. `problem`
    is why the last request failed, empty after one that did not; `waiting` has the spans that were not sent."""

    fold: SpanFold
    sender: SpanSender
    exported: int
    save: Callable[[int], object]
    seq: int = 0
    sent: int = 0
    problem: str = ""
    waiting: list[Span] = field(default_factory=list)
    _saved: int = field(default=0, init=False)
    _saved_at: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        self._saved = self.exported

    def add(self, seq: int, event: Any) -> None:
        """Fold the next event, and send the spans that wait once there are enough."""
        spans = self.fold.apply(seq, event)
        self.seq = seq
        if seq > self.exported:
            self.waiting += spans
        if len(self.waiting) >= BATCH:
            self.flush()

    def save_now(self) -> None:
        """Record how far the export is."""
        if self.exported > self._saved:
            self.save(self.exported)
            self._saved, self._saved_at = self.exported, time.monotonic()

    def flush(self) -> bool:
        """Send all spans that wait. False: the receiver does not have them."""
        while self.waiting:
            batch = self.waiting[:BATCH]
            self.problem = self.sender.send(batch)
            if self.problem:
                return False
            self.sent += len(batch)
            del self.waiting[: len(batch)]
        self.exported = max(self.exported, self.seq)
        if time.monotonic() - self._saved_at > SAVE:
            self.save_now()
        return True


def span_fold(
    run: str,
    definitions: Mapping[str, Definition],
    folder: Path,
    reader: Reader | None,
    *,
    content: bool,
) -> SpanFold:
    """The fold of a run, from its workflow (under the empty path) and sub-workflows. Without a store there are no
    spans for calls of tools."""
    tools = {
        name
        for definition in definitions.values()
        for name, agent in definition.agents.items()
        if isinstance(agent.does, Prompt) and agent.does.tools
    }
    return SpanFold(
        run,
        definitions,
        models=_models(folder),
        calls=ToolLog(reader, run, tools) if reader is not None and tools else None,
        content=Content(run, longest_value(os.environ)) if content else None,
    )


def _models(folder: Path) -> dict[str, Model]:
    """The models of the deck, by name. The log has names only: of a deck that cannot be read nothing is known."""
    try:
        deck = deck_for(folder)
    except (AgentdeckError, OSError):
        return {}
    found = {}
    for name, model in deck.models.items():
        provider = deck.providers.get(model.provider)
        kind = provider.type if provider is not None else model.provider
        found[name] = Model(PROVIDERS.get(kind, kind), model.id)
    return found
