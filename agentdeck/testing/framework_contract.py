"""The contract of frameworks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import pytest

from agentdeck.agents.frameworks.framework import CallInput, Framework, Result
from agentdeck.agents.frameworks.known import loaded
from agentdeck.agents.plain_data import to_data
from agentdeck.testing.contract import LIMIT, Contract
from agentdeck.workflow.model import Data


class FrameworkContract(Contract):
    """Subclass it in a test module, set `name`, and give the objects in the fixture `objects`:

    class TestAcme(FrameworkContract):
        name = "acme"

        @pytest.fixture
        def objects(self):
            return [acme.Graph(...)]
    """

    #: The name of the entry point.
    name: ClassVar[str]
    #: What the objects get.
    values: ClassVar[Mapping[str, Data]] = {"text": "hello"}

    @pytest.fixture
    def objects(self) -> list[Any]:
        """Objects of the framework that succeed with `values`."""
        raise NotImplementedError("override the fixture `objects`")

    @property
    def framework(self) -> Framework:
        found: Framework = loaded().objects[self.name]
        return found

    def test_the_framework_is_installed(self) -> None:
        assert self.name in loaded().objects, [str(one) for one in loaded().broken]

    def test_it_recognises_its_own_objects_only(self, objects: list[Any]) -> None:
        assert all(self.framework.recognises(one) for one in objects)
        for other in (None, 5, "text", [], {}, object(), type("Graph", (), {})()):
            assert not self.framework.recognises(other)

    @pytest.mark.anyio
    async def test_a_call_yields_one_result_last(self, objects: list[Any]) -> None:
        for one in objects:
            with anyio.fail_after(LIMIT):
                events = [event async for event in self.framework.call(one, self._input())]
            results = [event for event in events if isinstance(event, Result)]
            assert len(results) == 1
            assert events[-1] is results[0]
            to_data(results[0].value)

    @pytest.mark.anyio
    async def test_one_object_is_called_many_times_at_once(self, objects: list[Any]) -> None:
        async def call(one: Any) -> None:
            assert [event async for event in self.framework.call(one, self._input())]

        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as group:
                for one in objects * 4:
                    group.start_soon(call, one)

    def _input(self) -> CallInput:
        async def in_thread(call: Callable[[], Any]) -> Any:
            return await anyio.to_thread.run_sync(call)

        return CallInput(dict(self.values), in_thread)
