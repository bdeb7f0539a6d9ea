"""What happens to tasks in a real Airflow, and what becomes of their runs. Prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from agentdeck.airflow.submission import cancel
from agentdeck.store.reader import Reader
from tests.airflow.apart.server import Airflow, processes, standalone, until

FILES = {
    # The first step leaves a line each time it runs; the second waits until somebody lets it go.
    "gated.yaml": """
agentdeck: 1
name: gated
inputs: { mark: string }
agents:
  first: { command: [sh, -c, "echo ran >> $0.log; echo 1", "${inputs.mark}"] }
  second:
    needs: first
    timeout: 10m
    command: [sh, -c, "touch $0.waits; until test -e $0.go; do sleep 0.2; done; echo 2", "${inputs.mark}"]
output: "${second} after ${first}"
""",
    "flaky.yaml": """
agentdeck: 1
name: flaky
agents:
  first: { command: [sh, -c, "echo ran >> flaky.log; echo 1"] }
  second: { needs: first, retry: 1, command: [sh, -c, "echo >> tries; test $(wc -l < tries) -ge 2 && echo 2"] }
output: "${second} after ${first}"
""",
    "asks.yaml": """
agentdeck: 1
name: asks
agents:
  gate: { approve: { ask: "Refund 20?", show: "to Ada", fields: { reason: string } } }
  after: { needs: gate, simulate: { takes: 10ms, returns: "${gate.reason}" } }
output: ${after}
""",
    "dag.py": """
from datetime import timedelta

from airflow.sdk import DAG
from agentdeck.airflow import AgentdeckOperator

def gated(name, **more):
    AgentdeckOperator(task_id=name, workflow="gated.yaml", inputs={"mark": name}, db="deck.db", poll=0.5, **more)

with DAG("deck", schedule=None) as dag:
    gated("marked")
    gated("cleared")
    gated("restarted")
    gated("held", deferrable=False)
    gated("late", execution_timeout=timedelta(seconds=40))
    again = {"retries": 1, "retry_delay": timedelta(seconds=1)}
    AgentdeckOperator(task_id="flaky", workflow="flaky.yaml", db="deck.db", poll=0.5, **again)
    AgentdeckOperator(task_id="asks", workflow="asks.yaml", db="deck.db", poll=0.5)
""",
}


class Scenario:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.airflow = Airflow("deck", folder / "airflow.log")
        self.db = folder / "deck.db"
        self.seen: dict[str, Any] = {}
        self.triggerer: subprocess.Popen[bytes] | None = None

    def end_triggerer(self) -> None:
        """End the one that was started here: `airflow standalone` knows nothing of it."""
        if self.triggerer is not None:
            self.triggerer.terminate()
            self.triggerer.wait()

    def runs(self, task: str) -> list[tuple[str, str]]:
        """The runs of a task, the oldest first, with their states."""
        with closing(Reader(self.db)) as reader:
            rows = reader.runs(tag=f"deck.{task}")
        return [(row.run, row.state) for row in reversed(rows)]

    def ran(self, mark: str) -> int:
        """How often the first step ran."""
        log = self.folder / f"{mark}.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def cancel_runs(self) -> None:
        """Runs outlive Airflow: end those that still execute."""
        with closing(Reader(self.db)) as reader:
            for row in reader.runs(state="running"):
                cancel(self.db, row.run, "the end of the test")

    def let_go(self, mark: str) -> None:
        (self.folder / f"{mark}.go").touch()

    def until_waits(self, mark: str) -> None:
        until((self.folder / f"{mark}.waits").exists, f"the second step of {mark} waits")

    def play(self) -> None:
        self.airflow.start_run()
        self.asks()
        self.flaky()
        self.marked()
        self.held()
        self.restarted()
        self.cleared()
        self.late()

    def asks(self) -> None:
        """Airflow asks what the run asks; the answer of a person there lets the run go on."""
        until(lambda: bool(self.airflow.questions()), "Airflow asks")
        (question,) = self.airflow.questions()
        self.airflow.until_left("asks", 2)
        self.seen["asked"] = {name: question[name] for name in ("subject", "body", "options")}
        self.airflow.answer("asks", "Approve", {"reason": "late parcel"})
        self.airflow.until_state("asks", "success", "failed")
        self.seen["asks"] = self.airflow.state("asks"), self.airflow.xcom("asks"), self.runs("asks")
        self.seen["asks log"] = self.airflow.log("asks")

    def flaky(self) -> None:
        """A retry goes on with the run: the step that was done does not run again."""
        self.airflow.until_state("flaky", "success", "failed", tries=2)
        self.seen["flaky"] = self.airflow.state("flaky"), self.airflow.xcom("flaky"), self.ran("flaky")
        self.seen["flaky runs"] = self.runs("flaky")
        self.seen["flaky log"] = self.airflow.log("flaky", 1)
        self.seen["flaky log 2"] = self.airflow.log("flaky", 2)

    def marked(self) -> None:
        """A deferred task that is marked as failed cancels its run."""
        self.airflow.until_state("marked", "deferred")
        self.until_waits("marked")
        self.airflow.mark("marked", "failed")
        until(lambda: [state for _, state in self.runs("marked")] == ["cancelled"], "its run is cancelled")
        self.seen["marked"] = self.runs("marked")

    def held(self) -> None:
        """So does one that holds its slot."""
        self.airflow.until_state("held", "running")
        self.until_waits("held")
        self.airflow.mark("held", "failed")
        until(lambda: [state for _, state in self.runs("held")] == ["cancelled"], "its run is cancelled")
        self.seen["held"] = self.runs("held")

    def restarted(self) -> None:
        """A triggerer that is restarted cancels nothing."""
        self.airflow.until_state("restarted", "deferred")
        self.until_waits("restarted")
        for pid in processes("airflow\0triggerer"):
            os.kill(pid, signal.SIGTERM)
        until(lambda: not processes("airflow\0triggerer"), "the triggerer has ended")
        self.seen["restarted, without a triggerer"] = self.runs("restarted")
        with (self.folder / "triggerer.log").open("wb") as out:
            command = [sys.executable, "-m", "airflow", "triggerer"]
            self.triggerer = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        self.let_go("restarted")
        self.airflow.until_state("restarted", "success", "failed")
        self.seen["restarted"] = self.airflow.state("restarted"), self.airflow.xcom("restarted")
        self.seen["restarted runs"] = self.runs("restarted")

    def cleared(self) -> None:
        """A task that is cleared cancels its run; its next try takes over what that has reached."""
        self.airflow.until_state("cleared", "deferred")
        self.until_waits("cleared")
        self.airflow.clear("cleared")
        until(lambda: len(self.runs("cleared")) == 2, "a run continues the cancelled one")
        self.let_go("cleared")
        self.airflow.until_state("cleared", "success", "failed", tries=2)
        self.seen["cleared"] = self.airflow.state("cleared"), self.airflow.xcom("cleared"), self.ran("cleared")
        self.seen["cleared runs"] = self.runs("cleared")

    def late(self) -> None:
        """A task that has run out of time cancels its run."""
        self.airflow.until_state("late", "failed")
        until(lambda: [state for _, state in self.runs("late")] == ["cancelled"], "its run is cancelled")
        self.seen["late"] = self.runs("late")


def main(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    scenario = Scenario(folder)
    with standalone(folder / "airflow.log"):
        try:
            scenario.play()
        except Exception as error:
            scenario.seen["error"] = f"{type(error).__name__}: {error}"
            if scenario.airflow.run:
                scenario.seen["tasks"] = {name: one["state"] for name, one in scenario.airflow.tasks().items()}
        finally:
            scenario.cancel_runs()
            scenario.end_triggerer()
    print(json.dumps(scenario.seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
