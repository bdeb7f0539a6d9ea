"""`AgentdeckOperator`: a task of Airflow that runs a workflow of agentdeck."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    TaskDeferralError,
    TaskDeferralTimeout,
    TaskDeferred,
)

from agentdeck.airflow.ending import ending_of
from agentdeck.airflow.narration import Narration
from agentdeck.airflow.question_form import answer_to, question_form
from agentdeck.airflow.run_ids import TaskTry
from agentdeck.airflow.submission import TOOL, Submission, Submitter, cancel
from agentdeck.airflow.trigger import RunTrigger
from agentdeck.command_hint import with_db
from agentdeck.documents.question import Question
from agentdeck.engine.author import current_author
from agentdeck.errors import AgentdeckError, InvalidFile, StoreError, UsageError
from agentdeck.operations import commands
from agentdeck.operations.recorded_run import LIVE
from agentdeck.operations.settings import database
from agentdeck.processes.identity import this_process
from agentdeck.store.reader import Reader
from agentdeck.trace_ids import trace_id

#: The name under which a task leaves its run among its XComs, and bytes of an output there.
RUN = "agentdeck_run"
OUTPUT_LIMIT = 48_000


class RunLink(BaseOperatorLink):
    """The link to the run in a viewer of traces, or whatever `run_url` of the operator leads to."""

    @property
    def name(self) -> str:
        return "agentdeck run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        run = ti_key.xcom_pull(task_ids=ti_key.task_id, key=RUN, map_indexes=ti_key.map_index)
        if not run:
            return ""
        return str(operator.run_url).replace("{run}", run["run"]).replace("{trace_id}", run["trace_id"])


class AgentdeckOperator(BaseOperator):
    """Runs a workflow, in a process of its own on the machine of the worker, and follows it until it ends.

    A retry continues the run of the earlier tries: recorded results stay, failed steps run again. If the task is
    cleared, marked or killed, the run is cancelled.

    Relative paths begin at the folder of the DAG's file.

    :param workflow: The workflow file, YAML or Python.
    :param inputs: The inputs by name.
    :param tasks: Many tasks: a list of maps of inputs, or a .jsonl or .csv file of them.
    :param db: The store. The default is that of `agentdeck` for the account of the worker.
    :param workers: How many steps run at once.
    :param settings: Settings that differ from the workflow file, as `agentdeck run --set` takes them.
    :param env: Variables of the run's process, such as keys of providers.
    :param run_url: The page of a run in your viewer, to which the task links; `{run}` and `{trace_id}` are filled
        in.
    :param deferrable: Whether the task frees its slot while the run goes on, and the triggerer follows it. The
        triggerer has to see the store.
    :param poll: Seconds between two looks at the run.
    :param output_limit: Bytes of an output that is returned as XCom. Of a larger one, it is where to find it.
    """

    template_fields: Sequence[str] = (
        "workflow",
        "inputs",
        "tasks",
        "db",
        "workers",
        "settings",
        "env",
        "run_url",
    )
    template_fields_renderers = {"inputs": "json", "tasks": "json", "settings": "json", "env": "json"}  # noqa: RUF012
    ui_color = "#d9e8f6"

    def __init__(
        self,
        *,
        workflow: str | Path,
        inputs: Mapping[str, Any] | None = None,
        tasks: Sequence[Mapping[str, Any]] | str | Path | None = None,
        db: str | Path | None = None,
        workers: int | str | None = None,
        settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        run_url: str | None = None,
        deferrable: bool = True,
        poll: float = 1.0,
        output_limit: int = OUTPUT_LIMIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow = str(workflow)
        self.inputs = inputs
        self.tasks = str(tasks) if isinstance(tasks, Path) else tasks
        self.db = None if db is None else str(db)
        self.workers = workers
        self.settings = settings
        self.env = env
        self.run_url = run_url
        self.deferrable = deferrable
        self.poll = poll
        self.output_limit = output_limit
        if run_url is not None:
            self.operator_extra_links = (RunLink(),)
        self._submitter: Submitter | None = None
        self._running = ""

    # What Airflow calls

    def execute(self, context: Any) -> Any:
        """Submit the run, or continue that of an earlier try; then defer, or follow it to its end."""
        task = _task_try(self, context)
        try:
            wanted = self._submission()
            self._submitter = Submitter(wanted, task, self._say)
            run, seq = self._submitter.submit()
            self._running = run
            self._show(context, run, wanted.db)
            if self.deferrable:
                self._defer(context, run, seq)
            self._follow(run, seq)
            return self._output_of(run)
        except AgentdeckError as error:
            raise _failure(error) from error

    def execute_complete(
        self,
        context: Any,
        event: dict[str, Any],
        run: str = "",
        seq: int = 0,
        asked: dict[str, Any] | None = None,
        answered: bool = False,
    ) -> Any:
        """Handle an event: the trigger's, as the run asks or is over, or an answer to a question in Airflow. The
        other arguments are those of the deferral."""
        self._running = run = run or event["run"]  # `dag.test()` passes the event alone
        try:
            if event.get("run", run) != run:
                # A late event of the previous try. In SQLite a new trigger gets the id of the one that was just
                # deleted, so Airflow delivers the event of the old trigger to the new try.
                self._defer(context, run, seq, asked, answered)
            if "chosen_options" in event:
                if asked is None or answered:
                    self.log.warning("an answer to what an earlier try of this task asked is not passed on")
                    self._defer(context, run, seq, asked, answered)
                answered = self._answer(context, run, Question.model_validate(asked), event)
                self._defer(context, run, seq, asked, answered)
            if event["status"] == "asks":
                answered = not self._ask(context, Question.model_validate(event["question"]))
                self._defer(context, run, event["seq"], event["question"], answered)
            if event["status"] == "lost":
                self.on_kill()
                raise UsageError(f"{event['text']}. The triggerer has to see the store, or set deferrable=False")
            if event["status"] == "error":
                raise StoreError(event["text"])
            if self._executes(run):  # an operator has continued it since
                self._defer(context, run, event["seq"], asked, answered)
            return self._output_of(run)
        except AgentdeckError as error:
            raise _failure(error) from error

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """As in every operator. If the trigger has failed or timed out, nothing follows the run any more: it is
        cancelled."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout):
            with closing(Reader(self._db())) as reader:
                earlier = _task_try(self, context).newest(reader)
            if earlier is not None:
                self._running = earlier.row.run
                self.on_kill()
            raise

    def on_kill(self) -> None:
        """Cancel the run: the task was cleared, marked or stopped on a worker, or has timed out."""
        try:
            if self._running:
                self._say(cancel(self._db(), self._running, f"{self.dag_id}.{self.task_id}"))
            elif self._submitter is not None:
                self._say(self._submitter.stop())
        except AgentdeckError as error:
            self.log.error("the run could not be cancelled: %s", error)

    # The run

    @property
    def _folder(self) -> Path:
        """Where relative paths begin."""
        return Path(self.dag.fileloc).resolve().parent

    def _db(self) -> Path:
        return database(None).resolve() if self.db is None else self._folder / Path(self.db).expanduser()

    def _submission(self) -> Submission:
        tasks: Any = self.tasks
        if isinstance(tasks, str):
            tasks = self._folder / Path(tasks).expanduser()
        elif tasks is not None:
            tasks = list(tasks)
        return Submission(
            self._folder / Path(self.workflow).expanduser(),
            self._db(),
            _map(self.inputs, "inputs"),
            tasks,
            None if self.workers in (None, "") else _whole(self.workers),
            _map(self.settings, "settings"),
            {name: str(value) for name, value in _map(self.env, "env").items()},
        )

    def _show(self, context: Any, run: str, db: Path) -> None:
        """Name the run, and the command that shows it, in the log and among the XComs."""
        many = self.tasks is not None
        show = with_db(f"agentdeck show {run}", str(db))
        self._say(f"run {run}: {show}")
        shown = {"run": run, "db": str(db), "show": show, "trace_id": trace_id(run, "" if many else "1")}
        context["ti"].xcom_push(key=RUN, value=shown)

    def _defer(
        self,
        context: Any,
        run: str,
        seq: int,
        asked: dict[str, Any] | None = None,
        answered: bool = False,
    ) -> NoReturn:
        """Free the worker. `seq` is the last event in the log of the task, `asked` the question in Airflow,
        `answered` whether its answer was passed on."""
        trigger = RunTrigger(
            db=str(self._db()),
            run=run,
            seq=seq,
            poll=self.poll,
            worker=list(this_process()),
            task=f"{self.dag_id}.{self.task_id}",
            ti_id=str(context["ti"].id),
            asked=asked,
            answered=answered,
        )
        kwargs = {"run": run, "seq": seq, "asked": asked, "answered": answered}
        raise TaskDeferred(
            trigger=trigger, method_name="execute_complete", kwargs=kwargs, timeout=self.execution_timeout
        )

    def _follow(self, run: str, seq: int) -> None:
        narration = Narration(self._db(), run, seq)
        with closing(Reader(self._db())) as reader:
            while True:
                news = narration.read(reader)
                for line in news.lines:
                    self._say(line)
                if news.over:
                    return
                if not news.more:
                    time.sleep(self.poll)

    def _executes(self, run: str) -> bool:
        with closing(Reader(self._db())) as reader:
            return reader.run(run).state in LIVE

    def _output_of(self, run: str) -> Any:
        with closing(Reader(self._db())) as reader:
            ending = ending_of(reader, self._db(), run, self.output_limit)
        if ending.error:
            raise (AirflowFailException if ending.final else AirflowException)(ending.error)
        return ending.output

    # Questions

    def _ask(self, context: Any, question: Question) -> bool:
        """Make a question a required action of this task. Returns False if Airflow shows another one: it keeps
        that of an earlier try of the task, and cannot replace it."""
        from airflow.sdk import Param
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        form = question_form(question)
        shown: Any = SUPERVISOR_COMMS.send(
            CreateHITLDetailPayload(
                ti_id=context["ti"].id,
                options=form.options,
                subject=form.subject,
                body=form.body,
                params={
                    name: Param(form.defaults[name], schema=schema).serialize()
                    for name, schema in form.schemas.items()
                },
                multiple=False,
                assigned_users=[],
            )
        )
        if (shown.subject, shown.body, shown.options) != (form.subject, form.body, form.options):
            return False
        asks = f"{question.step} of task {question.task} asks: the answer is a required action of this task"
        self._say(f"{asks}, or {question.command}")
        return True

    def _answer(self, context: Any, run: str, question: Question, event: Mapping[str, Any]) -> bool:
        """Pass an answer on to the run. If the run refuses it, ask again, and return False."""
        user = event.get("responded_by_user") or {}
        command = answer_to(question, event["chosen_options"], event.get("params_input") or {})
        author = current_author(TOOL, str(user.get("name") or user.get("id") or ""))
        answer = commands.send(self._db(), run, command, author)
        if answer.ok:
            self._say(f"{question.step} of task {question.task} is answered by {author.text}")
        elif answer.run_over:
            self._say(answer.text)
        else:
            self.log.warning("the answer was not taken: %s", answer.text)
            return not self._ask(context, question)
        return True

    def _say(self, text: str) -> None:
        self.log.info("%s", text)


def _task_try(operator: BaseOperator, context: Any) -> TaskTry:
    """The try that is executed. When a task is cleared, Airflow grants it all of its retries again."""
    ti = context["ti"]
    cleared = max(0, ti.max_tries - operator.retries)
    return TaskTry(ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.try_number, cleared)


def _failure(error: AgentdeckError) -> AirflowException:
    """A store that cannot be used may be usable in a later try; other errors would occur again."""
    useless = isinstance(error, UsageError | InvalidFile)
    return (AirflowFailException if useless else AirflowException)(str(error))


def _map(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} is {value!r}; it has to be a map")
    return dict(value)


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UsageError(f"workers is {value!r}; it has to be a whole number") from None
