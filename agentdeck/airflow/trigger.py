"""The trigger of `AgentdeckOperator`: follows a run in the triggerer of Airflow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail, update_hitl_detail_response
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from agentdeck.airflow.narration import Narration, News
from agentdeck.airflow.submission import cancel
from agentdeck.documents.document import plain
from agentdeck.documents.question import Question
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.store.async_reader import AsyncReader

#: Seconds after a deferral before which no event is fired. Airflow takes up to 5 s to notice that a worker has
#: left, and takes a task that is back in the queue by then for one whose worker was killed.
SETTLED = 6.0


class RunTrigger(BaseTrigger):
    """Fires when the run is over, or when it asks and Airflow has asked nothing in this try (`ti_id`) so far.

    The store is read in a thread. `seq` is the last event that was narrated, `deferred` the time of the deferral;
    `task` is who cancels the run; `asked` is the question that Airflow has asked in this try: it keeps one for
    each, and cannot ask another.
    """

    def __init__(
        self,
        db: str,
        run: str,
        seq: int,
        poll: float,
        deferred: float,
        task: str,
        ti_id: str,
        asked: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.db = db
        self.run_id = run
        self.seq = seq
        self.poll = poll
        self.deferred = deferred
        self.by = task
        self.ti_id = ti_id
        self.asked = asked
        self._answered = asked is None
        self._named: tuple[str, str, float] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        given = {
            "db": self.db,
            "run": self.run_id,
            "seq": self.seq,
            "poll": self.poll,
            "deferred": self.deferred,
            "task": self.by,
            "ti_id": self.ti_id,
            "asked": self.asked,
        }
        return f"{__name__}.{type(self).__name__}", given

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Narrate the run until there is something for the worker to do."""
        event: dict[str, Any]
        try:
            async with AsyncReader(Path(self.db)) as reader:
                narration = Narration(Path(self.db), self.run_id, self.seq)
                while True:
                    news = await reader.read(narration.read)
                    for line in news.lines:
                        self.log.info("%s", line)
                    if news.over:
                        event = {"status": "over"}
                        break
                    if not news.more and await self._asks(news):
                        assert news.question is not None
                        event = {"status": "asks", "question": plain(news.question), "seq": news.seq}
                        break
                    if not news.more:
                        await asyncio.sleep(self.poll)
        except UsageError as error:  # there is no such run
            event = {"status": "lost", "text": str(error)}
        except AgentdeckError as error:
            event = {"status": "error", "text": str(error)}
        await asyncio.sleep(self.deferred + SETTLED - time.time())
        yield TriggerEvent({"run": self.run_id, **event})

    async def on_kill(self) -> None:
        """The task was cleared or marked while it was deferred: cancel the run. Airflow also calls this where a
        person has answered its question, for which it takes the task from the triggerer."""
        if self.asked is not None and not self._answered and await self._has_response():
            return
        try:
            self.log.info("%s", await asyncio.to_thread(cancel, Path(self.db), self.run_id, self.by))
        except AgentdeckError as error:
            self.log.error("the run could not be cancelled: %s", error)

    # Questions

    async def _asks(self, news: News) -> bool:
        """Whether the worker has to have Airflow ask a question."""
        question = news.question
        if not self._answered and _key(question) != _key(self.asked):
            self._answered = True
            await self._close_question()
        if question is None:
            return False
        if self.asked is None:
            return True
        if self._answered and self._named != _key(question):
            self._named = _key(question)
            self.log.warning(
                "Airflow asks one question in each try; this one is answered with: %s", question.command
            )
        return False

    async def _has_response(self) -> bool:
        try:
            detail = await sync_to_async(get_hitl_detail_content_detail)(ti_id=self.ti_id)
        except Exception:  # the task was cleared: what it asked is gone
            return False
        return bool(detail.response_received)

    async def _close_question(self) -> None:
        """The question was answered elsewhere: Airflow need not ask it any more."""
        assert self.asked is not None
        if await self._has_response():
            return
        option = "Approve" if self.asked["kind"] == "approval" else "Answer"
        try:
            await sync_to_async(update_hitl_detail_response)(
                ti_id=self.ti_id, chosen_options=[option], params_input={}
            )
        except Exception as error:
            self.log.warning("Airflow still shows a question that was answered elsewhere: %s", error)


def _key(question: Question | dict[str, Any] | None) -> tuple[str, str, float] | None:
    """What tells questions of a run apart."""
    if question is None:
        return None
    given = plain(question) if isinstance(question, Question) else question
    return given["task"], given["step"], given["at"]
