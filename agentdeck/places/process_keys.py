"""The keys of a place of the type `process` in the deck."""

from __future__ import annotations

from agentdeck.workflow.deck_file import PlaceSpec
from agentdeck.workflow.file_model import ABSENT, Text, Texts


class ProcessPlaceSpec(PlaceSpec):
    """Child processes of a Python interpreter."""

    python: Text = ABSENT
    env: Texts = ABSENT
    cwd: Text = ABSENT
