"""Builds the frozen dataclasses of a workflow from the values of a file that its model has validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentdeck.errors import described
from agentdeck.plugins import PLUGIN_ERRORS, PluginError
from agentdeck.workflow import model
from agentdeck.workflow.agent_kind import AgentKind, key_names, kinds_in
from agentdeck.workflow.plugin_kind import GuardedKind
from agentdeck.workflow.units import share
from agentdeck.workflow.wording import fits
from agentdeck.workflow.yaml_source import INVALID

Read = Mapping[str, Any]

#: Policies of agents that set none: one object for all of these agents.
RETRY, JOIN, ON_ERROR = model.Retry(), model.Join(), model.OnError()


def definition(read: Read, needs: Mapping[str, tuple[str, ...]], folder: Path | None) -> model.Definition:
    """The workflow. `read` is without faults, and `needs` are complete."""
    defaults = read.get("defaults", {})
    limits = read.get("limits", {})
    providers = {name: model.ProviderLimits(**one) for name, one in limits.items() if isinstance(one, Mapping)}
    resources = {name: one for name, one in limits.items() if name != "workers" and name not in providers}
    return model.Definition(
        agents={name: agent(name, given, defaults, needs[name]) for name, given in read["agents"].items()},
        inputs={name: input_(given) for name, given in read.get("inputs", {}).items()},
        limits=model.Limits(limits.get("workers"), providers, resources),
        budget=budget(read["budget"]) if "budget" in read else None,
        folder=folder,
        **_given(read, "name", "about", "output", "mode"),
    )


def input_(given: Read) -> model.Input:
    kind = type_(given.get("type", "any"))
    if "choices" in given:
        kind = model.Type("choice", tuple(given["choices"]))
    return model.Input(kind, given.get("about", ""), given.get("default"), "default" not in given)


def default_fault(spec: Any, *, null: bool = False) -> str:
    """What is wrong with the default of an input or of a field: it is not of its type. Empty where there is none,
    or where it cannot be said. `null`: null is a default of any type."""
    if not isinstance(spec, dict) or INVALID in spec.values() or "default" not in spec:
        return ""
    return "" if null and spec["default"] is None else fits(spec["default"], input_(spec).type)


def type_(given: Any) -> model.Type:
    return model.Type("choice", tuple(given)) if isinstance(given, list) else model.Type(given)


def budget(given: Read) -> model.Budget:
    values = _given(given, "usd", "tokens")
    if "ladder" in given:
        values["ladder"] = tuple(sorted((share(at), rung) for at, rung in given["ladder"].items()))
    return model.Budget(**values, task=budget(given["task"]) if "task" in given else None)


def agent(name: str, given: Read, defaults: Read, needs: tuple[str, ...]) -> model.Agent:
    both = {**defaults, **given}
    kind = next(kinds_in(given))
    return model.Agent(
        name=name,
        does=work(name, kind, given),
        needs=needs,
        with_=given.get("with", {}),
        join=join(given.get("join", "all")),
        retry=retry(given.get("retry"), defaults.get("retry")),
        timeout=timeout(kind.timeout, given.get("timeout"), defaults.get("timeout")),
        on_error=on_error(both.get("on_error", "fail")),
        repeat=model.Repeat(**given["repeat"]) if "repeat" in given else None,
        output={key: type_(kind) for key, kind in given["output"].items()} if "output" in given else None,
        **_given(both, "max_parallel", "cache", "tier", "hedge", "priority", "gateway"),
        **_given(given, "about", "when", "each", "once", "expect", "spare", "uses", "place"),
    )


def work(name: str, kind: AgentKind, given: Read) -> model.Work:
    """What an agent does. Raises PluginError where the code of a plugin fails."""
    try:
        return kind.make(_given(given, *key_names(kind.verb)))
    except PLUGIN_ERRORS as error:
        of = f" of {kind.plugin}" if isinstance(kind, GuardedKind) else ""
        what = f"the kind {kind.verb}{of} cannot use its keys: {described(error)}"
        raise PluginError(f"{name}: {what}") from error


def _given(given: Read, *keys: str) -> dict[str, Any]:
    """Those of these keys that are given."""
    return {key: given[key] for key in keys if key in given}


def _as_map(value: Any, short: str) -> Read:
    """A map, or the value of its key `short` where that alone is written."""
    return value if isinstance(value, Mapping) else {short: value}


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
