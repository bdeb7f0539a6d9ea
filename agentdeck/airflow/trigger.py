"""The trigger of `AgentdeckOperator`: follows a run in the triggerer of Airflow.

Airflow cancels a trigger, and calls its `on_kill`, once its task is not deferred any more. This may be when
the next try of the task already runs. A task that was cleared has a new run, which this does not cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail, update_hitl_detail_response
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from agentdeck.airflow.narration import Narration, News
from agentdeck.airflow.submission import cancel
from agentdeck.documents.document import plain
from agentdeck.documents.question import Question
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.processes.identity import Process, this_process
from agentdeck.store.async_reader import AsyncReader

#: Seconds between the end of the worker's process and an event. Airflow takes up to 5 s to notice that end, and
#: considers a task that is back in the queue by then as killed.
SETTLED = 6.0
#: Seconds between two looks at that process.
LOOK = 0.5
#: States of a task that has ended.
ENDED = frozenset({"success", "failed", "skipped", "removed", "upstream_failed"})


class RunTrigger(BaseTrigger):
    """Fires when the run is over, or when it asks and Airflow has asked nothing in this try (`ti_id`) so far.

    The store is read in a thread. `seq` is the last event that was narrated, `worker` the process that deferred
    the task; `task` is who cancels the run; `asked` is the question that Airflow has asked in this try, as it
    shows one question for each task, and cannot replace it; `answered`: its answer was passed on to the run.
    """

    def __init__(
        self,
        db: str,
        run: str,
        seq: int,
        poll: float,
        worker: list[Any],
        task: str,
        ti_id: str,
        asked: dict[str, Any] | None = None,
        answered: bool = False,
    ) -> None:
        super().__init__()
        self.db = db
        self.run_id = run
        self.seq = seq
        self.poll = poll
        self.worker = worker
        self.by = task
        self.ti_id = ti_id
        self.asked = asked
        self.answered = answered
        self._named: tuple[str, str, float] | None = None
        self._killing: asyncio.Task[None] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        given = {
            "db": self.db,
            "run": self.run_id,
            "seq": self.seq,
            "poll": self.poll,
            "worker": self.worker,
            "task": self.by,
            "ti_id": self.ti_id,
            "asked": self.asked,
            "answered": self.answered,
        }
        return f"{__name__}.{type(self).__name__}", given

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Narrate the run until there is something for the worker to do."""
        settled = asyncio.create_task(self._settle())
        try:
            event = await self._missed_answer() or await self._follow()
            await settled
        finally:
            settled.cancel()
        yield TriggerEvent({"run": self.run_id, **event})

    async def on_kill(self) -> None:
        """The task was cleared or marked while it was deferred: cancel the run. Airflow also calls this where it
        takes the task from the triggerer because somebody has answered a question."""
        # In a task of its own: Airflow cancels this call again with each of its rounds, until it has returned.
        self._killing = asyncio.create_task(self._cancel_run())
        await asyncio.shield(self._killing)

    async def _cancel_run(self) -> None:
        if await self._task_goes_on():
            return
        try:
            self.log.info("%s", await asyncio.to_thread(cancel, Path(self.db), self.run_id, self.by))
        except AgentdeckError as error:
            self.log.error("the run could not be cancelled: %s", error)

    async def _settle(self) -> None:
        """Wait until Airflow has noticed that the worker's process has ended. In `dag.test()` it is this process;
        one of another machine is not seen, and is taken for one that has ended."""
        worker = Process(*self.worker)
        while worker.alive and worker != this_process():  # noqa: ASYNC110 - not a child process
            await asyncio.sleep(LOOK)
        await asyncio.sleep(SETTLED)

    async def _follow(self) -> dict[str, Any]:
        """Narrate the run until it is over or asks; returns the event."""
        try:
            async with AsyncReader(Path(self.db)) as reader:
                narration = Narration(Path(self.db), self.run_id, self.seq)
                while True:
                    news = await reader.read(narration.read)
                    for line in news.lines:
                        self.log.info("%s", line)
                    if news.over:
                        return {"status": "over", "seq": news.seq}
                    if news.more:
                        continue
                    if await self._asks(news):
                        assert news.question is not None
                        return {"status": "asks", "question": plain(news.question), "seq": news.seq}
                    await asyncio.sleep(self.poll)
        except UsageError as error:  # there is no such run
            return {"status": "lost", "text": str(error)}
        except AgentdeckError as error:
            return {"status": "error", "text": str(error)}

    # Questions

    async def _missed_answer(self) -> dict[str, Any] | None:
        """The event of an answer that was given before the task was deferred, for which Airflow fires none."""
        if self.answered:
            await self._close_question()
        elif self.asked is not None and (detail := await self._hitl_detail()) and detail.response_received:
            user = detail.responded_by_user
            return {
                "chosen_options": detail.chosen_options,
                "params_input": detail.params_input,
                "responded_by_user": None if user is None else {"id": user.id, "name": user.name},
            }
        return None

    async def _asks(self, news: News) -> bool:
        """Whether the worker has to have Airflow ask a question."""
        question = news.question
        if self.asked is not None and not self.answered and _key(question) != _key(self.asked):
            self.answered = True
            await self._close_question()
        if question is None:
            return False
        if self.asked is None:
            return True
        if self.answered and self._named != _key(question):
            self._named = _key(question)
            self.log.warning(
                "Airflow has asked another question of this task and cannot replace it; this one is answered"
                " with: %s",
                question.command,
            )
        return False

    async def _task_goes_on(self) -> bool:
        """Whether this try of the task goes on without this trigger, as a question was answered in Airflow."""
        ti = self.task_instance
        if ti is None or (self.asked is None and ti.try_number == 1):
            return False  # no try has asked anything
        if await self._hitl_detail() is None:
            return False
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        return not any(state in ENDED for found in states.values() for state in found.values())

    async def _hitl_detail(self) -> Any:
        """What Airflow asks in this try, with the answer; None where it asks nothing, or the task was cleared."""
        try:
            return await sync_to_async(get_hitl_detail_content_detail)(ti_id=UUID(self.ti_id))
        except Exception:
            return None

    async def _close_question(self) -> None:
        """Airflow need not ask any more what was answered elsewhere, or what another try has asked."""
        assert self.asked is not None
        detail = await self._hitl_detail()
        if detail is None or detail.response_received:
            return
        option = "Approve" if self.asked["kind"] == "approval" else "Answer"
        try:
            await sync_to_async(update_hitl_detail_response)(
                ti_id=UUID(self.ti_id), chosen_options=[option], params_input={}
            )
        except Exception as error:
            self.log.warning("Airflow still shows a question that was answered elsewhere: %s", error)


def _key(question: Question | dict[str, Any] | None) -> tuple[str, str, float] | None:
    """What tells questions of a run apart."""
    if question is None:
        return None
    given = plain(question) if isinstance(question, Question) else question
    return given["task"], given["step"], given["at"]
