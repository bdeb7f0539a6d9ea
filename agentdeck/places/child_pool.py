"""The child processes of one interpreter: which of them executes a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from agentdeck import plugins
from agentdeck.places.child_process import ChildCall, ChildProcess
from agentdeck.processes.children import Children

#: Calls of coroutines that one child executes at once.
SHARED = 32


class ChildPool:
    """Children are started when they are needed, and stay until the pool is closed. `place` is the name of the
    place, for messages; `environment` gives the variables of a child that starts. `folders` are those of this
    machine where the engine has others. Children with a `lease` end when they get no message or sign of life for
    so many seconds: their parent may be stopped, or out of reach."""

    def __init__(
        self,
        place: str,
        command: list[str],
        environment: Callable[[], Mapping[str, str]],
        cwd: Path | None,
        children: Children,
        folders: Mapping[str, str] | None = None,
        lease: float | None = None,
    ) -> None:
        self._place, self._command, self._environment, self._cwd = place, command, environment, cwd
        self._children = children
        self._pool: list[ChildProcess] = []
        self._sharing = asyncio.Lock()
        frameworks = plugins.installed("frameworks")
        self._hello = {
            "frameworks": {one.name: one.target for one in frameworks if one.package == plugins.BUILT_IN},
            "folders": dict(folders or {}),
            "lease": lease,
        }

    async def begin(self, call: ChildCall, target: str, alone: bool, message: bytes) -> None:
        """Have a child begin a call of this target, one that has no other where it is to be `alone`. The message
        describes it. Raises StepError of kind `setup` where no child can be started."""
        if alone:
            child = self._free(target, True) or await self._start()
            child.known.add(target)
            child.add(call, message)
            return
        async with self._sharing:  # of calls that come at once, one starts a child for all of them
            child = self._free(target, False) or await self._start()
            child.exclusive = False
            child.known.add(target)
            child.add(call, message)

    def sign_of_life(self) -> None:
        """For the children's lease."""
        for child in self._pool:
            child.sign_of_life()

    async def cancel(self, call: ChildCall, now: bool) -> None:
        """End a call: by its own means, else with its process. `now`: without the time to end by itself."""
        if call.child is not None and not call.ended.is_set():
            await call.child.cancel(call, now)

    def _free(self, target: str, alone: bool) -> ChildProcess | None:
        """A child that can take one more call, best one that knows the target."""
        free = [one for one in self._pool if not one.retired and not one.exclusive]
        if alone:
            free = [one for one in free if not one.calls]
        else:
            # An import would stop the calls that are under way.
            free = [one for one in free if not one.calls or (target in one.known and len(one.calls) < SHARED)]
        if not free:
            return None
        found = max(free, key=lambda one: (target in one.known, len(one.calls)))
        found.exclusive = alone
        return found

    async def _start(self) -> ChildProcess:
        """A new child, exclusive for the caller."""
        made = ChildProcess(self._place, self._command, self._environment(), self._cwd)
        made.exclusive = True
        self._pool = [*(one for one in self._pool if not one.gone.is_set()), made]
        await made.start(self._children, self._hello)
        return made

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in self._pool))
