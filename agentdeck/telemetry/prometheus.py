"""Metrics and their text format, as Prometheus reads it (version 0.0.4)."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol, TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Values of labels, in the order of the names that the metric has.
Labels: TypeAlias = tuple[str, ...]
#: A line: what follows the metric's name, names and values of labels, the value.
Sample: TypeAlias = tuple[str, Iterable[tuple[str, str]], float]


class Metric(Protocol):
    """One metric with all its series."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str: ...

    @property
    def kind(self) -> str: ...

    def samples(self) -> Iterator[Sample]: ...


class Values:
    """A counter, which only rises and whose name ends with `_total`, or a gauge."""

    def __init__(self, kind: Literal["counter", "gauge"], name: str, about: str, *labels: str) -> None:
        self.kind = kind
        self.name = name
        self.about = about
        self._labels = labels
        self._values: dict[Labels, float] = {}

    def add(self, amount: float, *labels: str) -> None:
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = value

    def samples(self) -> Iterator[Sample]:
        for labels, value in self._values.items():
            yield "", zip(self._labels, labels, strict=True), value


class Histogram:
    """Counts of values up to each bound, in memory that depends on the number of series only."""

    kind = "histogram"

    def __init__(self, name: str, about: str, bounds: Sequence[float], *labels: str) -> None:
        self.name = name
        self.about = about
        self._bounds = tuple(bounds)
        self._labels = labels
        self._series: dict[Labels, list[float]] = {}  # a count for each bound, one for more, and the sum

    def observe(self, value: float, *labels: str) -> None:
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = [0] * (len(self._bounds) + 1) + [0.0]
        series[bisect_left(self._bounds, value)] += 1
        series[-1] += value

    def samples(self) -> Iterator[Sample]:
        for labels, series in self._series.items():
            named = list(zip(self._labels, labels, strict=True))
            total = 0.0
            for bound, count in zip((*self._bounds, math.inf), series[:-1], strict=True):
                total += count
                yield "_bucket", [*named, ("le", _number(bound))], total
            yield "_sum", named, series[-1]
            yield "_count", named, total


def text(metrics: Iterable[Metric]) -> str:
    """All metrics with their series. One without series has its description only."""
    lines = []
    for metric in metrics:
        about = metric.about.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {metric.name} {about}", f"# TYPE {metric.name} {metric.kind}"]
        for suffix, labels, value in metric.samples():
            named = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels)
            lines.append(f"{metric.name}{suffix}{'{' + named + '}' if named else ''} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    """The value of a label; what UTF-8 cannot hold is escaped."""
    clean = label.encode("utf-8", "backslashreplace").decode()
    return clean.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
