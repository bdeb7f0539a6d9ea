"""One value of a workflow file, changed in its text: comments, anchors and layout stay as they stand.

A YAML library that loads and dumps keeps comments but not the layout. So the text itself is edited, at the place
that the parser names, and the result is loaded and compared: only what was meant may be different.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.insight.diff import definitions
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Agent, Data, Definition, Rate, Retry
from agentdeck.workflow.units import show_duration, show_rate

Place: TypeAlias = tuple[str, ...]
_ALIAS = re.compile(r"\s*:\s*(\*[^\s,\]}]+)")


def save(file: Path, changes: Mapping[str, Data], source: Path | None = None) -> bool:
    """Write limits into a workflow file; with `source`, its text with them into another one. False: it says so
    already. The new text is there whole or not at all. Raises UsageError as `rewrite` does, and OSError."""
    text = (source or file).read_bytes().decode("utf-8")
    made = rewrite(text, changes, file)
    if made == text and (source is None or source == file):
        return False
    target = file.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(made.encode("utf-8"))
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return True


def rewrite(text: str, changes: Mapping[str, Data], file: Path) -> str:
    """The text of a workflow file with these limits (`workers`, `agents.extract.timeout`, `openai.requests`).

    Raises UsageError, with the name, for one that cannot be written without changing anything else.
    """
    for name, value in changes.items():
        text = _one(text, name, value, file)
    return text


def _one(text: str, name: str, value: Data, file: Path) -> str:
    before = loads(text, str(file), file.parent).definition
    reason = f"the text allows no place for it; set it in {file} by hand"
    for place, written in _ways(before, name, value):
        try:
            made = put(text, place, written)
            after = loads(made, str(file), file.parent).definition
        except AgentdeckError as error:
            reason = str(error)
            continue
        if _only(before, after, name):
            return made
        reason = f"other agents share the value at {'.'.join(place)}; set it in {file} by hand"
    raise UsageError(f"{name}: {reason}")


def _ways(definition: Definition, name: str, value: Data) -> Iterator[tuple[Place, str]]:
    """Where a limit can stand in a file, and how: the first way that changes nothing else is taken."""
    parts = name.split(".")
    if parts == ["workers"]:
        yield ("limits", "workers"), str(value)
        return
    if parts[0] == "budget":
        yield ("budget", *parts[1:]), _written(value)
        return
    if parts[0] != "agents":
        yield ("limits", *parts), _written(value)
        return
    agent = definition.agents.get(parts[1])
    if agent is None:
        raise UsageError(f"{name}: the file has no agent {parts[1]}")
    at: Place = ("agents", agent.name)
    match parts[2]:
        case "timeout":
            shown = "none" if value is None else show_duration(float(value))
            yield (*at, "timeout", "attempt"), shown
            yield (*at, "timeout"), shown
            yield (*at, "timeout"), _timeout(agent, shown)
        case "attempts":
            yield (*at, "retry", "attempts"), str(value)
            yield (*at, "retry"), str(value)
            yield (*at, "retry"), _retry(agent, value)
        case _:
            yield (*at, parts[2]), _written(value)


def _timeout(agent: Agent, attempt: str) -> str:
    clocks = {"queue": agent.timeout.queue, "idle": agent.timeout.idle, "total": agent.timeout.total}
    rest = [f"{name}: {show_duration(seconds)}" for name, seconds in clocks.items() if seconds is not None]
    return "{ " + ", ".join([f"attempt: {attempt}", *rest]) + " }"


def _retry(agent: Agent, attempts: Data) -> str:
    retry, usual, rest = agent.retry, Retry(), list[str]()
    if retry.factor != usual.factor:
        rest.append(f"factor: {retry.factor:g}")
    rest += [
        f"{name}: {show_duration(getattr(retry, name))}"
        for name in ("delay", "max_delay")
        if getattr(retry, name) != getattr(usual, name)
    ]
    rest += ["escalate: true"] if retry.escalate else []
    return "{ " + ", ".join([f"attempts: {attempts}", *rest]) + " }"


def _written(value: Data) -> str:
    if isinstance(value, Mapping) and set(value) == {"count", "seconds"}:
        return show_rate(Rate(value["count"], value["seconds"]))
    return "null" if value is None else str(value)


def _only(before: Definition, after: Definition, name: str) -> bool:
    """Whether nothing but this limit is different now."""
    found = definitions(before, after)
    different = {*found["added"], *found["removed"], *found["workflow"]}
    different |= {f"agents.{agent}.{key}" for agent, keys in found["changed"].items() for key in keys}
    parts = name.split(".")
    if parts == ["workers"]:
        return different <= {"limits.workers"}
    if parts[0] == "budget":
        return different <= ({"budget"} if before.budget is None else {name})
    if parts[0] != "agents":
        place = f"limits.providers.{name}."
        return all(place.startswith(f"{one}.") or f"{one}.".startswith(place) for one in different)
    stem = f"agents.{parts[1]}"
    allowed = {
        "timeout": {f"{stem}.timeout.attempt", f"{stem}.timeout.auto"},
        "attempts": {f"{stem}.retry.attempts"},
    }
    return different <= allowed.get(parts[2], {f"{stem}.{parts[2]}"})


def put(text: str, place: Place, value: str) -> str:
    """YAML text with `value` (YAML too) at this place, made where it is missing. What is an alias there, or a
    map above it that is one, gets a value of its own. Raises UsageError where the place cannot be."""
    from ruamel.yaml import YAML

    node: Any = YAML(typ="safe", pure=True).compose(text)
    for depth, name in enumerate(place):
        if not isinstance(node.value, list) or (node.value and not isinstance(node.value[0], tuple)):
            raise UsageError(f"{'.'.join(place[:depth])} is no map")
        rest = place[depth + 1 :]
        found = next((pair for pair in node.value if pair[0].value == name), None)
        if found is None:
            return _insert(text, node, f"{name}: {_nested(rest, value)}")
        key, below = found
        if alias := _alias(text, key, below):
            start, end = alias
            own = value if not rest else f"{{ <<: {text[start:end]}, {rest[0]}: {_nested(rest[1:], value)} }}"
            return text[:start] + own + text[end:]
        if not rest:
            return text[: below.start_mark.index] + value + text[below.end_mark.index :]
        node = below
    raise UsageError("no place was named")


def _nested(names: Place, value: str) -> str:
    """`timeout: 10s` says what `timeout: { attempt: 10s }` does; so does `retry: 3`."""
    if names in (("attempt",), ("attempts",)):
        return value
    return f"{{ {names[0]}: {_nested(names[1:], value)} }}" if names else value


def _alias(text: str, key: Any, value: Any) -> tuple[int, int] | None:
    """Where the alias stands that is this key's value. The parser names the place of what it stands for."""
    if value.start_mark.index >= key.end_mark.index:
        return None
    found = _ALIAS.match(text, key.end_mark.index)
    return found.span(1) if found else None


def _insert(text: str, node: Any, entry: str) -> str:
    """A new entry after the first line of a map; in a one-line one at its end."""
    if not node.value:
        start, end = node.start_mark.index, node.end_mark.index
        if text[start:end].strip() != "{}":
            raise UsageError("there is an empty map that cannot be filled")
        return text[:start] + "{ " + entry + " }" + text[end:]
    first = node.value[0][0].start_mark
    if node.flow_style:
        end = node.end_mark.index - 1
        if "\n" not in text[first.index : end]:
            head = text[:end].rstrip().removesuffix(",").rstrip()
            space = " " if text[end - 1] == " " else ""
            return f"{head}, {entry}{space}{text[end:]}"
        return f"{text[: first.index]}{entry}, {text[first.index :]}"
    indent, last = " " * first.column, node.value[0][1].end_mark
    if last.line > first.line:
        return f"{text[: first.index]}{entry}\n{indent}{text[first.index :]}"
    end = text.find("\n", first.index)
    line, rest = (text, "") if end < 0 else (text[:end], text[end:])
    return f"{line}\n{indent}{entry}{rest}"
