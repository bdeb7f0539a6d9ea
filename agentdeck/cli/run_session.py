"""A run from the command line: signals, narration, the line per task, and the exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

from agentdeck.agents.loop_interrupt import break_into, interruptible
from agentdeck.cli.error_output import DONE, FAILED, INTERRUPTED, UNUSABLE
from agentdeck.cli.event_loop import new_runner
from agentdeck.cli.process_exit import leave_now
from agentdeck.cli.progress import Narrator
from agentdeck.engine.launch import Outcome, Watch
from agentdeck.engine.run_control import RunControl
from agentdeck.engine.stalled import StallCause
from agentdeck.errors import UsageError
from agentdeck.insight.formatting import plural
from agentdeck.operations.author import author
from agentdeck.operations.out_file import OutFile
from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Definition


def conduct(
    start: Callable[[Watch], Awaitable[Outcome]],
    narrator: Narrator,
    again: Callable[[str], str],
    out: OutFile,
) -> Outcome:
    """Stay with a run until it is over. Ctrl-C or TERM drains, a second one cancels, a third one leaves at once.
    `again` is the command that resumes the run, or empty where it cannot be."""
    control = RunControl(author().text)
    out.report = narrator.say
    name = ""

    def seen(seq: int, event: ev.Event) -> None:
        nonlocal name
        if isinstance(event, ev.RunStarted):
            name = event.run
        out.event(seq, event)
        narrator.event(seq, event)

    outcome: Outcome | None = None
    try:
        runner = new_runner()
        try:
            watch = Watch(
                seen,
                narrator.line,
                control,
                narrator.say,
                out.committed,
                lambda run, found: _waits(narrator, run, found),
            )
            outcome = runner.run(_main(start, watch, narrator, lambda: again(name)))
        except UsageError as error:  # a task that is none, in the middle
            if not name or not again(name):
                raise
            raise UsageError(f"{error}; what has ended is kept, go on with: {again(name)}") from None
        finally:
            # Closing the loop would wait for agents that ignore their cancellation; the process's end does not.
            if outcome is None or not outcome.abandoned:
                runner.close()
    finally:
        narrator.close(outcome.view if outcome else None, outcome.state if outcome else "")
        if outcome is not None:
            out.finish(outcome.run)
        out.close()
    if outcome.state == "drained" and not outcome.causes and (command := again(outcome.run)):
        narrator.say(f"drained; go on with: {command}")
    if (letters := outcome.view.letters) and (command := again(outcome.run)):
        narrator.say(
            f"{plural(letters, 'letter')}, kept to be run again: {command.replace('resume', 'letters', 1)}"
        )
    return outcome


def _waits(narrator: Narrator, run: str, found: Iterable[StallCause]) -> None:
    """Say what a run waits for in which nothing can go on, and how to answer."""
    narrator.say("nothing can go on until an operator acts:")
    for cause in found:
        narrator.say(f"  {cause.why}: {cause.waiting}; {cause.remedy(run, stopped=False)}")


async def _main(
    start: Callable[[Watch], Awaitable[Outcome]], watch: Watch, narrator: Narrator, again: Callable[[], str]
) -> Outcome:
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor()
    loop.set_default_executor(pool)
    try:
        with interruptible(), _signals(watch, narrator, again):
            return await start(watch)
    finally:
        # Closing the loop waits for its executor, and that for functions that never return.
        pool.shutdown(wait=False, cancel_futures=True)
        loop.set_default_executor(ThreadPoolExecutor())


@contextlib.contextmanager
def _signals(watch: Watch, narrator: Narrator, again: Callable[[], str]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    control, asked, pressed = watch.control, 0, 0
    assert control is not None

    def press(number: int, frame: FrameType | None) -> None:
        """Between two instructions of the main thread. Presses that the loop has not come to handle say that an
        agent holds it up: the second one breaks into that agent, the third one leaves."""
        nonlocal pressed
        pressed += number == signal.SIGINT
        if pressed - asked > 2:
            os._exit(INTERRUPTED)
        elif pressed - asked == 2:
            break_into(frame)

    def stop(number: int) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            command = again()
            narrator.say(
                "draining: running steps finish, nothing new starts"
                + (f"; then go on with: {command}" if command else "")
                + "; Ctrl-C again cancels"
            )
            control.drain()
        elif asked == 2 and number == signal.SIGINT:
            narrator.say("cancelling")
            control.cancel()
        elif number == signal.SIGINT:
            narrator.close(None, "")
            os._exit(INTERRUPTED)

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    for one in before:
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(one, stop, one)
            signal.signal(one, press)  # the loop is woken all the same
    try:
        yield
    finally:
        for one, handler in before.items():
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(one)
                signal.signal(one, handler)


def conclude(outcome: Outcome, definition: Definition, out: OutFile, as_json: bool, *, good: bool = False) -> int:
    """Print what is data, and find the exit code; `good`: what was asked for ended well, whatever else has failed
    in the run. Threads that ignored their cancellation are left behind."""
    from agentdeck.cli.text_tables import dump
    from agentdeck.cli.text_tables import out as print_line
    from agentdeck.insight.summary import summary
    from agentdeck.terminal_text import clean

    told = summary(outcome.view, definition)
    if as_json:
        dump(told)
    elif told["output"] is not None and outcome.state == "done":
        output = told["output"]
        if isinstance(output, str):
            print_line(clean(output, lines=True) if sys.stdout.isatty() else output)
        else:
            dump(output, indent=2)
    code = {"done": DONE, "drained": INTERRUPTED}.get(outcome.state, FAILED)
    if good:
        code = DONE
    if outcome.causes:  # it stopped by itself
        code = UNUSABLE if any(cause.kind == "provider" for cause in outcome.causes) else FAILED
    if out.failed:
        code = UNUSABLE
    if outcome.abandoned:
        leave_now(code)
    return code
