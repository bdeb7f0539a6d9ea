"""An event of a run, as programs receive it: one model for events of every kind."""

from __future__ import annotations

from pydantic import ConfigDict

from agentdeck.documents.document import Document, Json


class RunEvent(Document):
    """One event. It has the keys that `agentdeck events --json` prints: besides those below, what events of its
    kind have (`agentdeck schema event`), as attributes too: `event.output`.

    An attribute at its default is absent from the log. `get` returns None for it.
    """

    model_config = ConfigDict(extra="allow")

    seq: int
    at: float
    event: str
    run: str
    task: str = ""
    step: str = ""

    @property
    def kind(self) -> str:
        """`step_succeeded`, `task_ended`, …"""
        return self.event

    def get(self, name: str) -> Json:
        """An attribute of events of this kind, None where the event does not have it."""
        value: Json = getattr(self, name, None)
        return value
