"""Makes files for other orchestrators of a workflow (`agentdeck export`).

`airflow.py` writes a DAG. What no task of it can do is named in `losses.py`. The ids of its tasks are in
`task_ids.py`, which `agentdeck.airflow.exported` reads too: it runs in the tasks.
"""
