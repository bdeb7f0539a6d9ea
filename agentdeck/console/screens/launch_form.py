"""The fields of the launch form: which limits can be typed, and what is wrong with what was typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.limits.provider_limits import caps_of, in_deck_notation
from agentdeck.operations.inputs import missing_inputs, read
from agentdeck.operations.overrides import override
from agentdeck.operations.task_files import TaskFile
from agentdeck.providers.registry import models_for
from agentdeck.terminal_text import clean
from agentdeck.workflow.deck import Deck, deck_for
from agentdeck.workflow.model import Agent, Data, Definition, Prompt, ProviderLimits
from agentdeck.workflow.units import rate, show_duration, show_size

#: The limits of so many agents can be changed in the form; those of more, one by one while the run executes.
MAX_AGENTS = 40
MAX_WORKERS = 10_000
PREVIEWED_TASKS = 3
LARGE_FILE = 20_000_000  # bytes of a tasks file above which the form does not read it


class LimitField(NamedTuple):
    """A text field of one limit. `id` is that of its widget; `setting` is the limit as `--set` names it; `text`
    is its value as the file or the deck has it."""

    id: str
    setting: str
    text: str
    unit: str


class LimitRow(NamedTuple):
    """The limits of the budget, of shared resources, of a provider or of an agent. `deck_bound`: a workflow may
    only tighten them."""

    id: str
    name: str
    fields: tuple[LimitField, ...]
    deck_bound: bool = False


@dataclass
class Checked:
    """What was typed. `faults` are by row, in the order of the form; `faulty_fields` name the field of a row that
    has its fault. `settings` are the limits that differ from the file, as `--set` takes them. `note` is about the
    tasks file."""

    faults: dict[str, str] = field(default_factory=dict)
    faulty_fields: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    count: int = 1
    note: str = ""


#: Fields of one row, where there are many.
IN_A_ROW = 4


class LaunchForm:
    """The rows of the form on a workflow, by id: inputs, `tasks`, `deck`, `workers` and limits."""

    def __init__(self, definition: Definition, file: Path, workers: int) -> None:
        self.definition = definition
        self.file = file
        self.workers = workers
        self.folder = (definition.folder or file.parent).resolve()
        self.deck, self.deck_fault = Deck(), ""
        try:
            self.deck = deck_for(self.folder)
        except AgentdeckError as error:
            self.deck_fault = str(error)
        self.inputs = {name: f"input-{i}" for i, name in enumerate(definition.inputs)}
        agents = [agent for agent in definition.agents.values() if agent.does.holds_worker]
        self.agents_left_out = max(0, len(agents) - MAX_AGENTS)
        self.limits = tuple(self._limit_rows(agents[:MAX_AGENTS]))
        self._counted: tuple[str, int, str] = ("", 1, "")

    def _limit_rows(self, agents: list[Agent]) -> Iterator[LimitRow]:
        caps = caps_of(self.deck, self.definition)
        providers = _prompted_providers(self.definition, self.deck)
        if providers or self.definition.budget is not None:
            yield _row("budget", "budget", "budget", _budget(self.definition))
        shared = [(name, str(limit), name) for name, limit in self.definition.limits.resources.items()]
        for first in range(0, len(shared), IN_A_ROW):
            yield _row(f"shared-{first}", "shared", "limits", shared[first : first + IN_A_ROW])
        for i, provider in enumerate(providers):
            yield _row(f"cap-{i}", provider, provider, _caps(caps[provider]))._replace(deck_bound=True)
        for i, agent in enumerate(agents):
            yield _row(f"set-{i}", agent.name, f"agents.{agent.name}", _agent(agent))

    @property
    def rows(self) -> tuple[str, ...]:
        return (*self.inputs.values(), "tasks", "deck", "workers", "budget", *(row.id for row in self.limits))

    def name_of(self, row: str) -> str:
        """The name of a row as the operator sees it."""
        named = {key: name for name, key in self.inputs.items()} | {row.id: row.name for row in self.limits}
        return "tasks file" if row == "tasks" else named.get(row, row)

    def tasks_path(self, name: str) -> Path:
        """The tasks file of this name: from here, else beside the workflow's file."""
        given = Path(name).expanduser()
        beside = self.file.parent / given
        return beside if not given.exists() and beside.exists() else given

    def check(self, text: Callable[[str], str]) -> Checked:
        """Check all fields. `text` gives what is typed in a field, by id."""
        checked = Checked()
        values = self._check_inputs(text, checked)
        self._count_tasks(text("tasks").strip(), values, checked)
        self._check_limits(text, checked)
        workers = text("workers")
        if not workers.isdecimal() or not 1 <= int(workers) <= MAX_WORKERS:
            checked.faults["workers"] = f"a whole number, 1 to {MAX_WORKERS}"
        if self.deck_fault:
            checked.faults["deck"] = self.deck_fault
        return checked

    def _check_inputs(self, text: Callable[[str], str], checked: Checked) -> dict[str, Data]:
        values: dict[str, Data] = {}
        for name, spec in self.definition.inputs.items():
            typed = text(self.inputs[name])
            if typed == "" and not (spec.type.kind == "string" and not spec.required):
                continue
            try:
                values[name] = read(typed, spec.type)
            except ValueError as error:
                checked.faults[self.inputs[name]] = str(error)
        return values

    def _count_tasks(self, name: str, values: dict[str, Data], checked: Checked) -> None:
        """Count the tasks of the file, and quote the first of them. Without a file there is one task."""
        if not name:
            for missing in missing_inputs(self.definition, values):
                checked.faults.setdefault(self.inputs[missing], "is required")
            return
        path = self.tasks_path(name)
        key = f"{path} {path.stat().st_mtime_ns if path.is_file() else 0} {sorted(values)}"
        if self._counted[0] == key:
            _, checked.count, checked.note = self._counted
            return
        if path.is_file() and path.stat().st_size > LARGE_FILE:
            checked.note = "a large file: its tasks are counted at the launch"
            return
        try:
            file = TaskFile(str(path), self.definition, values)
            checked.count = file.count()
            first = [json.dumps(task, ensure_ascii=False) for task in islice(file, PREVIEWED_TASKS)]
        except AgentdeckError as error:
            checked.count = 1
            checked.faults["tasks"] = str(error)
            return
        checked.note = "\n".join([f"{checked.count:,} tasks", *(clean(task)[:100] for task in first)])
        self._counted = key, checked.count, checked.note

    def _check_limits(self, text: Callable[[str], str], checked: Checked) -> None:
        for row in self.limits:
            for limit in row.fields:
                typed = text(limit.id).strip()
                if typed == limit.text:
                    continue
                try:
                    override(self.definition, [f"{limit.setting}={typed or 'none'}"])
                    if row.deck_bound and _is_looser(typed, limit.text):
                        raise UsageError(f": the deck allows {limit.text}; raise it there")
                    checked.settings[limit.setting] = typed or "none"
                except AgentdeckError as error:
                    checked.faults.setdefault(row.id, str(error).partition(": ")[2] or str(error))
                    checked.faulty_fields.setdefault(row.id, limit.id)

    def changed_limits(self, workers: str, checked: Checked) -> dict[str, Data]:
        """The limits that differ from the file, by the names and with the values that a file has."""
        made = override(self.definition, [f"{name}={value}" for name, value in checked.settings.items()])
        found: dict[str, Data] = {} if workers == str(self.workers) else {"workers": int(workers)}
        for name in checked.settings:
            match name.split("."):
                case ["agents", agent, "timeout"]:
                    found[name] = made.agents[agent].timeout.attempt
                case ["agents", agent, "retry"]:
                    found[f"agents.{agent}.attempts"] = made.agents[agent].retry.attempts
                case ["agents", agent, "max_parallel"]:
                    found[name] = made.agents[agent].max_parallel
                case ["limits", resource]:
                    found[resource] = made.limits.resources[resource]
                case ["budget", measure]:
                    found[name] = getattr(made.budget, measure)
                case [provider, limit]:
                    found[name] = in_deck_notation(made.limits.providers[provider]).get(limit)
        return found


def _row(row: str, name: str, prefix: str, limits: list[tuple[str, str, str]]) -> LimitRow:
    """A row of these limits, each given as its name, its value as text, and its unit."""
    fields = (
        LimitField(f"{row}-{limit}", f"{prefix}.{'retry' if limit == 'attempts' else limit}", text, unit)
        for limit, text, unit in limits
    )
    return LimitRow(row, name, tuple(fields))


def _agent(agent: Agent) -> list[tuple[str, str, str]]:
    """The limits of an agent, as the file has them."""
    attempt = agent.timeout.attempt
    timeout = "" if attempt is None else show_duration(attempt)
    found = [("timeout", timeout, "timeout"), ("attempts", str(agent.retry.attempts), "attempts")]
    if agent.max_parallel is not None:
        found.append(("max_parallel", str(agent.max_parallel), "at once"))
    return found


def _budget(definition: Definition) -> list[tuple[str, str, str]]:
    """The limits of the run's budget, as the file has them."""
    budget = definition.budget
    usd = "" if budget is None or budget.usd is None else f"{budget.usd:g}"
    tokens = "" if budget is None or budget.tokens is None else show_size(budget.tokens)
    return [("usd", usd, "dollars"), ("tokens", tokens, "tokens")]


def _caps(caps: ProviderLimits) -> list[tuple[str, str, str]]:
    """The limits of a provider, as the deck and the file have them."""
    now = in_deck_notation(caps)
    units = {"requests": "requests", "tokens": "tokens", "concurrent": "at once"}
    units |= {name: name.replace("_", " ") for name in now if name not in units}
    return [(name, str(now.get(name, "")), unit) for name, unit in units.items()]


def _prompted_providers(definition: Definition, deck: Deck) -> list[str]:
    """The providers that the workflow's prompts use, the preferred ones first."""
    found: dict[str, None] = {}
    for agent in definition.agents.values():
        if isinstance(agent.does, Prompt) and deck.models:
            try:
                found |= dict.fromkeys(deck.models[name].provider for name in models_for(deck, agent))
            except AgentdeckError:
                continue  # the launch reports it
    return list(found)


def _is_looser(text: str, now: str) -> bool:
    """Whether a provider's limit would be higher than the deck has it."""
    if not now or now == "auto":
        return False
    if text in ("", "none", "auto"):
        return True
    if "/" in now:
        wanted, given = rate(text), rate(now)
        larger = wanted.burst is not None and given.burst is not None and wanted.burst > given.burst
        return larger or wanted.per_minute > given.per_minute
    return int(text) > int(now)
