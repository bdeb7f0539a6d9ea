"""A strict reader of Prometheus' text format: what promtool would complain about is an AssertionError."""

from __future__ import annotations

import re
from typing import TypeAlias

Series: TypeAlias = dict[tuple[str, ...], float]
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_LINE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (NaN|[+-]Inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def read(text: str) -> dict[str, Series]:
    """The series of each metric by the values of its labels; those of a histogram under `name_bucket` …"""
    assert text.endswith("\n")
    found: dict[str, Series] = {}
    kind = name = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, about = line.removeprefix("# HELP ").partition(" ")
            assert name not in found
            assert about.endswith(".")
            found[name] = {}
        elif line.startswith("# TYPE "):
            named, _, kind = line.removeprefix("# TYPE ").partition(" ")
            assert named == name
            assert kind in ("counter", "gauge", "histogram")
            assert (kind == "counter") is name.endswith("_total")
            assert not name.endswith(("_bucket", "_sum", "_count"))
        else:
            _sample(line, name, kind, found)
    for name, series in found.items():
        if name.endswith("_bucket"):
            _check_buckets(series, found[name.removesuffix("_bucket") + "_count"])
    return found


def _sample(line: str, name: str, kind: str, found: dict[str, Series]) -> None:
    match = _LINE.fullmatch(line)
    assert match, line
    sample, labels, value = match.groups()
    suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
    assert sample in [name + suffix for suffix in suffixes]
    values = tuple(_unescaped(one[2]) for one in _LABEL.finditer(labels or ""))
    assert "".join(one[0] for one in _LABEL.finditer(labels or "")) == (labels or "")
    series = found.setdefault(sample, {})
    assert values not in series, f"twice: {line}"
    series[values] = float(value)


def _check_buckets(buckets: Series, counts: Series) -> None:
    by_series: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for key, count in buckets.items():
        by_series.setdefault(key[:-1], []).append((float(key[-1]), count))
    for labels, pairs in by_series.items():
        assert pairs == sorted(pairs)
        assert [count for _, count in pairs] == sorted(count for _, count in pairs)
        assert pairs[-1] == (float("inf"), counts[labels])


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], text)
