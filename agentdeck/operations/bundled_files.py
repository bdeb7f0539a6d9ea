"""Example workflows and themes that are installed with agentdeck."""

from __future__ import annotations

from pathlib import Path

import agentdeck


def bundled(name: str, top: str) -> Path:
    """The folder `name` of an installed package; in a checkout, the folder `top` beside the package."""
    package = Path(agentdeck.__file__).parent
    return package / name if (package / name).is_dir() else package.parent / top


def workflows() -> Path:
    return bundled("examples", "workflows")


def themes() -> Path:
    return bundled("themes", "themes")
