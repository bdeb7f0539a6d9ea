"""Attempts that are reserved before they begin: asking, waiting in order, and the budget's ladder.

A step that is next takes a worker's place and asks; the answer begins the attempt, or shuts the pool of the
provider that refused. Steps bound for a shut pool wait in it, in the order of all ready steps, and ask again when
the pool opens. None of this is recorded but what came of it, so a log folds to the same state without it.
"""

from __future__ import annotations

from heapq import heappush
from typing import Any

from agentdeck.limits.budget import Hold, Ledger, dollars
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.board import Place
from agentdeck.scheduler.failing import Failing
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.state import READY, Step
from agentdeck.scheduler.tiers import TIERS, model_of, tier_of
from agentdeck.scheduler.waits import MAX_PARALLEL, STARTING
from agentdeck.workflow.model import ProviderLimits

FOREVER = float("inf")
#: The pool of those that wait for a budget rather than a provider.
BUDGET = "budget"
#: What an attempt that ends gives back.
GIVEN = ("tokens", "concurrent", "budget")


class Pool:
    """Steps that wait for one provider. `until` is when it opens by itself; None: it is open. `told` are those
    that were told that it will not, until a person does something."""

    __slots__ = ("heap", "reason", "told", "until", "why")

    def __init__(self) -> None:
        self.heap: list[Place] = []
        self.until: float | None = None
        self.reason = self.why = ""
        self.told: set[Step] = set()

    def shut(self, until: float, reason: str, why: str) -> None:
        if why != self.why:
            self.told.clear()
        self.until, self.reason, self.why = until, reason, why


class Metered(Failing):
    """The part of the machine that reserves.

    Invariant: each entry of `asking` keeps one worker's place until it is answered; a step in it that is READY
    asks once at a time. `caps` are the limits of the deck's providers before anybody turned them; `turns` counts
    how often somebody turned anything.
    """

    def __init__(self, program: Program, **options: Any) -> None:
        super().__init__(program, **options)
        self.asking: dict[int, tuple[Step, Place, int]] = {}
        self._keen: set[Step] = set()
        self.pools: dict[str, Pool] = {}
        self._routes: dict[str, str] = {}
        self._asked = 0
        self._given = 0
        self._turned = 0
        self.limit_changes = 0
        self.provider_limits: dict[str, ProviderLimits] = {}

    def _lost(self, step: Step) -> ev.Usage | None:
        """What an attempt likely used whose process died: all that is known is what was reserved for it."""
        if step.held is None:
            return None
        hold: Hold = step.held
        # Zero is what was not known: no price, or a log of a version that did not record it.
        return ev.Usage(
            hold.likely_in or None, hold.likely_out or None, usd=hold.likely[1] or None, estimated=True
        )

    def _paid(self, step: Step, usage: ev.Usage | None, lost: bool) -> None:
        if step.held is not None:
            self.open_pools()
        super()._paid(step, usage, lost)

    # Beginning

    def _begin(self, step: Step, at: float, reserved: ev.Reserved | None = None, eased: str = "") -> None:
        started = self._started(step, at, step.attempt + 1)
        ask = 0
        if reserved is not None:
            ask = reserved.ask
            started = started._replace(
                model=reserved.model,
                reserved_tokens=reserved.tokens,
                reserved_usd=reserved.usd,
                eased=eased,
                likely_in=reserved.likely_in,
                likely_out=reserved.likely_out,
                likely_usd=reserved.likely_usd,
            )
        self._actions.append(act.Record(started))
        self.apply(started)
        self._actions.append(act.StartAttempt(started, step.acting.agent.timeout.idle, ask))

    def _started(self, step: Step, at: float, attempt: int) -> ev.StepStarted:
        return ev.StepStarted(
            at,
            step.task.id,
            step.key,
            step.acting.name,
            attempt,
            step.ready_at,
            step.waits if step.wait is None else self.waiting.waits(step.wait, step.ready_at, step.waits),
            step.round,
            step.tier_up,
        )

    # Queues

    def _first(self) -> list[Place]:
        """The queue whose head is first of all that may go; it may be empty."""
        best = self.ready
        for pool in self.pools.values():
            if pool.until is None and pool.heap and (not best or pool.heap[0] < best[0]):
                best = pool.heap
        return best

    @property
    def _opens(self) -> float:
        """When the next pool opens by itself."""
        return min((p.until for p in self.pools.values() if p.until is not None), default=FOREVER)

    def _open_due(self, at: float) -> None:
        for pool in self.pools.values():
            if pool.until is not None and pool.until <= at:
                pool.until = None

    def open_pools(self) -> None:
        """Something was given back, or a limit changed: whoever waits asks again."""
        self._given += 1
        for pool in self.pools.values():
            if pool.reason in GIVEN:
                pool.until = None

    def open_all(self) -> None:
        """A limit changed, or somebody said go: whoever waits asks again, whatever for."""
        self._given += 1
        self._turned = self._given
        self.limit_changes += 1
        for pool in self.pools.values():
            pool.until = None

    # Asking

    def _next(self, step: Step, place: Place, at: float) -> bool:
        """A metered step is next. True: it took a worker's place."""
        rule, task = step.acting, step.task.id
        self._climb(task, at)
        if rule.priority > 0 and not step.attempt and self.accounts.force(task, "drop"):
            why = f"budget: low priority is dropped ({self._told(task)})"
            self._record(ev.StepSkipped(at, task, step.key, why))
            return False
        row = self.row(step) if rule.slot else ""
        if row and row in self.rows:
            self.rows[row][1].append(place)
            self._set_aside(step, MAX_PARALLEL)
            return False
        if not rule.metered:
            if row:
                self.rows[row] = step, []
            self._begin(step, at)
            return True
        for name in (BUDGET, self._routes.get(self._lane(step), "")):
            pool = self.pools.get(name)
            if pool is not None and pool.until is not None:
                self._wait(step, place, pool, at)
                return False
        if row:
            self.rows[row] = step, []
        self._asked += 1
        self.asking[self._asked] = step, place, self._given
        self._keen.add(step)
        self._set_aside(step, STARTING)
        rule.asking += 1
        reduced = bool(self.accounts.force(task, "reduce"))
        self._actions.append(
            act.Reserve(self._asked, task, step.key, step.attempt + 1, self._shift(step), reduced)
        )
        return True

    def _shift(self, step: Step) -> int:
        if self.accounts.lowest:
            return -len(TIERS)
        return step.tier_up - bool(self.accounts.force(step.task.id, "downgrade"))

    def _lane(self, step: Step) -> str:
        """Steps of one lane are answered by the same models."""
        agent, shift = step.acting.agent, self._shift(step)
        return model_of(agent) if shift <= 0 and model_of(agent) else tier_of(agent, shift)

    def _wait(self, step: Step, place: Place, pool: Pool, at: float) -> None:
        heappush(pool.heap, place)
        self._set_aside(step, pool.reason)
        self._leave(step)
        stopped = pool.until == FOREVER and pool.reason == "cooldown" and step not in pool.told
        if stopped:
            pool.told.add(step)
        if stopped or step.told is None or step.told[0] != pool.reason:
            self._record(ev.StepWaited(at, step.task.id, step.key, pool.reason, pool.why))

    def _answered(self, event: ev.Reserved | ev.Refused) -> tuple[Step, Place, int] | None:
        """The step that asked, if it still wants to begin. What it no longer wants is given back."""
        asked = self.asking.pop(event.ask, None)
        if asked is not None:
            step, place, _ = asked
            self._keen.discard(step)
            step.acting.asking -= 1
            if step.state == READY and place[5] >= step.since and self.tasks.get(step.task.id) is step.task:
                if not self.paused and self._room(step) and not self._early(step):
                    return asked
                self._take_up(step)
                heappush(self.ready, place)
            self._leave(step)
        if isinstance(event, ev.Reserved):
            self._actions.append(act.ReleaseReservation(event.ask))
        return None

    def _room(self, step: Step) -> bool:
        """Whether there still is: limits may have been lowered since it asked."""
        rule = step.acting
        if len(self.running) + len(self.asking) >= self.workers:
            return False
        return rule.limit is None or rule.live + rule.asking < rule.limit

    def _on_reserved(self, event: ev.Reserved) -> None:
        found = self._answered(event)
        if found is None:
            return
        step, place, given = found
        self._routes[self._lane(step)] = event.provider
        over = self.accounts.refuses(event.task, ev.hold_of(event))
        if over is not None:
            self._actions.append(act.ReleaseReservation(event.ask))
            self._over(step, place, *over, event, given)
            return
        eased = self.accounts.eased(event.task)
        why = f"{', '.join(eased)}: {self._told(event.task)}" if eased else ""
        self._begin(step, event.at, event, why)
        self._climb(event.task, event.at)

    def _on_refused(self, event: ev.Refused) -> None:
        found = self._answered(event)
        if found is None:
            return
        step, place, given = found
        self._routes[self._lane(step)] = event.provider
        pool = self.pools.setdefault(event.provider, Pool())
        pool.shut(event.until, event.reason, event.why)
        self._wait(step, place, pool, event.at)
        if given < self._turned or (given != self._given and event.reason in GIVEN):
            pool.until = None  # a limit was turned, or something given back, since it asked

    # The ladder

    def _climb(self, task: str, at: float) -> None:
        """Take each easing rung that is reached."""
        for name, ledger in self.accounts.of(task):
            for rung in ledger.due():
                of = f"task {name}" if name else "the run"
                what = {
                    "reduce": "answers are shorter from now on",
                    "downgrade": "a tier down from now on",
                    "drop": "low priority is dropped from now on",
                }[rung]
                text = f"budget of {of} at {ledger.share():.0%}: {what} ({ledger.told()})"
                self._record(ev.Noted(at, text, name, "", {"rung": rung, "budget": name}))

    def _over(self, step: Step, place: Place, name: str, ledger: Ledger, wanted: ev.Reserved, given: int) -> None:
        """No room for one more. While others may use less than is held for them, it waits; then the last rung."""
        at, end = wanted.at, ledger.end
        assert end is not None
        pool = self.pools.setdefault(BUDGET, Pool())
        pool.shut(FOREVER, "budget", f"budget: {ledger.told()}")
        self._wait(step, place, pool, at)
        if given == self._given:
            if not ledger.idle():
                return
            of = f"task {name}" if name else "the run"
            tokens, usd = ev.hold_of(wanted).likely
            needs = dollars(usd) if ledger.usd is not None else f"{tokens:,} tokens"
            why = f"budget of {of}: {ledger.told()}; the next prompt needs about {needs}"
            if end[1] == "ask":
                offers = f"what is left, and what can be done: agentdeck budget {self.run}"
                self._record(ev.RunPaused(at, f"{why}; {self._left()}{offers}"))
            else:
                self._record(ev.Noted(at, f"{why}; stopped", name, "", {"rung": "stop", "budget": name}))
                self._on_cancel(ev.CancelAsked(at, name, "", "the budget"))
        pool.until = None

    def _left(self) -> str:
        """How much of what is open still wants to be asked, and what that costs at the mean so far."""
        steps = [s for task in self.tasks.values() for s in self._steps_of(task) if s.rule.metered]
        left = sum(not s.ended and s.items is None for s in steps)
        paid, usd = self.accounts.prompts, self.accounts.prompts_usd
        about = f", about {dollars(usd / paid * left)}" if paid and usd else ""
        return f"{left} prompts of open tasks are left{about}; " if left else ""

    def _told(self, task: str) -> str:
        return "; ".join(
            f"{ledger.share():.0%} of {name or 'the run'}" for name, ledger in self.accounts.of(task)
        )
