"""Graphs of LangGraph for tests. Their nodes note what they do, so that a test sees what ran how often."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from tests.agents.frameworks import killed
from tests.agents.frameworks.fake_models import CountingModel


class Article(TypedDict):
    text: str
    notes: Annotated[list[str], operator.add]


class Talk(MessagesState):  # type: ignore[misc]
    topic: str


@dataclass
class Decision:
    approved: bool
    comment: str = ""


def chain_of(state: Any, *nodes: Any) -> Any:
    """A builder of one node after the other."""
    builder, before = StateGraph(state), START
    for node in nodes:
        name = getattr(node, "__name__", "") or node.name
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder


async def draft(state: Article) -> dict[str, Any]:
    killed.note("draft")
    return {"text": f"about {state['text']}", "notes": ["draft"]}


def check(state: Article) -> dict[str, Any]:
    killed.note("check")
    return {"notes": ["check"]}


async def gate(state: Article) -> dict[str, Any]:
    decision = interrupt({"question": "Publish this?", "draft": state["text"]}, response_schema=Decision)
    killed.note("gate")
    return {"notes": [f"{decision.approved} {decision.comment}".strip()]}


async def publish(state: Article) -> dict[str, Any]:
    killed.note("publish")
    return {"notes": ["published"]}


def review_graph() -> Any:
    """Asks in a subgraph."""
    inner = chain_of(Article, check, gate).compile(name="review")
    return chain_of(Article, draft, inner, publish).compile()


review = review_graph()


async def say(state: Talk) -> dict[str, Any]:
    write = get_stream_writer()
    write("thinking")
    write({"done": 0.5})
    return {"messages": [await CountingModel().ainvoke(state["messages"])]}


async def twice(state: Talk) -> dict[str, Any]:
    one = await CountingModel(says="one").ainvoke("a")
    two = await CountingModel(says="two").with_config(tags=["nostream"]).ainvoke("b")
    return {"topic": f"{one.content} {two.content}"}


def talk_graph() -> Any:
    return chain_of(Talk, say, twice).compile()


talk = talk_graph()


async def pause(state: Article) -> dict[str, Any]:
    """The first time it stays until the process is killed."""
    if killed.effects().count("pause") == 0:
        killed.note("pause")
        await asyncio.sleep(60)
    return {"notes": ["pause"]}


def interrupted_graph() -> Any:
    inner = chain_of(Article, check, pause).compile(name="review")
    return chain_of(Article, draft, inner, publish).compile()


paused = interrupted_graph()


async def flaky(state: Article) -> dict[str, Any]:
    killed.note("flaky")
    if killed.effects().count("flaky") == 1:
        raise ValueError("not yet")
    return {"notes": ["flaky"]}


retried = chain_of(Article, draft, flaky, publish).compile()
