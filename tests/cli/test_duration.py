"""One duration of a run, wherever it is told: the time in which no process ran it is left out, and told apart."""

from __future__ import annotations

import json
import time

import pytest

from agentdeck.store.reader import Reader
from tests.cli.conftest import Deck

SHOP = """
agentdeck: 1
name: shop
defaults: { retry: 1 }
agents:
  pay: { command: [sh, -c, "test -e ok"] }
"""


def test_runs_show_and_history_tell_the_same_duration_after_a_retry(deck: Deck) -> None:
    deck.write("shop.yaml", SHOP)
    assert deck("run", "shop.yaml").returncode == 1
    time.sleep(1.2)
    deck.write("ok", "")
    assert deck("retry", "last", "--yes").returncode == 0
    listed = json.loads(deck("runs", "--json").stdout)[0]
    shown = json.loads(deck("show", "last", "--json").stdout)
    reader = Reader(deck.db)
    row = reader.run("last")
    reader.close()
    assert row.ended is not None
    assert row.idle >= 1.2
    assert row.seconds == pytest.approx(row.ended - row.started - row.idle)
    assert listed["seconds"] == pytest.approx(shown["seconds"], abs=1e-3)
    assert row.seconds == pytest.approx(shown["seconds"], abs=1e-3)
    assert "in which no process ran it" in deck("show", "last").stdout
