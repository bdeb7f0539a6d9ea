"""Checkpoints of workflows of the Microsoft Agent Framework: the newest one, and that of the very beginning."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any
from uuid import uuid4


class Checkpoints:
    """A storage of the framework that holds what one run needs. `last` is where a question is answered; it is
    encoded only then. `first` is the beginning of the first run of an object, if the run `begins` there."""

    def __init__(self) -> None:
        self.begins = False
        self.first: Beginning | None = None
        self.last: Any = None
        #: The answers so far: a functional workflow is called again from its top, and needs all of them.
        self.answers = dict[str, Any]()

    async def save(self, checkpoint: Any) -> str:
        if self.begins and self.first is None:
            self.first = Beginning(checkpoint)
        self.last = checkpoint
        return str(checkpoint.checkpoint_id)

    async def load(self, checkpoint_id: str) -> Any:
        if self.last is None or self.last.checkpoint_id != checkpoint_id:
            raise LookupError(f"there is no checkpoint {checkpoint_id}")
        return copy.deepcopy(self.last)

    async def list_checkpoints(self, *, workflow_name: str) -> list[Any]:
        return [] if self.last is None else [self.last]

    async def delete(self, checkpoint_id: str) -> bool:
        return False

    async def get_latest(self, *, workflow_name: str) -> Any:
        return self.last

    async def list_checkpoint_ids(self, *, workflow_name: str) -> list[str]:
        return [one.checkpoint_id for one in await self.list_checkpoints(workflow_name=workflow_name)]


class Beginning:
    """A workflow that has not done anything yet, but has its input."""

    def __init__(self, checkpoint: Any) -> None:
        self._checkpoint = copy.deepcopy(checkpoint)

    def with_message(self, message: Any) -> Any:
        """The checkpoint of the same beginning with another input."""
        checkpoint = copy.deepcopy(self._checkpoint)
        messages = {
            source: [replace(one, data=message) for one in sent] for source, sent in checkpoint.messages.items()
        }
        return replace(checkpoint, checkpoint_id=str(uuid4()), messages=messages)


def saved(checkpoint: Any, answers: dict[str, Any]) -> str:
    """A checkpoint at questions, in the framework's own encoding, and the answers to earlier ones."""
    from agent_framework._workflows._checkpoint_encoding import encode_checkpoint_value

    return json.dumps({"checkpoint": encode_checkpoint_value(checkpoint.to_dict()), "answers": answers})


def restored(text: str) -> tuple[Any, dict[str, Any]]:
    """The checkpoint and the answers."""
    from agent_framework import WorkflowCheckpoint
    from agent_framework._workflows._checkpoint_encoding import decode_checkpoint_value

    state = json.loads(text)
    return WorkflowCheckpoint.from_dict(decode_checkpoint_value(state["checkpoint"])), state["answers"]
