"""What a provider refuses (403), and how long it asks to wait: through the engine, on virtual time."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agentdeck.engine.run_control import RunControl
from agentdeck.errors import StepError
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.scheduler import events as ev
from tests.engine.test_rates import ONE, Fake, Played, fakes

__all__ = ["fakes"]

FINE = PromptReply("x", tokens_in=1, tokens_out=1)


def test_a_model_that_the_key_may_not_use_is_left_out_and_its_provider_goes_on(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    def answer(question: PromptRequest) -> PromptReply | StepError:
        return StepError("model", "one answered 403: no access to mid") if question.model == "mid" else FINE

    fakes["one"], fakes["two"] = Fake(answer), Fake(lambda question: FINE)
    text = "agents:\n  a: { prompt: p }\n  b: { prompt: p, tier: reasoning }"
    played = Played(tmp_path, text, tier="[mid, small]", tasks=20, workers=2)
    assert played.outcome.state == "done"
    models = [e.model for e in played.of(ev.StepStarted)]
    assert models.count("mid") <= 2, "it is asked by those that were under way"
    assert models.count("big") == 20, "another model of the same provider"
    assert models.count("small") == 20
    notes = [e.text for e in played.of(ev.Noted)]
    assert len(notes) == 1
    assert notes[0].startswith("model mid is not available: one answered 403: no access to mid; the next model")


def test_without_another_model_its_steps_wait_and_others_of_the_provider_go_on(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    mended = False

    def answer(question: PromptRequest) -> PromptReply | StepError:
        return FINE if mended or question.model == "big" else StepError("model", "one answered 403")

    async def steer(control: RunControl) -> None:
        nonlocal mended
        await anyio.sleep(150)
        mended = True
        control.pause()
        control.unpause()

    fakes["one"] = Fake(answer)
    text = "agents:\n  a: { prompt: p }\n  b: { prompt: p, tier: reasoning }"
    played = Played(tmp_path, text, tasks=4, workers=4, steer=steer)
    assert played.outcome.state == "done"
    assert not played.of(ev.StepFailed)
    first = played.log[0].at
    ends = [e.at - first for e in played.of(ev.StepSucceeded) if e.step == "b"]
    assert max(ends) < 100, "a model is missing, not the provider"
    (why,) = {e.why for e in played.of(ev.StepWaited)}
    assert why == "model mid is not available: one answered 403"


def test_a_refused_prompt_fails_alone(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    def answer(question: PromptRequest) -> PromptReply | StepError:
        bad = question.messages[0].text == "Say 7."
        return StepError("refused", "one answered 403: flagged") if bad else FINE

    fakes["one"] = Fake(answer)
    played = Played(tmp_path, ONE, tasks=20, workers=4)
    assert [(e.task, e.fault.kind) for e in played.of(ev.StepFailed)] == [("8", "refused")]
    assert len(played.of(ev.StepSucceeded)) == 19


def test_an_unclear_403_of_a_model_that_answers_others_is_the_prompts(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    def answer(question: PromptRequest) -> PromptReply | StepError:
        bad = question.messages[0].text in ("Say 7.", "Say 12.")
        return StepError("forbidden", "one answered 403") if bad else FINE

    fakes["one"], fakes["two"] = Fake(answer), Fake(lambda question: FINE)
    alone = Played(tmp_path, ONE, tasks=20, workers=1)
    assert [(e.task, e.fault.kind) for e in alone.of(ev.StepFailed)] == [("8", "refused"), ("13", "refused")]
    tier = Played(tmp_path, ONE, tier="[mid, small]", tasks=20, workers=1)
    assert tier.outcome.state == "done"
    assert [e.model for e in tier.of(ev.StepStarted)].count("small") == 2


def test_an_unclear_403_of_every_model_is_the_providers(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    async def steer(control: RunControl) -> None:
        await anyio.sleep(100)
        control.drain()

    fakes["one"] = Fake(lambda question: StepError("forbidden", "one answered 403"))
    text = "agents:\n  a: { prompt: p }\n  b: { prompt: p, tier: reasoning }"
    played = Played(tmp_path, text, tasks=20, workers=1, steer=steer)
    assert played.outcome.state == "drained"
    assert not played.of(ev.StepFailed)
    assert len(fakes["one"].calls) == 2
    assert "one is stopped (auth): more than one of its models was refused" in played.of(ev.Noted)[-1].text


def test_a_working_model_that_refuses_three_in_a_row_is_not_asked_any_more(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    def answer(question: PromptRequest) -> PromptReply | StepError:
        return FINE if len(fakes["one"].calls) <= 5 else StepError("forbidden", "one answered 403")

    async def steer(control: RunControl) -> None:
        await anyio.sleep(100)
        control.drain()

    fakes["one"] = Fake(answer)
    played = Played(tmp_path, ONE, tasks=50, workers=1, steer=steer)
    assert played.outcome.state == "drained"
    assert len(played.of(ev.StepFailed)) == 2
    assert len(fakes["one"].calls) == 8


@pytest.mark.parametrize(
    ("setting", "most", "shown"), [("", 600.0, "10m"), ("max_retry_after: 30s", 30.0, "30s")]
)
def test_a_retry_after_of_hours_is_capped_and_shown(
    tmp_path: Path, fakes: dict[str, Fake], setting: str, most: float, shown: str
) -> None:
    def answer(question: PromptRequest) -> PromptReply | StepError:
        if len(fakes["one"].calls) == 1:
            return StepError("rate_limit", "one answered 429", retry_after=7200.0)
        return FINE

    fakes["one"] = Fake(answer)
    played = Played(tmp_path, ONE, provider=setting or "learn: true", tasks=1)
    assert played.outcome.state == "done"
    asked = f"asked to wait 2h, capped at {shown}"
    first, second = (at for at, _ in fakes["one"].calls)
    assert most <= second - first <= most + 3.1
    assert asked in played.of(ev.AttemptFailed)[0].fault.message
    assert asked in played.of(ev.Noted)[0].text
    assert asked in played.of(ev.StepWaited)[0].why


def test_a_retry_after_of_another_fault_is_capped_too(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    def answer(question: PromptRequest) -> PromptReply | StepError:
        if len(fakes["one"].calls) == 1:
            return StepError("server", "one answered 503", retry_after=86_400.0)
        return FINE

    fakes["one"] = Fake(answer)
    assert Played(tmp_path, ONE, tasks=1).outcome.state == "done"
    first, second = (at for at, _ in fakes["one"].calls)
    assert second - first == pytest.approx(601, abs=1)
