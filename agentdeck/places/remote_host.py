"""The engine's side of one host on a worker of a cluster: its calls, and their messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from agentdeck.errors import StepError
from agentdeck.places.child_process import HEAD, LAST, ChildCall
from agentdeck.places.cluster import HostGone, WorkerFacts
from agentdeck.places.connector_process import ConnectorProcess
from agentdeck.places.frames import Kind
from agentdeck.places.remote_verb import new_number


class RemoteHost:
    """`number` is that of its frames. `calls` are under way there, those of attempts and what the engine itself
    asks. It is `ready` when the worker has been checked, and `listed` while the
    cluster has the worker. `name` is the worker's, for messages. `freed` is called
    when it had no room and has some."""

    def __init__(
        self, number: int, facts: WorkerFacts, connector: ConnectorProcess, freed: Callable[[], None]
    ) -> None:
        self.number = number
        self.facts = facts
        self.ready = False
        self.listed = True
        self.calls: dict[int, ChildCall] = {}
        self.idle = 0  # seconds without a call
        self._connector = connector
        self._freed = freed

    @property
    def name(self) -> str:
        return self.facts.name

    def free(self) -> bool:
        return self.facts.calls is None or len(self.calls) < self.facts.calls

    def load(self) -> float:
        """The calls for each of its threads."""
        return len(self.calls) / max(1, self.facts.threads)

    def begin(self, call: ChildCall, target: str, alone: bool, message: bytes) -> None:
        self._send(call, ["call", call.number, target, alone], message)

    def cancel(self, call: ChildCall, now: bool) -> None:
        self._connector.send(Kind.DATA, self.number, _line(["cancel", call.number, now], b""))

    async def ask(self, what: str, given: Any, rest: bytes = b"") -> Any:
        """Its answer. Raises StepError with what it reports, and HostGone."""
        question = _Question()
        self._send(question, [what, question.number, given], rest)
        return await question.answer

    async def prepare(self, target: str, folder: str, run: str) -> bool:
        """Have a child import what an agent names; returns whether a call of it needs a process for itself.
        Raises StepError where it cannot be imported, and HostGone."""
        question = _Question()
        message = {
            **{"do": "prepare", "id": question.number, "target": target, "folder": folder},
            **{"attempt": [run, "", "", 0], "deadline": None, "scope": {"needs": {}}, "env": {}},
        }
        self.begin(question, target, True, json.dumps(message).encode())
        return bool(await question.answer)

    def _send(self, call: ChildCall, header: list[Any], rest: bytes) -> None:
        self.calls[call.number] = call
        self._connector.send(Kind.DATA, self.number, _line(header, rest))

    def take(self, data: bytes) -> None:
        """Lines of the host."""
        for line in data.split(b"\n"):
            head = HEAD.match(line)
            call = self.calls.get(int(head[2])) if head is not None else None
            if head is None or call is None:
                continue
            kind = head[1].decode()
            if kind in LAST:
                del self.calls[call.number]
            call.take(kind, line)
            if kind in LAST:
                call.ended.set()
                if self.facts.calls is not None:
                    self._freed()

    def lose(self, why: str) -> None:
        """The host is gone, with all its calls."""
        calls, self.calls = self.calls, {}
        for number, call in calls.items():
            call.take("lost", json.dumps(("lost", number, why)).encode())
            call.ended.set()


def _line(header: list[Any], rest: bytes) -> bytes:
    return b"%s\t%s\n" % (json.dumps(header).encode(), rest)


class _Question(ChildCall):
    """What the engine itself wants to know."""

    def __init__(self) -> None:
        super().__init__(new_number())
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def take(self, kind: str, line: bytes) -> None:
        if kind not in LAST or self.answer.done():
            return
        message = json.loads(line)
        if kind == "fault":
            self.answer.set_exception(StepError(*message[2][:2]))
        elif kind in ("lost", "cancelled"):
            self.answer.set_exception(HostGone(message[2]))
        else:
            self.answer.set_result(message[2])
