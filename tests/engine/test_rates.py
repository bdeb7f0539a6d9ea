"""Limits of providers and budgets, through the engine: on virtual time, and with real processes on one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentdeck.agents.prompt_runner import PromptVerb
from agentdeck.agents.verb import AttemptContext
from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.reservations import CallReservations
from agentdeck.engine.run_control import RunControl
from agentdeck.errors import StepError
from agentdeck.providers.provider import PromptReply, PromptRequest, RateHeader
from agentdeck.providers.registry import ProviderRegistry
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.workflow.loader import loads
from tests.observing import EventCollector
from tests.virtual_clock import LoopClock, virtual

DECK = """
agentdeck: 1
limits: { workers: 64 }
providers:
  one: { type: simulated, learn: true, limits: { LIMITS } }
  two: { type: simulated }
models:
  big: { provider: one, id: big, price: { in: 10, out: 10 } }
  mid: { provider: one, id: mid, price: { in: 1, out: 1 } }
  small: { provider: two, id: small, price: { in: 0.1, out: 0.1 } }
tiers: { reasoning: [big], execution: TIER, routing: [small] }
"""


class Played:
    """A run on virtual time, with its log."""

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        limits: str = "",
        provider: str = "learn: true",
        tier: str = "[mid]",
        deck: bool = True,
        tasks: int = 1,
        workers: int = 64,
        steer: Callable[[RunControl], Any] | None = None,
    ) -> None:
        if deck:
            text_of_deck = DECK.replace("LIMITS", limits).replace("TIER", tier)
            (folder / "deck.yaml").write_text(text_of_deck.replace("learn: true", provider))
        definition = loads("agentdeck: 1\nname: w\n" + text).definition
        collector = EventCollector()
        control = RunControl("eva")

        async def main() -> Outcome:
            rows: Iterable[Mapping[str, Any]] = [{"n": n} for n in range(tasks)]
            launch = Launch(definition, folder, {}, rows, workers)
            async with anyio.create_task_group() as group:
                if steer is not None:
                    group.start_soon(steer, control)
                watch = Watch([collector], None, control)
                outcome = await run(launch, watch, LoopClock())
                group.cancel_scope.cancel()
            return outcome

        self.outcome = anyio.run(main, backend_options=virtual())
        self.log = collector.events

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.log if type(event) is kind]

    @property
    def starts(self) -> list[float]:
        return [e.at for e in self.of(ev.StepStarted) if e.model]


class Fake:
    """A provider that does as it is told, and remembers when it was asked."""

    def __init__(self, answer: Callable[[PromptRequest], PromptReply | StepError], takes: float = 1.0) -> None:
        self.calls: list[tuple[float, PromptRequest]] = []
        self._answer = answer
        self._takes = takes

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        self.calls.append((LoopClock().now(), question))
        sent()
        said("")
        await anyio.sleep(self._takes)
        found = self._answer(question)
        if isinstance(found, StepError):
            raise found
        return found

    async def close(self) -> None:
        pass


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    """Providers by their name in the deck; the others are as they are."""
    given: dict[str, Fake] = {}
    make = ProviderRegistry._make
    monkeypatch.setattr(ProviderRegistry, "_make", lambda room, name: given.get(name) or make(room, name))
    return given


def worst(times: list[float], seconds: float) -> int:
    return max(sum(at - seconds < other <= at for other in times) for at in times)


ONE = "agents: { a: { prompt: 'Say ${task.n}.', retry: { attempts: 6, delay: 100ms }, timeout: 1h } }"


def test_requests_stay_within_the_limit_and_use_it(tmp_path: Path) -> None:
    played = Played(tmp_path, ONE, limits="requests: 20/10s", tasks=200)
    assert played.outcome.state == "done"
    assert worst(played.starts, 10.0) == 20
    assert played.starts[-1] - played.starts[0] <= 9 * 10 / 0.95
    waits = [e.waits or {} for e in played.of(ev.StepStarted)]
    assert sum(w.get("requests", 0.0) > 0 for w in waits) >= 100
    told = played.of(ev.StepWaited)
    assert {e.reason for e in told} == {"requests"}
    assert told[0].why == "one: requests 20/10s used up"
    assert len(told) == len({e.task for e in told})


@pytest.mark.untraced
def test_tokens_and_calls_at_once(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    fakes["one"] = Fake(lambda question: PromptReply("x", tokens_in=50, tokens_out=50))
    text = ONE.replace("timeout: 1h", "timeout: 1h, max_output: 50")
    played = Played(tmp_path, text, limits="tokens: 2000/10s, concurrent: 5", tasks=120)
    assert played.outcome.state == "done"
    times = [at for at, _ in fakes["one"].calls]
    assert worst(times, 0.99) <= 5
    assert worst(times, 10.0) * 100 <= 2000
    assert {e.reason for e in played.of(ev.StepWaited)} == {"tokens", "concurrent"}
    assert times[-1] - times[0] <= 120 * 100 / 2000 * 11 * 1.05, "answers of one second count from their end"


def test_the_next_in_line_is_the_first_by_priority(tmp_path: Path) -> None:
    text = (
        "agents:\n  low: { prompt: l, priority: low }\n  mid: { prompt: m }\n  top: { prompt: t, priority: high }"
    )
    played = Played(tmp_path, text, limits="requests: 3/10s", tasks=3)
    order = [e.step for e in played.of(ev.StepStarted)]
    assert order[:3] == ["top", "mid", "low"], "of the only task that was open then"
    assert order[3:] == ["top", "top", "mid", "mid", "low", "low"]


def test_steps_that_are_no_prompts_go_on_while_prompts_wait(tmp_path: Path) -> None:
    text = "agents:\n  a: { prompt: p }\n  b: { simulate: 1s }"
    played = Played(tmp_path, text, limits="requests: 1/100s", tasks=6, workers=4)
    ends = [e.at for e in played.of(ev.StepSucceeded) if e.step == "b"]
    assert len(ends) == 6
    assert max(ends) < 20


@pytest.mark.untraced
def test_a_raised_limit_wakes_at_once_and_a_lowered_one_holds(tmp_path: Path) -> None:
    async def steer(control: RunControl) -> None:
        await anyio.sleep(20)
        control.limit("one.requests", "2/100s", "12/100s")
        await anyio.sleep(200)
        control.limit("one.requests", "12/100s", "1/100s")

    played = Played(tmp_path, ONE, limits="requests: 2/100s", tasks=40, steer=steer)
    first = played.log[0].at
    starts = [at - first for at in played.starts]
    assert sum(at < 1 for at in starts) == 2
    assert sum(20 <= at < 20.1 for at in starts) == 10
    late = [at for at in starts if at >= 225]
    assert worst(late, 99.0) == 1


def test_calls_are_spaced_out_but_for_the_burst(tmp_path: Path) -> None:
    played = Played(tmp_path, ONE, limits="requests: { rate: 60/min, burst: 3 }", tasks=20)
    assert played.outcome.state == "done"
    first = played.starts[0]
    assert [round(at - first, 3) for at in played.starts[:3]] == [0.0, 0.0, 0.0]
    gaps = [after - before for before, after in pairwise(played.starts[2:])]
    assert all(1.0 <= gap <= 1.05 for gap in gaps)
    told = played.of(ev.StepWaited)
    assert {(e.reason, e.why) for e in told} == {("pace", "one: requests 60/min burst 3")}
    assert len(told) == 17, "once for each step that waits"
    waits = [e.waits or {} for e in played.of(ev.StepStarted)]
    assert max(w.get("pace", 0.0) for w in waits) >= 16.0


def test_a_changed_pace_holds_from_the_next_call_on(tmp_path: Path) -> None:
    async def steer(control: RunControl) -> None:
        await anyio.sleep(25)
        control.limit("one.requests", "6/min burst 1", "60/min burst 1")
        await anyio.sleep(10.1)
        control.limit("one.requests", "60/min burst 1", "600/min")

    played = Played(tmp_path, ONE, limits="requests: 6/min burst 1", tasks=40, steer=steer)
    starts = [at - played.log[0].at for at in played.starts]
    assert sum(at < 24 for at in starts) == 3
    spaced = [at for at in starts if 24 <= at < 35]
    assert 9 <= len(spaced) <= 11
    assert min(after - before for before, after in pairwise(spaced)) >= 1.0
    assert sum(35 <= at < 36 for at in starts) == 40 - 3 - len(spaced), "without a burst, all that fit go at once"


def test_a_lowered_limit_holds_for_the_next_round_of_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans: list[tuple[float, float]] = []

    async def rounds(self: PromptVerb, work: AttemptContext) -> str:
        for turn in range(20):
            if turn:
                await work.next_request(None, None)
            begin = LoopClock().now()
            await anyio.sleep(1)
            spans.append((begin, LoopClock().now()))
        return "x"

    async def steer(control: RunControl) -> None:
        await anyio.sleep(3.5)
        control.limit("one.concurrent", 4, 1)

    monkeypatch.setattr(PromptVerb, "run", rounds)
    Played(tmp_path, ONE, limits="concurrent: 4", tasks=4, workers=4, steer=steer)
    first = min(begin for begin, _ in spans)
    busy = [sum(a <= first + at < b for a, b in spans) for at in (2.5, 5.5, 10.5, 15.5)]
    assert busy == [4, 1, 1, 1]


@pytest.mark.untraced
@pytest.mark.parametrize(("name", "least", "more"), [("requests", "0/min", "600/min"), ("concurrent", 0, 8)])
def test_nothing_is_let_through_where_the_limit_is_nothing(
    tmp_path: Path, name: str, least: int | str, more: int | str
) -> None:
    async def steer(control: RunControl) -> None:
        await anyio.sleep(20.5)
        control.limit(f"one.{name}", more, least)
        await anyio.sleep(130)
        control.limit(f"one.{name}", least, more)

    text = 'agents: { a: { prompt: "${inputs.n} " } }\ninputs: { n: integer }\n'
    played = Played(tmp_path, text, limits=f"{name}: {more}", tasks=300, workers=8, steer=steer)
    first = played.log[0].at
    starts = [at - first for at in played.starts]
    assert len(starts) == 300
    assert any(at < 20.5 for at in starts)
    assert not any(20.51 < at < 150.49 for at in starts), "no window opens it"
    assert 150.49 <= min(at for at in starts if at > 20.51) < 150.7


def test_two_limits_that_are_raised_together_wake_who_waits(tmp_path: Path) -> None:
    """The first wakes it, and it asks while the second is turned."""

    async def steer(control: RunControl) -> None:
        for name, more, least in (("requests", "90/min", "0/min"), ("concurrent", 3, 0)):
            await anyio.sleep(5)
            control.limit(f"one.{name}", more, least)
        await anyio.sleep(5.05)
        control.limit("one.concurrent", 0, 3)
        control.limit("one.requests", "0/min", "90/min")

    text = 'agents: { a: { prompt: "${inputs.n} " } }\ninputs: { n: integer }\n'
    limits = "requests: 90/min, concurrent: 3"
    played = Played(tmp_path, text, limits=limits, tasks=60, workers=8, steer=steer)
    starts = [at - played.log[0].at for at in played.starts]
    assert len(starts) == 60
    assert min(at for at in starts if at > 5.01) == pytest.approx(15.05, abs=0.01)


def test_after_a_429_nobody_calls_before_its_time_and_there_is_no_storm(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    """Eighty want in; the provider wants thirty seconds of peace."""
    until = 30.0

    def answer(question: PromptRequest) -> PromptReply | StepError:
        at = LoopClock().now()
        if at < until:
            return StepError("rate_limit", "429", retry_after=until - at)
        return PromptReply("x", tokens_in=1, tokens_out=1)

    fakes["one"] = Fake(answer)
    played = Played(tmp_path, ONE, limits="requests: 1000/min", tasks=80)
    assert played.outcome.state == "done"
    times = [at for at, _ in fakes["one"].calls]
    assert not [at for at in times if 1.5 < at < until]
    back = [at for at in times if at >= until]
    assert worst(back, 0.5) <= 64
    assert sum(at < back[0] + 2.5 for at in back) <= 1 + 2 + 4, "one, then two, then four"
    assert all(e.reason == "cooldown" for e in played.of(ev.StepRetrying))


def test_a_provider_that_fails_rests_and_the_next_of_the_tier_takes_over(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    broken = Fake(lambda question: StepError("server", "500"), takes=0.1)
    fakes["one"] = broken
    fakes["two"] = Fake(lambda question: PromptReply("x", tokens_in=1, tokens_out=1), takes=0.1)
    played = Played(tmp_path, ONE, tier="[mid, small]", tasks=300, workers=10)
    assert played.outcome.state == "done"
    assert len(broken.calls) <= 25
    assert len(fakes["two"].calls) >= 290
    assert any("one is not called for" in e.text for e in played.of(ev.Noted))


def test_a_wrong_key_stops_the_provider_and_parks_its_steps(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    good = False
    bad_key = StepError("auth", "one answered 401")
    fine = PromptReply("x", tokens_in=1, tokens_out=1)

    def answer(question: PromptRequest) -> PromptReply | StepError:
        return fine if good else bad_key

    fakes["one"] = Fake(answer)

    async def steer(control: RunControl) -> None:
        nonlocal good
        await anyio.sleep(60)
        good = True
        control.pause()
        control.unpause()

    played = Played(tmp_path, ONE, tasks=5, workers=2, steer=steer)
    assert played.outcome.state == "done"
    assert len(fakes["one"].calls) == 2 + 5
    assert "one is stopped (auth): one answered 401" in played.of(ev.Noted)[0].text
    assert "one is stopped" in played.of(ev.StepWaited)[0].why


def test_too_long_for_one_model_goes_to_the_next(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    fakes["one"] = Fake(lambda question: StepError("context", "too long"))
    played = Played(tmp_path, ONE, tier="[mid, small]")
    assert played.outcome.state == "done"
    assert [e.model for e in played.of(ev.StepStarted)] == ["mid", "small"]
    alone = Played(tmp_path, ONE, tier="[mid]")
    assert alone.outcome.state == "failed"
    assert len(alone.of(ev.StepStarted)) == 1


def test_escalation_chooses_a_model_a_tier_up_on_invalid_answers_only(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    good = PromptReply("a good answer", tokens_in=1, tokens_out=1)
    answers: Iterator[PromptReply | StepError] = iter([StepError("network", "cut"), PromptReply("no"), good])
    fakes["one"] = Fake(lambda question: next(answers))
    text = (
        "agents: { a: { prompt: p, expect: len(output) > 5, "
        "retry: { attempts: 3, delay: 100ms, escalate: true } } }"
    )
    played = Played(tmp_path, text)
    assert played.outcome.state == "done"
    assert [e.model for e in played.of(ev.StepStarted)] == ["mid", "mid", "big"]
    assert [q.model for _, q in fakes["one"].calls] == ["mid", "mid", "big"]


def test_a_low_budget_shortens_and_downgrades_and_then_asks(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    for name in ("one", "two"):
        fakes[name] = Fake(lambda question: PromptReply("x", tokens_in=300, tokens_out=700))
    text = (
        "budget: { usd: 0.02, ladder: { 50%: reduce, 80%: downgrade, 100%: ask } }\n"
        "agents: { a: { prompt: p, max_output: 700 } }"
    )

    async def steer(control: RunControl) -> None:
        await anyio.sleep(200)
        control.limit("budget.usd", 0.02, 1.0)
        control.unpause()

    played = Played(tmp_path, text, tasks=60, workers=1, steer=steer)
    assert played.outcome.state == "done"
    rungs = [e.data["rung"] for e in played.of(ev.Noted) if e.data]
    assert rungs == ["reduce", "downgrade"]
    paused = played.of(ev.RunPaused)[0]
    assert paused.why.startswith("budget of the run: $0.0200 of $0.0200 used")
    starts = [e for e in played.of(ev.StepStarted) if e.at < paused.at]
    assert [e.model for e in starts] == sorted(e.model for e in starts)
    assert {e.model for e in starts} == {"mid", "small"}
    asked = [q.max_output for at, q in fakes["one"].calls if at < paused.at]
    assert set(asked) == {700, 350}
    spent = sum(e.usage.usd for e in played.of(ev.StepSucceeded) if e.at < paused.at)
    assert spent <= 0.02
    assert {e.eased.split(":")[0] for e in starts} == {"", "reduce", "reduce, downgrade"}


def test_concurrent_auto_finds_what_the_provider_takes_and_shows_it(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    """It takes ten at once, and says 429 to more."""
    live = 0

    class Narrow(Fake):
        async def answer(
            self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
        ) -> PromptReply:
            nonlocal live
            live += 1
            try:
                if live > 10:
                    raise StepError("rate_limit", "429", retry_after=0.5)
                return await super().answer(question, said, sent)
            finally:
                live -= 1

    fakes["one"] = Narrow(lambda question: PromptReply("x", tokens_in=1, tokens_out=1))
    text = ONE.replace("attempts: 6", "attempts: 50")
    played = Played(tmp_path, text, limits="concurrent: auto", tasks=200)
    assert played.outcome.state == "done"
    assert len(played.of(ev.AttemptFailed)) <= 30
    shown = [e for e in played.of(ev.LimitChanged) if e.name == "one.concurrent.now"]
    assert max(e.new for e in shown) <= 24
    assert played.starts[-1] - played.starts[0] <= 200 / 10 * 2


def test_learnt_limits_tighten(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    told = {"requests": RateHeader(limit=6, left=1, reset=1.0), "tokens": RateHeader(limit=10_000_000)}
    fakes["one"] = Fake(lambda question: PromptReply("x", tokens_in=1, tokens_out=1, headers=told))
    played = Played(tmp_path, ONE, limits="requests: 1000/min", tasks=30, workers=2)
    assert played.outcome.state == "done"
    times = [at for at, _ in fakes["one"].calls]
    assert worst(times[4:], 60.0) <= 6


def test_without_deck_and_budget_nothing_is_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[act.Reserve] = []
    monkeypatch.setattr(CallReservations, "reserve", lambda self, action: asked.append(action))
    played = Played(tmp_path, ONE, deck=False, tasks=3)
    assert played.outcome.state == "done"
    assert not asked
    assert not played.starts


class Dragging(Fake):
    """Every tenth answer takes a hundred times as long; who is cancelled is counted."""

    cancelled = 0

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        number = len(self.calls)
        self._takes = 100.0 if number % 10 == 9 else 2.0 - number / 400
        try:
            return await super().answer(question, said, sent)
        except BaseException:
            self.cancelled += 1
            raise


@pytest.mark.untraced
def test_a_late_prompt_is_asked_twice_and_the_first_valid_answer_wins(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    slow = fakes["one"] = Dragging(lambda question: PromptReply("slow", tokens_in=10, tokens_out=10))
    fast = fakes["two"] = Fake(lambda question: PromptReply("fast", tokens_in=10, tokens_out=10))
    text = "agents: { a: { prompt: p, hedge: p85, timeout: 1h } }"
    played = Played(tmp_path, text, limits="requests: 1000/s", tier="[mid, small]", tasks=200, workers=1)
    assert played.outcome.state == "done"
    hedged = [e for e in played.of(ev.Noted) if "a second call" in e.text]
    assert len(fast.calls) == len(hedged)
    assert 5 <= len(hedged) <= 200 * 0.05 + 1
    assert isinstance(slow, Dragging)
    assert slow.cancelled == len(hedged)
    assert played.log[-1].at - played.log[0].at < 20 * 100 + 200 * 2 - len(hedged) * 90
    twice = [e for e in played.of(ev.StepSucceeded) if e.usage.tokens_in > 10]
    assert len(twice) == len(hedged)
    assert twice[0].usage.model == "small"
    assert twice[0].usage.usd == pytest.approx((20 * 0.1 + (1 + 10) * 1) / 1e6), "both calls are paid"
    assert twice[0].usage.estimated, "nothing counted the one that was cancelled"


def test_what_may_happen_once_only_is_never_asked_twice(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    fakes["one"] = Dragging(lambda question: PromptReply("slow", tokens_in=10, tokens_out=10))
    fast = fakes["two"] = Fake(lambda question: PromptReply("fast", tokens_in=10, tokens_out=10))
    text = "agents: { a: { prompt: p, hedge: p50, once: 'k-${task.n}', timeout: 1h } }"
    assert Played(tmp_path, text, tier="[mid, small]", tasks=60, workers=1).outcome.state == "done"
    assert not fast.calls


def test_the_second_call_is_kept_where_the_first_fails(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    def answer(question: PromptRequest) -> PromptReply | StepError:
        late = len(fakes["one"].calls) > 30
        return StepError("network", "cut") if late else PromptReply("slow", tokens_in=10, tokens_out=10)

    class Late(Fake):
        async def answer(
            self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
        ) -> PromptReply:
            self._takes = 5.0 if len(self.calls) >= 30 else 1.0 - len(self.calls) / 100
            return await super().answer(question, said, sent)

    fakes["one"] = Late(answer)
    fakes["two"] = Fake(lambda question: PromptReply("fast", tokens_in=10, tokens_out=10), takes=20.0)
    text = "agents: { a: { prompt: p, hedge: p95, retry: 1, timeout: 1h } }"
    played = Played(tmp_path, text, tier="[mid, small]", tasks=31, workers=1)
    assert played.outcome.state == "done"
    assert played.of(ev.StepSucceeded)[-1].output == "fast"
