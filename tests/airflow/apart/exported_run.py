"""One run of an exported DAG in a whole Airflow: prints the states of its tasks and its output, as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from tests.airflow.apart.server import Airflow, standalone, until


def main(folder: str, dag: str) -> None:
    airflow = Airflow(dag)
    with standalone(Path(folder).parent / "airflow.log"):
        airflow.start_run()

        def ended() -> bool:
            with contextlib.suppress(OSError):  # the machine is busy
                return airflow.tasks()["output"]["end_date"] is not None
            return False

        until(ended, "its last task has ended", pause=1.0)
        states = {name: task["state"] for name, task in airflow.tasks().items()}
        print(json.dumps({"states": states, "output": airflow.xcom("output")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
