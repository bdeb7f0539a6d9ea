"""Runs of exported DAGs in a whole Airflow, one beside the other: prints of each the states of its tasks and its
output, as JSON. The second argument says what is run, as JSON: a list of the DAG, and of the answer to what its
task `ask` asks, an option and the values of the form, or null."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.airflow.apart.server import ENDED, Airflow, standalone, until


def main(folder: str, wanted: str) -> None:
    said = Path(folder).parent / "airflow.log"
    with standalone(said):
        runs = [(Airflow(dag, said), answer) for dag, answer in json.loads(wanted)]
        for airflow, _ in runs:
            airflow.start_run()
        for airflow, answer in runs:
            if answer is not None:
                airflow.until_state("ask.answer", "awaiting_input")
                airflow.until_left("ask.answer")
                airflow.answer("ask.answer", *answer)
        print(json.dumps([ended(airflow) for airflow, _ in runs]))


def ended(airflow: Airflow) -> dict[str, Any]:
    """How a run has ended, once it has, and what it asked."""
    until(lambda: airflow.state("output") in ENDED, f"the output of {airflow.dag}", pause=1.0)
    states = {name: task["state"] for name, task in airflow.tasks().items()}
    asked = [(one["subject"], one["body"], one["options"]) for one in airflow.questions()]
    return {"states": states, "asked": asked, "output": airflow.xcom("output")}


if __name__ == "__main__":
    main(*sys.argv[1:])
