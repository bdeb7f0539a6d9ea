"""The observer that sends spans keeps the contract of observers."""

from __future__ import annotations

import pytest

from agentdeck.testing import ObserverContract
from tests.telemetry.receiver import Receiver


class TestOtel(ObserverContract):
    name = "otel"

    @pytest.fixture(autouse=True)
    def configured(self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        """The fixture `receiver` names it in the environment. On a busy machine it may need longer than usual."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
