"""The contract of kinds of agents."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import anyio
import pytest

from agentdeck.api.workflow import Workflow
from agentdeck.errors import KINDS, InvalidFile
from agentdeck.insight.plan import plan
from agentdeck.testing.contract import LIMIT, PATIENCE, Contract
from agentdeck.workflow.agent_kind import broken_kinds, kind_of, kinds
from agentdeck.workflow.check import check
from agentdeck.workflow.model import Data, plain, restored

#: Packages that are not needed to load, check or show a workflow.
HEAVY = ("anyio", "asyncio", "httpx")


class AgentContract(Contract):
    """Subclass it in a test module, and set `name` and `agent`:

    class TestNotify(AgentContract):
        name = "notify"
        agent = {"notify": {"to": "ada", "text": "${inputs.text}"}}
        inputs = {"text": "hello"}
    """

    #: The verb: the name of the entry point.
    name: ClassVar[str]
    #: An agent of the kind that succeeds, with its keys as in a workflow file.
    agent: ClassVar[Mapping[str, Data]]
    #: An agent whose attempts fail, and one whose attempt takes longer than a few seconds; None: not tested.
    failing_agent: ClassVar[Mapping[str, Data] | None] = None
    slow_agent: ClassVar[Mapping[str, Data] | None] = None
    #: The inputs that the agents read, with the values for their runs.
    inputs: ClassVar[Mapping[str, Data]] = {}

    @pytest.fixture(autouse=True)
    def _folder_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = tmp_path
        monkeypatch.chdir(tmp_path)

    def test_the_kind_is_installed(self) -> None:
        assert not broken_kinds().get(self.name)
        assert kinds()[self.name].work.verb == self.name

    def test_a_file_with_it_has_no_faults_and_no_warnings(self, tmp_path: Path) -> None:
        assert self._check(self.agent, tmp_path) == []

    def test_an_unknown_key_is_a_fault(self, tmp_path: Path) -> None:
        assert any("not_a_key" in fault for fault in self._check({**self.agent, "not_a_key": 1}, tmp_path))
        keys = self.agent[self.name]
        if isinstance(keys, Mapping):
            wrong = {**self.agent, self.name: {**keys, "not_a_key": 1}}
            assert any("not_a_key" in fault for fault in self._check(wrong, tmp_path))

    def test_a_wrong_value_is_a_fault_and_no_traceback(self) -> None:
        values: list[Data] = [[], {}, 5, None]
        for value in values:
            with suppress(InvalidFile):
                assert self._workflow({**self.agent, self.name: value}).definition

    def test_what_is_recorded_is_what_was_written(self) -> None:
        definition = self._workflow(self.agent).definition
        assert restored(json.loads(json.dumps(plain(definition)))) == definition
        assert self._workflow(self.agent).definition.identity == definition.identity

    def test_plans_and_screens_can_show_it(self) -> None:
        definition = self._workflow(self.agent).definition
        assert [list(level) for level in plan(definition).levels] == [["it"]]
        agent = definition.agents["it"]
        kind = kind_of(agent)
        for text in (kind.target(agent), kind.label(agent), kind.described(agent)):
            assert isinstance(text, str)
            assert "\n" not in text
        assert kind.label(agent), "the graph shows a word or two"
        assert isinstance(json.dumps(kind.asked(agent, lambda value, template=None: value)), str)

    def test_a_workflow_is_loaded_without_what_only_runs_need(self) -> None:
        module = type(kinds()[self.name]).__module__
        code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not done.stdout.split(), "import these inside `runner`"

    @pytest.mark.anyio
    async def test_an_attempt_succeeds_with_plain_data(self) -> None:
        with anyio.fail_after(LIMIT):
            result = await self._workflow(self.agent).run(self.inputs, check=False)
        assert result.error is None, result.error
        assert result.state == "done"
        json.dumps(result.steps["it"].output)

    @pytest.mark.anyio
    async def test_many_steps_at_once(self) -> None:
        with anyio.fail_after(LIMIT):
            tasks = [self.inputs] * 8
            result = await self._workflow(self.agent).run(tasks=tasks, workers=8, check=False)
        assert result.state == "done", result.error

    @pytest.mark.anyio
    async def test_a_failure_has_a_kind_and_a_message(self) -> None:
        if self.failing_agent is None:
            pytest.skip("failing_agent is not set")
        with anyio.fail_after(LIMIT):
            failing = self._workflow({"retry": 1, **self.failing_agent})
            result = await failing.run(self.inputs, check=False)
        assert result.state == "failed"
        assert result.error is not None
        assert result.error.kind in KINDS
        assert result.error.message

    @pytest.mark.anyio
    async def test_a_cancelled_attempt_ends_at_once(self) -> None:
        if self.slow_agent is None:
            pytest.skip("slow_agent is not set")
        with anyio.fail_after(LIMIT):
            run = await self._workflow(self.slow_agent).start(self.inputs)
            async for event in run.events():
                if event.event == "step_started":
                    break
            await run.cancel()
            since = anyio.current_time()
            result = await run.result(check=False)
        assert anyio.current_time() - since < PATIENCE + 1, "the attempt still runs after it was cancelled"
        assert result.state == "cancelled"

    def _workflow(self, agent: Mapping[str, Data]) -> Workflow:
        return Workflow.from_file(self._write(agent, self._folder))

    def _check(self, agent: Mapping[str, Data], folder: Path) -> list[str]:
        """The faults and warnings of a file with this agent."""
        return [str(issue) for issue in check(self._write(agent, folder))]

    def _write(self, agent: Mapping[str, Data], folder: Path) -> Path:
        inputs = dict.fromkeys(self.inputs, "any")
        whole = {"agentdeck": 1, "name": "contract", "inputs": inputs, "agents": {"it": dict(agent)}}
        file = folder / "contract.yaml"
        file.write_text(json.dumps(whole))  # JSON is YAML
        return file
