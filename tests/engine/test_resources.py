"""Resources in a run: refused where a step could never start, changed while it executes, recorded, resumed."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agentdeck import RunBlocked, UsageError, Workflow, open_store
from agentdeck.engine.launch import Launch, run
from agentdeck.operations.overrides import override
from agentdeck.workflow.loader import load

pytestmark = pytest.mark.anyio


def sharing(gate: anyio.Event, begun: list[int] | None = None) -> Workflow:
    """Six items, each of which uses one of two GPUs; they end when the gate opens."""
    made = Workflow("sharing", limits={"workers": 20, "gpu": 2})

    @made.agent(uses={"gpu": 1}, each="[1, 2, 3, 4, 5, 6]")
    async def train() -> int:
        if begun is not None:
            begun.append(1)
        await gate.wait()
        return 1

    return made


async def until(begun: list[int], number: int) -> None:
    with anyio.fail_after(30):
        while len(begun) < number:  # noqa: ASYNC110 - the attempts report nothing
            await anyio.sleep(0.01)
    assert len(begun) == number


async def test_limits_change_while_a_run_executes(tmp_path: Path) -> None:
    gate, db, begun = anyio.Event(), tmp_path / "deck.db", list[int]()
    async with sharing(gate, begun).start(db=db) as live:
        await until(begun, 2)
        with pytest.raises(UsageError, match=r"there is no limit gpus; did you mean gpu\?"):
            await live.set_limit("gpus", 3)
        for value, told in (
            (-1, "out of range"),
            (True, "not an amount"),
            (0.0001, "three decimals"),
            (None, "not"),
        ):
            with pytest.raises(UsageError, match=f"gpu: .*{told}"):
                await live.set_limit("gpu", value)
        await live.set_limit("gpu", "3.5")
        await until(begun, 3)
        await live.set_limit("gpu", 0)
        gate.set()
        await live.set_limit("gpu", 6)
        await live.wait()
    changed = [(e.get("old"), e.get("new")) async for e in live.events() if e.kind == "limit_changed"]
    assert changed == [(2, 3.5), (3.5, 0), (0, 6)]
    async with open_store(db) as store:
        step = await store.step("last", 1, "train[0]")
        assert step.attempts[0].uses == {"gpu": 1}


async def test_a_run_that_no_step_can_continue_says_what_is_missing(tmp_path: Path) -> None:
    gate = anyio.Event()
    begun = list[int]()
    async with sharing(gate, begun).start(db=tmp_path / "deck.db") as live:
        await until(begun, 2)
        await live.set_limit("gpu", 0.5)
        gate.set()
        with pytest.raises(
            RunBlocked, match=r"the limit of gpu is 0.5, and 1 is needed: 4 steps wait.*limits .*gpu=1"
        ):
            await live.result()


def two_files(folder: Path, limits: str) -> Path:
    (folder / "inner.yaml").write_text(
        "agentdeck: 1\nname: inner\nlimits: { gpu: 8 }\nagents:\n  scan: { simulate: 1ms, uses: { gpu: 4 } }\n"
    )
    outer = folder / "outer.yaml"
    outer.write_text(f"agentdeck: 1\nname: outer\n{limits}\nagents:\n  review: {{ workflow: inner.yaml }}\n")
    return outer


async def test_a_sub_workflow_may_not_use_more_than_its_run_has(tmp_path: Path) -> None:
    outer = load(two_files(tmp_path, "limits: { gpu: 2 }")).definition
    with pytest.raises(UsageError, match=r"review/scan uses 4 of gpu, and its limit is 2; raise it with --set"):
        await run(Launch(outer, tmp_path))
    alone = load(two_files(tmp_path, "about: x")).definition
    assert (await run(Launch(alone, tmp_path))).state == "done"


async def test_a_limit_set_at_the_launch_holds(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(
        "agentdeck: 1\nname: w\nlimits: { gpu: 4 }\nagents:\n  a: { simulate: 1ms, uses: { gpu: 2 } }\n"
    )
    definition = load(file).definition
    assert override(definition, ["limits.gpu=2.5"]).limits.resources == {"gpu": 2.5}
    for text, told in (
        ("limits.gpu=0", "0 is too small"),
        ("limits.gpu=1.5", "a uses 2 of it"),
        ("limits.gpu=x", "'x' is not a number"),
        ("limits.gpu=-1", "out of range"),
        ("limits.gup=1", "did you mean limits.gpu?"),
    ):
        with pytest.raises(UsageError, match=told):
            override(definition, [text])
