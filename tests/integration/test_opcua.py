"""The OPC UA server, read by asyncua's client and its command line tools; clients go away, servers are restarted."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import generate_private_key, generate_self_signed_app_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import UniformResourceIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import SecretStr

from infra.errors import TransientError
from infra.outputs.opcua import OpcUaSink
from infra.outputs.opcua_server import Access
from infra.outputs.sink import CameraStanding

from ..servers import free_port
from ..verdicts_out import in_time, standing, stopped, verdict_row

BIN = Path(sys.executable).parent
PASSWORD = "tell-nobody-7"
LATE = "late"
Opening = Callable[..., OpcUaSink]


@pytest.fixture
def opening() -> Iterator[Opening]:
    sinks: list[OpcUaSink] = []

    def opened(port: int | None = None, *, wait_for_listener: bool = False, **changes: Any) -> OpcUaSink:
        access = Access("127.0.0.1", port or free_port(), **changes)
        sinks.append(OpcUaSink(access, 30.0, wait_for_listener=wait_for_listener))
        return sinks[-1]

    yield opened
    for sink in sinks:
        began = time.monotonic()
        sink.close()
        assert time.monotonic() - began < 5, "closing it hangs"


@pytest.fixture(scope="module")
def shared() -> Iterator[OpcUaSink]:
    """One server for the tests that bring cameras of their own."""
    sink = up(OpcUaSink(Access("127.0.0.1", free_port()), 30.0))
    yield sink
    sink.close()


def reading(sink: OpcUaSink, ask: Callable[[Client], Awaitable[Any]]) -> Any:
    async def asked() -> Any:
        async with Client(sink._access.address, timeout=10) as client:
            return await ask(client)

    return asyncio.run(asyncio.wait_for(asked(), 30))


async def values(client: Client, camera: str, *names: str) -> list[ua.DataValue]:
    """Several variables in one request, as a PLC reads them."""
    nodes = [client.get_node(f"ns=2;s={camera}/{name}") for name in names]
    return await client.read_attributes(nodes)  # type: ignore[no-any-return]


def shown(sink: OpcUaSink, camera: str = "cam") -> tuple[str, int, bool, str, str]:
    """Verdict, its code, InTime, Reason, and whether the quality of the verdict is good or how not."""

    async def ask(client: Client) -> list[ua.DataValue]:
        return await values(client, camera, "Verdict", "VerdictCode", "InTime", "Reason")

    found = reading(sink, ask)
    verdict, code, is_in_time, reason = (one.Value.Value for one in found)
    status = found[0].StatusCode
    return verdict, code, is_in_time, reason, "good" if status.is_good() else status.name


def up(sink: OpcUaSink) -> OpcUaSink:
    sink.beat(standing(0))
    assert sink._up.wait(20)
    return sink


def beat(sink: OpcUaSink, *cameras: CameraStanding, alive: int = 1) -> None:
    sink.beat(standing(alive, *cameras))
    assert sink._beat is not None
    sink._beat.result(5)


def test_a_result_is_shown_with_its_names_and_times(shared: OpcUaSink) -> None:
    sink = shared
    assert sink.deliver([verdict_row(1), verdict_row(1, "hall/2", "DEFECT")], 20.0) == [None, None]
    beat(sink, in_time("cam"), in_time("hall/2"))
    names = ("ResultId", "PartId", "ProductId", "JobId", "RecipeId", "IsSimulated", "ResultState", "ProcessingDuration")

    async def ask(client: Client) -> Any:
        return await values(client, "cam", *names, "CreationTime", "Score", "Threshold")

    found = reading(sink, ask)
    plain = [one.Value.Value for one in found]
    created = datetime(2026, 3, 3, 12, 0, 1, 80_000, tzinfo=UTC)
    assert plain == ["cam/result 1", "part 1", "tile", "", "tile/3", False, 1, 10.5, created, 1.0, 1.5]
    assert {one.SourceTimestamp for one in found} == {created}
    assert shown(sink) == ("GOOD", 1, True, "", "good")
    assert shown(sink, "hall%2F2") == ("DEFECT", 2, True, "", "good")
    sink.deliver([verdict_row(2, "cam", "NO_VERDICT", "frozen")], 5.0)
    assert shown(sink) == ("NO_VERDICT", 0, True, "frozen", "good")


def test_it_is_never_good_while_verdicts_are_late_or_nobody_tells(shared: OpcUaSink) -> None:
    sink = shared
    assert sink.deliver([verdict_row(1, LATE)], 5.0) == [None]
    assert shown(sink, LATE) == ("NO_VERDICT", 0, False, "unknown", "UncertainNoCommunicationLastUsableValue")
    beat(sink, in_time(LATE), in_time("new"))
    assert shown(sink, LATE)[0] == "GOOD"
    assert shown(sink, "new") == ("NO_VERDICT", 0, False, "no_result", "UncertainInitialValue")
    beat(sink, stopped(LATE))
    assert shown(sink, LATE) == ("NO_VERDICT", 0, False, "stopped", "UncertainLastUsableValue")
    assert shown(sink, "new")[3] == "unknown", "nobody tells of it any more"
    sink.deliver([verdict_row(2, LATE)], 5.0)
    assert shown(sink, LATE)[0] == "NO_VERDICT", "a verdict that comes late is not shown as one in time"
    beat(sink, in_time(LATE))
    assert shown(sink, LATE)[0] == "GOOD"
    sink.deliver([replace(verdict_row(3, LATE), age_s=31.0)], 5.0)
    assert shown(sink, LATE)[0] == "NO_VERDICT", "it is too old, and no beat has said so yet"
    sink.deliver([verdict_row(4, LATE)], 5.0)
    beat(sink, in_time(LATE), alive=7)

    async def pulse(client: Client) -> Any:
        return [await client.get_node(f"ns=2;s={name}").read_value() for name in ("Heartbeat", "Watchdog")]

    assert reading(sink, pulse) == [7, True]
    time.sleep(3.6)  # no beat: the relay hangs, or its database does
    assert shown(sink, LATE) == ("NO_VERDICT", 0, False, "unknown", "UncertainNoCommunicationLastUsableValue")
    assert reading(sink, pulse) == [7, False]
    beat(sink, in_time(LATE), alive=8)
    assert shown(sink, LATE)[0] == "GOOD", "it lives again"


def test_variables_that_are_read_together_are_of_one_result(shared: OpcUaSink) -> None:
    sink = shared
    sink.deliver([verdict_row(0, "busy")], 5.0)

    async def poll(client: Client) -> int:
        kinds = set()
        before = -1
        while len(kinds) < 50:
            found = await values(client, "busy", "ResultId", "PartId", "FrameId", "Sequence")
            result, part, frame, sequence = (one.Value.Value for one in found)
            assert {result[len("busy/result ") :], part[len("part ") :]} == {frame[len("frame ") :]}
            assert sequence >= before
            before = sequence
            kinds.add(result)
        return len(kinds)

    async def both() -> int:
        async with Client(sink._access.address, timeout=10) as client:
            writing = asyncio.create_task(asyncio.to_thread(write))
            try:
                return await poll(client)
            finally:
                done.append(True)
                await writing

    done: list[bool] = []

    def write() -> None:
        number = 1
        while not done:
            assert sink.deliver([verdict_row(number, "busy")], 5.0) == [None]
            number += 1

    assert asyncio.run(asyncio.wait_for(both(), 60)) == 50


class Events:
    """What an MES collects."""

    def __init__(self) -> None:
        self.results: list[tuple[str, str, bool]] = []

    def event_notification(self, event: Any) -> None:
        self.results.append((event.ResultId, event.Verdict, event.InTime))


async def subscribed(client: Client, events: Events) -> None:
    subscription = await client.create_subscription(20, events)
    kind = await client.nodes.base_event_type.get_child(["2:ResultReadyEventType"])
    await subscription.subscribe_events(client.nodes.server, kind)


async def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_results_wait_for_a_client_and_those_it_missed_can_be_had(opening: Opening) -> None:
    sink = up(opening(wait_for_listener=True))
    (answer,) = sink.deliver([verdict_row(1)], 5.0)
    assert isinstance(answer, TransientError)
    assert "subscribed" in str(answer)
    events = Events()

    async def listen(client: Client) -> None:
        await subscribed(client, events)
        for number in (1, 2, 3):
            (answer,) = await asyncio.to_thread(sink.deliver, [verdict_row(number)], 5.0)
            assert answer is None
            assert len(events.results) == number, "it was acknowledged before it was there"

    reading(sink, listen)
    assert events.results == [(f"cam/result {number}", "GOOD", False) for number in (1, 2, 3)]
    (answer,) = sink.deliver([verdict_row(4)], 5.0)
    assert isinstance(answer, TransientError), "the client is gone"

    async def since(client: Client) -> Any:
        management = client.get_node("ns=2;s=ResultManagement")
        return [
            [json.loads(text)["resultId"] for text in await management.call_method("2:GetResultsAfter", "cam", known)]
            for known in ("cam/result 1", "cam/result 3", "one that was forgotten")
        ]

    assert reading(sink, since) == [
        ["cam/result 2", "cam/result 3"],
        [],
        ["cam/result 1", "cam/result 2", "cam/result 3"],
    ]


def test_a_server_that_is_restarted_is_found_again_and_a_taken_port_is_waited_for(opening: Opening) -> None:
    first = up(opening())
    first.deliver([verdict_row(1)], 5.0)
    second = opening(first._access.port)
    (answer,) = second.deliver([verdict_row(2)], 0.5)
    assert isinstance(answer, TransientError)
    assert "in use" in str(second.deliver([verdict_row(2)], 0.5)[0])
    first.close()
    assert second.deliver([verdict_row(2)], 20.0) == [None]

    async def ask(client: Client) -> Any:
        return [one.Value.Value for one in await values(client, "cam", "ResultId")]

    assert reading(second, ask) == ["cam/result 2"]


def test_foreign_tools_read_it_and_nobody_writes(shared: OpcUaSink) -> None:
    sink = shared
    sink.deliver([verdict_row(1, "tools")], 5.0)
    beat(sink, in_time("tools"))

    def tool(name: str, node: str) -> str:
        command = [str(BIN / name), "-u", sink._access.address, "-n", node]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout

    assert tool("uaread", "ns=2;s=tools/ResultId").strip() == "tools/result 1"
    assert "ns=2;s=tools/Verdict" in tool("uals", "ns=2;s=Cameras/tools")

    async def write(client: Client) -> None:
        await client.get_node("ns=2;s=tools/Verdict").write_value("GOOD")

    with pytest.raises(ua.UaStatusCodeError):
        reading(sink, write)


def certificate(folder: Path, name: str, uri: str) -> tuple[Path, Path]:
    key = generate_private_key()
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    made = generate_self_signed_app_certificate(key, name, {}, [UniformResourceIdentifier(uri)], usage)
    paths = folder / f"{name}.pem", folder / f"{name}.key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption_algorithm=plain)
    )
    return paths


def test_with_a_certificate_only_its_user_gets_in_and_encrypted(
    opening: Opening, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    certfile, keyfile = certificate(tmp_path, "server", "urn:differline:line1")
    theirs = certificate(tmp_path, "plc", "urn:plc")
    known = {"anonymous": False, "username": "plc", "password": SecretStr(PASSWORD)}
    sink = up(opening(certfile=certfile, keyfile=keyfile, **known))
    sink.deliver([verdict_row(1)], 5.0)

    async def enter(user: str | None, password: str, encrypted: bool) -> str:
        client = Client(sink._access.address, timeout=5)
        client.application_uri = "urn:plc"
        if user:
            client.set_user(user)
            client.set_password(password)
        if encrypted:
            await client.set_security(SecurityPolicyBasic256Sha256, str(theirs[0]), str(theirs[1]))
        async with client:
            return await client.get_node("ns=2;s=cam/ResultId").read_data_value(False)  # type: ignore[return-value]

    found: Any = asyncio.run(enter("plc", PASSWORD, True))
    assert found.Value.Value == "cam/result 1"
    for user, password, encrypted in [
        (None, "", True),
        ("plc", "wrong", True),
        ("admin", PASSWORD, True),
        ("plc", PASSWORD, False),
    ]:
        with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
            asyncio.run(enter(user, password, encrypted))
    assert asyncio.run(Client(sink._access.address).connect_and_get_server_endpoints())[0].Server.ApplicationUri == (
        "urn:differline:line1"
    ), "clients compare it with the certificate"
    output = capfd.readouterr()
    assert PASSWORD not in output.out + output.err + repr(vars(sink)) + repr(sink._access)
