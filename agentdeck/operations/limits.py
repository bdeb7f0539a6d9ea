"""Limits of a recorded run: their current values, and writing the changed ones into a workflow file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import in_deck_notation, tightest, with_changes
from agentdeck.operations.workflow_file_edit import save
from agentdeck.scheduler.events import AUTO
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import deck_for
from agentdeck.workflow.model import Approve, Data, Definition, Dispatch, ProviderLimits


def current_limits(definition: Definition, view: RunView) -> dict[str, Data]:
    """The value of each limit by name: that of the workflow, or the one it was changed to."""
    values: dict[str, Data] = {"workers": view.workers, **definition.limits.resources}
    for name, agent in definition.agents.items():
        if isinstance(agent.does, Approve | Dispatch):
            continue
        values[f"agents.{name}.timeout"] = agent.timeout.attempt
        values[f"agents.{name}.attempts"] = agent.retry.attempts
        if agent.max_parallel is not None:
            values[f"agents.{name}.max_parallel"] = agent.max_parallel
    return {**values, **view.limits}


class SavedLimits(NamedTuple):
    """The workflow file, the limits by name that are in it now, and warnings. `written` is False if the file had
    all of them already."""

    file: Path
    limits: Mapping[str, Data]
    written: bool
    warnings: tuple[str, ...] = ()


def save_changed_limits(reader: Reader, run: str, target: Path | None) -> SavedLimits:
    """Write the limits that an operator changed during a run into its workflow file, or into `target`. Raises
    UsageError if the run has no YAML file, or if a value cannot be written there."""
    row = reader.run(run)
    changed = {
        event.name: event.new
        for event in reader.of_kind(row.run, "limit_changed")
        # Adaptive concurrency and the tier for the rest of a budget apply to this run alone.
        if event.who != AUTO and event.name != "budget.tier"
    }
    source = Path(str(row.source.get("file") or ""))
    if not changed:
        return SavedLimits(target or source, {}, False)
    if target is None:
        target = _yaml_file(row, changed)
    written = save(target, changed, target if target.exists() else source)
    warnings = _tighter_in_deck(changed, target.parent) if written else []
    return SavedLimits(target, changed, written, tuple(warnings))


def _yaml_file(row: RunRow, changed: Mapping[str, Data]) -> Path:
    file = str(row.source.get("file") or "")
    if not file.endswith((".yaml", ".yml")):
        what = (
            f"{file} is a Python file; change the limits in its code"
            if file
            else "the run was not launched from a file; name the file to write"
        )
        raise UsageError(f"{row.run}: {what} ({', '.join(changed)})")
    return Path(file)


def _tighter_in_deck(changed: Mapping[str, Data], folder: Path) -> list[str]:
    """A warning for each provider limit that the deck sets lower: a workflow can only tighten it."""
    deck, warnings = deck_for(folder), []
    for name, value in changed.items():
        provider, _, limit = name.partition(".")
        if provider in deck.providers:
            wanted, own = with_changes(ProviderLimits(), {limit: value}), deck.providers[provider].limits
            effective = in_deck_notation(tightest(own, wanted)).get(limit)
            if effective != in_deck_notation(wanted).get(limit):
                warnings.append(f"{name}: {effective} of {deck.file} still applies; raise it there")
    return warnings
