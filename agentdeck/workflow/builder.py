"""Builds the frozen dataclasses of a workflow from the values of a file that its model has validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentdeck.workflow import model
from agentdeck.workflow.model import VERB_KEYS, VERBS
from agentdeck.workflow.units import share

Read = Mapping[str, Any]

#: Policies of agents that set none: one object for all of these agents.
RETRY, JOIN, ON_ERROR = model.Retry(), model.Join(), model.OnError()
TIMEOUTS = {name: model.default_timeout(name) for name in VERBS}


def definition(read: Read, needs: Mapping[str, tuple[str, ...]], folder: Path | None) -> model.Definition:
    """The workflow. `read` is without faults, and `needs` are complete."""
    defaults = read.get("defaults", {})
    limits = read.get("limits", {})
    providers = {name: model.ProviderLimits(**given) for name, given in limits.items() if name != "workers"}
    return model.Definition(
        agents={name: agent(name, given, defaults, needs[name]) for name, given in read["agents"].items()},
        inputs={name: input_(given) for name, given in read.get("inputs", {}).items()},
        limits=model.Limits(limits.get("workers"), providers),
        budget=budget(read["budget"]) if "budget" in read else None,
        folder=folder,
        **_given(read, "name", "about", "output", "mode"),
    )


def input_(given: Read) -> model.Input:
    kind = type_(given.get("type", "any"))
    if "choices" in given:
        kind = model.Type("choice", tuple(given["choices"]))
    return model.Input(kind, given.get("about", ""), given.get("default"), "default" not in given)


def type_(given: Any) -> model.Type:
    return model.Type("choice", tuple(given)) if isinstance(given, list) else model.Type(given)


def budget(given: Read) -> model.Budget:
    values = _given(given, "usd", "tokens")
    if "ladder" in given:
        values["ladder"] = tuple(sorted((share(at), rung) for at, rung in given["ladder"].items()))
    return model.Budget(**values, task=budget(given["task"]) if "task" in given else None)


def agent(name: str, given: Read, defaults: Read, needs: tuple[str, ...]) -> model.Agent:
    both = {**defaults, **given}
    does = verb(given)
    return model.Agent(
        name=name,
        does=does,
        needs=needs,
        with_=given.get("with", {}),
        join=join(given.get("join", "all")),
        retry=retry(given.get("retry"), defaults.get("retry")),
        timeout=timeout(TIMEOUTS[does.verb], given.get("timeout"), defaults.get("timeout")),
        on_error=on_error(both.get("on_error", "fail")),
        repeat=model.Repeat(**given["repeat"]) if "repeat" in given else None,
        output={key: type_(kind) for key, kind in given["output"].items()} if "output" in given else None,
        **_given(both, "max_parallel", "cache", "tier", "hedge", "priority"),
        **_given(given, "about", "when", "each", "once", "expect", "spare"),
    )


def verb(given: Read) -> model.Verb:
    """The verb of an agent, with the keys that belong to it."""
    name = next(name for name in VERBS if name in given)
    value, own = given[name], _given(given, *VERB_KEYS.get(name, ()))
    match name:
        case "python":
            return model.Python(value)
        case "prompt":
            return model.Prompt(value, **_with_tuples(own, "stop", "images", "tools"))
        case "http":
            method = value.get("method", "GET").upper()
            return model.Http(**{**_with_tuples(value, "hosts"), "method": method})
        case "command":
            return model.Command(**_with_tuples(_as_map(value, "args"), "args", "ok"))
        case "simulate":
            return simulate(_as_map(value, "takes"))
        case "dispatch":
            return model.Dispatch(**_as_map(value, "on"), **own)
        case "workflow":
            return model.SubWorkflow(value)
    return approve(value)


def _given(given: Read, *keys: str) -> dict[str, Any]:
    """Those of these keys that are given."""
    return {key: given[key] for key in keys if key in given}


def _as_map(value: Any, short: str) -> Read:
    """A map, or the value of its key `short` where that alone is written."""
    return value if isinstance(value, Mapping) else {short: value}


def _with_tuples(given: Read, *keys: str) -> dict[str, Any]:
    """The map with the lists of these keys as tuples."""
    return {**given, **{key: tuple(given[key]) for key in keys if key in given}}


def approve(value: Read) -> model.Approve:
    given = value.get("fields", {})
    fields = {key: input_(field).type for key, field in given.items()}
    defaults = {key: field["default"] for key, field in given.items() if "default" in field}
    return model.Approve(**{**value, "fields": fields, "defaults": defaults})


def simulate(value: Read) -> model.Simulate:
    found = _with_tuples(value, "says")
    if "tokens" in found:
        tokens = found["tokens"]
        pair = (tokens.get("in", 0), tokens.get("out", 0)) if isinstance(tokens, Mapping) else tokens
        found["tokens"] = tuple(pair)
    return model.Simulate(**found)


def retry(given: Any, default: Any) -> model.Retry:
    """A number is so many attempts; a map is laid over the default."""
    both: dict[str, Any] = {}
    for value in (default, given):
        if value is not None:
            both.update(_as_map(value, "attempts"))
    return model.Retry(**both) if both else RETRY


def timeout(usual: model.Timeout, given: Any, default: Any) -> model.Timeout:
    """A duration is the clock of an attempt; a map is laid over the default. Where an attempt's clock is written
    and no idle clock, there is none: an attempt that was allowed minutes may be silent for minutes."""
    both: dict[str, Any] = {}
    for value in (default, given):
        if value is None:
            continue
        clocks = dict(_as_map(value, "attempt"))
        if "attempt" in clocks:
            both["auto"] = clocks["attempt"] == "auto"
            if both["auto"]:
                clocks["attempt"] = usual.attempt
            elif "idle" not in both:
                both["idle"] = None
        both.update(clocks)
    return replace(usual, **both) if both else usual


def join(given: Any) -> model.Join:
    if isinstance(given, str):
        return JOIN if given == JOIN.kind else model.Join(given)  # type: ignore[arg-type]
    kind = given.get("kind") or ("quorum" if "quorum" in given else "all")
    return model.Join(**{**given, "kind": kind})


def on_error(given: Any) -> model.OnError:
    if isinstance(given, str):
        return ON_ERROR if given == ON_ERROR.action else model.OnError(given)  # type: ignore[arg-type]
    return model.OnError(given.get("then", "fail"), given["fallback"])
