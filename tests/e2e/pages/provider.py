"""A real OIDC provider as a process of its own, in which a test says who is what."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ...servers import free_port

START_TIMEOUT_S = 30
BELIEVED_S = 1.1  # the dashboard believes an answer for a second


@dataclass(frozen=True)
class Provider:
    """Where it answers."""

    url: str

    @property
    def settings(self) -> dict[str, str]:
        """What the dashboard must be told to sign people in there."""
        return {
            "DIFFERLINE_OIDC_METADATA_URL": f"{self.url}/.well-known/openid-configuration",
            "DIFFERLINE_OIDC_CLIENT_SECRET": "anything",
        }

    def says(self, name: str, *roles: str, believed: bool = True) -> None:
        """Give somebody these roles, and no others.

        Args:
            name: Who.
            roles: Which.
            believed: Return only when the dashboard no longer believes an earlier answer.
        """
        claims = {"email": f"{name}@plant.example", "email_verified": True, "roles": list(roles)}
        httpx.put(f"{self.url}/users/{name}", json=claims).raise_for_status()
        if believed:
            time.sleep(BELIEVED_S)

    def throws_out(self, name: str) -> None:
        """Take somebody's tokens away."""
        httpx.post(f"{self.url}/users/{name}/revoke-tokens").raise_for_status()
        time.sleep(BELIEVED_S)


@contextmanager
def provider() -> Iterator[Provider]:
    """Run it on a free port."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("oidc-provider-mock")), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = Provider(f"http://127.0.0.1:{port}")
        _wait_until_up(found)
        yield found
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def _wait_until_up(found: Provider) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            httpx.get(found.settings["DIFFERLINE_OIDC_METADATA_URL"]).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
