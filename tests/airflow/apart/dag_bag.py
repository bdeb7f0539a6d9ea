"""Reads the DAGs of a folder as Airflow does, without a database: prints the tasks of each, and what does not
load, as JSON."""

from __future__ import annotations

import json
import sys

from airflow.dag_processing.dagbag import DagBag


def main(folder: str) -> None:
    bag = DagBag(folder)
    print(json.dumps({"errors": bag.import_errors, "dags": {key: dag.task_ids for key, dag in bag.dags.items()}}))


if __name__ == "__main__":
    main(sys.argv[1])
