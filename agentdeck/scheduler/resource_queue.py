"""Ready steps that wait for a shared resource, and the rule by which none waits for ever.

A step takes all that it uses together, or waits in a group with the steps that use the same. So what becomes free
is compared with each group, not with each step. Of the groups whose first step fits, the one whose step comes
first in the start order is next.

Steps that fit pass one that does not: a free GPU is used. But small steps must not keep a large one from ever
starting. So the first of the waiting steps has a turn: once TURNS times what it uses of a resource has been
released while it waited for that, it claims the resource: a later step may take only what the claim leaves. The
first step keeps its turn until it starts, even if another one comes before it by then. Prior art: EASY
backfilling of batch schedulers, where the first job has a reservation and others may start if they do not delay
it. It needs durations that are known; counting what was released needs none, and has no unit to tune.

Nothing of this is recorded except that a step claims, as nothing after a crash depends on it.
"""

from __future__ import annotations

from heapq import heappop, heappush

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.ready_queue import Entry, ReadyQueue
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.resources import Resources, Uses
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import Step
from agentdeck.scheduler.waits import PLACE, RESOURCES
from agentdeck.workflow.model import PLACE_LIMIT
from agentdeck.workflow.units import show_amount

#: The first waiting step claims a resource once this many times what it uses of it was released.
TURNS = 4


class ResourceQueue:
    """Steps that wait for resources, in groups that use the same. `first` has the turn; `claims` holds what it
    claims by name, empty while others may pass it."""

    def __init__(self, state: RunState, queue: ReadyQueue, recorder: Recorder) -> None:
        self._state = state
        self._resources: Resources = state.resources
        self._queue = queue
        self._recorder = recorder
        self.groups: dict[Uses, list[Entry]] = {}
        self.first: Entry | None = None
        self.claims: dict[str, int] = {}
        self._released: dict[str, int] = {}
        self._nothing_fits = -1

    # Starting

    def admit(self, entry: Entry) -> bool:
        """Whether all that the step uses is free. If not, it waits here."""
        uses = entry[6].acting.uses
        if self._fits(entry, uses):
            if self.first is not None and entry[6] is self.first[6]:
                self._end_turn()
            return True
        heappush(self.groups.setdefault(uses, []), entry)
        lacking = self._resources.lacking(uses)
        self._queue.set_aside(entry[6], PLACE if lacking.startswith(f"{PLACE_LIMIT}.") else RESOURCES)
        return False

    def next_of(self, ready: list[Entry]) -> list[Entry]:
        """Of `ready` and the groups whose first step fits, the heap whose first entry comes first; it may be
        empty."""
        if self._nothing_fits == self._resources.releases:
            return ready
        best, found = ready, False
        for uses, group in list(self.groups.items()):
            while group and not self._queue.is_fresh(group[0]):
                heappop(group)
            if not group:
                del self.groups[uses]
            elif self._fits(group[0], uses):
                found = True
                if not best or group[0] < best[0]:
                    best = group
        if not found:
            self._nothing_fits = self._resources.releases
        return best

    def _fits(self, entry: Entry, uses: Uses) -> bool:
        first = self.first
        if not self.claims or first is None or entry < first or entry[6] is first[6]:
            return not self._resources.lacking(uses)
        for name, amount in uses:
            if self._resources.by_name[name].free - self.claims.get(name, 0) < amount:
                return False
        return True

    # The turn of the first step

    def take_turns(self, at: float) -> None:
        """Give the turn to the first waiting step if none has it, and let it claim what it waits for if enough
        was released meanwhile. Called before steps are started."""
        if self.first is not None and not self._can_start(self.first):
            self._end_turn()
        if self.first is None:
            heads = [group[0] for group in self.groups.values() if group and self._can_start(group[0])]
            if not heads:
                return
            self.first = min(heads)
            uses = self.first[6].acting.uses
            self._released = {name: self._resources.by_name[name].released for name, _ in uses}
        elif not self.claims:
            self._claim(self.first[6], at)

    def _claim(self, step: Step, at: float) -> None:
        by_name, uses = self._resources.by_name, step.acting.uses
        for name, amount in uses:
            passed = by_name[name].released - self._released[name]
            if by_name[name].free < amount and passed >= TURNS * amount:
                self.claims = dict(uses)
                if step.wait_reason is not None and step.wait_reason[0] == RESOURCES:
                    return
                why = f"{name}: what becomes free is kept for it, {show_amount(amount)} in all"
                self._recorder.record(ev.StepWaited(at, step.task.id, step.key, RESOURCES, why))
                return

    def _end_turn(self) -> None:
        """The step starts, or cannot at present: others may take what it claimed."""
        self.first = None
        if self.claims:
            self.claims = {}
            self._resources.releases += 1

    def _can_start(self, entry: Entry) -> bool:
        """Whether the step would start if its resources were free."""
        rule = entry[6].acting
        if self._state.is_closed(rule):
            return False
        if rule.limit is not None and rule.live + rule.reserving >= rule.limit:
            return False
        return self._queue.is_fresh(entry) and not self._resources.beyond_limit(rule.uses)

    # Reading

    def waiting(self) -> list[Step]:
        """The steps that wait for resources, in the order in which they start."""
        entries = [entry for group in self.groups.values() for entry in group if self._queue.is_current(entry)]
        return [entry[6] for entry in sorted(entries)]

    def never_fitting(self) -> dict[str, list[Step]]:
        """Those of them that use more than the limit of a resource, by its name."""
        found: dict[str, list[Step]] = {}
        for step in self.waiting():
            name = self._resources.beyond_limit(step.acting.uses)
            if name:
                found.setdefault(name, []).append(step)
        return found
