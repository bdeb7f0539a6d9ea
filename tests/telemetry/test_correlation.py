"""The ids of spans in logs and in the environment of commands, without OpenTelemetry."""

from __future__ import annotations

import json
import sys

from tests.cli.conftest import Deck
from tests.telemetry.receiver import Receiver

PRINTS = """
agentdeck: 1
name: prints
agents:
  own: { command: [PYTHON, -c, "import os; print(os.environ['TRACEPARENT'], os.environ.get('TRACESTATE'))"] }
  given:
    command:
      args: [PYTHON, -c, "import os; print(os.environ['TRACEPARENT'])"]
      env: { TRACEPARENT: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }
    needs: own
"""


def test_logs_steps_commands_and_spans_have_the_same_ids(deck: Deck, receiver: Receiver) -> None:
    file = deck.write("prints.yaml", PRINTS.replace("PYTHON", sys.executable))
    caller = {"TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01", "TRACESTATE": "of=caller"}
    assert deck("run", file, **caller).returncode == 0
    line = json.loads(deck("logs", "last", "--agent", "own", "--json").stdout)
    (attempt,) = json.loads(deck("step", "last", "1", "own", "--json").stdout)["attempts"]
    ids = attempt["trace_id"], attempt["span_id"]
    assert (line["trace_id"], line["span_id"]) == ids
    assert line["text"] == f"00-{ids[0]}-{ids[1]}-01 None"
    assert deck("otel", "export", "last", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url).returncode == 0
    assert ids in {(span.trace, span.id) for span in receiver.named("attempt 1")}


def test_an_agent_may_set_another_parent(deck: Deck) -> None:
    file = deck.write("prints.yaml", PRINTS.replace("PYTHON", sys.executable))
    assert deck("run", file).returncode == 0
    assert "b7ad6b7169203331" in deck("logs", "last", "--agent", "given").stdout
