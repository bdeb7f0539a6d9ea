"""Starting attempts."""

from __future__ import annotations

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.state import Step
from agentdeck.scheduler.waits import WaitClock


class Attempts:
    """Records that attempts start, and asks the engine to execute them."""

    __slots__ = ("_clock", "_recorder")

    def __init__(self, clock: WaitClock, recorder: Recorder) -> None:
        self._clock = clock
        self._recorder = recorder

    def start(self, step: Step, at: float, reserved: ev.Reserved | None = None, eased: str = "") -> None:
        """Start the next attempt of a ready step, with what was reserved for it. `eased` says what a low budget
        changed."""
        started = self.started(step, at, step.attempt + 1)
        number = 0
        if reserved is not None:
            number = reserved.ask
            started = started._replace(
                model=reserved.model,
                reserved_tokens=reserved.tokens,
                reserved_usd=reserved.usd,
                eased=eased,
                likely_in=reserved.likely_in,
                likely_out=reserved.likely_out,
                likely_usd=reserved.likely_usd,
            )
        recorder = self._recorder
        recorder.record(started)
        recorder.actions.append(act.StartAttempt(started, step.acting.agent.timeout.idle, number))

    def restart(self, step: Step, at: float) -> None:
        """Ask the engine once more to execute an attempt that holds no worker, after a process has resumed the
        run: an approval, or a sub-workflow whose task was not opened."""
        self._recorder.request(act.StartAttempt(self.started(step, at, step.attempt)))

    def started(self, step: Step, at: float, attempt: int) -> ev.StepStarted:
        """The event of an attempt that starts now, with the time that the step has waited, by reason."""
        wait = step.wait
        return ev.StepStarted(
            at,
            step.task.id,
            step.key,
            step.acting.name,
            attempt,
            step.ready_at,
            step.backoff if wait is None else self._clock.waits(wait, step.ready_at, step.backoff),
            step.round,
            step.tier_up,
        )

    def lose(self, step: Step, at: float) -> None:
        """Record that the process that executed the step's attempt is gone. All that is known of its use is what
        was reserved; 0 stands for what was unknown (no price, or a log of an earlier version)."""
        usage = None
        if (hold := step.held) is not None:
            usage = ev.Usage(
                hold.likely_in or None, hold.likely_out or None, usd=hold.likely[1] or None, estimated=True
            )
        self._recorder.record(ev.AttemptLost(at, step.task.id, step.key, step.attempt, usage))
