"""Checks that need the whole file: which agent needs which, and whether that can work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from agentdeck.workflow import graph
from agentdeck.workflow.expression_types import check_output_types, check_types
from agentdeck.workflow.model import VERB_KEYS, VERBS
from agentdeck.workflow.name_hints import likely_fix
from agentdeck.workflow.references import of_value, references
from agentdeck.workflow.secret_uses import check_uses
from agentdeck.workflow.url import compile_url
from agentdeck.workflow.yaml_source import INVALID, Path_, Source

#: Names that are not agents. `output` is what an agent itself gave.
KNOWN = frozenset({"inputs", "needs", "item", "previous", "run", "task", "output"})

Needs = dict[str, tuple[str, ...]]


def needs_of(read: Mapping[str, Any], source: Source, parameters: Mapping[str, tuple[str, ...]]) -> Needs:
    """The needs of every agent, inferred where they are not written; faults are noted in `source`.

    `parameters` are those of Python functions that are given as objects: the ones that name agents are needs.
    """
    agents = agents_of(read)
    needs = _declared_and_inferred(agents, source, parameters)
    _add_dispatchers(needs, agents, source)
    loop = graph.cycle(needs)
    if loop is not None:
        where: Path_ = ("agents", loop[0], "needs")
        source.fault(where, f"a cycle: {graph.names(loop)}", "one of them must not need the next", key=True)
        return needs
    for name, agent in agents.items():
        _reads(name, agent, agents, needs, read, source)
        _beside(name, agent, source)
        _join(name, agent, needs, source)
        _fallback(name, agent, agents, needs, source)
        _cases(name, agent, agents, source)
        _hosts(name, agent, source)
        check_uses(name, agent, source)
        check_types(name, agent, read, source)
    _output(read, agents, source)
    check_output_types(read, source)
    if not source.issues:
        _warnings(read, agents, needs, source)
    return needs


def _declared_and_inferred(
    agents: Mapping[str, dict[str, Any]], source: Source, parameters: Mapping[str, tuple[str, ...]]
) -> Needs:
    """The needs as written; where none are, the agents that an agent reads."""
    rank = {name: i for i, name in enumerate(agents)}
    needs: Needs = {}
    for name, agent in agents.items():
        path: Path_ = ("agents", name)
        written = agent.get("needs")
        if isinstance(written, list):
            needs[name] = _written(name, written, agents, path, source)
        else:
            reads = {_agent_in(ref) for ref, _ in references(agent, path)} & agents.keys()
            named = {*reads, *(p for p in parameters.get(name, ()) if p in agents)}
            needs[name] = tuple(sorted(named - {name}, key=rank.__getitem__))
    return needs


def _add_dispatchers(needs: Needs, agents: Mapping[str, dict[str, Any]], source: Source) -> None:
    """Adds to each agent that a dispatch may choose the agents that dispatch to it."""
    dispatchers: dict[str, list[str]] = {}
    for name, agent in agents.items():
        for target in dict.fromkeys(targets(agent).values()):
            if target != name:
                dispatchers.setdefault(target, []).append(name)
    for name, chosen_by in dispatchers.items():
        missing = [one for one in chosen_by if one not in needs.get(name, chosen_by)]
        if missing and isinstance(agents[name].get("needs"), list):
            what = f"{missing[0]} chooses whether {name} runs, and {name} does not need it"
            source.fault(("agents", name, "needs"), what, f"add {missing[0]} to its needs", key=True)
        if name in needs:
            needs[name] += tuple(missing)


def agents_of(read: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The agents that could be read at least in part."""
    agents = read.get("agents")
    found = agents if isinstance(agents, dict) else {}
    return {name: agent if isinstance(agent, dict) else {} for name, agent in found.items()}


def _written(
    name: str, written: list[Any], agents: Mapping[str, Any], path: Path_, source: Source
) -> tuple[str, ...]:
    found: list[str] = []
    for i, need in enumerate(written):
        at: Path_ = (*path, "needs", i)
        if at not in source.values:
            at = (*path, "needs")
        if need not in agents:
            source.fault(at, f"{name} needs {need}, which is not an agent here", likely_fix(str(need), agents))
        elif need == name:
            source.fault(at, f"{name} needs itself: {name} -> {name}", "leave it out")
        elif need in found:
            source.fault(at, f"{name} needs {need} twice", "leave one out")
        else:
            found.append(need)
    return tuple(found)


def targets(agent: Mapping[str, Any]) -> dict[str, str]:
    """The agents that a dispatch may choose, by case."""
    does = agent.get("dispatch")
    if does is None or does is INVALID:
        return {}
    both = {**(does if isinstance(does, dict) else {}), **agent}
    cases = both.get("cases")
    found = dict(cases) if isinstance(cases, dict) else {}
    if isinstance(both.get("otherwise"), str):
        found["otherwise"] = both["otherwise"]
    return {case: target for case, target in found.items() if isinstance(target, str)}


def _reads(
    name: str,
    agent: dict[str, Any],
    agents: Mapping[str, Any],
    needs: Needs,
    read: Mapping[str, Any],
    source: Source,
) -> None:
    above: set[str] = set(needs[name])
    whole = False
    inputs = read.get("inputs", {})
    done: set[tuple[str, Path_]] = set()
    for ref, path in references(agent, ("agents", name)):
        first = ref[0]
        if ((first, path) in done and first != "inputs") or first == "secret":
            continue
        done.add((first, path))
        if first in agents and first not in above and not whole:
            above, whole = graph.upstream(needs, name), True
        if first == "inputs":
            if len(ref) > 1 and isinstance(inputs, dict) and ref[1] not in inputs:
                source.fault(
                    path,
                    f"there is no input {ref[1]}",
                    likely_fix(ref[1], inputs) or f"add it to inputs: {ref[1]}",
                )
        elif first == name:
            source.fault(path, f"{name} reads its own result", "in expect and until it is called output")
        elif first in agents and first not in above:
            source.fault(path, f"{first} is not upstream of {name}", f"add {first} to its needs")
        elif first not in agents and first not in KNOWN:
            fix = (
                "keys are read in the deck only"
                if first == "env"
                else likely_fix(first, [*agents, *sorted(KNOWN)])
            )
            source.fault(path, f"{first} is neither an agent nor a known name", fix)
        elif first == "item" and (("each" not in agent and not _progressive(agent)) or path[2] == "each"):
            source.fault(path, "there is no item here", "item is known with each or join: progressive")
        elif first == "needs" and len(ref) > 1 and ref[1] not in needs[name]:
            fix = f"add {ref[1]} to its needs" if ref[1] in agents else likely_fix(ref[1], needs[name])
            source.fault(path, f"{ref[1]} is not one of the needs of {name}", fix)
        elif first == "output" and not {"expect", "repeat"} & {path[2]}:
            source.fault(path, "there is no output here yet", "output is known in expect and until")


def _agent_in(ref: tuple[str, ...]) -> str:
    """The agent that a reference may name: `a.x` and `needs.a.x` both read a."""
    return ref[1] if ref[0] == "needs" and len(ref) > 1 else ref[0]


def _progressive(agent: Mapping[str, Any]) -> bool:
    join = agent.get("join")
    return join == "progressive" or (isinstance(join, dict) and join.get("kind") == "progressive")


def _beside(name: str, agent: dict[str, Any], source: Source) -> None:
    """Keys of another verb than the agent has."""
    for verb, keys in VERB_KEYS.items():
        if verb not in agent:
            for key in keys:
                if key in agent:
                    source.fault(("agents", name, key), f"{key} means something only with {verb}", key=True)


def _join(name: str, agent: dict[str, Any], needs: Needs, source: Source) -> None:
    join, path = agent.get("join"), ("agents", name, "join")
    count = len(needs[name])
    if join is None or join is INVALID:
        return
    if not count:
        source.fault(path, f"{name} needs nothing, so there is nothing to join", "leave join out", key=True)
        return
    if not isinstance(join, dict):
        return
    kind = join.get("kind") or ("quorum" if "quorum" in join else "all")
    quorum, least = join.get("quorum"), join.get("min")
    if kind == "quorum" and quorum is None:
        source.fault(path, "a quorum of how many?", "add quorum: 2", key=True)
    if kind != "quorum" and quorum is not None:
        source.fault((*path, "quorum"), f"quorum does not go with {kind}", "leave kind out", key=True)
    if isinstance(quorum, int) and quorum > count:
        what = f"a quorum of {quorum} of {count} can never be reached"
        source.fault((*path, "quorum"), what, f"{name} needs {', '.join(needs[name])}")
    if quorum == 0:
        source.fault((*path, "quorum"), "a quorum of 0% waits for nobody", "leave needs out, or say how many")
    goal = (
        quorum
        if isinstance(quorum, int)
        else math.ceil((quorum or 1.0) * count)
        if quorum is not INVALID
        else count
    )
    if isinstance(least, int) and least > goal:
        source.fault((*path, "min"), f"min {least} is more than the join waits for ({goal})")


def _fallback(
    name: str, agent: dict[str, Any], agents: Mapping[str, dict[str, Any]], needs: Needs, source: Source
) -> None:
    on_error = agent.get("on_error")
    fallback = on_error.get("fallback") if isinstance(on_error, dict) else None
    if not isinstance(fallback, str):
        return
    path: Path_ = ("agents", name, "on_error", "fallback")
    if fallback not in agents:
        source.fault(path, f"{fallback} is not an agent here", likely_fix(fallback, agents))
    elif fallback == name:
        source.fault(path, f"{name} falls back on itself", "name another agent")
    elif not any(verb in agents[fallback] for verb in VERBS if verb not in ("dispatch", "workflow", "approve")):
        source.fault(path, f"{fallback} cannot stand in", "a fallback runs something by itself")


def _cases(name: str, agent: dict[str, Any], agents: Mapping[str, Any], source: Source) -> None:
    if agent.get("dispatch") in (None, INVALID):
        return
    found = targets(agent)
    if not found:
        source.fault(
            ("agents", name, "dispatch"), f"{name} has nobody to choose", "add cases: {value: agent}", key=True
        )
    for case, target in found.items():
        if target not in agents:
            key: Path_ = ("otherwise",) if case == "otherwise" else ("cases", case)
            inside: Path_ = ("agents", name, "dispatch", *key)
            where: Path_ = inside if inside in source.values else ("agents", name, *key)
            source.fault(where, f"{target} is not an agent here", likely_fix(target, agents))
        elif target == name:
            source.fault(("agents", name, "dispatch"), f"{name} chooses itself", "name another agent", key=True)


def _hosts(name: str, agent: dict[str, Any], source: Source) -> None:
    """A url whose host comes from a value needs a list of hosts."""
    http = agent.get("http")
    url = http.get("url") if isinstance(http, dict) else None
    if not isinstance(http, dict) or not isinstance(url, str):
        return
    if "hosts" in http or not compile_url(url).from_value:
        return
    inside: Path_ = ("agents", name, "http", "url")
    where: Path_ = inside if inside in source.values else ("agents", name, "http")
    what = "the host of this url comes from a value, and no hosts are listed"
    source.fault(where, what, "add hosts: [api.example.com], or put a / between the host and the value")


def _output(read: Mapping[str, Any], agents: Mapping[str, Any], source: Source) -> None:
    for ref, path in of_value(read.get("output"), ("output",)):
        if ref[0] == "inputs":
            inputs = read.get("inputs", {})
            if len(ref) > 1 and isinstance(inputs, dict) and ref[1] not in inputs:
                source.fault(path, f"there is no input {ref[1]}", likely_fix(ref[1], inputs))
        elif ref[0] == "secret":
            source.fault(path, "a secret cannot stand here: it would be recorded")
        elif ref[0] not in agents and ref[0] not in ("run", "task"):
            source.fault(path, f"{ref[0]} is not an agent here", likely_fix(ref[0], agents))


def _warnings(
    read: Mapping[str, Any], agents: Mapping[str, dict[str, Any]], needs: Needs, source: Source
) -> None:
    """Warnings for what is allowed and almost certainly a mistake."""
    _unread_inputs(read, agents, source)
    _task_id(read, agents, source)
    _rejected(agents, needs, source)
    _approved_without_fields(agents, source)
    _spare_agents(agents, needs, source)
    for name, agent in agents.items():
        if "repeat" not in agent and not _progressive(agent):
            for at in [path for ref, path in references(agent, ("agents", name)) if ref[0] == "previous"]:
                source.fault(at, "previous is null here", "give it repeat or join: progressive", warning=True)


def _unread_inputs(read: Mapping[str, Any], agents: Mapping[str, dict[str, Any]], source: Source) -> None:
    """Inputs that no expression reads. Unknown where a Python function or `inputs` as a whole is used."""
    found = [ref for name, agent in agents.items() for ref, _ in references(agent, ("agents", name))]
    found = [ref for ref in found if ref[0] == "inputs"]
    if any("python" in agent for agent in agents.values()) or any(len(ref) == 1 for ref in found):
        return
    found += [ref for ref, _ in of_value(read.get("output"), ("output",)) if ref[0] == "inputs" and len(ref) > 1]
    used = {ref[1] for ref in found}
    for name in read.get("inputs", {}):
        if name not in used:
            source.fault(("inputs", name), f"nothing reads the input {name}", key=True, warning=True)


def _spare_agents(agents: Mapping[str, dict[str, Any]], needs: Needs, source: Source) -> None:
    """Fallbacks that also run by themselves; spare agents that are the fallback of none, or needed."""
    fallbacks = set()
    for name, agent in agents.items():
        on_error = agent.get("on_error")
        if isinstance(on_error, dict):
            fallback = on_error["fallback"]
            fallbacks.add(fallback)
            if not agents[fallback].get("spare"):
                what = f"{fallback} also runs by itself; with spare: true it runs only as a fallback"
                source.fault(("agents", name, "on_error", "fallback"), what, warning=True)
    for name, agent in agents.items():
        if agent.get("spare") and name not in fallbacks:
            source.fault(("agents", name), f"{name} is spare and nobody falls back on it", key=True, warning=True)
        spare = [need for need in needs[name] if agents[need].get("spare")]
        if spare:
            what = f"{name} needs {spare[0]}, which is spare: it never has a result of its own"
            source.fault(("agents", name), what, key=True, warning=True)


def _rejected(agents: Mapping[str, dict[str, Any]], needs: Needs, source: Source) -> None:
    """Agents that need an approval and do not read `approved`: they also run after a rejection."""
    for name, agent in agents.items():
        reads = {_result_of(ref)[:2] for ref, _ in references(agent, ("agents", name))}
        for need in needs[name]:
            if agents[need].get("approve") is None or (need, "approved") in reads:
                continue
            written = agent.get("needs")
            at: Path_ = ("agents", name, "needs")
            if isinstance(written, list) and (*at, written.index(need)) in source.values:
                at = (*at, written.index(need))
            what = f"{name} also runs when {need} is rejected"
            fix = f"add when: {need}.approved" if "when" not in agent else f"ask for {need}.approved in its when"
            known = at in source.values or at in source.keys
            source.fault(at if known else ("agents", name), what, fix, key=not known, warning=True)


def _approved_without_fields(agents: Mapping[str, dict[str, Any]], source: Source) -> None:
    """Fields without a default of approvals that a timeout approves: they are null then."""
    for name, agent in agents.items():
        asks = agent.get("approve")
        if not isinstance(asks, dict) or asks.get("otherwise") != "approve" or asks.get("within") is None:
            continue
        fields = asks.get("fields") or {}
        for lacking in [
            key for key, kind in fields.items() if not (isinstance(kind, dict) and "default" in kind)
        ]:
            at: Path_ = ("agents", name, "approve", "fields", lacking)
            what = f"{lacking} is null when {name} is approved because nobody answered in time"
            source.fault(
                at, what, f"give it a default: {lacking}: {{ type: …, default: … }}", key=True, warning=True
            )


def _result_of(ref: tuple[str, ...]) -> tuple[str, ...]:
    """`needs.a.x` reads `a.x`."""
    return ref[1:] if ref[0] == "needs" and len(ref) > 1 else ref


def _task_id(read: Mapping[str, Any], agents: Mapping[str, dict[str, Any]], source: Source) -> None:
    """`task.id` in a workflow with an input named `id`: the author may have meant the input."""
    if "id" not in read.get("inputs", {}):
        return
    read_by = [found for name, agent in agents.items() for found in references(agent, ("agents", name))]
    for ref, path in [*read_by, *of_value(read.get("output"), ("output",))]:
        if ref[:2] == ("task", "id"):
            what = "task.id is the number of the task in its run, not the input id"
            source.fault(
                path, what, "write inputs.id for the input, or give the input another name", warning=True
            )
