"""The top of the run screen: state, progress, ETA and cost of the run, and what needs attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from agentdeck.console.line_widget import Line, LineWidget, Piece, Pieces, bar, fit_pieces, width_of
from agentdeck.console.state_style import GLYPHS
from agentdeck.console.throttle import Throttle
from agentdeck.insight.attention import AttentionCounts, attention_counts, paused_by_budget, why_paused
from agentdeck.insight.formatting import count, dollars, per_second, seconds
from agentdeck.insight.summary import simulation
from agentdeck.insight.throughput import Pace
from agentdeck.terminal_text import clean
from agentdeck.views.agent_totals import total_cost
from agentdeck.views.run_view import RunView

#: Seconds over which the pace of tasks and of steps is measured; fewer for steps, which end more often.
TASKS, STEPS = 30.0, 5.0


class Header(LineWidget, can_focus=False):
    """One to three lines, as high as it is.

    The screen sets before each tick: `reading`, the share of the events that the view has while it catches up
    (state, counts, pace and ETA are not shown then); `lost`, no process executes the run although it has not
    ended; `badges` (watching, replay); `age` of the data in seconds; `total`, the number of tasks, where it is
    known before the source has ended. `last_output` gives when an attempt last wrote a log line, None where that
    is not known.
    """

    def __init__(self, last_output: Callable[[str, str], float | None] | None = None) -> None:
        super().__init__()
        self.reading: float | None = None
        self.lost = False
        self.badges: tuple[str, ...] = ()
        self.age = 0.0
        self.total: int | None = None
        self._last_output = last_output
        self._view: RunView | None = None
        self._now = 0.0
        self._tasks = Pace(TASKS)
        self._steps = Pace(STEPS)
        self._attention = AttentionCounts()
        self._sums = Sums()
        self._throttle = Throttle()
        self._looked = 0.0
        self._run = ""

    def tick(self, view: RunView, now: float) -> None:
        self._view, self._now = view, now
        if view.run != self._run or self.reading is not None:
            # The pace is that of new events, not that of reading past ones.
            self._run, self._tasks, self._steps = view.run, Pace(TASKS), Pace(STEPS)
        if self.reading is not None:
            self.refresh_lines()
            return
        self._tasks.note(now, view.tasks.ended)
        if self._throttle.due():
            with self._throttle:
                self._sums = _sums(view)
                self._steps.note(now, self._sums.ended)
        if not 0 <= now - self._looked < 0.5 or view.ended is not None:
            self._looked = now
            self._attention = attention_counts(view, now, self._last_output)
        self.refresh_lines()

    def draw(self, y: int, width: int) -> Line:
        view = self._view
        if view is None:
            return Line((("  no run", "dim"),) if y == 0 else ())
        if self.reading is not None:
            return self._catching_up(view, self.reading, y, width)
        if y == 0:
            return Line(_sides(self._title(view), self._right(view, self.size.height), width), "raised")
        if y == 1:
            return Line(_sides(self._progress(view, width), self._use(view), width))
        return Line(_sides(self._waiting(view, width), self._people(), width))

    @property
    def reading_text(self) -> str:
        """`reading 64 %`."""
        return f"reading {min(99, int(100 * (self.reading or 0.0)))} %"

    def _catching_up(self, view: RunView, share: float, y: int, width: int) -> Line:
        if y == 0:
            name = view.workflow or (view.definition.name if view.definition else "")
            shown: list[Pieces] = [((f" … {self.reading_text}", "warn"),), ((clean(name), "title"),)]
            if self.badges:
                shown.append(((" · ".join(self.badges), "warn"),))
            return Line(_sides([*shown, ((clean(view.run), "dim"),)], [], width), "raised")
        if y == 1:
            size = max(8, min(60, width // 4))
            return Line(((" ", "text"), *bar([(round(1000 * share), "accent")], 1000, size)))
        return Line()

    def _title(self, view: RunView) -> list[Pieces]:
        state = "interrupted" if self.lost else view.state
        budget = state == "paused" and paused_by_budget(view)
        word = "paused: budget" if budget else state
        shown: list[Pieces] = [
            (
                (f" {GLYPHS.get(state, '●')} {word}", state if state in GLYPHS else "warn"),
                *((("  B", "accent"), (" raises it", "text")) if budget else ()),
            ),
            ((clean(view.workflow), "title"),),
        ]
        badges = (*((word,) if (word := simulation(view)) else ()), *self.badges)
        if badges:
            shown.append(((" · ".join(badges), "warn"),))
        if self.age > 1:
            shown.append(((f"data {seconds(self.age)} old", "bad"),))
        if why := why_paused(view):
            shown.append(((clean(why), "warn"),))
        shown.append(((clean(view.run), "dim"),))
        return shown

    def _right(self, view: RunView, height: int) -> list[Pieces]:
        shown: list[Pieces] = []
        if height < 3:
            shown += self._people()
        if height < 2:
            tasks = view.tasks
            shown.append(((f"{tasks.ended:,}/{self._known(view)}", "text"),))
        elapsed = view.seconds
        if view.ended is None and view.started is not None:
            elapsed = max(0.0, self._now - view.started - view.idle)
        idle = ((f" +{seconds(view.idle)} idle", "dim"),) if view.idle >= 1 and self.size.width >= 100 else ()
        shown.append(((seconds(elapsed), "text"), *idle))
        if view.ended is None and not self.lost:
            left = self._eta(view)
            shown.append((("ETA ", "dim"), (seconds(left) if left is not None else "–", "accent")))
        return shown

    def _eta(self, view: RunView) -> float | None:
        """Seconds until all tasks have ended at the pace of the last ones. None where that cannot be known."""
        pace, total = self._tasks.per_second(), self._total(view)
        if total is None or not pace or view.state != "running":
            return None
        return max(0, total - view.tasks.ended) / pace

    def _total(self, view: RunView) -> int | None:
        return view.tasks.total if view.tasks.total is not None else self.total

    def _known(self, view: RunView) -> str:
        """How many tasks there are; with a plus where there may be more."""
        total = self._total(view)
        return f"{total:,}" if total is not None else f"{view.tasks.opened:,}+"

    def _progress(self, view: RunView, width: int) -> list[Pieces]:
        tasks = view.tasks
        going = tasks.opened - tasks.ended
        whole = self._total(view) or tasks.opened
        others = [(tasks.failed, "failed"), (tasks.cancelled, "cancelled"), (going, "running")]
        progress = bar([(tasks.done, "done"), *others], max(1, whole), max(8, min(60, width // 4)))
        counts: list[Piece] = [(f"{tasks.done:,}", "done"), (" done", "dim")]
        for number, role in others:
            if number:
                counts += [(f"  {number:,}", role), (" open" if role == "running" else f" {role}", "dim")]
        return [
            ((" ", "text"), *progress),
            tuple(counts),
            (("of ", "dim"), (self._known(view), "text"), (" tasks", "dim")),
        ]

    def _use(self, view: RunView) -> list[Pieces]:
        shown: list[Pieces] = []
        if view.ended is None:
            shown.append(((per_second(self._steps.per_second()).replace("/s", ""), "text"), (" steps/s", "dim")))
        budget = view.definition.budget if view.definition else None
        used = self._sums.tokens
        if used is not None or (budget and budget.tokens):
            shown.append(_against(count(used or 0), used, budget.tokens if budget else None, count, " tok"))
        usd = self._sums.usd
        if usd is not None or (budget and budget.usd):
            shown.append(_against(dollars(usd), usd, budget.usd if budget else None, dollars, ""))
        return shown

    def _waiting(self, view: RunView, width: int) -> list[Pieces]:
        """What steps waited for so far, by reason, longest first. Needs are left out: they are the graph."""
        spent = self._sums.waited
        waits = sorted(((time, reason) for reason, time in spent.items() if time >= 0.05), reverse=True)
        if not waits:
            return [((" nothing waited" + (" yet" if view.ended is None else ""), "dim"),)]
        legend = [
            ((f"{GLYPH} ", reason), (f"{clean(reason)} ", "dim"), (seconds(time), "text"))
            for time, reason in waits
        ]
        waited = bar(waits, sum(time for time, _ in waits), max(8, min(60, width // 4)))
        return [((" ", "text"), *waited), (("waited", "dim"),), *legend]

    def _people(self) -> list[Pieces]:
        """How many steps need attention, and why; empty where none does."""
        found = self._attention
        whole = sum(found)
        kinds = (
            (found.budget * (self.size.height > 2), "budget used up", "paused"),
            (found.failed, "dead letters" if found.failed > 1 else "dead letter", "failed"),
            (found.asking, "asking", "approval"),
            (found.silent, "silent", "warn"),
            (found.places, "places out of reach" if found.places > 1 else "place out of reach", "warn"),
        )
        groups: list[Pieces] = [
            ((f"{MARKS[role]} {word if role == 'paused' else f'{number:,} {word}'}", role),)
            for number, word, role in kinds
            if number
        ]
        if whole and self.size.height > 2:
            need = "1 needs attention" if whole == 1 else f"{whole:,} need attention"
            groups.insert(0, ((need, "title"), (" !", "accent")))
        return groups


class Sums(NamedTuple):
    """What all agents together have done: steps ended, tokens and dollars used (None: not known), seconds waited
    by reason."""

    ended: int = 0
    tokens: int | None = None
    usd: float | None = None
    waited: Mapping[str, float] = {}


def _sums(view: RunView) -> Sums:
    ended, tokens = 0, None
    waited: dict[str, float] = {}
    agents = view.agents.values()
    for totals in agents:
        counts = totals.counts
        ended += counts["done"] + counts["failed"] + counts["cancelled"]
        for used in (totals.tokens_in, totals.tokens_out):
            if used is not None:
                tokens = (tokens or 0) + used
        for reason, spent in totals.waiting.items():
            if reason != "needs":
                waited[reason] = waited.get(reason, 0.0) + spent
    return Sums(ended, tokens, total_cost((totals.costs_unknown, totals.usd) for totals in agents), waited)


GLYPH = "━"
MARKS = {"paused": "‖", "failed": "✗", "approval": "?", "warn": "…"}


def _against(
    shown: str, used: float | None, limit: float | None, form: Callable[[float], str], unit: str
) -> Pieces:
    """An amount, and what it may become where that is known: the closer, the louder."""
    if not limit:
        return ((shown, "text"), (unit, "dim"))
    share = (used or 0) / limit
    role = "bad" if share >= 0.95 else "warn" if share >= 0.7 else "text"
    return ((shown, role), (f" of {form(limit)}{unit}", "dim"))


def _sides(left: list[Pieces], right: list[Pieces], width: int) -> Pieces:
    """Groups from the left and groups up to the right edge. Where there is too little room the later ones of the
    left are hidden: those on the right are short and matter."""
    gap: Piece = ("  ", "text")
    tail: list[Piece] = []
    for group in right:
        tail += [gap, *group]
    tail.append((" ", "text"))
    room = width - width_of(tail)
    head: list[Piece] = []
    for number, group in enumerate(left):
        more = [gap, *group] if number else list(group)
        if number and width_of(head) + width_of(more) > room:
            break
        head += more
    return fit_pieces((*fit_pieces(tuple(head), max(0, room)), *tail), width)
