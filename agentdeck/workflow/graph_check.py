"""Checks that need the whole file: which agent needs which, and whether that can work."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

from agentdeck.workflow import graph
from agentdeck.workflow.agent_kind import AgentInFile, file_kinds, key_names, kinds_in
from agentdeck.workflow.deck import LOCAL
from agentdeck.workflow.expression_types import check_types
from agentdeck.workflow.references import Found, Reference, expressions_in, in_expression, references
from agentdeck.workflow.secret_references import check_secrets
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import INVALID, Path_, Source, as_map, has_invalid

#: Keys of every agent that hold expressions. Those that come after its work see its own `output`.
EXPRESSIONS = ("when", "each", "expect")
#: Keys of every agent whose strings may hold `${…}`.
TEMPLATES = ("with", "once")
#: Names that are not agents. `output` is what an agent itself gave.
KNOWN = frozenset({"inputs", "needs", "item", "previous", "run", "task", "output"})

Needs: TypeAlias = dict[str, tuple[str, ...]]
Parameters: TypeAlias = Mapping[str, tuple[str, ...]]
Read: TypeAlias = Mapping[str, Any]
#: What is wrong, and the likely fix.
Wrong: TypeAlias = tuple[str, str]


def needs_of(read: Read, source: Source, parameters: Parameters) -> Needs:
    """The needs of every agent, inferred where they are not written; faults are noted in `source`.

    `parameters` are those of Python functions that are given as objects: the ones that name agents are needs.
    """
    return _GraphCheck(read, source, parameters).check()


def agents_of(read: Read) -> dict[str, dict[str, Any]]:
    """The agents that could be read at least in part."""
    return {name: as_map(agent) for name, agent in as_map(read.get("agents")).items()}


class _GraphCheck:
    """The check of one file. `agents` and `inputs` may hold INVALID in the place of values with faults."""

    def __init__(self, read: Read, source: Source, parameters: Parameters) -> None:
        self.read = read
        self.source = source
        self.agents = agents_of(read)
        self.inputs = read.get("inputs", {})
        self.expressions = {name: list(expressions_of(name, agent)) for name, agent in self.agents.items()}
        self.references = {name: list(references(found)) for name, found in self.expressions.items()}
        self.output = list(expressions_in(read.get("output"), ("output",)))
        self.output_references = list(references(self.output))
        self.needs = self._declared_and_inferred(parameters)

    def fault(self, name: str, at: Path_, what: str, fix: str = "", **kind: bool) -> None:
        """Note a fault at a key of an agent. `kind`: `key` for a fault of the key itself, `warning`."""
        self.source.fault(("agents", name, *at), what, fix, **kind)

    def check(self) -> Needs:
        self._add_dispatchers()
        loop = graph.cycle(self.needs)
        if loop is not None:
            what = f"a cycle: {' -> '.join(loop)}"
            self.fault(loop[0], ("needs",), what, "remove one of these needs", key=True)
            return self.needs
        for name, agent in self.agents.items():
            self._check_references(name, agent)
            self._check_verb_keys(name, agent)
            self._check_join(name, agent)
            self._check_fallback(name, agent)
            self._check_uses(name, agent)
            self._check_place(name, agent)
            self._check_gateway(name, agent)
            for kind in kinds_in(agent):
                if not has_invalid([agent.get(key) for key in key_names(kind.verb)]):
                    kind.check(self._agent_in_file(name))
            check_secrets(self.expressions[name], self.source)
            check_types(self.expressions[name], self.read, self.source)
        self._check_output()
        if not self.source.issues:
            self._warn()
        return self.needs

    def _agent_in_file(self, name: str) -> AgentInFile:
        return AgentInFile(name, self.agents[name], self.agents, self.needs, self._reads, self.source)

    def _reads(self, name: str) -> set[tuple[str, ...]]:
        """The results that an agent reads, each as a name and its first field."""
        return {_result_of(ref)[:2] for ref, _ in self.references[name]}

    # Needs -----------------------------------------------------------------------------------------------

    def _declared_and_inferred(self, parameters: Parameters) -> Needs:
        """The needs as written; where none are, the agents that an agent reads."""
        rank = {name: i for i, name in enumerate(self.agents)}
        needs: Needs = {}
        for name, agent in self.agents.items():
            written = agent.get("needs")
            if isinstance(written, list):
                needs[name] = self._declared(name, written)
            else:
                reads = {_result_of(ref)[0] for ref, _ in self.references[name]} | {*parameters.get(name, ())}
                needs[name] = tuple(sorted((reads & rank.keys()) - {name}, key=rank.__getitem__))
        return needs

    def _declared(self, name: str, written: list[Any]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for i, need in enumerate(written):
            at: Path_ = ("needs", i) if ("agents", name, "needs", i) in self.source.values else ("needs",)
            if need not in self.agents:
                what = f"{name} needs {need}, which is not an agent here"
                self.fault(name, at, what, likely_fix(str(need), self.agents))
            elif need == name:
                self.fault(name, at, f"{name} needs itself: {name} -> {name}", "remove it")
            elif need in found:
                self.fault(name, at, f"{name} needs {need} twice", "remove one")
            else:
                found[need] = None
        return tuple(found)

    def _add_dispatchers(self) -> None:
        """Adds to each agent that a dispatch may choose the agents that dispatch to it."""
        dispatchers: dict[str, list[str]] = {}
        for name, agent in self.agents.items():
            chosen = (target for kind in kinds_in(agent) for target in kind.chooses(agent).values())
            for target in dict.fromkeys(chosen):
                if target != name and target in self.agents:
                    dispatchers.setdefault(target, []).append(name)
        for name, chosen_by in dispatchers.items():
            missing = [one for one in chosen_by if one not in self.needs[name]]
            if missing and isinstance(self.agents[name].get("needs"), list):
                what = f"{missing[0]} dispatches to {name}, but {name} does not need it"
                self.fault(name, ("needs",), what, f"add {missing[0]} to its needs", key=True)
            self.needs[name] += tuple(missing)

    # References ------------------------------------------------------------------------------------------

    def _check_references(self, name: str, agent: Read) -> None:
        needs = frozenset(self.needs[name])
        above, whole = set(needs), False
        done: set[tuple[str, Path_]] = set()
        for ref, path in self.references[name]:
            first = ref[0]
            if ((first, path) in done and first != "inputs") or first == "secret":
                continue
            done.add((first, path))
            if first in self.agents and first not in above and not whole:
                above, whole = graph.upstream(self.needs, name), True
            wrong = self._wrong_name(name, first, above) or self._wrong_place(
                name, agent, ref, str(path[2]), needs
            )
            if wrong:
                self.source.fault(path, *wrong)

    def _wrong_name(self, name: str, first: str, above: set[str]) -> Wrong | None:
        """What is wrong with a name as such, for an agent with these agents `above` it."""
        if first == name:
            return f"{name} reads its own result", "in `expect` and `until`, use output"
        if first in self.agents and first not in above:
            return f"{name} does not depend on {first}", f"add {first} to its needs"
        if first in self.agents or first in KNOWN:
            return None
        known = [*self.agents, *sorted(KNOWN)]
        fix = "environment variables are read only in the deck" if first == "env" else likely_fix(first, known)
        return f"{first} is neither an agent nor a known name", fix

    def _wrong_place(
        self, name: str, agent: Read, ref: tuple[str, ...], key: str, needs: Collection[str]
    ) -> Wrong | None:
        """What is wrong with a known name in this key of an agent that has these needs."""
        match ref:
            case ("inputs", given, *_) if self._unknown_input(ref):
                fix = likely_fix(given, self.inputs) or f"add it to inputs: {given}"
                return f"there is no input {given}", fix
            case ("item", *_) if key == "each" or ("each" not in agent and not _progressive(agent)):
                return "item is not defined here", "item is defined with `each` and `join: progressive`"
            case ("needs", need, *_) if need not in needs:
                fix = f"add {need} to its needs" if need in self.agents else likely_fix(need, self.needs[name])
                return f"{need} is not one of the needs of {name}", fix
            case ("output", *_) if key not in ("expect", "repeat"):
                return "output is not defined here", "output is defined in `expect` and `until`"
        return None

    def _unknown_input(self, ref: tuple[str, ...]) -> bool:
        return len(ref) > 1 and isinstance(self.inputs, dict) and ref[1] not in self.inputs

    def _check_output(self) -> None:
        for ref, path in self.output_references:
            if ref[0] == "inputs":
                if self._unknown_input(ref):
                    self.source.fault(path, f"there is no input {ref[1]}", likely_fix(ref[1], self.inputs))
            elif ref[0] == "secret":
                self.source.fault(path, "a secret is not allowed here, as it would be recorded")
            elif ref[0] not in self.agents and ref[0] not in ("run", "task"):
                self.source.fault(path, f"{ref[0]} is not an agent here", likely_fix(ref[0], self.agents))
        check_types(self.output, self.read, self.source)

    # Single keys -----------------------------------------------------------------------------------------

    def _check_verb_keys(self, name: str, agent: Read) -> None:
        """Keys of another verb than the agent has."""
        for verb in file_kinds():
            for key in key_names(verb) if verb not in agent else ():
                if key in agent:
                    self.fault(name, (key,), f"{key} is only allowed with {verb}", key=True)

    def _check_join(self, name: str, agent: Read) -> None:
        join, count = agent.get("join"), len(self.needs[name])
        if join is None or join is INVALID:
            return
        if not count:
            what = f"{name} has no needs, so join has no effect"
            self.fault(name, ("join",), what, "remove join", key=True)
            return
        if not isinstance(join, dict):
            return
        quorum, least = join.get("quorum"), join.get("min")
        kind = join.get("kind") or ("quorum" if "quorum" in join else "all")
        if kind == "quorum" and quorum is None:
            self.fault(name, ("join",), "the quorum has no number", "add quorum: 2", key=True)
        at = ("join", "quorum")
        if kind != "quorum" and quorum is not None:
            self.fault(name, at, f"quorum is not allowed with {kind}", "remove kind", key=True)
        goal = count
        if isinstance(quorum, int):
            goal = quorum
            if quorum > count:
                what = f"a quorum of {quorum} of {count} can never be reached"
                self.fault(name, at, what, f"{name} needs {', '.join(self.needs[name])}")
        elif isinstance(quorum, float):
            goal = math.ceil((quorum or 1.0) * count)
            if quorum == 0:
                self.fault(name, at, "a quorum of 0% waits for no need", "remove needs, or give a larger quorum")
        if isinstance(least, int) and least > goal:
            self.fault(name, ("join", "min"), f"min {least} is more than the join needs ({goal})")

    def _check_fallback(self, name: str, agent: Read) -> None:
        fallback, at = as_map(agent.get("on_error")).get("fallback"), ("on_error", "fallback")
        if not isinstance(fallback, str):
            return
        if fallback not in self.agents:
            self.fault(name, at, f"{fallback} is not an agent here", likely_fix(fallback, self.agents))
        elif fallback == name:
            self.fault(name, at, f"{name} is its own fallback", "name another agent")
        elif not any(
            verb in self.agents[fallback] for verb, kind in file_kinds().items() if kind.work.holds_worker
        ):
            self.fault(name, at, f"{fallback} cannot be a fallback", "name an agent that runs something itself")

    def _check_gateway(self, name: str, agent: Mapping[str, Any]) -> None:
        """Only code and programs that call models themselves can use the gateway."""
        if agent.get("gateway") is True and not any(kind.takes_gateway for kind in kinds_in(agent)):
            can = ", ".join(verb for verb, kind in file_kinds().items() if kind.takes_gateway)
            what = f"gateway is for agents that call models by themselves: {can}"
            self.fault(name, ("gateway",), what, "remove it", key=True)

    def _check_uses(self, name: str, agent: Read) -> None:
        """What an agent uses of resources: each has a limit, and one step fits under it."""
        uses, limits = agent.get("uses"), as_map(self.read.get("limits"))
        if not isinstance(uses, dict) or self.read.get("limits") is INVALID:
            return
        if not any(verb in agent for verb, kind in file_kinds().items() if kind.work.holds_worker):
            what = f"{name} runs nothing itself, so it cannot use a resource"
            self.fault(name, ("uses",), what, "remove uses", key=True)
            return
        for resource, amount in uses.items():
            limit, at = limits.get(resource), ("uses", resource)
            if isinstance(limit, dict):
                self.fault(name, at, f"{resource} is a provider in limits, not a resource", key=True)
            elif limit is None:
                known = [one for one, value in limits.items() if one != "workers" and not isinstance(value, dict)]
                fix = likely_fix(resource, known) or f"add it to limits: {{ {resource}: {amount} }}"
                self.fault(name, at, f"{resource} has no limit in this workflow", fix, key=True)
            elif isinstance(amount, int | float) and isinstance(limit, int | float) and amount > limit:
                what = f"{name} uses {amount} of {resource}, and its limit is {limit}: it could never start"
                self.fault(name, at, what, f"raise limits.{resource}, or use less")

    def _check_place(self, name: str, agent: Read) -> None:
        """Whether what an agent does can run at another place than the engine."""
        if agent.get("place", LOCAL) in (LOCAL, INVALID):
            return
        for kind in kinds_in(agent):
            if not kind.places:
                can = ", ".join(verb for verb, one in file_kinds().items() if one.places)
                what = f"{kind.verb} agents run in the engine; only {can} agents can have a place"
                self.fault(name, ("place",), what, "remove place", key=True)

    # Warnings --------------------------------------------------------------------------------------------

    def _warn(self) -> None:
        """Warnings for what is allowed and almost certainly a mistake."""
        self._warn_of_inputs()
        self._warn_of_spare_agents()
        self._warn_of_resources()
        for name, agent in self.agents.items():
            for kind in kinds_in(agent):
                kind.warn(self._agent_in_file(name))
            if "repeat" not in agent and not _progressive(agent):
                for ref, path in self.references[name]:
                    if ref[0] == "previous":
                        what, fix = "previous is always null here", "give it repeat or join: progressive"
                        self.source.fault(path, what, fix, warning=True)

    def _warn_of_inputs(self) -> None:
        """Inputs that no expression reads (unknown where an agent may read any input, or reads `inputs` as a
        whole), and `task.id` in a workflow with an input named `id`: the author may have meant the input."""
        by_agents: list[Reference] = [found for one in self.references.values() for found in one]
        everything = [*by_agents, *self.output_references]
        used = {ref[1] for ref, _ in everything if ref[0] == "inputs" and len(ref) > 1}
        unknown = any(kind.reads_any_input for agent in self.agents.values() for kind in kinds_in(agent))
        if not unknown and all(ref != ("inputs",) for ref, _ in by_agents):
            for name in self.inputs:
                if name not in used:
                    what = f"the input {name} is never used"
                    self.source.fault(("inputs", name), what, key=True, warning=True)
        for ref, path in everything if "id" in self.inputs else ():
            if ref[:2] == ("task", "id"):
                what = "task.id is the number of the task in its run, not the input id"
                fix = "write inputs.id for the input, or give the input another name"
                self.source.fault(path, what, fix, warning=True)

    def _warn_of_resources(self) -> None:
        """Resources that no agent uses. Those of a sub-workflow may use any."""
        if any("workflow" in agent for agent in self.agents.values()):
            return
        used = {resource for agent in self.agents.values() for resource in agent.get("uses", ())}
        for name, limit in as_map(self.read.get("limits")).items():
            if name != "workers" and not isinstance(limit, dict) and name not in used:
                what = f"no agent uses the resource {name}"
                fix = f"for a provider write {name}: {{ concurrent: {limit} }}"
                self.source.fault(("limits", name), what, fix, key=True, warning=True)

    def _warn_of_spare_agents(self) -> None:
        """Fallbacks that also run by themselves; spare agents that are the fallback of none, or needed."""
        fallbacks = set()
        for name, agent in self.agents.items():
            fallback = as_map(agent.get("on_error")).get("fallback")
            fallbacks.add(fallback)
            if fallback is not None and not self.agents[fallback].get("spare"):
                what = f"{fallback} also runs as a normal agent; with spare: true it runs only as a fallback"
                self.fault(name, ("on_error", "fallback"), what, warning=True)
        for name, agent in self.agents.items():
            if agent.get("spare") and name not in fallbacks:
                self.fault(
                    name, (), f"{name} is spare, but is not the fallback of any agent", key=True, warning=True
                )
            spare = [need for need in self.needs[name] if self.agents[need].get("spare")]
            if spare:
                what = f"{name} needs {spare[0]}, which is spare: it never has a result of its own"
                self.fault(name, (), what, key=True, warning=True)


def expressions_of(name: str, agent: Read) -> Iterator[Found]:
    """The expressions in each value of an agent."""
    path = ("agents", name)
    for key in EXPRESSIONS:
        yield from in_expression(agent.get(key), (*path, key))
    for key in TEMPLATES:
        yield from expressions_in(agent.get(key), (*path, key))
    yield from in_expression(as_map(agent.get("repeat")).get("until"), (*path, "repeat", "until"))
    for kind in kinds_in(agent):
        yield from kind.expressions(agent, path)


def _progressive(agent: Read) -> bool:
    join = agent.get("join")
    return "progressive" in (join, as_map(join).get("kind"))


def _result_of(ref: tuple[str, ...]) -> tuple[str, ...]:
    """The name of a result: `needs.a.x` reads `a.x`."""
    return ref[1:] if ref[0] == "needs" and len(ref) > 1 else ref
