"""`Workflow.run` where nothing can go on until an operator acts."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agentdeck import RunBlocked, Workflow
from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.stalled import StallCause

pytestmark = pytest.mark.anyio


def asking(**settings: str) -> Workflow:
    made = Workflow("asking")

    @made.agent
    async def other() -> int:
        await anyio.sleep(0.2)
        return 1

    made.add("gate", approve={"ask": "Really?", **settings})
    made.add("end", simulate={"takes": "1ms", "returns": 1}, needs=["gate", "other"])
    return made


async def test_a_run_that_nobody_will_answer_raises(tmp_path: Path) -> None:
    with pytest.raises(RunBlocked, match=r"gate asks for approval: 1 step waits.*agentdeck resume") as raised:
        await asking().run(db=tmp_path / "deck.db")
    assert str(raised.value).count(f"--db {tmp_path / 'deck.db'}") == 3  # in each command
    assert raised.value.result.state == "drained"
    assert raised.value.result.steps["other"].state == "done"  # what could go on went on


async def test_without_a_store_it_cannot_be_resumed() -> None:
    with pytest.raises(RunBlocked) as raised:
        await asking().run()
    assert "resume" not in str(raised.value)
    result = await asking().run(check=False)
    assert result.state == "drained"


async def test_a_decision_that_time_makes_is_waited_for() -> None:
    result = await asking(within="500ms", otherwise="approve").run()
    assert result.state == "done"


async def test_what_it_waits_for_is_told_once() -> None:
    told: list[tuple[StallCause, ...]] = []
    made = asking()

    async def stay() -> Outcome:
        launch = Launch(made.definition, Path(), functions=made.functions)
        return await run(launch, Watch(standstill=lambda _, found: told.append(found)))

    with anyio.move_on_after(1.2):
        await stay()
    assert [[(one.kind, one.steps) for one in found] for found in told] == [[("approval", (("1", "gate"),))]]
