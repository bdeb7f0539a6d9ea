"""Expressions that fail whatever their values are are refused in the file; what may work never is."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.errors import InvalidFile
from agentdeck.workflow.expressions import Expression, ExpressionError
from agentdeck.workflow.loader import load

FILE = """
agentdeck: 1
name: typed
inputs:
  {{ n: integer, word: string, items: list, map: object, any: any, flag: {{ type: boolean, default: true }} }}
agents:
  typed: {{ python: "m:f", output: {{ score: number, label: string, tags: list }} }}
  plain: {{ python: "m:g" }}
  last: {{ needs: [typed, plain], python: "m:h", with: {{ value: "${{{expression}}}" }} }}
output: ${{last}}
"""
#: Values of the declared types, more than one where a type has values that differ in kind.
SCOPES = [
    {
        "inputs": {"n": n, "word": word, "items": items, "map": {"a": 1}, "any": any_, "flag": True},
        "typed": {"score": 1.5, "label": "x", "tags": ["t"]},
        "plain": plain,
        "needs": {"typed": {"score": 1.5, "label": "x", "tags": ["t"]}, "plain": plain},
        "run": {"id": "r"},
        "task": {"id": "1"},
    }
    for n, word, items, any_, plain in [(3, "w", [1, 2], 4, 5), (0, "12", [1.5], [1], [2]), (7, "z", [4], {}, {})]
]
REFUSED = [
    ("sum(needs)", "use sum(values(needs))"),
    ("sum(inputs.map)", "use sum(values(inputs.map))"),
    ("sum(inputs.n)", "sum needs a list, and inputs.n is a number"),
    ("sum(typed.label)", "typed.label is a string"),
    ("len(inputs.n) + 1", "len needs"),
    ("inputs.word - 1", "string - number is not possible"),
    ("inputs.word + 1", "use str()"),
    ("typed.tags * 2", "list * number"),
    ("needs + 1", "map + number"),
    ("inputs.n > inputs.word", "have no order"),
    ("typed.score < 'a'", "have no order"),
    ("round(inputs.word)", "round needs a number"),
    ("upper(inputs.items)", "upper needs a string"),
    ("values(inputs.items)", "values needs a map"),
    ("max(inputs.n)", "max needs a list, or several values"),
    ("[1, sum(needs)]", "sum(values(needs))"),
    ("1 if inputs.flag else task.id - 1", "string - number"),
    ("join(1 + 2)", "join needs a list"),
]
ACCEPTED = [
    "sum(values(needs))", "sum(inputs.items)", "sum(inputs.any)", "sum(plain)", "plain - 1", "plain > 'a'",
    "max(inputs.n, 3)", "min(plain, 1)", "join(needs)", "join(keys(needs))", "len(inputs.word) + inputs.n",
    "inputs.word + 'x'", "inputs.items + [1]", "inputs.n + inputs.flag", "typed.score > 0.5", "typed.other - 1",
    "typed.label == 3", "inputs.word in inputs.items", "round(typed.score * 2)", "inputs.any.x - 1",
    "needs.plain - 1", "sum([1, inputs.n])", "int(inputs.word) + 1",
    "null == inputs.n", "true", "inputs.map.a + 1", "error(plain)", "status(plain) == 'done'", "str(needs) + 'x'",
]  # fmt: skip


def issues(folder: Path, expression: str) -> list[str]:
    file = folder / "w.yaml"
    file.write_text(FILE.format(expression=expression))
    try:
        load(file)
    except InvalidFile as error:
        return [str(issue) for issue in error.issues]
    return []


@pytest.mark.parametrize(("expression", "told"), REFUSED)
def test_what_cannot_work_is_refused(tmp_path: Path, expression: str, told: str) -> None:
    [issue] = issues(tmp_path, expression)
    assert told in issue
    assert "w.yaml:9:" in issue
    if not expression.startswith("1 if"):  # that one fails where it comes to its second part
        for scope in SCOPES:
            with pytest.raises(ExpressionError):
                Expression(expression).evaluate(scope)


@pytest.mark.parametrize("expression", ACCEPTED)
def test_what_may_work_is_never_refused(tmp_path: Path, expression: str) -> None:
    assert issues(tmp_path, expression) == []


def test_each_over_a_map_is_refused(tmp_path: Path) -> None:
    text = FILE.format(expression="typed.score").replace("last: { needs", "last: { each: needs, needs")
    (tmp_path / "w.yaml").write_text(text)
    with pytest.raises(InvalidFile, match="each needs a list, and needs is a map"):
        load(tmp_path / "w.yaml")


def test_the_output_of_a_workflow_is_checked_too(tmp_path: Path) -> None:
    text = FILE.format(expression="1").replace("output: ${last}", 'output: "${sum(typed)}"')
    (tmp_path / "w.yaml").write_text(text)
    with pytest.raises(InvalidFile, match="sum needs a list, and typed is a map"):
        load(tmp_path / "w.yaml")


def test_values_and_keys() -> None:
    scope = {"needs": {"a": 1, "b": 2}}
    assert Expression("sum(values(needs))").evaluate(scope) == 3
    assert Expression("keys(needs)").evaluate(scope) == ["a", "b"]
    with pytest.raises(ExpressionError, match="values of list; it takes a map"):
        Expression("values([1])").evaluate({})
