"""What the OPC UA server shows: names of OPC 40100-1 (machine vision) where it has one.

Objects/differline        Heartbeat and Watchdog: true while the verdicts of all cameras arrive in time
  Cameras/NAME            an object for each camera, with the result of its last part as variables
  ResultManagement        GetResultsAfter(camera, result id): the results of a camera since, for a client that was away
Objects/Server            an event of type ResultReadyEventType for each result

Node ids are texts: `Heartbeat`, `NAME/Verdict`. All variables of a result are written without another request in between, the
Sequence last. Verdict is GOOD or DEFECT, and of good quality, only while verdicts arrive in time.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from asyncua import ua
from asyncua.common.methods import uamethod
from asyncua.common.node import Node
from asyncua.server.event_generator import EventGenerator
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.server import Server
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from infra.outputs.camera_level import camera_level
from infra.outputs.opcua_result import EMPTY, FIELDS, SEQUENCE, SHOWN, Type, shown
from infra.outputs.opcua_server import NAMESPACE
from infra.outputs.sink import CameraStanding
from infra.store.outbox import PublishedVerdict
from infra.verdict_message import verdict_message

KEPT_RESULTS = 2000


@dataclass
class _Camera:
    """What is shown of a camera, and why."""

    name: str
    nodes: dict[str, ua.NodeId] = field(default_factory=dict)
    standing: CameraStanding | None = None
    last: PublishedVerdict | None = None
    late: bool = False  # whether that one was
    sequence: int = 0

    def doubt(self, alive: bool) -> tuple[str, int] | None:
        """Return why its last result is not to be relied on, with the status code that says so; None while it is."""
        if self.standing is None or not alive:
            return "unknown", StatusCodes.UncertainNoCommunicationLastUsableValue
        if not self.standing.in_time:
            return self.standing.reason or "late", StatusCodes.UncertainLastUsableValue
        if self.last is None:
            return "no_result", StatusCodes.UncertainInitialValue
        if self.late:
            return "late", StatusCodes.UncertainLastUsableValue
        return None


class AddressSpace:
    """Our part of a server's address space; all of it is called in the server's loop."""

    def __init__(self, server: Server) -> None:
        """Call `build` next."""
        self._server = server
        self._cameras: dict[str, _Camera] = {}
        self._kept: deque[tuple[str, str, str]] = deque(maxlen=KEPT_RESULTS)
        self._alive = False

    async def build(self) -> None:
        """Make the objects that are there before any camera is known."""
        self._index = await self._server.register_namespace(NAMESPACE)
        line = await self._server.nodes.objects.add_object(self._id("differline"), self._name("differline"))
        await self._add(line, "Heartbeat", "Heartbeat", Type.UInt32)
        await self._add(line, "Watchdog", "Watchdog", Type.Boolean)
        self._folder = await line.add_folder(self._id("Cameras"), self._name("Cameras"))
        management = await line.add_object(self._id("ResultManagement"), self._name("ResultManagement"))
        await management.add_method(
            self._id("GetResultsAfter"),
            self._name("GetResultsAfter"),
            uamethod(self._results_after),
            [_argument("Camera"), _argument("ResultId")],
            [_argument("Results", is_list=True)],
        )
        properties = [(each.name, each.type) for each in FIELDS] + [("Camera", Type.String), *SHOWN]
        kind = await self._server.create_custom_event_type(
            self._index,
            "ResultReadyEventType",
            _standard(ObjectIds.BaseEventType),
            properties,
        )
        self._events: EventGenerator = await self._server.get_event_generator(kind)

    def has_listener(self) -> bool:
        """Whether a client has subscribed to the events."""
        return bool(self._listening())

    def has_unacknowledged(self) -> bool:
        """Whether a client that has subscribed to the events has not acknowledged one yet."""
        return any(one._triggered_events or one._not_acknowledged_results for one in self._listening())

    def _listening(self) -> list[InternalSubscription]:
        """Asyncua tells this nowhere else; test_results_wait_for_a_client… goes red where it is no longer so."""
        of_server = _standard(ObjectIds.Server)
        subscriptions = self._server.iserver.subscription_service.subscriptions.values()
        return [one for one in subscriptions if one.monitored_item_srv._monitored_events.get(of_server)]

    async def take(self, result: PublishedVerdict, *, late: bool = False) -> None:
        """Show a result and send its event."""
        camera = await self._camera(result.verdict.camera)
        camera.last, camera.late = result, late
        camera.sequence += 1
        self._kept.append((camera.name, result.result_id, verdict_message(result, "").value.decode()))
        await self._show(camera)
        await self._announce(camera, result)

    async def beat(self, alive: int, at: datetime, cameras: list[CameraStanding], in_time: bool) -> None:
        """Show that we live, and how the cameras stand."""
        was_alive, self._alive = self._alive, True
        for standing in cameras:
            is_new = standing.camera not in self._cameras
            camera = await self._camera(standing.camera)
            before, camera.standing = camera.doubt(was_alive), standing
            if camera.doubt(True) != before:
                await self._show(camera)
            if is_new:
                await asyncio.sleep(0)  # a camera takes milliseconds to make, and clients of the others wait meanwhile
        for name in self._cameras.keys() - {standing.camera for standing in cameras}:
            if self._cameras[name].standing is not None:
                self._cameras[name].standing = None
                await self._show(self._cameras[name])
        await self._write(self._id("Watchdog"), in_time, Type.Boolean, at)
        await self._write(self._id("Heartbeat"), alive % 2**32, Type.UInt32, at)

    async def silence(self) -> None:
        """Show that nobody tells any more how the cameras stand: nothing is to be relied on."""
        if not self._alive:
            return
        self._alive = False
        await self._write(self._id("Watchdog"), False, Type.Boolean, datetime.now(UTC))
        for camera in list(self._cameras.values()):
            await self._show(camera)

    async def _camera(self, name: str) -> _Camera:
        if name in self._cameras:
            return self._cameras[name]
        # Not from 0: a client that saw a number before our restart must not take another result for that one.
        camera = _Camera(name, sequence=int(time.time()) % 2**31)
        level = camera_level(name)
        parent = await self._folder.add_object(self._id(f"Cameras/{level}"), self._name(name))
        typed = [(each.name, each.type) for each in FIELDS]
        for variable, kind in [*typed, *SHOWN, (SEQUENCE, Type.UInt32)]:
            camera.nodes[variable] = await self._add(parent, f"{level}/{variable}", variable, kind)
        self._cameras[name] = camera
        await self._show(camera)
        return camera

    async def _show(self, camera: _Camera) -> None:
        doubt = camera.doubt(self._alive)
        status = doubt[1] if doubt else StatusCodes.Good
        result = camera.last
        at = datetime.now(UTC) if doubt or result is None else result.verdict.committed_at
        if result is not None:
            for each in FIELDS:
                await self._write(camera.nodes[each.name], each.value(result), each.type, at, status)
        for (name, kind), value in zip(SHOWN, shown(result, doubt[0] if doubt else None), strict=True):
            known = StatusCodes.Good if name in {"InTime", "Reason"} else status
            await self._write(camera.nodes[name], value, kind, at, known)
        await self._write(camera.nodes[SEQUENCE], camera.sequence % 2**32, Type.UInt32, at)

    async def _announce(self, camera: _Camera, result: PublishedVerdict) -> None:
        """The event tells the verdict on record, and whether it came in time."""
        event = self._events.event
        event.SourceNode = self._id(f"Cameras/{camera_level(camera.name)}")
        event.SourceName = event.Camera = camera.name
        event.Severity = 1 if result.verdict.state == "GOOD" else 500
        for each in FIELDS:
            setattr(event, each.name, each.value(result))
        for (name, _), value in zip(SHOWN, shown(result, None), strict=True):
            setattr(event, name, value)
        event.InTime = camera.doubt(self._alive) is None
        await self._events.trigger(
            time_attr=result.verdict.committed_at, message=f"{result.verdict.state} {result.result_id}"
        )

    async def _results_after(self, _parent: ua.NodeId, camera: str, result_id: str) -> ua.Variant:
        of_camera = [(known, text) for name, known, text in self._kept if name == camera]
        ids = [known for known, _ in of_camera]
        first = ids.index(result_id) + 1 if result_id in ids else 0
        return ua.Variant([text for _, text in of_camera[first:]], Type.String, is_array=True)

    async def _add(self, parent: Node, node_id: str, name: str, kind: ua.VariantType) -> ua.NodeId:
        identifier = self._id(node_id)
        await parent.add_variable(identifier, self._name(name), ua.Variant(EMPTY[kind], kind))
        await self._write(identifier, EMPTY[kind], kind, datetime.now(UTC), StatusCodes.UncertainInitialValue)
        return identifier

    async def _write(
        self, node: ua.NodeId, value: Any, kind: ua.VariantType, at: datetime, status: int = StatusCodes.Good
    ) -> None:
        now = datetime.now(UTC)
        data = ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status), SourceTimestamp=at, ServerTimestamp=now)  # type: ignore[arg-type]
        await self._server.iserver.write_attribute_value(node, data)

    def _id(self, text: str) -> ua.NodeId:
        return ua.NodeId(text, self._index)  # type: ignore[arg-type]

    def _name(self, text: str) -> ua.QualifiedName:
        return ua.QualifiedName(text, self._index)


def _standard(number: int) -> ua.NodeId:
    return ua.NodeId(ua.Int32(number))


def _argument(name: str, *, is_list: bool = False) -> ua.Argument:
    return ua.Argument(Name=name, DataType=_standard(ObjectIds.String), ValueRank=1 if is_list else -1)
