"""Prompts under limits, measured: `python -m benchmarks.models [FOLDER]` prints a table.

Everything runs against a local server in a process of its own. FOLDER holds recorded requests
(`azure-2023-….csv`); without it they are left out. Times are a twentieth of the real ones.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx

from agentdeck.cli.run_process import new_runner
from agentdeck.engine.launch import Launch, Outcome, run
from agentdeck.workflow.loader import load, loads
from benchmarks import streaming, traces

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS, AT_ONCE, SECONDS = 500, 30, 2.0 / 20
MODEL = f"after-{SECONDS}"
READERS = ("summary", "tags", "class")
TURNS = 5
#: What the tiers of the examples are served by, of one vendor's list.
LISTED = {"routing": "claude-haiku-4-5", "execution": "claude-sonnet-4-5", "reasoning": "claude-opus-4-1"}
DECK = """
agentdeck: 1
limits: {{ workers: {workers} }}
providers: {{ far: {{ type: openai, url: "{url}/v1"{limits} }} }}
models: {{ m: {{ provider: far, id: "{model}" }} }}
tiers: {{ execution: m }}
"""


@contextmanager
def serving() -> Iterator[str]:
    call = [sys.executable, "-m", "tests.providers.server"]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def launched(deck: str, work: str, tasks: list[dict[str, Any]], workers: int) -> tuple[Outcome, float]:
    """The outcome, and seconds on the wall from the call to the result. The store is on disk."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        folder = Path(place)
        (folder / "deck.yaml").write_text(deck)
        launch = Launch(loads(work).definition, folder, {}, tasks, workers, db=folder / "runs.db")
        with new_runner() as runner:
            since = time.perf_counter()
            outcome = runner.run(run(launch))
            return outcome, time.perf_counter() - since


class Times(NamedTuple):
    """How many times the lower bound a run takes from its first event to its last, and with opening and closing
    the store, which take the same whatever the work."""

    run: float
    whole: float


def documents(url: str, count: int = DOCUMENTS) -> Times:
    """So many documents, each read by three agents."""
    agents = "\n".join(f'  {name}: {{ prompt: "{name} of document ${{task.n}}" }}' for name in READERS)
    work = f"agentdeck: 1\nname: documents\nagents:\n{agents}\n"
    deck = DECK.format(workers=AT_ONCE, url=url, model=MODEL, limits=f", limits: {{ concurrent: {AT_ONCE} }}")
    outcome, seconds = launched(deck, work, [{"n": n} for n in range(count)], AT_ONCE)
    assert outcome.view.steps()["done"] == count * len(READERS)
    bound = count * len(READERS) * SECONDS / AT_ONCE
    return Times(outcome.view.seconds / bound, seconds / bound)


async def bare(url: str) -> float:
    """The same calls by a loop over httpx that does nothing else."""
    left = iter(range(DOCUMENTS * len(READERS)))

    async def slot() -> None:
        for _ in left:
            await streaming.bare(client, f"{url}/v1", MODEL)

    async with httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None)) as client:
        since = time.perf_counter()
        await asyncio.gather(*(slot() for _ in range(AT_ONCE)))
        return (time.perf_counter() - since) / (DOCUMENTS * len(READERS) * SECONDS / AT_ONCE)


def through_a_run(url: str) -> float:
    """Seconds of work for 64 streams at once as prompts of a run, with every word in the log."""
    work = 'agentdeck: 1\nname: streams\nagents: { a: { prompt: "go" } }\n'
    deck = DECK.format(workers=streaming.AT_ONCE, url=url, model=streaming.MODEL, limits="")
    tasks = [{"n": n} for n in range(streaming.AT_ONCE)]
    return min(launched(deck, work, tasks, streaming.AT_ONCE)[1] for _ in range(3))


def tiers() -> tuple[float, float]:
    """Dollars of `code_review` as its tiers have it, and with all of it on the reasoning tier, at list prices."""
    from genai_prices import Usage, calc_price

    models = []
    for tier, name in LISTED.items():
        each = [
            float(calc_price(Usage(**{kind: 1000}), model_ref=name, provider_id="anthropic").total_price) * 1000
            for kind in ("input_tokens", "output_tokens")
        ]
        models.append(
            f"  {tier}: {{ provider: far, id: {name}, price: {{ in: {each[0]:g}, out: {each[1]:g} }} }}"
        )
    deck = "\n".join(
        [
            "agentdeck: 1",
            "providers: { far: { type: simulated } }",
            "models:",
            *models,
            "tiers: { routing: routing, execution: execution, reasoning: reasoning }",
        ]
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "deck.yaml").write_text(deck + "\n")
        definition = load(ROOT / "workflows" / "code_review.yaml").definition
        outcome = asyncio.run(run(Launch(definition, folder)))
    assert outcome.view.usd is not None
    assert outcome.view.usd_all_reasoning is not None
    return outcome.view.usd, outcome.view.usd_all_reasoning


def main() -> None:
    def row(what: str, reach: str, measured: str) -> None:
        print(f"| {what} | {reach} | {measured} |", flush=True)

    row("what", "reach", "measured")
    row("---", "---", "---")
    with serving() as url:
        documents(url, AT_ONCE)  # what the first use imports and compiles is in no figure
        turns = sorted((documents(url), asyncio.run(bare(url))) for _ in range(TURNS))
        what = f"{DOCUMENTS} documents × {len(READERS)} agents at 2 s (here {SECONDS:g} s), {AT_ONCE} at once"
        floor = median(floor for _, floor in turns)
        own, whole = (median(getattr(times, which) for times, _ in turns) for which in Times._fields)
        told = f"{own:.3f} × ({turns[0][0].run:.3f} to {turns[-1][0].run:.3f}); a bare httpx loop {floor:.3f} ×"
        row(what, "≤ 1.05 × lower bound", f"{told}; with opening and closing the store {whole:.3f} ×")
        found = streaming.served()
        alone = min(found.one.wall, found.four.wall)
        wall, work = found.own.wall / alone - 1, found.own.cpu / min(found.one.cpu, found.four.cpu) - 1
        row(
            f"{streaming.AT_ONCE} streams at once, over a bare httpx loop",
            "≤ 15 %",
            f"{wall:+.1%}, work {work:+.1%}",
        )
        row(
            f"{streaming.MANY} streams at once, p99, over a bare httpx loop in four clients",
            "≤ 15 %",
            f"{found.own_p99:.3f} s, {found.own_p99 / found.bare_p99 - 1:+.1%}",
        )
        ran = through_a_run(url)
        row("the same as prompts of a run, with log and store", "–", f"{ran:.2f} s; bare {alone:.2f} s")
    if len(sys.argv) > 1:
        for told, (most, binds) in traces.replayed(Path(sys.argv[1]), more=True):
            shares = ", ".join(f"{how} {share:.1%}" for how, share in most.items())
            row(told, "never exceeded by token or end, ≥ 90 % used", f"at most {shares}; {binds:.1%} used")
    usd, all_reasoning = tiers()
    row(
        "code_review in tiers against all on reasoning, at list prices",
        "≥ 60 % less",
        f"${usd:.4f} against ${all_reasoning:.4f}: {1 - usd / all_reasoning:.1%} less",
    )


if __name__ == "__main__":
    main()
