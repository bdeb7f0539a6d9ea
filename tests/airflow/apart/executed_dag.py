"""Executes the DAG in a file with `dag.test()`, without a server: prints how its tasks ended, as JSON, in the
last line. What the tasks log comes before. The second argument is the configuration of its run, as JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

from airflow.sdk import DAG


def main(file: str, conf: str = "{}") -> None:
    spec = importlib.util.spec_from_file_location("dag_file", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (dag,) = (value for value in vars(module).values() if isinstance(value, DAG))
    ended: dict[str, Any] = {}
    for ti in dag.test(run_conf=json.loads(conf)).get_task_instances():
        xcoms = {
            key: ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)
            for key in ("return_value", "agentdeck_run", "_link_RunLink")
        }
        ended[ti.task_id] = {"state": ti.state, "tries": ti.try_number, **xcoms}
    print(json.dumps(ended))


if __name__ == "__main__":
    main(*sys.argv[1:])
