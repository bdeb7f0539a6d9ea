"""`task.id` is the engine's number of the task, whatever the inputs are called."""

from __future__ import annotations

from tests.cli.conftest import Deck

PAY = """
agentdeck: 1
name: pay
inputs: { id: string }
agents:
  pay:
    once: "pay-${task.id}"
    command: [sh, -c, 'echo "$0 $1" >> paid; echo "\\"$1\\""', "${inputs.id}", "${task.id}"]
"""


def test_tasks_with_an_equal_input_named_id_have_keys_of_their_own(deck: Deck) -> None:
    deck.write("pay.yaml", PAY)
    deck.write("orders.jsonl", '{"id": "A"}\n{"id": "A"}\n{"id": "B"}\n')
    done = deck("run", "pay.yaml", "--tasks", "orders.jsonl", "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert (deck.folder / "paid").read_text().splitlines() == ["A 1", "A 2", "B 3"]


def test_check_says_what_task_id_is_where_an_input_is_named_id(deck: Deck) -> None:
    deck.write("pay.yaml", PAY)
    done = deck("check", "pay.yaml")
    assert done.returncode == 0
    told = done.stdout + done.stderr
    assert "pay.yaml:7:11: warning: task.id is the number of the task in its run, not the input id" in told
    assert "write inputs.id for the input" in told
