"""Builds the wheel: compiled in its pure parts, by mypyc, where there is a C compiler; pure Python otherwise.

This is hatchling with a hook. It is a build backend of its own for one reason: only a wheel needs mypy at build
time, an editable install does not, and a hook cannot tell the two apart when it is asked for requirements.
Compiled modules are installed beside their sources, and are imported before them. AGENTDECK_COMPILE=0 builds a
pure wheel, where mypy cannot be installed. MYPYC_OPT_LEVEL=0 builds a wheel for tests in a fraction of the time:
what differs between interpreted and compiled does so at each level of optimization.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.build import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
)
from hatchling.build import get_requires_for_build_wheel as requires_of_hatchling
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]

REQUIRES = ["mypy>=2.4,<3", "setuptools>=80"]
#: The code of all modules is in one extension, which calls from module to module without a look-up; each module
#: is a second, tiny one.
GROUP = "agentdeck"
#: For mypy: the types of third-party packages do not matter, and they are not installed at build time.
OPTIONS = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    return [*requires_of_hatchling(config_settings), *(REQUIRES if compiles() else [])]


def compiles() -> bool:
    """Whether this machine can compile, and is allowed to."""
    wanted = os.environ.get("AGENTDECK_COMPILE", "1") != "0"
    return wanted and sys.implementation.name == "cpython" and shutil.which("cc") is not None


class CompiledWheel(BuildHookInterface[Any]):
    """Adds the compiled modules to the wheel, and tags it for this Python and machine. In pyproject.toml,
    `modules` are the globs of files to compile, `interpreted` of those to leave out of them."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or not compiles():
            return
        try:
            compiled = self.compile()
        except (Exception, SystemExit) as failed:  # mypyc exits; cc fails without the headers of Python
            self.app.display_warning(f"The wheel is pure Python, since it could not be compiled: {failed!r}")
            return
        build_data["force_include"].update(compiled)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def compile(self) -> dict[str, str]:
        """The extensions: the file of each, and its place in the wheel. What is in build/ already and up to date
        is not compiled again."""
        from mypyc.build import mypycify
        from setuptools import Distribution

        level = os.environ.get("MYPYC_OPT_LEVEL", "3")
        debug, build = "0" if level == "0" else "1", f"build/O{level}"
        with contextlib.chdir(self.root):  # mypyc names modules by their path from here
            extensions = mypycify(
                [*OPTIONS, *self.modules()],
                target_dir=f"{build}/c",
                group_name=GROUP,
                opt_level=level,
                debug_level=debug,
            )
            for extension in extensions:  # gcc looks for warnings for 100 s, and compiles for 18
                extension.extra_compile_args.append("-Wno-all")
            command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
            command.build_lib, command.build_temp = f"{build}/compiled", f"{build}/objects"
            command.ensure_finalized()
            command.run()
        built = command.get_outputs()
        return {str(Path(self.root, path)): os.path.relpath(path, command.build_lib) for path in built}

    def modules(self) -> list[str]:
        """The files to compile, in order."""
        root = Path(self.root)
        chosen = {path for glob in self.config["modules"] for path in root.glob(glob)}
        chosen -= {path for glob in self.config["interpreted"] for path in root.glob(glob)}
        return sorted(str(path.relative_to(root)) for path in chosen)
