from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Deck
from tests.forked import Forked
from tests.telemetry.receiver import Receiver


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of OpenTelemetry of the user's own; a proxy would be asked for 127.0.0.1 too."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that the environment names."""
    made = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    yield made
    made.close()


@pytest.fixture
def deck(tmp_path: Path, forked: Forked, no_settings: None) -> Iterator[Deck]:
    """`agentdeck` in a folder, as in tests/cli."""
    made = Deck(tmp_path, forked)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
