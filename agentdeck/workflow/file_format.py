"""The workflow file: which keys there are and what each takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agentdeck.workflow import units
from agentdeck.workflow.expression_functions import LARGEST_NUMBER
from agentdeck.workflow.expressions import OPERATORS, ExpressionError, compile_expression, compile_template
from agentdeck.workflow.file_shape import (
    Anything,
    Choice,
    Either,
    Fields,
    Flag,
    Many,
    Number,
    Shape,
    Table,
    Text,
    Unit,
    is_list,
    is_map,
    is_number,
    is_text,
)
from agentdeck.workflow.model import RUNGS, Data
from agentdeck.workflow.url import check_listed, compile_url
from agentdeck.workflow.yaml_source import Path_, Source

#: Names that expressions use for something else, so no agent has them.
RESERVED = (
    *("inputs", "needs", "item", "previous", "run", "task", "output", "env", "secret", "true", "false", "null"),
    *OPERATORS,
)
#: Names that a Python function's parameters have a meaning for already, so no input has them.
TAKEN = ("inputs", "needs", "item", "previous", "ctx")
NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
TYPES = ("any", "string", "number", "integer", "boolean", "list", "object")


def _name_pattern(not_these: Sequence[str]) -> str:
    return rf"^(?!(?:{'|'.join(not_these)})$){NAME.pattern}$"


def _agent_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name an agent; use letters, digits and _, a letter first")
    if name in RESERVED:
        raise ValueError(f"{name} means something in expressions; choose another name")


def _input_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name an input; use letters, digits and _, a letter first")
    if name in TAKEN:
        raise ValueError(f"{name} means something else to a Python agent; choose another name")


def _expression(text: str) -> None:
    try:
        compile_expression(text)
    except ExpressionError as error:
        raise ValueError(str(error)) from None


def _template(text: str) -> None:
    try:
        compile_template(text)
    except ExpressionError as error:
        raise ValueError(str(error)) from None


def _url(text: str) -> None:
    try:
        compile_url(text)
    except ExpressionError as error:
        raise ValueError(str(error)) from None


def _target(text: str) -> None:
    if not re.fullmatch(r"[\w.]+:[\w.<>]+", text):
        raise ValueError(f"{text!r} is not module:name; write it like shop.tools:extract")


class Value(Anything):
    """Any plain value; every string in it may hold `${…}`."""

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        if isinstance(value, str):
            return TEMPLATE.read(value, path, source)
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in inner:
            self.read(item, (*path, key), source)
        return value


DURATION = Unit(units.duration, r"^\s*\d+(\.\d+)?(ms|s|m|h|d)\s*$", zero=True)
RATE = Unit(units.rate, r"^\s*\d+(\.\d+)?[kM]?/(\d+(\.\d+)?)?(ms|s|min|m|h|d)\s*$")
SIZE = Unit(units.size, r"^\s*\d+(\.\d+)?[kMG]?\s*$", numbers=True)
SHARE = Unit(units.share, r"^\s*(100(\.0+)?|\d{1,2}(\.\d+)?)%\s*$")
WORD = Text()
EXPRESSION = Text(check=_expression, number=True, most=LARGEST_NUMBER)
TEMPLATE = Text(empty=True, check=_template, number=True)
SAYING = Text(check=_template, number=True)
VALUE = Value()
AGENT_NAME = Text()
TYPE = Either([(is_text, Choice(TYPES)), (is_list, Many(VALUE, least=1))], "a type or a list of choices")

INPUT = Fields(
    {"type": TYPE, "about": Text(empty=True), "default": Anything(), "choices": Many(Anything(), least=1)},
    short=TYPE,
    short_key="type",
)

RETRY = Either(
    [
        (is_number, Number(whole=True, least=1, most=1000)),
        (
            is_map,
            Fields(
                {
                    "attempts": Number(whole=True, least=1, most=1000),
                    "delay": DURATION,
                    "factor": Number(least=1, most=100),
                    "max_delay": DURATION,
                    "escalate": Flag(),
                }
            ),
        ),
    ],
    "a number of attempts or a map",
)
TIMEOUT = Either(
    [
        (lambda v: v == "auto", Choice(["auto"])),
        (
            is_map,
            Fields(
                {
                    "queue": DURATION,
                    "attempt": Either(
                        [(lambda v: v == "auto", Choice(["auto"])), (lambda v: True, DURATION)], "a duration"
                    ),
                    "idle": DURATION,
                    "total": DURATION,
                }
            ),
        ),
        (lambda v: True, DURATION),
    ],
    "a duration",
)
QUORUM = Either([(is_text, SHARE), (is_number, Number(whole=True, least=1))], "a number or a share")
JOIN = Either(
    [
        (is_text, Choice(["all", "any", "progressive"])),
        (
            is_map,
            Fields(
                {
                    "kind": Choice(["all", "any", "quorum", "progressive"]),
                    "quorum": QUORUM,
                    "within": DURATION,
                    "min": Number(whole=True, least=1),
                    "rest": Choice(["cancel", "finish"]),
                }
            ),
        ),
    ],
    "all, any, progressive or a map",
)
ON_ERROR = Either(
    [
        (is_text, Choice(["fail", "continue"])),
        (is_map, Fields({"fallback": AGENT_NAME, "then": Choice(["fail", "continue"])}, required=["fallback"])),
    ],
    "fail, continue or {fallback: agent}",
)
TOKENS = Either(
    [
        (is_list, Many(SIZE, least=2, most=2)),
        (is_map, Fields({"in": SIZE, "out": SIZE})),
    ],
    "[in, out]",
)
URL = Text(check=_url, number=True)
HOSTS = Many(Text(check=check_listed), one=True, least=1)
HTTP = Fields(
    {"url": URL, "method": WORD, "headers": Table(VALUE, raw=True), "body": VALUE, "hosts": HOSTS},
    required=["url"],
    short=URL,
    short_key="url",
)
ARGS = Many(TEMPLATE, least=1)
EXIT_CODES = Many(Number(whole=True, least=0, most=255), one=True, least=1)
COMMAND = Either(
    [
        (is_list, ARGS),
        (
            is_map,
            Fields(
                {"args": ARGS, "env": Table(VALUE, raw=True), "cwd": SAYING, "input": TEMPLATE, "ok": EXIT_CODES},
                required=["args"],
            ),
        ),
    ],
    'a list of arguments, like ["git", "log"],',
)
SIMULATE = Either(
    [
        (
            is_map,
            Fields(
                {
                    "takes": DURATION,
                    "jitter": SHARE,
                    "fails": SHARE,
                    "says": Many(TEMPLATE, one=True),
                    "returns": VALUE,
                    "tokens": TOKENS,
                }
            ),
        ),
        (lambda v: True, DURATION),
    ],
    "a duration or a map",
)
CASES = Table(AGENT_NAME, least=1, raw=True)
DISPATCH = Either(
    [
        (is_map, Fields({"on": EXPRESSION, "cases": CASES, "otherwise": AGENT_NAME}, required=["on"])),
        (lambda v: True, EXPRESSION),
    ],
    "an expression",
)
ANSWER = Choice(["approve", "reject"])
APPROVAL_FIELD = Fields(
    {"type": TYPE, "default": Anything(), "choices": Many(Anything(), least=1)},
    short=TYPE,
    short_key="type",
)
APPROVE = Fields(
    {"ask": SAYING, "show": TEMPLATE, "fields": Table(APPROVAL_FIELD), "within": DURATION, "otherwise": ANSWER},
    required=["ask"],
    short=SAYING,
    short_key="ask",
)

#: What may stand in `defaults` as well as in an agent.
SHARED: dict[str, Shape] = {
    "tier": WORD,
    "timeout": TIMEOUT,
    "retry": RETRY,
    "on_error": ON_ERROR,
    "priority": Choice(["high", "normal", "low"]),
    "max_parallel": Number(whole=True, least=1),
    "cache": DURATION,
    "hedge": Text(pattern=r"^p\d{1,2}$", check=lambda text: _hedge(text)),
}


def _hedge(text: str) -> None:
    if not re.fullmatch(r"p\d{1,2}", text):
        raise ValueError(f"{text!r} is no percentile; write it like p95")


AGENT = Fields(
    {
        "about": Text(empty=True),
        "needs": Many(AGENT_NAME, one=True),
        "with": Table(VALUE, raw=True),
        "when": EXPRESSION,
        "each": EXPRESSION,
        "join": JOIN,
        "once": SAYING,
        "repeat": Fields(
            {"until": EXPRESSION, "max": Number(whole=True, least=1, most=1000)}, required=["until"]
        ),
        "output": Table(TYPE, least=1),
        "expect": EXPRESSION,
        "spare": Flag(),
        **SHARED,
        "python": Text(check=_target, pattern=r"^[\w.]+:[\w.<>]+$"),
        "prompt": SAYING,
        "http": HTTP,
        "command": COMMAND,
        "simulate": SIMULATE,
        "dispatch": DISPATCH,
        "workflow": WORD,
        "approve": APPROVE,
        # With prompt.
        "system": TEMPLATE,
        "model": WORD,
        "temperature": Number(least=0, most=2),
        "max_output": SIZE,
        "stop": Many(Text(empty=False), one=True),
        "images": Many(SAYING, one=True),
        "tools": Many(WORD, one=True),
        # With dispatch.
        "cases": CASES,
        "otherwise": AGENT_NAME,
    },
    exactly=("python", "prompt", "http", "command", "simulate", "dispatch", "workflow", "approve"),
)

#: Keys that mean something only beside one verb.
BESIDE = {
    "prompt": ("system", "model", "temperature", "max_output", "stop", "images", "tools"),
    "dispatch": ("cases", "otherwise"),
}

PROVIDER_LIMITS = Fields(
    {
        "requests": RATE,
        "tokens": RATE,
        "input_tokens": RATE,
        "output_tokens": RATE,
        "concurrent": Either(
            [(is_text, Choice(["auto"])), (is_number, Number(whole=True, least=1))], "a number or auto"
        ),
    }
)


class Limits(Fields):
    """`workers`, and providers by name."""

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        if not isinstance(value, dict):
            return super().read(value, path, source)
        known = Fields({**dict.fromkeys(value, PROVIDER_LIMITS), **self.keys})
        return known.read(value, path, source)

    def schema(self) -> dict[str, Data]:
        return {**super().schema(), "additionalProperties": PROVIDER_LIMITS.schema()}


LIMITS = Limits({"workers": Number(whole=True, least=1, most=10_000)})


def _share(text: str) -> None:
    units.share(text)


LADDER = Table(Choice(RUNGS), key=_share, pattern=SHARE.pattern, least=1)
TASK_BUDGET = Fields({"usd": Number(least=0), "tokens": SIZE, "ladder": LADDER})
BUDGET = Fields({"usd": Number(least=0), "tokens": SIZE, "ladder": LADDER, "task": TASK_BUDGET})

WORKFLOW = Fields(
    {
        "agentdeck": Either([(is_number, Number(whole=True, least=1, most=1))], "the number 1"),
        "name": WORD,
        "about": Text(empty=True),
        "inputs": Table(INPUT, key=_input_name, pattern=_name_pattern(TAKEN)),
        "limits": LIMITS,
        "budget": BUDGET,
        "defaults": Fields(SHARED),
        "agents": Table(AGENT, key=_agent_name, pattern=_name_pattern(RESERVED), least=1),
        "output": VALUE,
        "mode": Choice(["parallel", "sequential", "adaptive"]),
    },
    required=["agentdeck", "name", "agents"],
)
