from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.frameworks import killed


@pytest.fixture(autouse=True)
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for the side effects of the tools of a test, also in other processes."""
    monkeypatch.setenv(killed.EFFECTS, str(tmp_path / "effects"))
