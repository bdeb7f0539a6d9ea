"""Calls the methods of the operator and of its trigger as Airflow does after a deferral, without a server. Prints
what came of it as JSON, in the last line."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferralTimeout, TaskDeferred

from agentdeck.airflow.narration import Narration
from agentdeck.airflow.operator import AgentdeckOperator
from agentdeck.documents.document import plain
from agentdeck.store.reader import Reader

ASKS = """
agentdeck: 1
name: asks
agents:
  gate: { approve: { ask: "Refund 20?", fields: { reason: string } } }
  after: { needs: gate, simulate: { takes: 10ms, returns: "${gate.reason}" } }
output: ${after}
"""


class Task:
    """A task whose run asks."""

    def __init__(self, folder: Path, name: str) -> None:
        with DAG("deck", schedule=None) as dag:
            workflow, db = folder / "asks.yaml", folder / "deck.db"
            self.operator = AgentdeckOperator(task_id=name, workflow=workflow, db=db, poll=0.1)
        dag.fileloc = str(folder / "dag.py")
        names = {"id": "0", "dag_id": "deck", "run_id": "one", "task_id": name}
        ti = SimpleNamespace(**names, map_index=-1, try_number=1, max_tries=0, xcom_push=lambda **given: None)
        self.context = {"ti": ti}
        self.db = db
        self.deferral = self.deferred(lambda: self.operator.execute(self.context))
        self.run = self.deferral.kwargs["run"]

    def deferred(self, call: Callable[[], Any]) -> Any:
        """The deferral that a call raises."""
        try:
            call()
        except TaskDeferred as deferral:
            return deferral
        raise AssertionError("it did not defer")

    def asked(self) -> Any:
        narration = Narration(self.db, self.run)
        with closing(Reader(self.db)) as reader:
            while (question := narration.read(reader).question) is None:
                time.sleep(0.05)
        return plain(question)

    def ended(self) -> str:
        """The state of its run once that is over."""
        with closing(Reader(self.db)) as reader:
            while (state := reader.run(self.run).state) == "running":
                time.sleep(0.05)
        return state


def main(folder: Path) -> None:
    (folder / "asks.yaml").write_text(ASKS)
    saw: dict[str, Any] = {}

    answered = Task(folder, "answered")
    run, complete = answered.run, answered.operator.execute_complete
    asked, user = answered.asked(), {"id": "7", "name": "Grace"}
    event = {"chosen_options": ["Approve"], "params_input": {"reason": "late"}, "responded_by_user": user}
    late_events = {
        "of the try before": {"run": "zzzzzzzzzz", "status": "over", "seq": 9},
        "of a run that was continued": {"run": run, "status": "over", "seq": 0},
        "an answer to what the try before asked": event,
    }
    deferred_again = {"run": run, "seq": 0, "asked": None, "answered": False}
    saw["late events"] = {
        name: answered.deferred(partial(complete, answered.context, late, run)).kwargs == deferred_again
        for name, late in late_events.items()
    }
    passed_on = answered.deferred(lambda: complete(answered.context, event, run, 0, asked))
    saw["passed on"] = passed_on.kwargs["answered"]
    saw["answered"] = answered.ended()
    with closing(Reader(answered.db)) as reader:
        saw["by"] = [one.author.by for one in reader.of_kind(answered.run, "step_answered")]
    saw["output"] = complete(answered.context, {"run": run, "status": "over", "seq": 9}, run)

    late = Task(folder, "late")
    try:
        late.operator.resume_execution("__fail__", {"error": "Trigger timeout"}, late.context)
    except TaskDeferralTimeout:
        saw["late"] = late.ended()

    cleared = Task(folder, "cleared")
    asyncio.run(cleared.deferral.trigger.on_kill())
    saw["cleared"] = cleared.ended()

    stopped = Task(folder, "stopped")
    stopped.operator.on_kill()
    saw["stopped"] = stopped.ended()
    print(json.dumps(saw))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
