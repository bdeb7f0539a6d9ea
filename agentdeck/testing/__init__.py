"""Contract tests for plugins: base classes that a package of plugins subclasses in its own tests.

    from agentdeck.testing import ProviderContract

    class TestAcme(ProviderContract):
        name = "acme"

They need pytest, and find a plugin through its entry point: the package has to be installed (`pip install -e .`).
docs/plugins.md, "Testing a plugin", describes them.
"""

from agentdeck.testing.agent_contract import AgentContract
from agentdeck.testing.framework_contract import FrameworkContract
from agentdeck.testing.observer_contract import ObserverContract
from agentdeck.testing.place_contract import PlaceContract
from agentdeck.testing.provider_contract import ProviderContract

__all__ = ["AgentContract", "FrameworkContract", "ObserverContract", "PlaceContract", "ProviderContract"]
