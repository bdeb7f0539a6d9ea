"""What comes with agentdeck: example workflows and themes, from the wheel or from a checkout."""

from __future__ import annotations

from pathlib import Path

import agentdeck


def bundled(name: str, top: str) -> Path:
    """A folder of the package, else the folder `top` beside it, as in a checkout."""
    package = Path(agentdeck.__file__).parent
    return package / name if (package / name).is_dir() else package.parent / top


def workflows() -> Path:
    return bundled("examples", "workflows")


def themes() -> Path:
    return bundled("themes", "themes")
