"""A Ray cluster on 127.0.0.1, in a network namespace with nothing but loopback: Ray listens on all addresses.

`unshare -rn PYTHON ray_nodes.py FOLDER PORT`, with a Python that has Ray. It takes commands on stdin, one JSON
list in a line, and answers each with a line: `["head"]` starts the head, `["worker", NAME, CPUS, RESOURCES]` a
worker, `["kill", NAME]` ends the processes of a node (the head is `head`)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = b"lo".ljust(16, b"\0")
        flags = struct.unpack("16sh", fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh", name, 0)))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", name, flags | IFF_UP))


class Nodes:
    def __init__(self, folder: str, port: int) -> None:
        os.environ["RAY_TMPDIR"] = folder  # it also writes there which cluster is the current one
        Path(folder, "ray").mkdir()
        from ray.cluster_utils import Cluster

        self._port = port
        self._cluster = Cluster(shutdown_at_exit=False)
        self._nodes: dict[str, Any] = {}

    def head(self) -> None:
        without = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
        self._add("head", num_cpus=0, gcs_server_port=self._port, **without)

    def worker(self, name: str, cpus: int, resources: dict[str, float]) -> None:
        gpus = resources.pop("GPU", 0)
        self._add(name, node_name=name, num_cpus=cpus, num_gpus=gpus, resources=resources)

    def _add(self, name: str, **given: Any) -> None:
        usual = {"node_ip_address": "127.0.0.1", "object_store_memory": 80_000_000}
        try:
            node = self._cluster.add_node(**usual, **given)
        except Exception as error:  # on a busy machine a raylet may not come up in time
            print(f"{name} again: {error}", file=sys.stderr)
            node = self._cluster.add_node(**usual, **given)
        self._nodes[name] = node

    def kill(self, name: str) -> None:
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)


def main() -> None:
    loopback_up()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    nodes = Nodes(sys.argv[1], int(sys.argv[2]))
    print("ready", file=answers)
    for line in sys.stdin:
        command, *given = json.loads(line)
        getattr(nodes, command)(*given)
        print(command, file=answers)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
