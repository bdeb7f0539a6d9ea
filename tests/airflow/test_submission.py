"""The run of a task of Airflow, without Airflow: how it is begun, followed, continued and cancelled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentdeck.airflow.ending import Ending, ending_of
from agentdeck.airflow.narration import Narration
from agentdeck.airflow.run_ids import LENGTH, TaskTry
from agentdeck.airflow.submission import Submission, Submitter, cancel
from agentdeck.errors import StoreError, UsageError
from agentdeck.operations import commands
from agentdeck.operations.commands import send
from agentdeck.scheduler.events import Author
from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing
from tests.waiting import until

GOOD = """
agentdeck: 1
name: good
inputs: { n: integer, word: { type: string, default: x } }
agents:
  first: { simulate: { takes: 10ms, returns: "${inputs.word}" } }
  second: { needs: first, simulate: { takes: 10ms, returns: "${inputs.n}" } }
output: ${second}
"""
#: The first step leaves a line whenever it runs; the second fails until there is a file.
FLAKY = """
agentdeck: 1
name: flaky
agents:
  first: { command: [sh, -c, "echo ran >> ran.log; echo 1"] }
  second: { needs: first, retry: 1, command: [sh, -c, "test -e go && echo 2 || { echo no go >&2; exit 3; }"] }
output: ${second}
"""
#: The second step waits until there is a file; another file says that it waits.
GATED = FLAKY.replace(
    "test -e go && echo 2 || { echo no go >&2; exit 3; }",
    "touch waits; until test -e go; do sleep 0.05; done; echo 2",
)
TASK = TaskTry("shop", "manual__1", "orders")


class Worker:
    """A folder with a workflow and a store, in which tries of a task are executed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "deck.db"
        self.said: list[str] = []

    def submission(self, text: str = GOOD, **given: Any) -> Submission:
        file = self.folder / "w.yaml"
        file.write_text(text)
        return Submission(file, self.db, **given)

    def submit(self, wanted: Submission, task: TaskTry = TASK) -> str:
        return Submitter(wanted, task, self.said.append).submit().run

    def follow(self, run: str, after: int = 0) -> list[str]:
        """What is said about a run until it is over."""
        lines: list[str] = []
        narration = Narration(self.db, run, after)

        def over() -> bool:
            with closing(Reader(self.db)) as reader:
                news = narration.read(reader)
            lines.extend(news.lines)
            return news.over

        until(over)
        return lines

    def ending(self, run: str, most: int = 1000) -> Ending:
        self.follow(run)
        with closing(Reader(self.db)) as reader:
            return ending_of(reader, self.db, run, most)

    def state(self, run: str) -> str:
        with closing(Reader(self.db)) as reader:
            return reader.run(run).state

    @property
    def ran(self) -> int:
        """How often the first step ran."""
        log = self.folder / "ran.log"
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def retried(task: TaskTry = TASK) -> TaskTry:
    return replace(task, number=task.number + 1)


def cleared(task: TaskTry = TASK) -> TaskTry:
    return replace(task, number=task.number + 1, cleared=task.number)


def test_ids_tell_tries_tasks_and_maps_apart() -> None:
    tasks = [TASK, retried(), replace(TASK, task="other"), replace(TASK, map_index=0), replace(TASK, dag_run="x")]
    runs = {task.run for task in tasks}
    assert len(runs) == len(tasks)
    assert {len(run) for run in runs} == {LENGTH}
    assert TASK.run == replace(TASK).run


def test_a_run_is_begun_and_narrated_as_on_the_command_line(worker: Worker) -> None:
    run = worker.submit(worker.submission(inputs={"n": "7"}))
    assert run == TASK.run
    first, last = worker.follow(run)
    assert first == f"{run} started: good, 8 workers, 1 task · simulated"
    assert last.startswith(f"{run} done in ")
    assert worker.ending(run) == Ending("done", 7)
    with closing(Reader(worker.db)) as reader:
        assert reader.run(run).tags[:2] == ("airflow", "shop.orders")
        began = reader.last_seq(run)
    (again,) = worker.follow(run, after=began)  # what was narrated before a deferral is not said again
    assert again == last


def test_outputs_of_many_tasks_and_one_that_is_too_large(worker: Worker) -> None:
    run = worker.submit(worker.submission(inputs={"word": "y"}, tasks=[{"n": 1}, {"n": 2}]))
    assert worker.ending(run).output == [1, 2]
    large = worker.ending(run, most=1).output
    assert large == {
        "run": run,
        "db": str(worker.db),
        "bytes": None,
        "command": f"agentdeck results {run} --db {worker.db}",
    }


def test_a_retry_goes_on_with_what_failed(worker: Worker) -> None:
    wanted = worker.submission(FLAKY)
    run = worker.submit(wanted)
    ended = worker.ending(run)
    assert ended.error.splitlines() == [
        f"flaky: run {run} failed (0 tasks done, 1 failed)",
        "second (exit): exited with 3: no go",
        f"1 dead letter: agentdeck letters {run} --db {worker.db}",
        f"agentdeck show {run} --db {worker.db}",
    ]
    assert not ended.final
    (worker.folder / "go").touch()
    again = Submitter(worker.submission(FLAKY), retried(), worker.said.append).submit()
    assert again.run == run
    assert worker.follow(run, again.seq)[0].startswith(f"{run} resumed")  # the first try is not narrated again
    assert worker.ending(run) == Ending("done", 2)
    assert worker.ran == 1
    assert worker.said == [f"{run} was failed: 1 step of 1 task again"]


def test_a_try_that_finds_its_run_done_takes_its_output(worker: Worker) -> None:
    wanted = worker.submission(inputs={"n": 1})
    run = worker.submit(wanted)
    worker.follow(run)
    assert worker.submit(wanted, retried()) == run


def test_a_task_that_is_cleared_begins_anew_where_it_was_done(worker: Worker) -> None:
    wanted = worker.submission(inputs={"n": 1})
    run = worker.submit(wanted)
    worker.follow(run)
    new = worker.submit(wanted, cleared())
    assert new == cleared().run != run
    assert worker.submit(wanted, retried(cleared())) == new


def test_a_task_that_is_cleared_takes_over_the_results_of_its_run(
    worker: Worker, kill: Callable[[str], None]
) -> None:
    """By a run of its own: a late cancellation on behalf of the try before does not reach it."""
    run = worker.submit(worker.submission(GATED))
    until((worker.folder / "waits").exists)
    kill(run)
    new = worker.submit(worker.submission(GATED), cleared())
    assert worker.said[-1] == f"{run} was interrupted: {new} continues with 1 of its results"
    assert cancel(worker.db, run, "shop.orders") == f"{run} has ended (cancelled)"
    (worker.folder / "go").touch()
    assert worker.ending(new) == Ending("done", 2)
    assert worker.ran == 1
    # A retry after it goes on with the new run, whose output it takes.
    assert worker.submit(worker.submission(GATED), retried(cleared())) == new


def test_a_task_that_is_cleared_goes_on_after_a_failure(worker: Worker) -> None:
    run = worker.submit(worker.submission(FLAKY))
    worker.follow(run)
    (worker.folder / "go").touch()
    new = worker.submit(worker.submission(FLAKY), cleared())
    assert new != run
    assert worker.ending(new) == Ending("done", 2)
    assert worker.ran == 1


def test_a_task_that_is_cleared_begins_anew_where_its_workflow_was_changed(worker: Worker) -> None:
    run = worker.submit(worker.submission(GATED))
    until((worker.folder / "waits").exists)
    (worker.folder / "go").touch()
    other = worker.submit(worker.submission(GATED.replace("name: flaky", "name: other")), cleared())
    worker.follow(other)
    assert worker.ran == 2
    assert worker.state(run) in ("cancelled", "done")  # nothing of the try before goes on


def test_a_run_that_is_cancelled_by_its_task_is_continued_by_another(worker: Worker) -> None:
    run = worker.submit(worker.submission(GATED))
    until((worker.folder / "waits").exists)
    assert cancel(worker.db, run, "shop.orders") == f"{run} is cancelled"
    ended = worker.ending(run)
    assert (ended.state, ended.final) == ("cancelled", False)
    new = worker.submit(worker.submission(GATED), retried())
    assert new == retried().run
    (worker.folder / "go").touch()
    assert worker.ending(new) == Ending("done", 2)
    assert worker.ran == 1
    assert worker.said == [f"{run} was cancelled: {new} continues with 1 of its results"]


def test_a_live_run_of_a_task_that_was_cleared_is_cancelled_first(worker: Worker) -> None:
    run = worker.submit(worker.submission(GATED))
    until((worker.folder / "waits").exists)
    new = worker.submit(worker.submission(GATED), cleared())
    assert (worker.state(run), new) == ("cancelled", cleared().run)
    (worker.folder / "go").touch()
    assert worker.ending(new) == Ending("done", 2)
    assert worker.ran == 1


def test_a_run_that_a_person_cancels_is_not_wanted_again(worker: Worker) -> None:
    run = worker.submit(worker.submission(GATED))
    assert send(worker.db, run, commands.cancel(), Author("ada", "mica", "cli")).ok
    assert worker.ending(run).final


def test_a_live_run_is_followed_and_a_dead_one_resumed(worker: Worker, kill: Callable[[str], None]) -> None:
    run = worker.submit(worker.submission(GATED))
    until((worker.folder / "waits").exists)
    assert worker.submit(worker.submission(GATED), retried()) == run
    assert "it is followed" in worker.said[-1]
    kill(run)
    assert "was interrupted: its process ended before it did" in worker.ending(run).error
    (worker.folder / "go").touch()
    assert worker.submit(worker.submission(GATED), retried(retried())) == run
    assert worker.ending(run) == Ending("done", 2)
    assert worker.ran == 1


def test_a_budget_that_is_used_up_is_the_error(worker: Worker) -> None:
    poor = GOOD.replace(
        "agents:", "budget: { usd: 0.000001, ladder: { 100%: ask } }\nagents:\n  ask: { prompt: hi }"
    )
    (worker.folder / "deck.yaml").write_text(
        "agentdeck: 1\nproviders: { p: { type: simulated } }\n"
        "models: { m: { provider: p, id: m, price: { in: 1, out: 1 } } }\ntiers: { execution: m }\n"
    )
    run = worker.submit(worker.submission(poor, inputs={"n": 1}))
    ended = worker.ending(run)
    assert ended.state == "interrupted"
    assert "stopped, as nothing can continue without an operator: budget of the run" in ended.error


def test_mistakes_of_the_workflow_are_final(worker: Worker) -> None:
    bad = GOOD.replace('simulate: { takes: 10ms, returns: "${inputs.n}" }', "python: missing:function")
    with pytest.raises(UsageError, match="missing"):
        worker.submit(worker.submission(bad, inputs={"n": 1}))
    with pytest.raises(UsageError, match="good has no input m"):
        worker.submit(worker.submission(inputs={"m": 1}))
    with pytest.raises(UsageError, match="the input n: 'many' is not an integer"):
        worker.submit(worker.submission(inputs={"n": "many"}))
    with pytest.raises(UsageError, match="good needs the input n"):
        worker.submit(worker.submission())
    with pytest.raises(UsageError, match="plain data, as in JSON"):
        worker.submit(worker.submission(inputs={"n": object()}))
    with pytest.raises(UsageError, match=r"nothing\.yaml: there is no such workflow file"):
        worker.submit(replace(worker.submission(), workflow=worker.folder / "nothing.yaml"))
    with pytest.raises(UsageError, match=r"nothing\.jsonl"):
        worker.submit(worker.submission(tasks=worker.folder / "nothing.jsonl"))
    with pytest.raises(UsageError, match="tasks is an empty list"):
        worker.submit(worker.submission(tasks=[]))
    with pytest.raises(UsageError, match=r"tasks\[1\] is 7; it has to be a map of inputs"):
        worker.submit(worker.submission(tasks=[{"n": 1}, 7]))
    with pytest.raises(UsageError, match="cannot be started: illegal environment variable name"):
        worker.submit(worker.submission(inputs={"n": 1}, env={"A=B": "x"}))
    permanent = GOOD.replace('simulate: { takes: 10ms, returns: "${inputs.word}" }', "command: [no-such-program]")
    run = worker.submit(worker.submission(permanent, inputs={"n": 1}))
    assert worker.ending(run).final


def test_stores_that_cannot_be_used(worker: Worker) -> None:
    with pytest.raises(StoreError, match="this is a folder"):
        worker.submit(replace(worker.submission(inputs={"n": 1}), db=worker.folder))
    with closing(open_for_writing(worker.db)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process holds the lock"):
            worker.submit(worker.submission(inputs={"n": 1}))
        connection.execute("ROLLBACK")
        connection.execute("PRAGMA user_version = 9999")
    with pytest.raises(StoreError, match="newer"):
        worker.submit(worker.submission(inputs={"n": 1}))
