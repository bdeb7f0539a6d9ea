"""A workflow as frozen dataclasses, the same from YAML and from Python.

Everything here is frozen and plain. Expressions and `${…}` templates keep their text (they are checked
when the file loads, and compiled where they are used). Positions in the file are beside the value, never in
it, so the same workflow from YAML and from Python is equal and has one identity.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from agentdeck.errors import StoreError
from agentdeck.plugins import PLUGIN_ERRORS, is_built_in

#: Plain JSON-like data: None, bool, int, float, str, lists and string-keyed dicts of them.
Data: TypeAlias = Any

# Work ----------------------------------------------------------------------------------------------------


#: How the names of the limits begin that are the slots of a place.
PLACE_LIMIT = "place"


class Work:
    """What an agent does: the base of the frozen dataclasses that stand in `Agent.does`, one class per verb.

    A class holds the values that the file gives, and what the scheduler and the views must know of its agents.
    Everything else about a verb is in its kind (`agent_kind.py`). The classes in this module are those that the
    scheduler or the engine interprets; those of the other verbs are beside their kinds.
    """

    __slots__ = ()
    #: The key of an agent that chooses this class.
    verb: str
    #: Whether a step occupies a worker. Those of the other agents wait, and the engine itself carries them out:
    #: their time is not work.
    holds_worker: ClassVar[bool] = True
    #: Whether its steps are calls that the attempt of another step makes. That one holds the worker, so they need
    #: none: with one worker, the two would wait for each other.
    is_call: ClassVar[bool] = False
    #: Whether the results are made up.
    simulated: ClassVar[bool] = False
    #: Fields that came after the first version, with their defaults. They are left out of `plain` while they hold
    #: the default, so a workflow that does not use them keeps its identity, and with it its history and its
    #: cached results.
    later_fields: ClassVar[Mapping[str, Data]] = {}

    def seconds(self) -> float | None:
        """The usual duration of an attempt, where the file says it."""
        return None

    def expressions(self) -> tuple[str, ...]:
        """The values that are expressions as a whole, without `${…}`."""
        return ()

    def templates(self) -> Data:
        """The values whose strings may hold `${…}`. None: there is nothing to render."""
        return plain(self)

    def mcp_tools(self) -> tuple[str, ...]:
        """The tools of MCP servers that it may call, as `server/tool`."""
        return ()


#: Parameters of a function that mean the same in every workflow.
KNOWN_PARAMETERS = ("inputs", "needs", "item", "previous", "ctx")


@dataclass(frozen=True, slots=True)
class Prompt(Work):
    """Send a prompt to a model. `text`, `system` and `images` are templates. `model` names one of the deck's
    models and then overrides the tier."""

    text: str
    system: str | None = None
    model: str | None = None
    temperature: float | None = None
    max_output: int | None = None
    stop: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    verb = "prompt"

    def mcp_tools(self) -> tuple[str, ...]:
        return self.tools


@dataclass(frozen=True, slots=True)
class ModelCall(Prompt):
    """A call of a model that the attempt of another step makes through the gateway. The request itself is never
    recorded: `text` is empty, and the inputs of the task describe it (`CallInputs`)."""

    text: str = ""
    verb = "call"
    is_call = True


@dataclass(frozen=True, slots=True)
class Dispatch(Work):
    """Choose the agent that runs next: the value of `on` selects one of `cases`, else `otherwise`. The other
    agents named there are skipped. All of them need this agent."""

    on: str
    cases: Mapping[str, str] = field(default_factory=dict)
    otherwise: str | None = None
    verb = "dispatch"
    holds_worker = False

    def expressions(self) -> tuple[str, ...]:
        return (self.on,)

    def templates(self) -> Data:
        return None


@dataclass(frozen=True, slots=True)
class SubWorkflow(Work):
    """Run another workflow file as nested steps; its inputs come from the agent's `with`."""

    file: str
    verb = "workflow"
    holds_worker = False


@dataclass(frozen=True, slots=True)
class Approve(Work):
    """Ask an operator. `within` None waits without limit; `otherwise` is the answer after a timeout. An answer
    gives a value for every field that has none in `defaults`."""

    ask: str
    show: str | None = None
    fields: Mapping[str, Type] = field(default_factory=dict)
    within: float | None = None
    otherwise: Literal["approve", "reject"] = "reject"
    defaults: Mapping[str, Data] = field(default_factory=dict)
    verb = "approve"
    holds_worker = False
    later_fields: ClassVar[Mapping[str, Data]] = {"defaults": {}}


@dataclass(frozen=True, slots=True)
class UnknownWork(Work):
    """What a recorded run holds of an agent whose verb this installation does not have. The run can be listed,
    shown and replayed; the agent cannot run."""

    verb: str
    data: Mapping[str, Data]


# Policies ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Type:
    """The type of an input or of a field of a typed output. `choices` only with kind `choice`."""

    kind: Literal["any", "string", "number", "integer", "boolean", "list", "object", "choice"] = "any"
    choices: tuple[Data, ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the workflow. Without a default it must be given."""

    type: Type = Type()
    about: str = ""
    default: Data = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Timeout:
    """The four clocks, in seconds; None is no limit.

    queue: ready and not started. attempt: one try. idle: a try that shows no sign of life.
    total: from ready to the end, all attempts and waits included. With `auto`, `attempt` is only what holds
    until enough attempts were seen.
    """

    queue: float | None = None
    attempt: float | None = 30.0
    idle: float | None = None
    total: float | None = None
    auto: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` counts the first one. The wait before attempt n+1 is drawn from 0 to
    min(max_delay, delay × factor^(n-1)) (full jitter). `escalate`: a tier up after an invalid answer. `on` names
    the function that says of each failed attempt whether another one is worth it; None: its kind says so."""

    attempts: int = 3
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 60.0
    escalate: bool = False
    on: str | None = None
    later_fields: ClassVar[Mapping[str, Data]] = {"on": None}


@dataclass(frozen=True, slots=True)
class Join:
    """When a step may start, seen from its needs.

    `quorum` is a count (int) or a share (float, 0 to 1) of the needs that were not skipped; None is all.
    After `within` seconds the step starts with the results so far if at least `min` arrived, else it fails.
    `min` unset means 1 where `within` is set, else the quorum. `rest`: what happens to needs that still run then.
    """

    kind: Literal["all", "any", "quorum", "progressive"] = "all"
    quorum: int | float | None = None
    within: float | None = None
    min: int | None = None
    rest: Literal["cancel", "finish"] = "finish"


@dataclass(frozen=True, slots=True)
class OnError:
    """After the last attempt: first the fallback agent, if any; then `fail`, or `continue` with null."""

    action: Literal["fail", "continue"] = "fail"
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """Run again, with `previous`, until the expression `until` holds, at most `max` times in all."""

    until: str
    max: int = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """A count per number of seconds. With a `burst`, at most that much goes at once, and the rest is spaced out
    evenly: one every `spacing` seconds."""

    later_fields: ClassVar[Mapping[str, Data]] = {"burst": None}
    count: float
    seconds: float
    burst: int | None = None

    @property
    def spacing(self) -> float:
        return self.seconds / self.count if self.count > 0 else math.inf

    @property
    def per_minute(self) -> float:
        return self.count * 60 / self.seconds


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """Limits of one provider. None is unlimited."""

    requests: Rate | None = None
    tokens: Rate | None = None
    input_tokens: Rate | None = None
    output_tokens: Rate | None = None
    concurrent: int | Literal["auto"] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """`workers` None is the deck's value. `providers` may tighten the deck's limits, never loosen them.
    `resources` are the amounts, by name, that the running steps of a run share."""

    workers: int | None = None
    providers: Mapping[str, ProviderLimits] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    later_fields: ClassVar[Mapping[str, Data]] = {"resources": {}}


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a run may use. The ladder gives the share of it at which each rung comes into force. `task`
    is the budget of each task."""

    usd: float | None = None
    tokens: int | None = None
    ladder: tuple[tuple[float, str], ...] = ((1.0, "ask"),)
    task: Budget | None = None


# The graph -----------------------------------------------------------------------------------------------

PRIORITIES = {"high": -1, "normal": 0, "low": 1}


@dataclass(frozen=True, slots=True)
class Agent:
    """A node of the graph. `needs` is complete: what was inferred from references is already in it. `uses` is
    what each of its attempts takes of the shared resources, by name. `place` is where they run, a place of the
    deck; `local` is the engine's own process. `gateway`: whether attempts call models through the gateway; None
    is what the deck says."""

    name: str
    does: Work
    about: str = ""
    needs: tuple[str, ...] = ()
    with_: Mapping[str, Data] = field(default_factory=dict)
    when: str | None = None
    each: str | None = None
    max_parallel: int | None = None
    join: Join = Join()
    retry: Retry = Retry()
    timeout: Timeout = Timeout()
    on_error: OnError = OnError()
    once: str | None = None
    cache: float | None = None
    repeat: Repeat | None = None
    output: Mapping[str, Type] | None = None
    expect: str | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    spare: bool = False
    tier: str | None = None
    hedge: str | None = None
    uses: Mapping[str, float] = field(default_factory=dict)
    place: str = "local"
    gateway: bool | None = None
    later_fields: ClassVar[Mapping[str, Data]] = {"uses": {}, "place": "local", "gateway": None}


@dataclass(frozen=True, slots=True)
class Definition:
    """A whole workflow. `agents` keeps the order of declaration. Relative names are looked up in `folder`,
    which is not part of the identity."""

    name: str
    agents: Mapping[str, Agent]
    about: str = ""
    inputs: Mapping[str, Input] = field(default_factory=dict)
    limits: Limits = Limits()
    budget: Budget | None = None
    output: Data = None
    mode: Literal["parallel", "sequential", "adaptive"] = "parallel"
    folder: Path | None = field(default=None, compare=False)
    _identity: str = field(default="", init=False, compare=False, repr=False)

    @property
    def identity(self) -> str:
        """The hash of the definition: equal for equal workflows, from whatever file or language."""
        if not self._identity:
            text = json.dumps(plain(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            object.__setattr__(self, "_identity", hashlib.sha256(text.encode()).hexdigest())
        return self._identity


OUTSIDE_IDENTITY = ("folder", "_identity")


def plain(value: Any) -> Data:
    """A value of this module as plain data, with the name of its verb and without the fields of
    OUTSIDE_IDENTITY."""
    if type(value) in _ATOMS:
        return value
    names = _plain_fields(type(value))
    if names is not None:
        if isinstance(value, UnknownWork):
            return {"verb": value.verb, **value.data}
        data = _plain_values(value, names)
        return {"verb": value.verb, **data} if isinstance(value, Work) else data
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _plain_values(value: Any, names: tuple[str, ...]) -> dict[str, Data]:
    """The fields of a dataclass, without later ones that hold the default."""
    later: Mapping[str, Data] = getattr(value, "later_fields", {})
    given = {name: getattr(value, name) for name in names}
    return {key: plain(item) for key, item in given.items() if key not in later or item != later[key]}


_ATOMS = frozenset({str, int, float, bool, NoneType})
_FIELDS: dict[type, tuple[str, ...] | None] = {}


def _plain_fields(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass of this module that `plain` includes; None for any other type."""
    if kind not in _FIELDS:
        names = (f.name for f in fields(kind) if f.name not in OUTSIDE_IDENTITY) if is_dataclass(kind) else None
        _FIELDS[kind] = None if names is None else tuple(names)
    return _FIELDS[kind]


_UNREADABLE = (TypeError, KeyError, ValueError, AttributeError)


def restored(data: Mapping[str, Data]) -> Definition:
    """The definition of its `plain` data: `restored(plain(x)) == x`. Raises StoreError for other data."""
    try:
        value = _restore(Definition, data)
    except _UNREADABLE as error:
        raise StoreError(f"the recorded definition of this workflow cannot be read: {error}") from error
    assert isinstance(value, Definition)
    return value


def _restore(kind: Any, data: Data) -> Any:
    origin, options = get_origin(kind), get_args(kind)
    if kind is Work:
        return _restore_work(data["verb"], {key: item for key, item in data.items() if key != "verb"})
    if origin in (Union, UnionType):
        if data is None:
            return None
        rest = [one for one in options if one is not NoneType]
        return _restore(rest[0], data) if len(rest) == 1 else data
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _restore(hints[name], item) for name, item in data.items()})
    if origin is tuple:
        inner = options[:1] * len(data) if options[-1] is Ellipsis else options
        return tuple(_restore(one, item) for one, item in zip(inner, data, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _restore(options[1], item) for key, item in data.items()}
    return data


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _restore_work(verb: str, data: Mapping[str, Data]) -> Work:
    from agentdeck.workflow.agent_kind import kinds
    from agentdeck.workflow.plugin_kind import check_work

    kind = kinds().get(verb)
    if kind is None:
        return UnknownWork(verb, data)
    built_in = is_built_in(kind)
    unreadable = _UNREADABLE if built_in else PLUGIN_ERRORS
    try:
        work = _restore(kind.work, data)
        if not built_in:
            check_work(work)
    except unreadable:  # another version of a plugin recorded it
        return UnknownWork(verb, data)
    return work if isinstance(work, Work) else UnknownWork(verb, data)
