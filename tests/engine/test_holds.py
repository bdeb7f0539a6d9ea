"""What is held of a budget, through the engine: providers that use all that they may, on virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.errors import StepError
from agentdeck.insight.budget_forecast import accounts_of
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.workflow.loader import loads
from tests.engine.test_rates import Dragging, Fake, Played, fakes

__all__ = ["fakes"]

DENSE = "合同第七条：乙方应于每月一日支付租金 7F3A9C-0042-88B1 "


def greedy(question: PromptRequest) -> PromptReply:
    """Uses a token for each two bytes of its prompt, and all of the answer that it may."""
    assert question.max_output is not None, "under a budget the longest answer is always sent"
    size = len((question.system + question.messages[0].text).encode())
    return PromptReply("x", tokens_in=size // 2, tokens_out=question.max_output)


@pytest.mark.parametrize("budget", ["usd: 0.5", "tokens: 60k", "usd: 1, task: { tokens: 3k }"])
@pytest.mark.parametrize("more", ["", ", max_output: 900"])
def test_a_provider_that_uses_all_that_it_may_exceeds_no_budget(
    tmp_path: Path, fakes: dict[str, Fake], budget: str, more: str
) -> None:
    fakes["one"] = Fake(greedy)
    body, _, task = budget.partition(", task: ")
    nested = f", task: {{ ladder: {{ 100%: stop }}, {task.strip('{} ')} }}" if task else ""
    text = (
        f"budget: {{ {body}, ladder: {{ 100%: stop }}{nested} }}\n"
        f"agents: {{ a: {{ prompt: '{DENSE * 3}${{task.n}}'{more} }},"
        f" b: {{ prompt: '${{a}}', needs: a{more} }} }}"
    )
    played = Played(tmp_path, text, tier="[big]", tasks=60, workers=32)
    used = [e.usage for e in played.of(ev.StepSucceeded)]
    assert len(used) > 3
    usd = sum(usage.usd for usage in used)
    tokens = sum(usage.tokens_in + usage.tokens_out for usage in used)
    if "usd: 0.5" in budget:
        assert 0.4 <= usd <= 0.5
    elif budget.startswith("tokens"):
        assert 48_000 <= tokens <= 60_000
    else:
        assert usd <= 1
        for task in {e.task for e in played.of(ev.StepSucceeded)}:
            mine = [e.usage for e in played.of(ev.StepSucceeded) if e.task == task]
            assert sum(usage.tokens_in + usage.tokens_out for usage in mine) <= 3000


def test_both_calls_of_a_hedged_prompt_are_held(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    fakes["one"] = Dragging(lambda question: PromptReply("slow", tokens_in=10, tokens_out=10))
    fakes["two"] = Fake(lambda question: PromptReply("fast", tokens_in=10, tokens_out=10))
    text = "budget: { usd: 100 }\nagents: { a: { prompt: p, hedge: p85, timeout: 1h, max_output: 50 } }"
    played = Played(tmp_path, text, tier="[mid, small]", tasks=120, workers=1)
    assert played.outcome.state == "done"
    grew = played.of(ev.ReservationGrew)
    hedged = [e for e in played.of(ev.Noted) if "a second call" in e.text]
    assert len(grew) == len(hedged) > 0
    started = {e.task: e for e in played.of(ev.StepStarted)}
    for event in grew:
        assert event.reserved_usd > started[event.task].reserved_usd
    program = Program(loads("agentdeck: 1\nname: w\n" + text).definition)
    ledger = accounts_of(played.log, program).run
    assert ledger is not None
    assert ledger.used_usd == pytest.approx(sum(e.usage.usd for e in played.of(ev.StepSucceeded)))
    assert ledger.idle()


def test_what_the_log_tells_is_what_the_run_counted(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    """Failures, retries and answers: the sums of the log are those of the budget."""

    def answer(question: PromptRequest) -> PromptReply | StepError:
        calls = len(fakes["one"].calls)
        if calls % 3 == 0:
            return StepError("network", "cut")
        return StepError("server", "500") if calls % 7 == 0 else PromptReply("x", tokens_in=30, tokens_out=20)

    fakes["one"] = Fake(answer)
    text = (
        "budget: { tokens: 1M }\nagents: { a: { prompt: 'Say it twice.', retry: { attempts: 9, delay: 10ms } } }"
    )
    played = Played(tmp_path, text, tasks=40, workers=4)
    assert played.outcome.state == "done"
    failed = played.of(ev.AttemptFailed)
    assert {e.usage is None for e in failed if e.fault.kind == "server"} == {True}
    assert {e.usage.estimated for e in failed if e.fault.kind == "network"} == {True}
    used = [e.usage for kind in (ev.StepSucceeded, ev.AttemptFailed) for e in played.of(kind) if e.usage]
    ledger = accounts_of(played.log, Program(loads("agentdeck: 1\nname: w\n" + text).definition)).run
    assert ledger is not None
    assert ledger.used_tokens == sum(one.tokens_in + one.tokens_out for one in used)
    assert (ledger.held_tokens, ledger.likely_tokens) == (0, 0)
