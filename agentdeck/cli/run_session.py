"""A run that this process executes: signals, narration, the --out file, and the exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType

from agentdeck.agents.loop_interrupt import break_into, interruptible
from agentdeck.cli.error_output import DONE, FAILED, INTERRUPTED, UNUSABLE, say, say_with_details
from agentdeck.cli.options import has_operator
from agentdeck.cli.progress import Narrator, dead_letters, narrator
from agentdeck.cli.run_process import leave_now, new_runner, own_stdout, run_to_end
from agentdeck.engine.launch import Outcome, Watch, run
from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.run_control import RunControl
from agentdeck.engine.stalled import StallCause
from agentdeck.errors import UsageError
from agentdeck.operations.author import author
from agentdeck.operations.launch import PreparedLaunch
from agentdeck.operations.out_file import OutFile
from agentdeck.operations.resume import prepare_resume
from agentdeck.operations.settings import database
from agentdeck.operations.task_files import remove_stdin_copy
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.model import Definition


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """Options of the verbs that resume a run in this process. Without `wait`, and without a terminal, the run
    stops when it cannot continue until an operator acts; with `wait_answers`, it waits for answers alone."""

    db: str | None
    yes: bool = False
    wait: bool = False
    wait_answers: bool = False
    as_json: bool = False
    by: str = ""
    out: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that this process has executed."""

    outcome: Outcome
    definition: Definition
    out: OutFile


def launch_here(prepared: PreparedLaunch, out: str | None, as_json: bool, *, answered: bool = False) -> int:
    """Execute a new run until it ends; returns the exit code. `answered`: its questions are answered."""
    launch = prepared.launch
    assert launch.db is not None
    file = OutFile(out, launch.db, say)
    file.start_new()
    narration = narrator(launch.definition, prepared.total)
    outcome = _execute(lambda watch: run(launch, watch), narration, file, answered=answered)
    return conclude(Finished(outcome, launch.definition, file), as_json)


def resume_here(
    row: RunRow, options: ExecutionOptions, reopened: ReopenRequest | None = None, *, accept_changes: bool = False
) -> Finished:
    """Execute a recorded run until it ends; with `reopened`, steps that had ended run again."""
    own_stdout()
    db = database(options.db)
    prepared = prepare_resume(
        db,
        row,
        author(options.by),
        say_with_details,
        yes=options.yes,
        wait=options.wait or (has_operator() and not options.wait_answers),
        accept_changes=accept_changes,
        reopened=reopened,
    )
    for notice in prepared.notices:
        say(notice)
    file = OutFile(options.out, db, say)
    file.continue_run(row.run, reopened.roots if reopened is not None else ())
    narration = narrator(prepared.definition, prepared.total, resumed=prepared.view)
    outcome = _execute(prepared.execute, narration, file, resumed=True, answered=options.wait_answers)
    if outcome.state != "drained":
        remove_stdin_copy(row.source.get("tasks"), db)
    return Finished(outcome, prepared.definition, file)


def refuse_out(row: RunRow, options: ExecutionOptions) -> None:
    """Raises UsageError if --out is given for a run that another process executes."""
    if options.out is not None:
        raise UsageError(
            f"{row.run} is {row.state} in process {row.pid} on {row.host}, and only the process that executes a"
            f" run writes --out; once it has ended: agentdeck results {row.run} --out {options.out}"
        )


def _execute(
    start: Callable[[Watch], Awaitable[Outcome]],
    narration: Narrator,
    out: OutFile,
    *,
    resumed: bool = False,
    answered: bool = False,
) -> Outcome:
    """Execute a run in this process until it ends. SIGINT or SIGTERM drains it, a second SIGINT cancels it, a
    third one ends the process."""
    control = RunControl(author().text)
    out.report = narration.say
    outcome: Outcome | None = None
    try:
        runner = new_runner()
        try:
            watch = Watch(
                (narration, out) if out.name is not None else (narration,),
                narration.line,
                control,
                narration.say,
                lambda run, causes: _report_stall(narration, run, causes),
                (lambda task, step: True) if answered else None,
            )
            outcome = run_to_end(runner, _main(start, watch, _Interrupts(control, narration)))
        except UsageError as error:  # a bad line in the middle of the tasks
            if resumed or not narration.run:
                raise
            raise UsageError(
                f"{error}; what has ended is recorded; to continue: agentdeck resume {narration.run}"
            ) from None
        finally:
            # Closing the loop would wait for agents that ignore their cancellation; the process's end does not.
            if outcome is None or not outcome.abandoned:
                runner.close()
    finally:
        narration.finish(outcome.view if outcome else None, outcome.state if outcome else "")
        if outcome is not None:
            out.finish(outcome.run)
        out.close()
    _report_remainder(narration, outcome)
    return outcome


def _report_stall(narration: Narrator, run: str, causes: Iterable[StallCause]) -> None:
    """Name what a run waits for that cannot continue by itself, and the commands that answer."""
    narration.say("nothing can continue until an operator acts:")
    for cause in causes:
        narration.say(f"  {cause.why}: {cause.waiting}; {cause.remedy(run, stopped=False)}")


def _report_remainder(narration: Narrator, outcome: Outcome) -> None:
    """Name the commands that continue a drained run and that show its dead letters."""
    run = outcome.run
    if outcome.state == "drained" and not outcome.causes:
        narration.say(f"drained; to continue: agentdeck resume {run}")
    if letters := dead_letters(outcome.view):
        narration.say(letters)


async def _main(start: Callable[[Watch], Awaitable[Outcome]], watch: Watch, interrupts: _Interrupts) -> Outcome:
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor()
    loop.set_default_executor(pool)
    try:
        with interruptible(), interrupts.handled():
            return await start(watch)
    finally:
        # Closing the loop waits for its executor, and that for functions that never return.
        pool.shutdown(wait=False, cancel_futures=True)
        loop.set_default_executor(ThreadPoolExecutor())


class _Interrupts:
    """Handlers of SIGINT and SIGTERM: the first drains the run, the second SIGINT cancels it, the third ends the
    process."""

    def __init__(self, control: RunControl, narration: Narrator) -> None:
        self._control = control
        self._narration = narration
        self._received = 0  # SIGINTs, counted by the signal handler
        self._handled = 0  # signals, counted by the loop

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Install the handlers in the running loop; restore the previous ones at the end."""
        loop = asyncio.get_running_loop()
        before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
        for one in before:
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(one, self._in_loop, one)
                signal.signal(one, self._in_main_thread)  # the loop's wake-up descriptor stays installed
        try:
            yield
        finally:
            for one, handler in before.items():
                with contextlib.suppress(NotImplementedError):
                    loop.remove_signal_handler(one)
                    signal.signal(one, handler)

    def _in_main_thread(self, number: int, frame: FrameType | None) -> None:
        """Called between two instructions of the main thread. A SIGINT that the loop has not handled means that
        an agent blocks the loop: the second one interrupts that agent, the third one ends the process."""
        self._received += number == signal.SIGINT
        if self._received - self._handled > 2:
            os._exit(INTERRUPTED)
        elif self._received - self._handled == 2:
            break_into(frame)

    def _in_loop(self, number: int) -> None:
        self._handled += 1
        if self._handled == 1:
            run = self._narration.run
            self._narration.say(
                "draining: running steps finish, no new ones start"
                + (f"; to continue later: agentdeck resume {run}" if run else "")
                + "; Ctrl-C again cancels"
            )
            self._control.drain()
        elif self._handled == 2 and number == signal.SIGINT:
            self._narration.say("cancelling")
            self._control.cancel()
        elif number == signal.SIGINT:
            self._narration.finish(None, "")
            os._exit(INTERRUPTED)


def conclude(finished: Finished, as_json: bool, *, succeeded: bool = False) -> int:
    """Print the run's data on stdout; returns the exit code. `succeeded`: the steps that were retried ended well,
    although others of the run have failed. Ends the process if threads ignored their cancellation."""
    from agentdeck.cli.text_tables import dump, print_document
    from agentdeck.cli.text_tables import out as print_line
    from agentdeck.insight.summary import summary
    from agentdeck.terminal_text import clean

    outcome = finished.outcome
    document = summary(outcome.view, finished.definition)
    output = document.output
    if as_json:
        print_document(document)
    elif outcome.state == "done" and isinstance(output, str):
        print_line(clean(output, lines=True) if sys.stdout.isatty() else output)
    elif outcome.state == "done" and output is not None:
        dump(output, indent=2)
    code = _exit_code(outcome, finished.out, succeeded)
    if outcome.abandoned:
        leave_now(code)
    return code


def _exit_code(outcome: Outcome, out: OutFile, succeeded: bool) -> int:
    if out.failed:
        return UNUSABLE
    if outcome.causes:  # the run stopped by itself
        return UNUSABLE if any(cause.kind == "provider" for cause in outcome.causes) else FAILED
    return DONE if succeeded else {"done": DONE, "drained": INTERRUPTED}.get(outcome.state, FAILED)
