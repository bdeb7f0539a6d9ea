"""A graph of LangGraph that writes a notice, checks it in a subgraph, and asks a person before it is published.

It answers from a list instead of calling a model. With a real one, `ChatOpenAI(...)` takes the place of MODEL."""

from __future__ import annotations

from operator import add
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

MODEL = FakeListChatModel(responses=["On Monday the water is off from 9 to 11. Please fill a kettle before."])
LONGEST = 160


class Notice(TypedDict):
    topic: str
    text: str
    remarks: Annotated[list[str], add]


class Check(TypedDict):
    text: str
    remarks: Annotated[list[str], add]


class Decision(BaseModel):
    approved: bool
    comment: str = ""


async def write(state: Notice) -> dict[str, Any]:
    answer = await MODEL.ainvoke(f"Write a notice to all tenants: {state['topic']}")
    return {"text": answer.text}


async def length(state: Check) -> dict[str, Any]:
    return {"remarks": [f"{len(state['text'])} of {LONGEST} characters"]}


async def tone(state: Check) -> dict[str, Any]:
    return {"remarks": ["friendly" if "please" in state["text"].lower() else "says no please"]}


async def ask(state: Notice) -> dict[str, Any]:
    """The graph stops here. What is written above this line of the node runs again when it goes on."""
    question = {"question": "Publish this notice?", "notice": state["text"], "remarks": state["remarks"]}
    decision = interrupt(question, response_schema=Decision)
    remarks = [decision.comment] if decision.comment else []
    return {"text": state["text"] if decision.approved else "", "remarks": remarks}


def make_graph() -> Any:
    check = StateGraph(Check)
    check.add_node("length", length)
    check.add_node("tone", tone)
    check.add_edge(START, "length")
    check.add_edge(START, "tone")
    builder = StateGraph(Notice)
    builder.add_node("write", write)
    builder.add_node("check", check.compile())
    builder.add_node("ask", ask)
    builder.add_edge(START, "write")
    builder.add_edge("write", "check")
    builder.add_edge("check", "ask")
    return builder.compile()


graph = make_graph()
