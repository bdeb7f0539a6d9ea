"""What `Workflow.start` and `Workflow.resume` return: a run that begins when it is awaited."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any

from agentdeck.api.run import Run


class Start:
    """A run that begins when this is awaited, which returns the `Run`, or entered with `async with`.

    At the end of the block the run is waited for; RunFailed is raised for one that did not end well, unless its
    result was asked for in the block. Where the block is left by an exception, the run is stopped.
    """

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Run]]) -> None:
        self._begin = begin
        self._run: Run | None = None

    def __await__(self) -> Generator[Any, Any, Run]:
        return self._begin().__await__()

    async def __aenter__(self) -> Run:
        self._run = await self._begin()
        return self._run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._run is not None
        try:
            if error is None:
                await self._run._end()
        finally:
            await self._run.stop()
