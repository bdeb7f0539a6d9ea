"""Events as rows and back: `decode(encode(event)) == event` for every event.

A row is (kind, task, step, data, result). `kind` is the class name in snake_case; `at`, `task` and `step` are
columns; `data` is a JSON object of the other fields, those that have their default left out. One field per
event may be large (an output, the inputs): above INLINE bytes of JSON it goes into `results` under the hash of
its text, and the row holds the hash in `result`.

Fields that follow from the row are left out too: the `attempt` where it is the first, and the `agent` where it
is the step's own. In place of `ready` there is `waited`, the seconds from then to `at`, left out where it is 0.
Rows of older versions have all fields, and are read in the same way. This took 61 of the 311 bytes that a step of
an order had, and the form of the table (event_log.py) 74.

INLINE is 512, measured on 50,000 steps: results of 300 bytes lower the throughput by a quarter when each gets a
row in `results` (a second tree, at a random place of its index), and save nothing unless they repeat; at 700
bytes both ways are equal; at 3,000 `results` is 1.7 times as fast, and the log that is folded at every resume
stays small.

A value that cannot be encoded never stops a run: lone surrogates are escaped, and a value that is no data is
replaced by a string that says so. (The engine converts results to data before they get here.)
"""

from __future__ import annotations

import json
import re
import sqlite3
import types
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic_core import from_json, to_json

from agentdeck.errors import StoreError
from agentdeck.scheduler import events as core
from agentdeck.workflow.json_text import SLICE, estimated_size, json_text, room_left
from agentdeck.workflow.model import Data

INLINE = 512

#: (kind, task, step, data, result)
Row: TypeAlias = tuple[str, str, str, str, str | None]
#: A row of `results`: (hash, data, size).
Result: TypeAlias = tuple[str, str, int]
Restore: TypeAlias = Callable[[Any], Any]

_COLUMNS = ("at", "task", "step")
#: Fields that may follow from the row, whatever they say in it otherwise.
_AGENT, _READY, _ATTEMPT = "agent", "ready", "attempt"
#: Digits of `waited` that give `ready` back: times of this century are multiples of 2.4e-7 seconds.
_DIGITS = 7
_LARGE = {"output", "inputs"}
_SMALL = frozenset({int, float, bool})


def snake(name: str) -> str:
    """`StepStarted` as `step_started`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def text_of(value: Data) -> str:
    """Compact JSON of plain data. Never raises, see the module."""
    try:
        if room_left(value, SLICE) >= 0:
            return to_json(value, inf_nan_mode="constants").decode()
        return json_text(value, dump=_compact, comma=",", colon=":")
    except Exception:
        pass
    try:
        return json.dumps(value, separators=(",", ":"))  # ASCII: takes lone surrogates
    except Exception as error:
        return json.dumps(f"<not recordable: {type(error).__name__}: {str(error)[:200]}>")


def _compact(value: Data) -> str:
    return to_json(value, inf_nan_mode="constants").decode()


def hashed(text: str) -> Result:
    """The row of `results` for this JSON. It is hashed in slices: without a second copy of a large text."""
    digest, size = blake2b(digest_size=16), 0
    for start in range(0, len(text), SLICE):
        raw = text[start : start + SLICE].encode()
        digest.update(raw)
        size += len(raw)
    return digest.hexdigest(), text, size


class LargeValues:
    """The rows of `results` that some events need. `size` is their size in bytes.

    The result of a task often is that of its last step, and follows it in the log: an object is encoded once for
    events that follow each other."""

    __slots__ = ("_hash", "_value", "rows", "size")

    def __init__(self) -> None:
        self.rows: list[Result] = []
        self.size = 0
        self._value: Data = None
        self._hash = ""

    def hash_of(self, value: Data) -> str | None:
        """The hash of the value if it was the last one that was added. (Small values are never added.)"""
        return self._hash if self._hash and value is self._value else None

    def add(self, value: Data, text: str) -> str:
        """Add a value with its JSON. Returns its hash."""
        row = hashed(text)
        self.rows.append(row)
        self.size += row[2]
        self._value, self._hash = value, row[0]
        return self._hash

    def clear(self) -> None:
        """Drop the rows, which have been inserted."""
        self.rows.clear()
        self.size = 0


def _restorer(hint: Any) -> Restore | None:
    """A function from JSON to a value of this type; None where JSON is that value."""
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        parts = {name: restore for name, sub in get_type_hints(hint).items() if (restore := _restorer(sub))}

        def record(value: Any) -> Any:
            return hint(**{k: parts[k](v) if k in parts and v is not None else v for k, v in value.items()})

        return record
    if get_origin(hint) is tuple:
        subs = get_args(hint)
        if len(subs) == 2 and subs[1] is Ellipsis:
            each = _restorer(subs[0])
            return (lambda value: tuple(map(each, value))) if each else tuple
        inner = [_restorer(sub) for sub in subs]
        if not any(inner):
            return tuple
        return lambda value: tuple(
            restore(item) if restore else item for restore, item in zip(inner, value, strict=True)
        )
    if get_origin(hint) in (Union, types.UnionType):
        found = [restore for sub in get_args(hint) if (restore := _restorer(sub))]
        return found[0] if found else None
    return None


class _Field(NamedTuple):
    position: int
    name: str
    key: str  # `"name":`
    default: Any
    required: bool
    large: bool
    follows: bool  # may follow from the row: _AGENT, _READY


class _Kind(NamedTuple):
    """How one class of events is encoded and decoded. `columns`: those of at, task and step that it has."""

    event: type[Any]
    name: str
    columns: tuple[str, ...]
    task: int
    step: int
    fields: tuple[_Field, ...]
    large: str
    large_at: int
    restore: dict[str, Restore]
    agent: bool  # whether it has the field
    ready: bool
    attempt: bool


def _kind(event: type[Any]) -> _Kind:
    names: tuple[str, ...] = event._fields
    defaults: dict[str, Any] = {_ATTEMPT: 1, **event._field_defaults}
    hints = get_type_hints(event)
    rest = tuple(
        _Field(i, n, f'"{n}":', defaults.get(n), n not in defaults, n in _LARGE, n in (_AGENT, _READY))
        for i, n in enumerate(names)
        if n not in _COLUMNS
    )
    large = [field.name for field in rest if field.large]
    if len(large) > 1:
        raise TypeError(f"{event.__name__} has more than one large field: {', '.join(large)}")
    return _Kind(
        event,
        snake(event.__name__),
        tuple(name for name in _COLUMNS if name in names),
        names.index("task") if "task" in names else -1,
        names.index("step") if "step" in names else -1,
        rest,
        large[0] if large else "",
        names.index(large[0]) if large else -1,
        {f.name: restore for f in rest if (restore := _restorer(hints[f.name]))},
        _AGENT in names,
        _READY in names,
        _ATTEMPT in names,
    )


EVENTS: tuple[type[Any], ...] = get_args(core.Event)
_BY_CLASS = {event: _kind(event) for event in EVENTS}
_BY_NAME = {kind.name: kind for kind in _BY_CLASS.values()}
KINDS = tuple(_BY_NAME)
_encode_string = json.encoder.encode_basestring


def encode(event: core.Event, results: LargeValues | None = None) -> Row:
    """The row of an event. Large values are added to `results`; without it they stay inline."""
    kind = _BY_CLASS[type(event)]
    row: tuple[Any, ...] = event
    parts: list[str] = []
    result: str | None = None
    for position, name, key, default, required, large, follows in kind.fields:
        value = row[position]
        if not required and (value is default or (default is not None and value == default)):
            continue
        if follows:
            parts += _parts_of(name, value, row, kind)
            continue
        of = type(value)
        if large and results is not None and of not in _SMALL:
            result = results.hash_of(value)
            if result is not None:
                continue
            text = _string(value) if of is str and len(value) < SLICE else text_of(value)
            if len(text) > INLINE:
                result = results.add(value, text)
                continue
        elif of is str:
            text = _string(value)
        elif of is int:
            text = repr(value)
        elif isinstance(value, tuple) and hasattr(value, "_asdict"):
            text = text_of(_record(value))
        else:
            text = text_of(value)
        parts.append(key + text)
    task: str = row[kind.task] if kind.task >= 0 else ""
    step: str = row[kind.step] if kind.step >= 0 else ""
    if not (task.isascii() and step.isascii()):
        task = _column("task", task, parts)
        step = _column("step", step, parts)
    return kind.name, task, step, "{" + ",".join(parts) + "}", result


def _parts_of(name: str, value: Any, row: tuple[Any, ...], kind: _Kind) -> list[str]:
    """What is written of an agent, or of when a step became ready: nothing where it follows from the row."""
    if name == _AGENT:
        own = value.isascii() and value == row[kind.step].partition("[")[0]
        return [] if own else [f'"{_AGENT}":{_string(value)}']
    at: float = row[0]
    waited = round(at - value, _DIGITS)
    if at - waited != value:
        return [f'"{_READY}":{text_of(value)}']
    return [f'"waited":{waited!r}'] if waited else []


def large_size(event: core.Event) -> int:
    """The approximate size of the large value of an event in bytes; 0 for a value that is small."""
    kind = _BY_CLASS[type(event)]
    if not kind.large:
        return 0
    value = event[kind.large_at]
    return 0 if value is None or type(value) in _SMALL else estimated_size(value)


def plain_row(run: str, seq: int, event: core.Event) -> dict[str, Data]:
    """An event as plain data, as `Reader.raw_events` returns it from the store."""
    kind, task, step, data, _ = encode(event)
    row: dict[str, Data] = {"seq": seq, "at": event.at, "event": kind, "run": run}
    row.update({name: value for name, value in (("task", task), ("step", step)) if value})
    row.update(fields_of(event.at, kind, step, json.loads(data)))
    return row


def fields_of(at: float, kind: str, step: str, data: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event of which this is the data: with those that follow from the row."""
    spec = _BY_NAME.get(kind)
    return data if spec is None else _with_implied(spec, at, step, data)


def _with_implied(spec: _Kind, at: float, step: str, data: dict[str, Any]) -> dict[str, Any]:
    if not (spec.agent or spec.attempt or spec.ready):
        return data
    values: dict[str, Any] = {}
    if spec.agent:
        values[_AGENT] = data.get("step", step).partition("[")[0]
    if spec.attempt:
        values[_ATTEMPT] = 1
    if spec.ready:
        values[_READY] = at - data.pop("waited", 0)
    values.update(data)
    return values


def _string(value: str) -> str:
    if value.isascii():
        text: str = _encode_string(value)
        return text
    return text_of(value)


def _record(value: Any) -> dict[str, Data]:
    """The fields of a Fault or a Usage that differ from their defaults."""
    defaults = value._field_defaults
    return {
        name: _record(item) if hasattr(item, "_asdict") else item
        for name, item in zip(value._fields, value, strict=True)
        if name not in defaults or item != defaults[name]
    }


def _column(name: str, value: str, parts: list[str]) -> str:
    """The text of a column. Invalid Unicode is escaped in it; the data then has the original."""
    try:
        value.encode()
    except UnicodeEncodeError:
        parts.append(f'"{name}":{text_of(value)}')
        return value.encode("ascii", "backslashreplace").decode()
    return value


def decode(
    at: float, kind: str, task: str, step: str, data: str, result: Data = None, has_result: bool = False
) -> core.Event:
    """The event of a row. `result` is the large value, already read, where the row has one.

    Raises StoreError for a kind or a field that this version does not know.
    """
    spec = _BY_NAME.get(kind)
    if spec is None:
        raise StoreError(
            f"the log contains events of an unknown kind ({kind}), written by a newer version; update agentdeck"
        )
    values: dict[str, Any] = {"at": at, "task": task, "step": step} if len(spec.columns) == 3 else {}
    if not values:
        given = {"at": at, "task": task, "step": step}
        values = {name: given[name] for name in spec.columns}
    fields = _parsed(data) if data != "{}" else {}
    values.update(_with_implied(spec, at, step, fields))
    if fields:
        for name, restore in spec.restore.items():
            value = values.get(name)
            if value is not None:
                values[name] = restore(value)
    if has_result:
        values[spec.large] = result
    try:
        event: core.Event = spec.event(**values)
    except TypeError as error:
        raise StoreError(
            f"an event of kind {kind} does not fit this version ({error}); update agentdeck"
        ) from None
    return event


def _parsed(data: str) -> dict[str, Any]:
    """JSON that we wrote. The fast parser rejects lone surrogates, the standard one accepts them."""
    try:
        fields: dict[str, Any] = from_json(data)
    except ValueError:
        fields = json.loads(data)
    return fields


def large_field(kind: str) -> str:
    """The field of this kind of event that may be in `results`; empty if there is none."""
    spec = _BY_NAME.get(kind)
    return spec.large if spec else ""


def put_result(connection: sqlite3.Connection, value: Data) -> str:
    """Store a value in `results`. Returns the hash to find it by."""
    row = hashed(text_of(value))
    connection.execute("INSERT OR IGNORE INTO results (hash, data, size) VALUES (?, ?, ?)", row)
    return row[0]


def get_result(connection: sqlite3.Connection, key: str | None) -> Data:
    """The value of a hash; None without a hash, and for a value that was pruned."""
    row = connection.execute("SELECT data FROM results WHERE hash = ?", (key,)).fetchone()
    return json.loads(row[0]) if row else None
