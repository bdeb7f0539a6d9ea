"""AutoGen AgentChat: agents and teams. Who speaks, what is said and the tools that are called are inner steps; a
user proxy, and a hand-off to a target outside the team, are questions."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from weakref import WeakKeyDictionary

from agentdeck.agents.frameworks import saved_state
from agentdeck.agents.frameworks.autogen_session import PACKAGE, Session
from agentdeck.agents.frameworks.framework import (
    Asked,
    CallInput,
    Ended,
    Framework,
    InnerEvent,
    Result,
    Started,
    Text,
    Used,
    is_a,
    text_of,
)
from agentdeck.agents.frameworks.turns import WAITS, turn_of

#: The id of the question of a hand-off.
HANDOFF = "handoff"


class AutoGen(Framework):
    """Agents and teams, called with one text. They remember what was said: each call begins with what they knew
    before the first one, and one object does one call at a time."""

    def __init__(self) -> None:
        self._initial = WeakKeyDictionary[Any, Any]()

    def recognises(self, found: object) -> bool:
        return is_a(found, PACKAGE, "ChatAgent") or is_a(found, PACKAGE, "Team")

    def alone(self, found: Any) -> bool:
        return True

    async def call(self, found: Any, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        turn = turn_of(found)
        if turn.locked():
            yield Text("", WAITS)
        async with turn:
            saved = json.loads(await saved_state.answered(given) or "{}")
            session, talk = Session(found, _proxy_answers(saved, given)), _Talk(found, saved.get("messages", []))
            with session:
                if found not in self._initial:
                    self._initial[found] = await session.state()
                await session.begin(saved.get("state") or self._initial[found], saved.get("speakers"))
                try:
                    async with aclosing(session.messages(_task(found, saved, given))) as messages:
                        async for message in messages:
                            for event in talk.events(message):
                                yield event
                except Exception as error:
                    what = _described(error)
                    speakers = talk.speakers()
                    for ended in talk.failed(what):
                        yield ended
                    if is_a(found, PACKAGE, "Team"):
                        raise RuntimeError(f"{', '.join(speakers)}: {what}" if speakers else what) from error
                    raise
                handoff = talk.handoff()
                if session.asking or handoff is not None:
                    state = {"state": await session.state(), "speakers": list(session.asking)}
                    state |= {"messages": talk.messages, "handoff": handoff}
                    await saved_state.save(given, json.dumps(state, default=str))
            for asked in _questions(session.asking, handoff, talk):
                yield asked
            if not session.asking and handoff is None:
                if saved:
                    await saved_state.drop(given)
                yield Result(talk.result())


def _proxy_answers(saved: Any, given: CallInput) -> dict[str, str]:
    """What user proxies answer."""
    return {name: str(given.answers[name]) for name in saved.get("speakers", ()) if name in given.answers}


def _task(found: Any, saved: Any, given: CallInput) -> Any:
    """The task of a call: the text; the answer to a hand-off; None for a team that goes on with its own."""
    from autogen_agentchat.messages import HandoffMessage, TextMessage

    handoff = saved.get("handoff")
    if handoff:
        content = str(given.answers[HANDOFF])
        if is_a(found, PACKAGE, "Swarm"):
            return HandoffMessage(content=content, source=handoff["target"], target=handoff["source"])
        return TextMessage(content=content, source=handoff["target"])
    return None if saved and is_a(found, PACKAGE, "Team") else text_of(given.values)


def _questions(asking: dict[str, str], handoff: Any, talk: _Talk) -> list[Asked]:
    """What was said last, to those who are asked."""
    shown = talk.messages[-1] if talk.messages else None
    asked = dict.fromkeys(asking, "") if handoff is None else {HANDOFF: handoff["target"]}
    questions = list[Asked]()
    for id_, target in asked.items():
        person = target or id_
        text = f"{shown['source']} to {person}: {shown['content']}" if shown else f"{person}: {asking[id_]}"
        questions.append(Asked(id_, text, {"type": "string"}, shown))
    return questions


def _described(error: Exception) -> str:
    """What happened. A team gives the errors of its agents as text, with their tracebacks."""
    text, _, trace = str(error).partition("\nTraceback:")
    return text if trace else f"{type(error).__name__}: {text}"


class _Talk:
    """What is said in one call. An inner step is one turn of a speaker, up to its message for the others."""

    def __init__(self, found: Any, messages: list[Any]) -> None:
        self._team = is_a(found, PACKAGE, "Team")
        members = found._participants if self._team else [found]
        self._models = {one.name: _model_of(one) for one in members}
        self.messages = messages
        self._last: Any = None
        self._stop_reason: str | None = None
        self._turns = dict[str, str]()
        self._tools = list[str]()
        self._said = set[str]()
        self._count = 0

    def events(self, message: Any) -> list[InnerEvent]:
        if is_a(message, PACKAGE, "TaskResult"):
            self._stop_reason = message.stop_reason
            return [self._end(speaker) for speaker in list(self._turns)]
        if message.type == "SelectSpeakerEvent":
            return [event for name in message.content for event in self._begin(name)]
        events = self._begin(message.source)
        turn = self._turns[message.source]
        if message.models_usage is not None:
            used = message.models_usage
            model = self._models.get(message.source, "")
            events.append(Used(turn, model, used.prompt_tokens, used.completion_tokens))
        return events + self._content(turn, message)

    def _content(self, turn: str, message: Any) -> list[InnerEvent]:
        if message.type == "ModelClientStreamingChunkEvent":
            self._said.add(turn)
            return [Text(turn, message.content)]
        if message.type == "ToolCallRequestEvent":
            self._tools += [call.id for call in message.content]
            return [
                Started(call.id, turn, call.name, "tool", _parsed(call.arguments)) for call in message.content
            ]
        if message.type == "ToolCallExecutionEvent":
            return [self._tool_ended(result) for result in message.content]
        if is_a(message, PACKAGE, "BaseChatMessage"):
            return self._message(turn, message)
        self._count += 1
        inner = f"{message.source} {self._count}"
        kind = message.type.removesuffix("Event").lower()
        return [Started(inner, turn, kind, kind), Ended(inner, message.to_text())]

    def _message(self, turn: str, message: Any) -> list[InnerEvent]:
        self._last = message
        plain = {"source": message.source, "type": message.type, "content": _plain(message)}
        self.messages.append(plain)
        events: list[InnerEvent] = []
        if turn not in self._said:
            events.append(Text(turn, message.to_text()))
        return [*events, self._end(message.source, plain["content"])]

    def speakers(self) -> list[str]:
        """Who is speaking now."""
        return list(self._turns)

    def failed(self, error: str) -> list[Ended]:
        """What was going on when the call failed."""
        return [Ended(inner, error=error) for inner in (*self._tools, *self._turns.values())]

    def handoff(self) -> dict[str, str] | None:
        """The hand-off with which the call ended, where its target is not a member of the team."""
        last = self._last
        if last is None or last.type != "HandoffMessage" or (self._team and last.target in self._models):
            return None
        return {"source": last.source, "target": last.target, "content": last.content}

    def result(self) -> Any:
        """The last message of an agent; of a team, all messages and why it stopped."""
        last = self.messages[-1]["content"] if self.messages else None
        if not self._team:
            return last
        return {"content": last, "messages": self.messages, "stop_reason": self._stop_reason}

    def _begin(self, speaker: str) -> list[InnerEvent]:
        if speaker in self._turns:
            return []
        self._count += 1
        turn = self._turns[speaker] = f"{speaker} {self._count}"
        return [Started(turn, "", speaker, "agent")]

    def _end(self, speaker: str, output: Any = None) -> Ended:
        return Ended(self._turns.pop(speaker), output)

    def _tool_ended(self, result: Any) -> Ended:
        if result.call_id in self._tools:
            self._tools.remove(result.call_id)
        return (
            Ended(result.call_id, error=result.content)
            if result.is_error
            else Ended(result.call_id, result.content)
        )


def _plain(message: Any) -> Any:
    if isinstance(message.content, str):
        return message.content
    dump = getattr(message.content, "model_dump", None)
    return message.to_text() if dump is None else dump(mode="json")


def _model_of(agent: Any) -> str:
    """The name of an agent's model, where its client tells: messages do not say which model they are from."""
    return str((getattr(getattr(agent, "_model_client", None), "_create_args", None) or {}).get("model", ""))


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
