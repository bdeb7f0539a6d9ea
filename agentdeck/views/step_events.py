"""What the view sees of steps: attempts, waits, retries, ends."""

from __future__ import annotations

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import describe
from agentdeck.views.picture import Picture, by
from agentdeck.views.task_view import StepView


class ViewSteps(Picture):
    """The part of the view that takes in what is told of single steps."""

    def _step_started(self, e: ev.StepStarted) -> None:
        at, task_id, key, doer, _, ready, waits = e[:7]
        task = self.open.get(task_id) or self._task(task_id)
        step = task.steps.get(key) or self._step(task, key)
        where = (task_id, key)
        if where in self.running:
            self._hedged[where] = self.running[where]
        else:
            self._count_waits(step, at, ready, waits)
        self.running[where] = e
        agent = step.agent
        agent.counts[step.state] -= 1
        agent.counts["running"] += 1
        step.state = "running"
        step.started = at
        step.attempts += 1
        worker = task.graph.agents.get(doer) or self._agent(task.graph, doer, own=False)
        worker.attempts += 1
        if e.eased:
            for how in e.eased.partition(":")[0].split(", "):
                worker.ease(how)

    def _count_waits(self, step: StepView, at: float, ready: float, waits: dict[str, float] | None) -> None:
        """Share the time since the step last ran out among its reasons. Where `waits` names the pool it is the
        whole of it; else, and in logs of version 0.1, what is left waited for the pool."""
        since = step.since
        waiting = step.agent.waiting
        told = ""
        if waits is not None and "pool" in waits:
            if step.until is None and ready > since:
                step.agent.waited("needs", ready - since)
            for reason, seconds in waits.items():
                step.agent.waited(reason, seconds)
            step.until = None
            step.reason = step.why = ""
            return
        if step.until is None:
            if ready > since:
                waiting["needs"] = waiting.get("needs", 0.0) + ready - since
                since = ready
        else:
            told = step.reason
            back = min(step.until, at)
            step.agent.waited(told or "backoff", back - since)
            since = max(since, back)
            step.until = None
        if waits:
            for reason, seconds in waits.items():
                if reason not in ("needs", "pool", "backoff", told):
                    step.agent.waited(reason, seconds)
                    since += seconds
        if at > since:
            waiting["pool"] = waiting.get("pool", 0.0) + at - since
        if step.reason:
            step.reason = step.why = ""

    def _step_succeeded(self, e: ev.StepSucceeded) -> None:
        at, task_id, key, attempt, _, usage, input_bytes, reused = e
        task = self.open.get(task_id) or self._task(task_id)
        step = task.steps.get(key) or self._step(task, key)
        agent = step.agent
        started = self._end_attempt((task_id, key), attempt)
        if reused:
            agent.reused += 1
        if started is not None:
            worker = task.graph.agents[started[3]]
            seconds = at - started[0]
            if seconds < 0.0:
                seconds = 0.0
            worker.busy += seconds
            if not reused:
                worker.durations.add(seconds)
            worker.input_bytes += input_bytes
            if usage is not None:
                worker.used(usage)
                self.simulated |= usage.simulated and not worker.simulates
        state = "waiting" if agent.rounds and key[-1] != "]" else "done"
        agent.counts[step.state] -= 1
        agent.counts[state] += 1
        step.state = state
        step.since = step.ended = at
        if step.letter and state == "done":
            step.letter = False
            self.letters -= 1
        if step.fault is not None:
            step.fault = None

    def _attempt_failed(self, e: ev.AttemptFailed) -> None:
        task = self._task(e.task)
        step = self._step(task, e.step)
        started = self._end_attempt((e.task, e.step), e.attempt)
        worker = self._agent(task.graph, started.agent, own=False) if started else step.agent
        worker.failed_attempts += 1
        worker.input_bytes += e.input_bytes
        if started:
            worker.busy += max(0.0, e.at - started.at)
        self._used(worker, e.usage)
        step.fault, step.since = e.fault, e.at
        if (e.task, e.step) not in self.running:
            self._move(step, "ready")
        self._moment("failure", f"attempt {e.attempt}: {e.fault.message}", e.task, e.step)

    def _reservation_grew(self, e: ev.ReservationGrew) -> None:
        """Nothing that is shown."""

    def _attempt_lost(self, e: ev.AttemptLost) -> None:
        task = self._task(e.task)
        step = self._step(task, e.step)
        started = self._end_attempt((e.task, e.step), e.attempt)
        worker = self._agent(task.graph, started.agent, own=False) if started else step.agent
        worker.lost += 1
        self._used(worker, e.usage)
        step.since = e.at
        if (e.task, e.step) not in self.running:
            self._move(step, "ready")
        self._moment("lost", f"attempt {e.attempt} was lost with its process", e.task, e.step)

    def _attempt_deferred(self, e: ev.AttemptDeferred) -> None:
        """It does not count as an attempt."""
        task = self._task(e.task)
        step = self._step(task, e.step)
        started = self._end_attempt((e.task, e.step), e.attempt)
        worker = self._agent(task.graph, started.agent, own=False) if started else step.agent
        worker.attempts -= 1
        step.attempts -= 1
        step.since, step.started, step.reason, step.why = e.at, None, e.reason, e.why
        self._move(step, "ready")
        self._moment("held", e.why, e.task, e.step)

    def _step_retrying(self, e: ev.StepRetrying) -> None:
        step = self._step(self._task(e.task), e.step)
        step.until, step.reason = e.until, e.reason
        self._move(step, "ready")
        self._moment("retry", f"again in {max(0.0, e.until - e.at):.1f} s ({e.reason})", e.task, e.step)

    def _step_fell_back(self, e: ev.StepFellBack) -> None:
        self._moment("fallback", f"{e.agent} takes over", e.task, e.step)

    def _step_repeated(self, e: ev.StepRepeated) -> None:
        step = self._step(self._task(e.task), e.step)
        step.ended = None
        self._move(step, "ready")

    def _step_expanded(self, e: ev.StepExpanded) -> None:
        """From now on its items are counted, and the step itself is not, unless it has none."""
        step = self._step(self._task(e.task), e.step)
        if step.size < 0 < e.size:
            step.agent.counts[step.state] -= 1
            step.agent.counts["ready"] += e.size
            step.size = e.size
            step.state, step.started = "running", e.at

    def _step_done(self, e: ev.StepDone) -> None:
        self._end(e.at, e.task, e.step, "done")

    def _step_failed(self, e: ev.StepFailed) -> None:
        step = self._end(e.at, e.task, e.step, "failed", e.usage)
        step.fault = e.fault
        step.agent.blocked += e.fault.kind == "needs" and step.size < 0
        if e.letter:
            if not step.letter:
                step.letter = True
                self.letters += 1
            text = e.fault.message + (" (tolerated)" if e.tolerated else "")
            self._moment("failed", text, e.task, e.step)

    def _step_skipped(self, e: ev.StepSkipped) -> None:
        step = self._end(e.at, e.task, e.step, "skipped", e.usage)
        step.why = e.why
        if e.why.startswith("budget:"):
            step.agent.ease("drop")

    def _step_cancelled(self, e: ev.StepCancelled) -> None:
        self._end(e.at, e.task, e.step, "cancelled", e.usage).why = e.why

    def _step_released(self, e: ev.StepReleased) -> None:
        self._moment("released", "goes with what has arrived" + by(e.who), e.task, e.step)

    def _step_answered(self, e: ev.StepAnswered) -> None:
        step = self._step(self._task(e.task), e.step)
        asked = step.started if step.started is not None else step.since
        step.agent.waited("approval", e.at - asked)
        text = describe(e)
        self._end(e.at, e.task, e.step, "done").why = text
        if not e.approved and not step.rejected:
            step.rejected = True
            step.agent.rejected += 1
        self.approvals.add(e)
        self._moment("answered", text, e.task, e.step)

    def _step_reopened(self, e: ev.StepReopened) -> None:
        if self.ended is not None:
            self.state, self.ended = "running", None
        if not e.nested:
            self._moment("reopened", "goes again" + by(e.who), e.task, e.step)
        known = e.task in self.open or e.task in self.failed
        if e.was and "/" not in e.task:
            self._uncount(e.task, e.was)
        task = self._task(e.task)
        task.partial |= not known or not task.steps
        for key, stood in (e.again or {}).items():
            step = task.steps.get(key)
            if step is None:
                step = task.steps[key] = StepView(
                    key, self._agent(task.graph, key.partition("[")[0]), stood, e.at
                )
                step.letter = key == e.step and stood == "failed" and not e.nested and self.letters > 0
            needs = key != e.step if step.fault is None else step.fault.kind == "needs"
            if stood == "failed" and needs and step.size < 0 and step.agent.blocked:
                step.agent.blocked -= 1
            self._move(step, "running" if step.size >= 0 or (e.nested and key == e.step) else "waiting")
            step.since, step.started, step.ended, step.until = e.at, None, None, None
            step.reason = step.why = ""
            if step.size >= 0 and not e.step.startswith(key + "["):
                for item in [one for name, one in task.steps.items() if name.startswith(key + "[")]:
                    self._move(item, "waiting")

    def _step_waited(self, e: ev.StepWaited) -> None:
        step = self._step(self._task(e.task), e.step)
        step.why = e.why
        if step.until is None:
            step.reason = e.reason
            self._move(step, "ready")
