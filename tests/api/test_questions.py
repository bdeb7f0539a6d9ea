"""Questions of a run: answered by a callback, through the handle, from another handle, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentdeck import Question, Run, RunBlocked, UsageError, Workflow, open_store
from agentdeck.engine.author import current_author
from agentdeck.operations.commands import RunCommand, send
from tests.api.shop import asking

pytestmark = pytest.mark.anyio

FIELDS = {"fields": {"amount": "number", "note": {"type": "string", "default": "-"}}}


async def first_question(run: Run) -> Question:
    """The first question of a run, as soon as it asks."""
    async for event in run.events():
        if event.kind == "noted" and (found := await run.questions()):
            return found[0]
    raise AssertionError("the run has ended without a question")


# By a callback ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True])
async def test_a_callback_answers_and_sees_what_is_asked(tmp_path: Path, stored: bool) -> None:
    seen: list[Question] = []

    def answers(question: Question) -> Mapping[str, Any]:
        seen.append(question)
        return {"amount": 3}

    result = await asking(**FIELDS).run(answers=answers, db=tmp_path / "a.db" if stored else None)
    assert result.output == {"approved": True, "amount": 3, "note": "-"}
    (question,) = seen
    assert (question.run, question.task, question.step) == (result.run, "1", "gate")
    assert question.text == "Pay for 2 x KB-87?"
    assert question.shown == {"text": "2 x KB-87"}
    assert question.fields["amount"].required
    assert not question.fields["note"].required
    assert question.fields["note"].default == "-"


@pytest.mark.parametrize("answer", [True, False])
async def test_an_async_callback_may_take_its_time(answer: bool) -> None:
    async def answers(question: Question) -> bool:
        await asyncio.sleep(0.3)  # three times as long as a run without anybody to answer waits
        return answer

    result = await asking().run(answers=answers)
    assert result.output == {"approved": answer}


async def test_a_plain_callback_may_block() -> None:
    """It runs in a thread: the loop goes on meanwhile."""
    loop = asyncio.get_running_loop()
    released = asyncio.Event()

    def answers(question: Question) -> bool:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(10)
        return True

    async with asking().start(answers=answers) as run:
        await first_question(run)
        released.set()
        assert (await run.result()).state == "done"


async def test_a_map_can_reject() -> None:
    assert (await asking().run(answers=lambda question: {"approved": False})).output == {"approved": False}


NO_DECISIONS: tuple[Any, ...] = ("false", "no", "maybe", 0, 1, None, [])


@pytest.mark.parametrize("approved", NO_DECISIONS)
async def test_a_decision_is_true_or_false(tmp_path: Path, approved: Any) -> None:
    """By a callback, by the handle, and through the store."""
    with pytest.raises(UsageError, match="gate: approved must be true or false, not "):
        await asking().run(answers=lambda question: {"approved": approved})
    async with asking().start(db=tmp_path / "a.db", wait=True) as run:
        question = await first_question(run)
        async with open_store(tmp_path / "a.db") as store:
            other = await store.run(run.id)
        for handle in (run, other):
            with pytest.raises(UsageError, match="gate: approved must be true or false, not "):
                await handle.answer(question, {"approved": approved})
        undecided = RunCommand("approve", {"step": "gate", "approved": approved, "fields": {}})
        answered = await asyncio.to_thread(send, tmp_path / "a.db", run.id, undecided, current_author("api"))
        assert not answered.ok
        assert answered.text.startswith("gate: approved must be true or false, not ")
        await run.answer(question, {"approved": False})
        assert (await run.result()).output == {"approved": False}


async def test_a_question_that_the_callback_declines_blocks_the_run() -> None:
    with pytest.raises(RunBlocked) as raised:
        await asking().run(answers=lambda question: None)
    assert [question.step for question in raised.value.questions] == ["gate"]


async def test_a_question_that_the_callback_declines_can_be_waited_for() -> None:
    declined = asyncio.Event()

    async def answers(question: Question) -> None:
        declined.set()

    async with asking().start(answers=answers, wait=True) as run:
        await declined.wait()
        await asyncio.sleep(0.3)  # three times as long as a run without anybody to answer waits
        await run.answer("gate", False)
        assert (await run.result()).output == {"approved": False}


async def test_an_error_of_the_callback_ends_the_run_and_can_be_resumed(tmp_path: Path) -> None:
    def answers(question: Question) -> bool:
        raise LookupError("no such customer")

    work = asking()
    with pytest.raises(LookupError, match="no such customer"):
        await work.run(answers=answers, db=tmp_path / "a.db", wait=True)
    async with open_store(tmp_path / "a.db") as store:
        (row,) = await store.runs()
        assert row.state == "interrupted"
        async with work.resume(row.run, db=tmp_path / "a.db", answers=lambda question: True) as run:
            assert (await run.result()).output == {"approved": True}


async def test_an_answer_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(UsageError, match="gate needs a value for amount"):
        await asking(**FIELDS).run(answers=lambda question: True)
    with pytest.raises(UsageError, match="amount of gate is 'much', not a number"):
        await asking(**FIELDS).run(answers=lambda question: {"amount": "much"})
    with pytest.raises(UsageError, match="'yes' is not an answer to gate: give True, False, or a map"):
        await asking().run(answers=lambda question: "yes")  # type: ignore[arg-type, return-value]


async def test_many_tasks_ask_at_once(tmp_path: Path) -> None:
    def answers(question: Question) -> bool:
        return question.task != "3"

    result = await asking().run(
        answers=answers, tasks=[{"text": f"t{n}"} for n in range(20)], db=tmp_path / "a.db"
    )
    outputs = {task.task: task.output["approved"] async for task in result.tasks()}
    assert [task for task, approved in outputs.items() if not approved] == ["3"]
    assert len(outputs) == 20


# Through the handle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True])
async def test_the_handle_answers(tmp_path: Path, stored: bool) -> None:
    async with asking(**FIELDS).start(wait=True, db=tmp_path / "a.db" if stored else None) as run:
        question = await first_question(run)
        with pytest.raises(UsageError, match="gate needs a value for amount"):
            await run.answer(question)
        with pytest.raises(UsageError, match="no step end is waiting"):
            await run.answer("end")
        await run.answer("gate", {"amount": 5})
        with pytest.raises(UsageError):
            await run.answer(question, {"amount": 6})  # it was answered
        assert await run.questions() == []
        assert (await run.result()).output["amount"] == 5


async def test_another_handle_of_the_same_store_answers(tmp_path: Path) -> None:
    """As another process does: it has only the store."""
    async with asking().start(wait=True, db=tmp_path / "a.db") as run:
        await first_question(run)
        async with open_store(tmp_path / "a.db") as store:
            other = await store.run(run.id)
        (question,) = await other.questions()
        assert question.text == "Pay for 2 x KB-87?"
        with pytest.raises(UsageError, match="no step end is waiting"):
            await other.answer("end", True)
        await other.answer(question, False)
        assert (await run.result()).output == {"approved": False}
        assert (await other.result()).output == {"approved": False}


# Not at all -----------------------------------------------------------------------------------------------------


async def test_a_question_that_nothing_answers_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    work = asking()
    with pytest.raises(RunBlocked) as raised:
        await work.run(db=db)
    text = str(raised.value)
    assert "gate of task 1 asks: 'Pay for 2 x KB-87?'" in text
    assert "answers=" in text
    assert "run.answer('gate', True)" in text
    assert f"agentdeck approve {raised.value.result.run} --db {db} gate yes|no --task 1" in text
    assert raised.value.questions[0].shown == {"text": "2 x KB-87"}
    assert raised.value.result.state == "drained"
    async with work.resume(raised.value.result.run, db=db, answers=lambda question: True) as run:
        assert (await run.result()).output == {"approved": True}


async def test_the_error_names_the_fields_that_an_answer_needs() -> None:
    with pytest.raises(RunBlocked, match=r"run.answer\('gate', {'amount': …}\)"):
        await asking(**FIELDS).run()


async def test_a_time_limit_of_the_question_answers_it() -> None:
    result = await asking(within="300ms", otherwise="approve").run()
    assert result.output == {"approved": True}


async def test_a_question_that_time_has_answered_is_forgotten() -> None:
    """A callback that is still thinking then changes nothing."""

    async def answers(question: Question) -> bool:
        await asyncio.sleep(60)
        return False

    result = await asking(within="300ms", otherwise="approve").run(answers=answers)
    assert result.output == {"approved": True}


async def test_a_question_in_a_sub_workflow(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text(
        "agentdeck: 1\nname: below\ninputs: { text: string }\n"
        "agents: { sure: { approve: { ask: 'Sure of ${inputs.text}?' } } }\n"
    )
    work = Workflow("above", inputs={"text": "string"}, output="${review}")
    work._folder = tmp_path
    work.add("review", workflow="below.yaml", with_={"text": "${inputs.text}"})
    seen: list[Question] = []

    def answers(question: Question) -> bool:
        seen.append(question)
        return True

    result = await work.run(text="it", answers=answers)
    assert result.output == {"approved": True}
    assert [(question.task, question.step, question.text) for question in seen] == [
        ("1/review", "sure", "Sure of it?")
    ]
    (task,) = [task async for task in result.tasks()]
    assert task.steps["review/sure"].output == {"approved": True}
