"""Retrying steps of a recorded run."""

from __future__ import annotations

from agentdeck.engine.resume import definition_of
from agentdeck.errors import UsageError
from agentdeck.operations.inputs import inputs_from
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.model import Data


def inputs_from_settings(reader: Reader, row: RunRow, settings: tuple[str, ...]) -> dict[str, Data]:
    """Inputs from `--set inputs.NAME=VALUE`, by the types that the run's workflow declares. Raises UsageError."""
    for text in settings:
        if not text.startswith("inputs."):
            raise UsageError(f"--set {text}: only inputs can be set here, as --set inputs.name=value")
    return inputs_from([text.removeprefix("inputs.") for text in settings], definition_of(reader, row))
