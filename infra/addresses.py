"""What an address says about who can reach it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether a host, by name or address, is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
