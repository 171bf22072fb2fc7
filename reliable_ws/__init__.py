"""WebSocket messages that arrive: acknowledged, resumed, and confirmed before the close."""

__version__ = "0.1.0"

__all__ = ["__version__"]
