"""The limits of a run, and changing them while it executes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ClassVar

from textual import events
from textual.binding import BindingType

from agentdeck.console.actions import bindings
from agentdeck.console.line_widget import Line, Pieces, spark, width_of
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.table import Table
from agentdeck.console.table_model import Column, TableRows
from agentdeck.console.throttle import Throttle
from agentdeck.insight.formatting import count, dollars, seconds
from agentdeck.insight.limits import RATES, Limit, limits, number
from agentdeck.insight.resources import resource_waits
from agentdeck.limits.provider_limits import SPACED, is_resource, range_of
from agentdeck.terminal_text import clean
from agentdeck.views.run_view import RunView
from agentdeck.workflow import units
from agentdeck.workflow.model import Rate

SPARK = 16
#: A sample of what is in use so often, in seconds.
EVERY = 0.5
#: (up to this value, one key changes it by this much).
TIMES = ((1.0, 0.1), (10.0, 1.0), (60.0, 5.0), (600.0, 30.0))
COUNTS = ((32.0, 1.0), (128.0, 4.0), (1024.0, 16.0))


class LimitsPane(Table[Limit]):
    """Left and right turn the limit under the cursor; Enter opens a field to type its value into. Nothing is
    asked for before Enter. While no field is open, digits are the screen's: they switch panes.

    `change` asks the run's owner to set a limit. `forecast` says in a line what that would do; it is called while
    a value is turned, on the loop, so it must be quick. Call `refused` where the owner refuses. `calls`,
    set by the screen before a tick, is the current use of the providers' limits. `editing` names the limit with
    an open field; empty while there is none.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("limits"),
        *bindings("table", names=("mark", "filter"), footer=False),
    ]

    def __init__(
        self, change: Callable[[str, object], None], forecast: Callable[[str, object], str] | None = None
    ) -> None:
        self.calls: Mapping[str, float] = {}
        self.rows = TableRows[Limit](lambda limit: limit.name, lambda limit: limit.name)
        super().__init__(self._columns(), self.rows, empty="no limits")
        self._change = change
        self._forecast = forecast
        self.editing = ""
        self._typed = self._beside = ""
        self._untouched = False  # the field holds the value that is in force: the first character replaces it
        self._notes: dict[str, Pieces] = {}
        self._asked: dict[str, object] = {}
        self._undo: list[tuple[str, object]] = []
        self._use: dict[str, deque[float]] = {}
        self._sampled = 0.0
        self._found: list[Limit] = []
        self._throttle = Throttle()

    # What is seen --------------------------------------------------------------------------------------------

    def tick(self, view: RunView, now: float) -> None:
        sampled = 0 <= now - self._sampled < EVERY
        if not sampled or self._throttle.due():
            with self._throttle:
                self._found = limits(view, now, self.calls, resource_waits(view))
        if not sampled:
            self._sample(now)
        self.placeholder = ""
        self.rows.set_rows(self._found)
        for name, value in list(self._asked.items()):
            if view.limits.get(name) == value:
                del self._asked[name]
                changes = (
                    m.seq for m in reversed(view.timeline) if m.kind == "limit" and m.text.startswith(f"{name}:")
                )
                self._notes[name] = ((f"applied #{next(changes, view.seq)}", "good"),)
        self.refresh_lines()

    def _sample(self, now: float) -> None:
        if now < self._sampled:
            self._use.clear()
        self._sampled = now
        for limit in self._found:
            if limit.use is not None:
                self._use.setdefault(limit.name, deque(maxlen=SPARK)).append(limit.use)

    def show_selection(self, selection: Selection) -> None:
        """Put the cursor on the limits of the selected agent, if it has any."""
        self._beside = selection.task
        prefix = f"agents.{selection.agent}."
        if selection.agent and not self.editing and not str(self.key).startswith(prefix):
            keys = (str(self.rows.key(at)) for at in range(self.rows.count))
            if key := next((key for key in keys if key.startswith(prefix)), ""):
                self.move_to_key(key)

    def on_table_row_changed(self, event: Table.RowChanged) -> None:
        event.stop()
        self._leave()
        parts = str(event.key).split(".")
        if len(parts) > 2 and parts[0] == "agents":
            self.post_message(SelectionChanged(self, Selection(".".join(parts[1:-1]), self._beside)))

    def refused(self, name: str, why: str) -> None:
        """Show that the owner refused the value, or did not answer."""
        self._asked.pop(name, None)
        if self._undo and self._undo[-1][0] == name:
            self._undo.pop()
        self._notes[name] = ((clean(why), "bad"),)
        self.refresh_lines()

    def _columns(self) -> tuple[Column[Limit], ...]:
        return (
            Column("limit", _name, 22, flex=1, most=28, order=lambda limit: limit.name),
            Column("now", self._now, 11, flex=1, most=20),
            Column("in use", _in_use, 14, right=True),
            Column("waiting", _waiting, 7, right=True, rank=2, order=lambda limit: limit.waiting),
            Column("use", self._spark, SPARK, rank=3, title="use over time"),
            Column("effect", self._effect, 20, flex=3, rank=1, title="enter applies, esc cancels"),
        )

    @property
    def page(self) -> int:
        return super().page - bool(self._beneath)

    def draw(self, y: int, width: int) -> Line:
        if self._beneath and y == self.size.height - 1:
            return Line(((" ", "text"), *self._beneath), "raised")
        return super().draw(y, width)

    @property
    def _beneath(self) -> Pieces:
        """What turning it would do, where its column is too narrow for that."""
        limit = self._limit()
        if limit is None or limit.name != self.editing:
            return ()
        effect = self._effect(limit)
        room = next((room for column, room in self.layout_of(self.size.width)[0] if column.name == "effect"), 0)
        return effect if width_of(effect) > room else ()

    def _now(self, limit: Limit) -> Pieces:
        name = limit.name
        if name == self.editing:
            before = f"{shown(limit, limit.value)} → " if self.size.width >= 100 else "→ "
            role = "cursor" if self._untouched and self.has_focus else "accent"
            return ((before, "dim"), (clean(self._typed), role), ("▏", "accent"))
        if name in self._asked:
            return ((f"{shown(limit, limit.value)} → {shown(limit, self._asked[name])} ", "dim"), ("…", "accent"))
        return ((shown(limit, limit.value), "text"),)

    def _spark(self, limit: Limit) -> Pieces:
        used = self._use.get(limit.name, ())
        high = max([*used, limit.most or 0], default=0)
        return ((spark(list(used), SPARK, high or None), "warn" if limit.over else "running"),)

    def _effect(self, limit: Limit) -> Pieces:
        if limit.name != self.editing:
            closed: Pieces = ((clean(limit.note), "warn"),) if limit.note else ()
            return self._notes.get(limit.name, closed)
        try:
            value = read(limit, self._typed)
        except ValueError as error:
            return ((clean(str(error)), "bad"),)
        if value == limit.value:
            return (("unchanged", "dim"),)
        text = self._forecast(limit.name, value) if self._forecast else "Enter applies, Esc cancels"
        return ((clean(text), "accent"),)

    # What is done --------------------------------------------------------------------------------------------

    def _limit(self) -> Limit | None:
        return self.rows.row(self.cursor) if self.rows.count else None

    @property
    def cursor_selection(self) -> Selection | None:
        return None

    def _edit(self, limit: Limit, text: str, *, untouched: bool = False) -> None:
        self.editing, self._typed, self._untouched = limit.name, text, untouched
        self._notes.pop(limit.name, None)
        self.refresh_lines()

    def _leave(self) -> None:
        self.editing = ""
        self.refresh_lines()

    def action_turn(self, by: int) -> None:
        limit = self._limit()
        if limit is None:
            return
        value: object = limit.value
        if self.editing == limit.name:
            with suppress(ValueError):
                value = read(limit, self._typed)
        if isinstance(value, str) and value != "auto":
            one = units.rate(value)
            count = max(1.0, one.count + by * _notch(limit, one.count, by))
            burst = None if one.burst is None else min(one.burst, int(count))
            self._edit(limit, units.show_rate(Rate(count, one.seconds, burst)))
        elif (now := number(value)) is not None:
            least, most = range_of(limit.name)
            self._edit(limit, written(limit, min(most, max(least, now + by * _notch(limit, now, by)))))
        else:
            self._notes[limit.name] = (("enter edits the value", "dim"),)
            self.refresh_lines()

    def action_open(self) -> None:
        """Apply what was typed; where nothing was, begin."""
        limit = self._limit()
        if limit is None:
            return
        if self.editing != limit.name:
            self._edit(limit, shown(limit, limit.value), untouched=True)
            return
        try:
            value = read(limit, self._typed)
        except ValueError:
            return
        self.editing = ""
        if value != limit.value:
            self._undo.append((limit.name, limit.value))
            self._ask(limit.name, value)
        self.refresh_lines()

    def action_undo(self) -> None:
        if self._undo:
            self._leave()
            name, value = self._undo.pop()
            self._ask(name, value)
            self.refresh_lines()

    def _ask(self, name: str, value: object) -> None:
        self._asked[name] = value
        self._notes.pop(name, None)
        self._change(name, value)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(action == "clear" and self.editing) or super().check_action(action, parameters)

    def action_clear(self) -> None:
        if self.editing:
            self._leave()
        else:
            super().action_clear()

    def on_key(self, event: events.Key) -> None:
        if self.typing:
            super().on_key(event)
            return
        limit = self._limit()
        if limit is None or self.editing != limit.name:
            return
        character = event.character or ""
        if event.key == "backspace":
            self._edit(limit, self._typed[:-1])
        elif character.isdigit() or (character and character in _typed(limit)):
            self._edit(limit, ("" if self._untouched else self._typed) + character)
        else:
            return
        event.stop()
        event.prevent_default()


def _typed(limit: Limit) -> str:
    """What a value of it may hold beside digits; other keys keep their meaning."""
    others = "./kMsminhdautone" if limit.setting.endswith("tokens") or isinstance(limit.value, str) else ""
    others += " burst" if limit.setting in SPACED else "." if is_resource(limit.name) else ""
    return {"timeout": ".smhd", "usd": "$.", "concurrent": "autone"}.get(limit.setting, others)


def shown(limit: Limit, value: object) -> str:
    """A value with its unit."""
    if value is None:
        return "none"
    plain = number(value)
    return clean(str(value)) if plain is None else written(limit, plain)


def written(limit: Limit, value: float) -> str:
    """A number as it is typed: `read` gives it back."""
    if limit.setting == "timeout":
        return units.show_duration(value)
    if is_resource(limit.name):
        return units.show_amount(round(value * 1000))
    if limit.setting == "usd":
        return f"${value:.2f}" if value >= 0.1 else f"${value:g}"
    return units.show_size(value) if limit.setting.endswith("tokens") else f"{value:g}"


def read(limit: Limit, text: str) -> object:
    """The typed value of this limit. Raises ValueError with a sentence to show."""
    text = text.strip()
    if not text:
        raise ValueError("type a value")
    plain = text.removeprefix("$").replace(".", "", 1).isdigit()
    if limit.setting in RATES and not limit.name.startswith("budget."):
        return None if text == "none" else units.show_rate(_rate(limit.setting, text))
    if limit.setting == "concurrent" and text in ("auto", "none"):
        return text if text == "auto" else None
    if limit.setting == "timeout":
        value: float = float(text) if plain else units.duration(text)
    elif limit.setting == "usd":
        if not plain:
            raise ValueError("write dollars like 0.40")
        value = float(text.removeprefix("$"))
    elif limit.setting.endswith("tokens"):
        value = units.size(text)
    elif is_resource(limit.name):
        if not plain:
            raise ValueError("write a number like 4 or 0.5")
        value = units.whole_where_exact(units.thousandths(float(text)) / 1000)
    elif text.isdecimal():
        value = int(text)
    else:
        raise ValueError("write a whole number")
    least, most = range_of(limit.name)
    if not least <= value <= most:
        raise ValueError(f"out of range: {written(limit, least)} to {written(limit, most)}")
    return value


def _rate(setting: str, text: str) -> Rate:
    return units.rate(text) if setting in SPACED else units.rate_without_burst(text)


def _notch(limit: Limit, value: float, by: int) -> float:
    """By how much one key changes a value: small values by less than large ones, up and down alike."""
    size = value - 0.001 if by < 0 else value
    if limit.setting == "usd" or is_resource(limit.name):
        return 0.1 if size < 1 else 1.0
    steps, coarse = (TIMES, 60.0) if limit.setting == "timeout" else (COUNTS, 100.0)
    if size >= 10_000:
        coarse = 1000.0
    return next((notch for upto, notch in steps if size < upto), coarse)


def _name(limit: Limit) -> Pieces:
    head, dot, tail = limit.name.removeprefix("agents.").rpartition(".")
    return ((clean(head + dot), "dim"), (clean(tail), "text"))


def _in_use(limit: Limit) -> Pieces:
    if limit.use is None:
        return (("–", "line"),)
    if limit.setting == "timeout":
        near = limit.most is not None and limit.use > 0.8 * limit.most
        return (("oldest ", "dim"), (seconds(limit.use), "warn" if near else "text"))
    of = "" if limit.most is None else f"/{written(limit, limit.most)}"
    form = {"tokens": count, "usd": dollars}.get(limit.setting.rpartition("_")[2])
    used = form(limit.use) if form else written(limit, limit.use)
    if limit.over:
        return ((used + of, "warn"), (" draining", "warn"))
    full = limit.most is not None and limit.use >= limit.most
    return ((used + of, "accent" if full else "text"),)


def _waiting(limit: Limit) -> Pieces:
    if not limit.waiting:
        return (("–" if limit.waiting is None else "·", "line"),)
    return ((count(limit.waiting), "ready"),)
