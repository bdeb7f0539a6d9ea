"""One call of an AutoGen agent or team: what it knows when it begins, how it is cancelled, and user proxies that
ask. AutoGen has no public way to put a team back to where a proxy asks; this uses the inside of version 0.7.5."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import partial
from typing import Any

from agentdeck.agents.frameworks.framework import is_a

PACKAGE = "autogen_agentchat"
#: Seconds between two looks at whether others than user proxies still speak.
LOOK = 0.02


class Session:
    """While it is entered, user proxies that would read from the terminal ask through it instead. `answers` are
    those to their questions. `asking` are the proxies that wait, with their prompts, when the messages end."""

    def __init__(self, found: Any, answers: Mapping[str, str]) -> None:
        self._found = found
        self._team = is_a(found, PACKAGE, "Team")
        self._answers = dict(answers)
        self._manager: Any = None
        self._queue = asyncio.Queue[Any]()
        self._before = list[tuple[Any, Any, bool]]()
        self.asking = dict[str, str]()

    def __enter__(self) -> Session:
        for proxy, can_ask in _proxies(self._found):
            self._before.append((proxy, proxy.input_func, proxy._is_async))
            proxy.input_func, proxy._is_async = partial(self._ask if can_ask else _refuse, proxy.name), True
        return self

    def __exit__(self, *_: object) -> None:
        for proxy, function, is_async in self._before:
            proxy.input_func, proxy._is_async = function, is_async

    async def state(self) -> Any:
        """What the agent or team knows now."""
        if not self._team:
            return await self._found.save_state()
        said = self._found._emit_team_events
        self._found._emit_team_events = True  # the first call of a team makes its manager, which says who speaks
        try:
            return await self._found.save_state()
        finally:
            self._found._emit_team_events = said

    async def begin(self, state: Any, speakers: list[str] | None) -> None:
        """Forget the call before this one, and know what is in a state. These speakers are the next ones."""
        from autogen_core import AgentId, CancellationToken

        if not self._team:
            await self._found.on_reset(CancellationToken())
            await self._found.load_state(state)
            return
        await self._found.reset()
        name = AgentId(self._found._group_chat_manager_topic_type, self._found._team_id)
        self._manager = await self._found._runtime.try_get_underlying_agent_instance(name, object)
        self._manager._active_speakers.clear()  # a team that failed or was cancelled would wait for them for ever
        await self._found.load_state(state)
        if speakers:
            self._select_once(speakers)
            if self._found._termination_condition is not None:  # its counts are in no state
                await self._found._termination_condition(self._manager._message_thread)

    def _select_once(self, speakers: list[str]) -> None:
        async def select(thread: Any) -> list[str]:
            del self._manager.select_speaker
            return speakers

        self._manager.select_speaker = select

    async def messages(self, task: Any) -> AsyncGenerator[Any, None]:
        """What is said, the TaskResult last; without one where proxies ask. When the call is cancelled, AutoGen's
        own token is cancelled first: a team whose task is cancelled waits for the agent that speaks."""
        from autogen_core import CancellationToken

        token = CancellationToken()
        reading = asyncio.ensure_future(self._read(task, token))
        try:
            while (message := await self._queue.get()) is not None:
                yield message
            if not self.asking:
                await reading
        finally:
            token.cancel()
            await asyncio.wait([reading])

    async def _read(self, task: Any, token: Any) -> None:
        try:
            async for message in self._found.run_stream(
                task=task, cancellation_token=token, output_task_messages=False
            ):
                self._queue.put_nowait(message)
        finally:
            self._queue.put_nowait(None)

    async def _ask(self, name: str, prompt: str, token: Any) -> str:
        """The operator's answer for a user proxy. Without one the call ends here, once no other member speaks."""
        if name in self._answers:
            return self._answers.pop(name)
        self.asking[name] = prompt
        while self._others_speak():  # noqa: ASYNC110  a manager has no event for that
            await asyncio.sleep(LOOK)
        self._queue.put_nowait(None)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        token.link_future(answer)
        return await answer

    def _others_speak(self) -> bool:
        return self._manager is not None and bool(set(self._manager._active_speakers) - self.asking.keys())


def _proxies(found: Any, outermost: bool = True) -> Iterator[tuple[Any, bool]]:
    """The user proxies that would read from the terminal, and whether their team can go on at their question."""
    if is_a(found, PACKAGE, "Team"):
        selects = outermost and not is_a(found, PACKAGE, "MagenticOneGroupChat")
        for member in found._participants:
            if is_a(member, PACKAGE, "Team"):
                yield from _proxies(member, False)
            else:
                yield from _proxies(member, selects)
    elif (
        is_a(found, PACKAGE, "UserProxyAgent")
        and getattr(found.input_func, "__name__", "") == "cancellable_input"
    ):
        yield found, outermost


async def _refuse(name: str, prompt: str, token: Any) -> str:
    raise RuntimeError(f"{name} cannot ask inside this team; use a hand-off to a target outside it instead")
