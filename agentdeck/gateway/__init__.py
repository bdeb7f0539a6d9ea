"""The gateway: a server inside the engine through which running steps call models (docs/gateway.md)."""
