"""A camera's name as one level of an MQTT topic or of an OPC UA node's id."""

from urllib.parse import quote


def camera_level(name: str) -> str:
    """Return the name; `/`, `+`, `#`, `%` and what cannot be printed are percent-encoded."""
    return "".join(quote(c, safe="") if c in "/+#%" or not c.isprintable() else c for c in name)
