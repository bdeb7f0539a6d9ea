"""`agentdeck export`: a DAG that names what it lacks, or the reason why there is none."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Deck

ORDER = ROOT / "workflows" / "order.yaml"
REVIEW = ROOT / "workflows" / "code_review.yaml"


def test_a_workflow_is_exported_beside_its_dag(deck: Deck) -> None:
    (deck.folder / "flows").mkdir()
    deck.write("flows/order.yaml", ORDER.read_text())
    (deck.folder / "dags").mkdir()
    done = deck("export", "airflow", "flows/order.yaml", "-o", "dags/order.py")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "agentdeck: wrote dags/order.py (nothing is lost)\n"
    text = (deck.folder / "dags" / "order.py").read_text()
    compile(text, "order.py", "exec")
    assert 'ExportedWorkflow(Path(__file__).resolve().parent / "../flows/order.yaml", ' in text


def test_what_is_lost_is_named_with_its_line(deck: Deck) -> None:
    done = deck("export", "airflow", REVIEW)
    assert done.returncode == 0
    ast.parse(done.stdout)
    assert f"{REVIEW}:72:5: warning: synthesis: retry: escalate: each try asks the same tier\n" in done.stderr
    assert done.stderr.count(": warning: ") == 4
    assert f'Path("{REVIEW}")' in done.stdout


def test_with_strict_nothing_is_written_where_something_is_lost(deck: Deck) -> None:
    done = deck("export", "airflow", REVIEW, "-o", "review.py", "--strict")
    assert (done.returncode, done.stdout) == (2, "")
    assert "synthesis: join: quorum: it starts when all needs have ended" in done.stderr
    assert not (deck.folder / "review.py").exists()
    assert deck("export", "airflow", ORDER, "-o", "order.py", "--strict").returncode == 0


def test_a_file_is_replaced_only_with_force(deck: Deck) -> None:
    deck.write("order.py", "mine")
    asked = ("export", "airflow", ORDER, "-o", "order.py")
    done = deck(*asked)
    assert (done.returncode, done.stderr) == (
        2,
        "agentdeck: -o order.py: this file exists; --force replaces it\n",
    )
    assert (deck.folder / "order.py").read_text() == "mine"
    assert deck(*asked, "--force").returncode == 0
    assert (deck.folder / "order.py").read_text().startswith('"""An order is read')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml: no such file; check the name"),
        (["."], "."),
        (["broken.yaml"], "broken.yaml:4:15: a needs b, which is not an agent here"),
        ([ORDER, "-o", "."], "-o .: this is a folder; name a file in it"),
        ([ORDER, "-o", "no/where.py"], "-o no/where.py: No such file or directory"),
        (["flow.py", "-o", "flow.py", "--force"], "this is the workflow itself, which would be overwritten"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_what_cannot_be_exported(deck: Deck, words: list[str | Path], said: str) -> None:
    deck.write("broken.yaml", "agentdeck: 1\nname: x\nagents:\n  a: { needs: b, simulate: 1s }\n")
    deck.write("flow.py", "from agentdeck import Workflow\nf = Workflow('f')\n@f.agent\ndef a(): pass\n")
    done = deck("export", "airflow", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_workflow_in_python_is_exported(deck: Deck) -> None:
    deck.write("flow.py", "from agentdeck import Workflow\nf = Workflow('f')\n@f.agent\ndef a(): pass\n")
    done = deck("export", "airflow", "flow.py", "-o", "dag.py")
    assert done.returncode == 0, done.stderr
    assert 'Path(__file__).resolve().parent / "flow.py"' in (deck.folder / "dag.py").read_text()
