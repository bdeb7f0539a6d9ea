"""Builds the frozen dataclasses of a workflow from the values of a file that its model has validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentdeck.workflow.model import (
    VERB_KEYS,
    VERBS,
    Agent,
    Approve,
    Budget,
    Command,
    Data,
    Definition,
    Dispatch,
    Http,
    Input,
    Join,
    Limits,
    OnError,
    Prompt,
    ProviderLimits,
    Python,
    Repeat,
    Retry,
    Simulate,
    SubWorkflow,
    Timeout,
    Type,
    Verb,
    default_timeout,
)
from agentdeck.workflow.units import share

Read = Mapping[str, Any]

#: Policies of agents that set none: one object for all of these agents.
RETRY, JOIN, ON_ERROR = Retry(), Join(), OnError()
TIMEOUTS = {name: default_timeout(name) for name in VERBS}


def definition(read: Read, needs: Mapping[str, tuple[str, ...]], folder: Path | None) -> Definition:
    """The workflow. `read` is without faults, and `needs` are complete."""
    defaults = read.get("defaults", {})
    limits = dict(read.get("limits", {}))
    return Definition(
        name=read["name"],
        agents={name: agent(name, given, defaults, needs[name]) for name, given in read["agents"].items()},
        about=read.get("about", ""),
        inputs={name: input_(given) for name, given in read.get("inputs", {}).items()},
        limits=Limits(
            limits.pop("workers", None), {name: ProviderLimits(**given) for name, given in limits.items()}
        ),
        budget=budget(read["budget"]) if "budget" in read else None,
        output=read.get("output"),
        mode=read.get("mode", "parallel"),
        folder=folder,
    )


def input_(given: Read) -> Input:
    kind = type_(given.get("type", "any"))
    if "choices" in given:
        kind = Type("choice", tuple(given["choices"]))
    return Input(kind, given.get("about", ""), given.get("default"), "default" not in given)


def type_(given: Data) -> Type:
    return Type("choice", tuple(given)) if isinstance(given, list) else Type(given)


def budget(given: Read) -> Budget:
    ladder = (
        tuple(sorted((share(at), rung) for at, rung in given["ladder"].items())) if "ladder" in given else None
    )
    return Budget(
        given.get("usd"),
        given.get("tokens"),
        **({"ladder": ladder} if ladder else {}),
        task=budget(given["task"]) if "task" in given else None,
    )


def agent(name: str, given: Read, defaults: Read, needs: tuple[str, ...]) -> Agent:
    both = {**defaults, **given}
    does = verb(given)
    simple = {key: both[key] for key in ("max_parallel", "cache", "tier", "hedge", "priority") if key in both}
    own = {key: given[key] for key in ("about", "when", "each", "once", "expect", "spare") if key in given}
    return Agent(
        name=name,
        does=does,
        needs=needs,
        with_=given.get("with", {}),
        join=join(given.get("join", "all")),
        retry=retry(given.get("retry"), defaults.get("retry")),
        timeout=timeout(TIMEOUTS[does.verb], given.get("timeout"), defaults.get("timeout")),
        on_error=on_error(both.get("on_error", "fail")),
        repeat=Repeat(**given["repeat"]) if "repeat" in given else None,
        output={key: type_(kind) for key, kind in given["output"].items()} if "output" in given else None,
        **simple,
        **own,
    )


def verb(given: Read) -> Verb:
    """The verb of an agent, with the keys that belong to it."""
    name = next(name for name in VERBS if name in given)
    own = {key: given[key] for key in VERB_KEYS.get(name, ()) if key in given}
    return _VERBS[name](given[name], own)


def _prompt(text: str, own: Read) -> Prompt:
    values: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in own.items()}
    return Prompt(text, **values)


def _http(value: Read, own: Read) -> Http:
    hosts = tuple(value.get("hosts", ()))
    return Http(**{**value, "method": value.get("method", "GET").upper(), "hosts": hosts})


def _command(value: Any, own: Read) -> Command:
    if isinstance(value, list):
        return Command(tuple(value))
    return Command(**{**value, "args": tuple(value["args"]), "ok": tuple(value.get("ok", (0,)))})


def _dispatch(value: Any, own: Read) -> Dispatch:
    return Dispatch(**{**(value if isinstance(value, Mapping) else {"on": value}), **own})


def approve(value: Read) -> Approve:
    given = value.get("fields", {})
    fields = {key: input_(field).type for key, field in given.items()}
    defaults = {key: field["default"] for key, field in given.items() if "default" in field}
    return Approve(**{**value, "fields": fields, "defaults": defaults})


def simulate(value: Any) -> Simulate:
    if not isinstance(value, Mapping):
        return Simulate(takes=value)
    found = dict(value)
    if "says" in found:
        found["says"] = tuple(found["says"])
    if "tokens" in found:
        tokens = found["tokens"]
        found["tokens"] = (
            (tokens.get("in", 0), tokens.get("out", 0)) if isinstance(tokens, Mapping) else tuple(tokens)
        )
    return Simulate(**found)


def retry(given: Any, default: Any) -> Retry:
    """A number is so many attempts; a map is laid over the default."""
    both: dict[str, Any] = {}
    for value in (default, given):
        if value is not None:
            both.update(value if isinstance(value, Mapping) else {"attempts": value})
    return Retry(**both) if both else RETRY


def timeout(usual: Timeout, given: Any, default: Any) -> Timeout:
    """A duration is the clock of an attempt; a map is laid over the default. Where an attempt's clock is written
    and no idle clock, there is none: an attempt that was allowed minutes may be silent for minutes."""
    both: dict[str, Any] = {}
    for value in (default, given):
        if value is None:
            continue
        clocks = dict(value) if isinstance(value, Mapping) else {"attempt": value}
        if "attempt" in clocks:
            both["auto"] = clocks["attempt"] == "auto"
            if both["auto"]:
                clocks["attempt"] = usual.attempt
            elif "idle" not in both:
                both["idle"] = None
        both.update(clocks)
    return replace(usual, **both) if both else usual


def join(given: Any) -> Join:
    if isinstance(given, str):
        return JOIN if given == JOIN.kind else Join(given)  # type: ignore[arg-type]
    kind = given.get("kind") or ("quorum" if "quorum" in given else "all")
    return Join(**{**given, "kind": kind})


def on_error(given: Any) -> OnError:
    if isinstance(given, str):
        return ON_ERROR if given == ON_ERROR.action else OnError(given)  # type: ignore[arg-type]
    return OnError(given.get("then", "fail"), given["fallback"])


#: By verb: from its value, and the other keys that belong to it.
_VERBS: Mapping[str, Callable[[Any, Any], Verb]] = {
    "python": lambda value, _: Python(value),
    "prompt": _prompt,
    "http": _http,
    "command": _command,
    "simulate": lambda value, _: simulate(value),
    "dispatch": _dispatch,
    "workflow": lambda value, _: SubWorkflow(value),
    "approve": lambda value, _: approve(value),
}
