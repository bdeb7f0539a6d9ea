"""The rule of threads holds in every test of the console; here is shown that a breach would be seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Static

from agentdeck.console.app import DeckApp
from tests.console.conftest import until


@pytest.mark.anyio
async def test_a_breach_is_seen(tmp_path: Path, breaches: list[str]) -> None:
    app = DeckApp(tmp_path / "none.db")
    async with app.run_test() as pilot:
        page = app.screen.query_one("#about", Static)
        app.screen.run_worker(lambda: page.refresh() and None, thread=True, name="rogue")
        await until(pilot, lambda: bool(breaches))
    assert "Static.refresh from" in breaches[0]
    breaches.clear()
