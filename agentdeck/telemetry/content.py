"""Prompts, inputs and outputs of spans, for `--content`.

They are taken from the log, which holds no secret: those are masked before anything is recorded. Prompts are
not recorded; they are rendered again from the recorded results, as `agentdeck step` shows them.
"""

from __future__ import annotations

import json
from typing import Any

from agentdeck.insight.prompt_text import asked
from agentdeck.scheduler import events as ev
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.span import Value
from agentdeck.views.recorded_task import RecordedTask
from agentdeck.workflow.model import Data, Definition, Prompt


class Content:
    """What the open tasks of a run read and wrote. `longest` is the number of characters of a text in a span."""

    def __init__(self, run: str, longest: int) -> None:
        self._run = run
        self._longest = longest
        self._tasks: dict[str, RecordedTask] = {}
        self._prompts: dict[tuple[str, str, int], dict[str, Data]] = {}

    def open(self, task: str, definition: Definition | None) -> None:
        """Follow a task. It is known from its opening on: of one that was reopened, nothing is."""
        self._tasks[task] = RecordedTask(definition, task, self._run)

    def close(self, task: str) -> None:
        """Forget a task, and those nested in it."""
        for name in [one for one in self._tasks if one == task or one.startswith(task + "/")]:
            del self._tasks[name]

    def apply(self, event: Any) -> None:
        """Apply an event of the run."""
        task = self._tasks.get(getattr(event, "task", ""))
        if task is None:
            return
        task.apply(event)
        if isinstance(event, ev.StepStarted):
            agent = task.agent(event.agent)
            if agent is not None and isinstance(agent.does, Prompt):
                scope = task.scope(event.step)
                if scope is not None:
                    self._prompts[event.task, event.step, event.attempt] = asked(agent, scope)

    def values(self, given: Data, output: Data) -> dict[str, Value]:
        """Attributes for an input and an output; None is none."""
        found: dict[str, Value] = {}
        for name, kind, value in ((at.INPUT, at.INPUT_TYPE, given), (at.OUTPUT, at.OUTPUT_TYPE, output)):
            if value is not None:
                found |= {name: self._cut(_text(value)), kind: _type(value)}
        return found

    def messages(self, task: str, step: str, attempt: int, output: Data) -> dict[str, Value]:
        """Attributes for the messages of a prompt: what it was asked, and the answer where it ended well."""
        prompt = self._prompts.pop((task, step, attempt), {})
        found: dict[str, Value] = {}
        if system := prompt.get("system"):
            found[at.SYSTEM_INSTRUCTIONS] = _json([self._part(system)])
        if text := prompt.get("prompt"):
            found[at.INPUT_MESSAGES] = _json([{"role": "user", "parts": [self._part(text)]}])
        if output is not None:
            answer = {"role": "assistant", "parts": [self._part(output)], "finish_reason": "stop"}
            found[at.OUTPUT_MESSAGES] = _json([answer])
        return found

    def _part(self, value: Data) -> dict[str, Data]:
        return {"type": "text", "content": self._cut(_text(value))}

    def _cut(self, text: str) -> str:
        return text if len(text) <= self._longest else text[: self._longest - 1] + "…"


def _text(value: Data) -> str:
    return value if isinstance(value, str) else _json(value)


def _type(value: Data) -> str:
    return "text/plain" if isinstance(value, str) else "application/json"


def _json(value: Data) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
