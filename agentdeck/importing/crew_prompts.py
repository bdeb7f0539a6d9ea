"""The prompts of CrewAI's tasks as agents of a workflow.

The texts are those that CrewAI 1.15 (MIT licence) sends for an agent without tools, so that models answer alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentdeck.importing.crew_code import Method, Part
from agentdeck.importing.imported import Expression, Findings, template
from agentdeck.importing.python_source import Code
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Data

#: What CrewAI fills in from the inputs of a run.
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
DIVIDER = "\n\n----------\n\n"
MARKDOWN = """
Your final answer MUST be formatted in Markdown syntax.
Follow these guidelines:
- Use # for headers
- Use ** for bold text
- Use * for italic text
- Use - or * for bullet points
- Use `code` for inline code
- Use ```language for code blocks"""

#: Settings that are carried over, or that only matter to CrewAI's own output and loops.
AGENT_KEYS = {
    *("role", "goal", "backstory", "config", "name", "verbose", "cache", "max_iter", "max_retry_limit"),
    *("respect_context_window", "use_system_prompt", "max_execution_time", "max_tokens", "type", "settings"),
}  # fmt: skip
TASK_KEYS = {
    *("description", "expected_output", "agent", "context", "async_execution", "config", "name", "markdown"),
    *("create_directory", "guardrail_max_retries", "max_retries", "type"),
}  # fmt: skip
CREW_KEYS = {
    "agents",
    "tasks",
    "process",
    "verbose",
    "cache",
    "name",
    "inputs",
    "tracing",
    "share_crew",
    "stream",
}

Parts = list[str | Expression]
#: What a placeholder becomes.
Fill = Callable[[str], str | Expression]


def filled(text: str, fill: Fill) -> Parts:
    """A text of CrewAI, with its placeholders filled in."""
    parts: Parts = []
    at = 0
    for found in PLACEHOLDER.finditer(text):
        parts += [text[at : found.start()], fill(found[1])]
        at = found.end()
    return [*parts, text[at:]]


def placeholders(text: str) -> list[str]:
    """The names that CrewAI fills in."""
    return [found[1] for found in PLACEHOLDER.finditer(text)]


def text_of(part: Part, key: str, findings: Findings, *, kind: str, needed: bool = True) -> str:
    """The text of a setting; a fault where it is missing or is no text."""
    setting = part.settings.get(key)
    if setting is None or setting.value is None:
        if needed:
            findings.fault(part.place, f"the {kind} {part.name} has no {key}", f"add {key}:")
        return ""
    if isinstance(setting.value, Code):
        what = f"the {key} of {part.name} is code ({setting.value}), so it cannot be read without running it"
        findings.fault(setting.place, what, "write it as text")
    elif not isinstance(setting.value, str):
        findings.fault(setting.place, f"the {key} of {part.name} is not text", "quote it")
    else:
        return setting.value.strip()
    return ""


def system_text(agent: Part, findings: Findings, fill: Fill) -> str:
    """The system prompt of an agent."""
    role, goal, story = (text_of(agent, key, findings, kind="agent") for key in ("role", "goal", "backstory"))
    return template(
        [
            "You are ",
            *filled(role, fill),
            ". ",
            *filled(story, fill),
            "\nYour personal goal is: ",
            *filled(goal, fill),
        ]
    )


def task_text(task: Part, findings: Findings, fill: Fill, reads: Sequence[str]) -> str:
    """The prompt of a task, which reads the results of these agents of the workflow."""
    description, expected = (
        text_of(task, key, findings, kind="task") for key in ("description", "expected_output")
    )
    parts: Parts = ["Current Task: ", *filled(description, fill)]
    parts += ["\n\nThis is the expected criteria for your final answer: ", *filled(expected, fill)]
    parts += ["\nyou MUST return the actual complete content as the final answer, not a summary."]
    if truth(task, "markdown"):
        parts.append(MARKDOWN)
    if reads:
        parts.append("\n\nThis is the context you're working with:\n")
        for number, name in enumerate(reads):
            parts += [DIVIDER if number else "", Expression(name)]
    return template([*parts, "\n\nProvide your complete response:"])


def truth(part: Part, key: str) -> bool:
    """Whether a setting is on. YAML 1.1, which CrewAI reads, knows `yes` and `on` as well."""
    setting = part.settings.get(key)
    value = setting.value if setting else None
    return value.lower() in ("yes", "on", "true", "y") if isinstance(value, str) else bool(value)


def call_keys(agent: Part | None, findings: Findings) -> dict[str, Data]:
    """The keys of a workflow's agent that settings of a CrewAI agent become."""
    found: dict[str, Data] = {}
    for key, ours in (("max_tokens", "max_output"), ("max_execution_time", "timeout")):
        setting = agent.settings.get(key) if agent else None
        if setting is None or setting.value is None:
            continue
        if type(setting.value) is not int or setting.value < 1:
            findings.fault(setting.place, f"{key} has to be a whole number above 0, not {shown(setting.value)}")
        else:
            found[ours] = {"attempt": f"{setting.value}s"} if ours == "timeout" else setting.value
    return found


def model_of(llm: Any, models: Mapping[str, str]) -> str:
    """The deck's model that a crew names as `gpt-5` or `openai/gpt-5`, of these models by their ids; else ""."""
    if not isinstance(llm, str):
        return ""
    return models.get(llm) or models.get(llm.partition("/")[2], "")


def not_carried(part: Part, known: set[str], findings: Findings, kind: str) -> list[str]:
    """Notes the settings that the workflow does not have, each with a warning; returns them for a comment."""
    found = []
    for key, (value, place) in part.settings.items():
        if key in known or value in (None, False, [], {}, ""):
            continue
        found.append(f"{key}: {shown(value)}")
        what = f"{key} of the {kind} {part.name} is not carried over: {shown(value)}"
        findings.warn(place, what, HINTS.get(key, ""))
    return found


HINTS: Mapping[str, str] = {
    "llm": "add the model to the deck and write model: at the agent, or choose a tier",
    "tools": "give the agent tools of the deck's MCP servers, or call them in agents of their own",
    "output_file": "agentdeck results writes what agents returned",
    "human_input": "add an agent with approve: after it",
    "max_rpm": "set requests: in limits, or in the deck",
    "guardrail": "add expect: to the agent",
    "guardrails": "add expect: to the agent",
    "output_pydantic": "list the fields in output:",
    "output_json": "list the fields in output:",
    "allow_delegation": "an agent of a workflow calls no other agents",
}


def shown(value: Any) -> str:
    """A value for a message, in one short line."""
    if isinstance(value, Method):
        text = f"{value.name}()"
    elif isinstance(value, list):
        text = ", ".join(map(shown, value))
    else:
        text = str(value)
    text = clean(text)
    return text if len(text) <= 100 else text[:99] + "…"
