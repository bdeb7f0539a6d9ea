"""Durations, counts and amounts as text, the same on every screen and page."""

from __future__ import annotations

import math
import time


def seconds(value: float | None) -> str:
    """A span of time in five characters or so."""
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole // 60 % 60:02d}m"
    return f"{whole // 86_400}d{whole // 3600 % 24:02d}h"


def format_span(seconds: float) -> str:
    """30 ms, 0.3 s, 14 s, 2m05s."""
    seconds = max(0.0, seconds)
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole // 60 % 60:02d}m"


def size(number: int) -> str:
    """So many bytes, in three digits or so."""
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def moment(at: float) -> str:
    """A date and a time of day, here."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def count(value: float) -> str:
    """A number in five characters or so: 999, 12.3k, 1.2M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size * (10 if unit == "k" else 1):
            shown = value / size
            return f"{shown:.0f}{unit}" if shown >= 99.95 else f"{shown:.1f}{unit}"
    return f"{value:,.0f}"


def dollars(value: float | None) -> str:
    """An amount with the digits that matter. None is unknown, never nothing."""
    if value is None:
        return "–"
    if value == 0 or value >= 1000:
        return f"${value:,.0f}"
    return f"${value:.2f}" if value >= 0.1 else f"${value:.4f}"


def per_second(value: float | None) -> str:
    if value is None:
        return "–/s"
    return f"{count(value) if value >= 100 else f'{value:.1f}'}/s"


def percent(share: float | None) -> str:
    """A share in percent. Only the whole is shown as 100 %."""
    if share is None:
        return "–"
    shown = math.floor(share * 1000) / 10
    return f"{shown:.1f}%" if 99 <= shown < 100 else f"{share * 100:.0f}%"
