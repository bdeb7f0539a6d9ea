"""Documents: every one has a valid JSON Schema, and the models of events take every event as it is printed."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.documents.document import Json, json_text, plain
from agentdeck.documents.registry import MODELS, NAMES, model, schema
from agentdeck.documents.result import StepResult, TaskResult
from agentdeck.errors import UsageError
from agentdeck.store import codec
from tests.store.test_codec import record_of


@pytest.fixture(scope="module")
def event_schema() -> jsonschema.Draft202012Validator:
    """Making the models of events takes seconds: not in every process that collects this file."""
    return jsonschema.Draft202012Validator(schema("event"))


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_valid(name: str) -> None:
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["title"] == f"agentdeck {name}"


def test_an_unknown_name_lists_all() -> None:
    with pytest.raises(UsageError, match=r"no schema lettr; did you mean letter\? There are workflow, deck, "):
        schema("lettr")


def test_a_document_as_plain_data_is_its_json_read_again() -> None:
    output: Json = {"text": "ä", "list": [1, 2.5, None, True, {"deep": []}]}
    step = StepResult(state="done", seconds=0.5, output=output, attempts=1)
    partial = StepResult.model_construct(state="skipped")  # without keys that were not given
    task = TaskResult.model_construct(task="1", state="done", inputs={}, steps={"a": step, "b": partial})
    assert plain(task) == json.loads(json_text(task))
    assert plain(task)["steps"]["a"]["output"] is not output  # later changes of one are none of the other


def test_there_is_a_model_for_every_kind_of_event() -> None:
    assert set(import_module("agentdeck.documents.event").MODELS) == {
        codec.snake(kind.__name__) for kind in codec.EVENTS
    }
    assert {option["$ref"] for option in schema("event")["oneOf"]} == {
        f"#/$defs/{kind.__name__}" for kind in codec.EVENTS
    }


@pytest.mark.parametrize("kind", codec.EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=settings().max_examples // 5)
@given(drawn=st.data())
def test_every_event_is_a_document(
    event_schema: jsonschema.Draft202012Validator, kind: type[Any], drawn: st.DataObject
) -> None:
    event = drawn.draw(record_of(kind))
    name, task, step, data, _ = codec.encode(event)
    fields = codec.fields_of(event.at, name, step, json.loads(data))
    columns = {key: value or "1" for key, value in (("task", task), ("step", step)) if key in kind._fields}
    line = {"seq": 1, "at": 1.5, "event": name, "run": "cay7sh", **columns, **fields}
    model("event").model_validate_json(json.dumps(line))
    event_schema.validate(line)
    assert not event_schema.is_valid({**line, "unknown": 1})


@pytest.mark.parametrize("name", MODELS)
def test_unknown_keys_are_no_part_of_a_document(name: str) -> None:
    definitions = [schema(name), *schema(name).get("$defs", {}).values()]
    objects = [one for one in definitions if "properties" in one]
    assert all(one["additionalProperties"] is False for one in objects)
