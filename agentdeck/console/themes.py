"""Themes: files that come with agentdeck, and the user's own in `themes/` of the config folder.

A user's file replaces the theme of the same name that comes with agentdeck. A file is read again after each edit;
one that is broken changes nothing, and its fault is shown once per edit.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_config_dir
from textual.color import Color, ColorParseError
from textual.theme import Theme

from agentdeck.operations.bundled_files import themes as bundled

DEFAULT, COLOURLESS = "deck", "plain"
KEYS = ("about", "dark", "ansi", "colors", "variables")
COLORS = (
    "primary", "secondary", "accent", "success", "warning", "error", "foreground", "background", "surface",
    "panel", "boost",
)  # fmt: skip


class BrokenTheme(Exception):
    """A theme file that cannot be used; a sentence for people."""


def config_folder() -> Path:
    """Where the operator keeps themes, keymap and settings."""
    return Path(user_config_dir("agentdeck", appauthor=False))


class Themes:
    """The theme files, and what of them was read already."""

    def __init__(self) -> None:
        self.folders = (bundled(), config_folder() / "themes")
        self._read: dict[Path, int] = {}

    def files(self) -> dict[str, Path]:
        """Theme files by name; of two of a name the later folder's."""
        folders = (folder for folder in self.folders if folder.is_dir())
        return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}

    def changed(self, only: str = "") -> Iterator[Theme | BrokenTheme]:
        """What is new or was edited since it was read last; `only` looks at one name and nothing else."""
        for name, file in self.files().items():
            if only and name != only:
                continue
            try:
                edited = file.stat().st_mtime_ns
            except OSError:
                continue
            if self._read.get(file) == edited:
                continue
            self._read[file] = edited
            try:
                yield read(file)
            except BrokenTheme as error:
                yield error


def read(file: Path) -> Theme:
    """A theme from its file. Raises BrokenTheme."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True, plug_ins=[]).load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        raise BrokenTheme(f"{file.name}: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(data, dict):
        raise BrokenTheme(f"{file.name}: a theme is a map with {', '.join(KEYS)}")
    _known(file, data, KEYS)
    colors = _colors(file, data, "colors")
    _known(file, colors, COLORS)
    if "primary" not in colors:
        raise BrokenTheme(f"{file.name}: colors needs at least primary")
    variables = _colors(file, data, "variables")
    dark, ansi = data.get("dark", True), data.get("ansi", False)
    if not isinstance(dark, bool) or not isinstance(ansi, bool):
        raise BrokenTheme(f"{file.name}: dark and ansi are true or false")
    return Theme(file.stem, dark=dark, ansi=ansi, variables=variables, **colors)


def _known(file: Path, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise BrokenTheme(f"{file.name}: there is no {key}; {fix}")


def _colors(file: Path, data: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = data.get(key) or {}
    if not isinstance(found, dict):
        raise BrokenTheme(f"{file.name}: {key} is a map of names and colours")
    for name, value in found.items():
        try:
            Color.parse(str(value))
        except ColorParseError:
            raise BrokenTheme(
                f"{file.name}: {key}.{name}: {value!r} is not a colour; write it as #rrggbb"
            ) from None
    return {str(name): str(value) for name, value in found.items()}
