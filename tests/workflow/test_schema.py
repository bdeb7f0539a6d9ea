"""The schema for editors and the loader accept and refuse the same files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentdeck.documents.registry import schema
from agentdeck.workflow.file_reading import faults
from agentdeck.workflow.workflow_file import workflow_file
from agentdeck.workflow.yaml_source import read_text

FULL: dict[str, Any] = read_text((Path(__file__).parent / "full.yaml").read_text(), "full.yaml").data
VALIDATOR = jsonschema.Draft202012Validator(schema("workflow"))


def shaped(data: object) -> bool:
    """Whether the loader's model finds no fault. The schema does not describe what needs the whole graph."""
    return not faults(workflow_file(), data)


def paths(data: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(p for key, item in inner for p in paths(item, (*path, key)))]


def test_the_schema_is_one_and_takes_the_full_file() -> None:
    jsonschema.Draft202012Validator.check_schema(schema("workflow"))
    VALIDATOR.validate(FULL)
    assert shaped(FULL)


VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        0.0,
        1,
        5,
        5.0,
        -1,
        2.5,
        1e300,
        "101%",
        "0%",
        "p9",
        "5 s",
        " 5s ",
        "5s\n",
        "٣s",
        "é",
        "class",
        "",
        "x",
        "5s",
        "30",
        "50/min",
        "50/min burst 5",
        "50/min burst",
        "90%",
        "400k",
        "auto",
        "any",
        [],
        ["a"],
        [1, 2],
        {},
        {"a": 1},
        {"ask": "x"},
        {"fallback": "a"},
        "p95",
        "m:f",
        "high",
    ]
)


@pytest.mark.untraced
@settings(max_examples=3 * settings().max_examples)
@given(
    where=st.sampled_from([p for p in paths(FULL) if p]),
    value=VALUES,
    key=st.sampled_from(["", "", "zz", "x-mine", "item", "not", "class", "inputs", "timeout", "70%", "workers"]),
)
def test_a_changed_file_is_taken_by_both_or_by_none(where: tuple[Any, ...], value: object, key: str) -> None:
    # Whether a text is an expression is for the loader alone.
    assume(key or not (where[-1] in ("when", "each", "expect", "until") and isinstance(value, str)))
    data = copy.deepcopy(FULL)
    place: Any = data
    for part in where[:-1]:
        place = place[part]
    if key and isinstance(place, dict):
        place[key] = value
    else:
        place[where[-1]] = value
    assert shaped(data) == VALIDATOR.is_valid(data)


HEAD = {"agentdeck": 1, "name": "w"}

GOOD: list[dict[str, Any]] = [
    {"simulate": "1s"},
    {"simulate": 0},
    {
        "simulate": {
            "takes": "1s",
            "jitter": "10%",
            "fails": "0%",
            "says": "hi",
            "returns": {"a": [1]},
            "tokens": [5, "4k"],
        }
    },
    {"simulate": {"tokens": {"in": 4.0, "out": "2M"}}},
    {"python": "shop.tools:Class.method"},
    {
        "prompt": "hi",
        "system": "",
        "model": "m",
        "temperature": 0.5,
        "max_output": "4k",
        "stop": ["x"],
        "images": "u",
        "tools": [],
    },
    {"http": "http://x"},
    {"http": {"url": "u", "method": "POST", "headers": {"x-key": 1}, "body": None}},
    {"command": ["ls"]},
    {"command": {"args": ["ls"], "env": {"A": "b"}, "cwd": ".", "input": ""}},
    {"dispatch": "inputs.t", "cases": {"x": "a"}, "otherwise": "a"},
    {"dispatch": {"on": "inputs.t", "cases": {"x-b": "a"}}},
    {"workflow": "inner.yaml"},
    {"approve": "sure?"},
    {
        "approve": {
            "ask": "a",
            "show": "b",
            "fields": {"c": "string", "d": [1, 2]},
            "within": "4h",
            "otherwise": "approve",
        }
    },
    {"simulate": "1s", "needs": "b", "with": {"a": 1}, "when": "true", "each": "[1]", "max_parallel": 3},
    {"simulate": "1s", "needs": [], "join": "progressive", "retry": 3, "timeout": "auto", "on_error": "continue"},
    {
        "simulate": "1s",
        "join": {"quorum": "75%", "within": "60s", "min": 2, "rest": "cancel"},
        "once": "k",
        "cache": "7d",
    },
    {
        "simulate": "1s",
        "join": {"kind": "all", "within": "60s"},
        "timeout": {"queue": 0, "attempt": "auto", "idle": "5s"},
    },
    {
        "simulate": "1s",
        "retry": {"attempts": 2, "delay": "1s", "factor": 2.5, "max_delay": "1m", "escalate": True},
    },
    {"simulate": "1s", "on_error": {"fallback": "b", "then": "continue"}, "repeat": {"until": "true", "max": 2}},
    {
        "simulate": "1s",
        "output": {"a": "list", "b": ["x", 1]},
        "expect": "true",
        "priority": "low",
        "spare": True,
    },
    {"simulate": "1s", "tier": "any name", "hedge": "p95", "about": "", "x-mine": {"y": 1}},
]
BAD: list[Any] = [
    {},
    None,
    [],
    "x",
    {"simulate": "1s", "python": "m:f"},
    {"simulate": 1},
    {"simulate": True},
    {"simulate": None},
    {"simulate": {"takes": "1s", "zz": 1}},
    {"simulate": {"jitter": 0.1}},
    {"simulate": {"jitter": "101%"}},
    {"simulate": {"tokens": [1]}},
    {"simulate": {"tokens": [1, 2, 3]}},
    {"python": "m"},
    {"python": 5},
    {"prompt": ""},
    {"prompt": {"text": "x"}},
    {"prompt": "x", "temperature": 3},
    {"http": {}},
    {"http": {"url": ""}},
    {"command": "ls"},
    {"command": []},
    {"command": {"env": {}}},
    {"dispatch": "a", "cases": {}},
    {"dispatch": {}},
    {"approve": {}},
    {"approve": {"ask": "x", "otherwise": "maybe"}},
    {"workflow": ""},
    {"simulate": "1s", "retry": 0},
    {"simulate": "1s", "retry": "3"},
    {"simulate": "1s", "retry": 2.5},
    {"simulate": "1s", "retry": {"attempts": 0}},
    {"simulate": "1s", "timeout": 30},
    {"simulate": "1s", "timeout": "soon"},
    {"simulate": "1s", "timeout": {"total": "auto"}},
    {"simulate": "1s", "join": "some"},
    {"simulate": "1s", "join": {"quorum": 0}},
    {"simulate": "1s", "join": {"quorum": "3"}},
    {"simulate": "1s", "on_error": "ignore"},
    {"simulate": "1s", "on_error": {}},
    {"simulate": "1s", "repeat": {"max": 2}},
    {"simulate": "1s", "output": {}},
    {"simulate": "1s", "output": {"a": "strng"}},
    {"simulate": "1s", "output": {"a": []}},
    {"simulate": "1s", "priority": "urgent"},
    {"simulate": "1s", "spare": "yes"},
    {"simulate": "1s", "hedge": "95"},
    {"simulate": "1s", "needs": {}},
    {"simulate": "1s", "needs": [""]},
    {"simulate": "1s", "with": []},
    {"simulate": "1s", "zz": 1},
]
GOOD_FILES: list[dict[str, Any]] = [
    {
        "inputs": {
            "a": "string",
            "b": {"type": ["x", "y"], "default": "x", "about": ""},
            "c": {},
            "run": ["x"],
            "class": "any",
        }
    },
    {
        "limits": {
            "workers": 5,
            "openai": {"requests": "5/s", "tokens": "30k/min", "concurrent": "auto"},
            "local": {},
            "paced": {"requests": {"rate": "50/min", "burst": 5}, "input_tokens": "30k/min burst 2k"},
        }
    },
    {
        "budget": {
            "usd": 0,
            "tokens": "4M",
            "ladder": {"70%": "reduce"},
            "task": {"usd": 1.5, "ladder": {"100%": "stop"}},
        }
    },
    {
        "defaults": {"tier": "x", "timeout": {"total": "5s"}, "retry": 1},
        "output": {"a": ["${a}"]},
        "mode": "adaptive",
        "about": "x",
    },
    {"x-mine": [1, 2, {"a": None}], "agentdeck": 1.0},
]
BAD_FILES: list[Any] = [
    {"inputs": {"a": "str"}},
    {"inputs": {"item": "string"}},
    {"inputs": {"a b": "string"}},
    {"inputs": {"a": 5}},
    {"inputs": []},
    {"limits": {"workers": 0}},
    {"limits": {"openai": {"requests": 5}}},
    {"limits": {"openai": {"requests": {"burst": 5}}}},
    {"limits": {"openai": {"tokens": {"rate": "5/s", "burst": 5}}}},
    {"limits": {"openai": {"concurrent": 0}}},
    {"limits": 5},
    {"budget": {"usd": -1}},
    {"budget": {"ladder": {}}},
    {"budget": {"ladder": {"70": "ask"}}},
    {"budget": {"ladder": {"70%": "x"}}},
    {"budget": {"task": {"task": {}}}},
    {"defaults": {"needs": "a"}},
    {"mode": "fast"},
    {"name": ""},
    {"name": 5},
    {"zz": 1},
    {"agentdeck": 2},
    {"agentdeck": "1"},
    {"agentdeck": True},
    {"agents": {}},
    {"agents": []},
    {"agents": {"a": None}},
    *(
        {"agents": {name: {"simulate": "1s"}}}
        for name in ("inputs", "item", "not", "True", "true", "1a", "a-b", "", "é", "__a")
    ),
]


@pytest.mark.parametrize("agent", GOOD, ids=str)
def test_good_agents_are_taken_by_both(agent: dict[str, Any]) -> None:
    data = {**HEAD, "agents": {"a": agent}}
    VALIDATOR.validate(data)
    assert shaped(data)


@pytest.mark.parametrize("agent", BAD, ids=str)
def test_bad_agents_are_taken_by_none(agent: object) -> None:
    data = {**HEAD, "agents": {"a": agent}}
    assert (shaped(data), VALIDATOR.is_valid(data)) == (False, False)


@pytest.mark.parametrize("more", GOOD_FILES, ids=str)
def test_good_files_are_taken_by_both(more: dict[str, Any]) -> None:
    data = {**HEAD, "agents": {"class": {"simulate": "1s"}}, **more}
    VALIDATOR.validate(data)
    assert shaped(data)


@pytest.mark.parametrize("more", BAD_FILES, ids=str)
def test_bad_files_are_taken_by_none(more: dict[str, Any]) -> None:
    data = {**HEAD, "agents": {"a": {"simulate": "1s"}}, **more}
    assert (shaped(data), VALIDATOR.is_valid(data)) == (False, False)


@pytest.mark.parametrize("key", ["agentdeck", "name", "agents"])
def test_what_is_needed_is_needed_by_both(key: str) -> None:
    data = {k: v for k, v in {**HEAD, "agents": {"a": {"simulate": "1s"}}}.items() if k != key}
    assert (shaped(data), VALIDATOR.is_valid(data)) == (False, False)


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "workflows").glob("*.yaml")), ids=lambda f: f.stem
)
def test_examples_are_taken_by_the_schema(file: Path) -> None:
    VALIDATOR.validate(read_text(file.read_text(), file.name).data)
