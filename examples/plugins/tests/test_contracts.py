"""The plugins keep the contracts of agentdeck."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from agentdeck.testing import AgentContract, ObserverContract, ProviderContract


class TestNote(AgentContract):
    name = "note"
    agent: ClassVar = {"note": {"file": "notes.txt", "text": "${inputs.text}"}}
    failing_agent: ClassVar = {"note": {"file": "no/such/folder/notes.txt", "text": "${inputs.text}"}}
    inputs: ClassVar = {"text": "hello"}


class TestClerk(ProviderContract):
    name = "clerk"
    keys: ClassVar = {"polite": True}
    failing_model = "absent"


class TestLedger(ObserverContract):
    name = "ledger"

    @pytest.fixture(autouse=True)
    def configured(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLERK_LEDGER", str(tmp_path / "ledger.jsonl"))
