"""A chain of LangChain that answers a letter. Its models always say the same; `ChatOpenAI(...)` would take their
place."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableParallel

WRITER = FakeListChatModel(responses=["Thank you for your letter. We will look into it this week."])
READER = FakeListChatModel(responses=["a complaint"])


def ask(task: str, model: Any) -> Any:
    return ChatPromptTemplate.from_template(task) | model | StrOutputParser()


#: The values that prompts name come by name: `letter` from the item, `tone` from the inputs.
answer = RunnableParallel(
    reply=ask("Answer this letter in a {tone} tone:\n{letter}", WRITER),
    subject=ask("The subject of this letter, in three words:\n{letter}", READER),
)
