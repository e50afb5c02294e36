"""A webhook: each verdict as a signed CloudEvent by HTTP POST, to whatever answers with 2xx.

Body       a CloudEvent in JSON (structured mode), so that the signature covers all of it; `data` is the verdict, by its schema
Headers    webhook-id, the result id: the same whenever a verdict is sent again, so that the receiver knows a double;
           webhook-timestamp and webhook-signature by Standard Webhooks; idempotency-key, the result id once more

What comes back decides: 2xx is taken. 408, 425, 429, 5xx, no answer in time, a redirect (none is followed), and what speaks of
us or of the address (401, 403, 407, 410) is waited out. Any other 4xx is the peer's word that it never takes this verdict.
"""

import json
import logging
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from infra.clock import Clock, utc_now
from infra.errors import PeerAwayError, SettingsError, TransientError
from infra.outputs.announcing import Announcer, standing_attributes, standing_json
from infra.outputs.signing import PREFIX, signature, signing_keys
from infra.outputs.sink import NotTried, Refused, Standing
from infra.printable import printable
from infra.store.outbox import OutboxKind, OutboxRow, PublishedVerdict
from infra.telemetry import get_logger
from infra.verdict_message import verdict_attributes, verdict_json

_AT_ONCE = 8  # requests, of as many cameras
_BEAT_TIMEOUT_S = 1.0
_SLACK_S = 0.5  # after the time-out, for a request to end by itself
_MOST_READ = 64 * 1024  # bytes of an answer; then its connection is not used again
_MOST_TOLD = 200  # characters of it
_LONGEST_WAIT_S = 60.0
_OURS = frozenset({401, 403, 407, 410})  # not about this verdict, but about us or the address
_LATER = frozenset({408, 425, 429})
_HIDDEN = "***"

_log = get_logger("relay")


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where a webhook is.

    Attributes:
        url: Its address, with credentials where it needs some.
        secrets: One or more `whsec_` secrets, separated by blanks.
        timeout_s: How long an answer may take, in seconds.
        cafile: Certificates that sign the peer's, PEM; None: the system's.
    """

    url: str
    secrets: str
    timeout_s: float
    cafile: Path | None = None


class WebhookSink:
    """Posts verdicts; see `infra.outputs.sink.Sink`."""

    name = "webhook"
    kinds = frozenset({OutboxKind.VERDICT})

    def __init__(self, target: WebhookTarget, every_s: float, clock: Clock = utc_now) -> None:
        """Prepare a sink.

        Args:
            target: Where the webhook is.
            every_s: How often the standing is told where it does not change, in seconds.
            clock: The time that is signed.

        Raises:
            SettingsError: The address or a secret is none; the text shows neither.
        """
        for name in ("httpx", "httpcore"):  # they log addresses
            logging.getLogger(name).setLevel(logging.WARNING)
        self._url, self._auth, self._hidden = _checked(target)
        self._keys = signing_keys(target.secrets)
        self._timeout_s = target.timeout_s
        self._tls = _tls(target.cafile)
        self._clock = clock
        self._announcer = Announcer(every_s)
        self._told_away = False
        self._not_before = 0.0
        self._closing = threading.Lock()
        self._client, self._threads = self._open(), ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook")
        self._beat_client = self._open()

    def deliver(self, rows: Sequence[OutboxRow], timeout_s: float) -> list[TransientError | Refused | None]:
        """Post rows, eight at the same time."""
        if (left_s := self._not_before - time.monotonic()) > 0:
            return [PeerAwayError(f"the webhook asked to be left alone for {left_s:.0f} s more")] * len(rows)
        deadline = time.monotonic() + min(timeout_s, self._timeout_s)
        posts = [self._threads.submit(self._post_row, row, deadline) for row in rows]
        wait(posts, timeout=max(0.0, deadline - time.monotonic()) + _SLACK_S)
        answers = [_answer_of(post) for post in posts]
        if not all(post.done() for post in posts):
            self._begin_anew()  # a peer that sends its answer drop by drop: the time-outs of the library begin anew with each
        return answers

    def beat(self, standing: Standing) -> None:
        """Post the standing where it is due."""
        if not self._announcer.due(standing):
            return
        attributes = standing_attributes(standing)
        answer = self._post(self._beat_client, attributes, standing_json(standing), _BEAT_TIMEOUT_S)
        if answer is None:
            self._announcer.told(standing)
        elif not self._told_away:
            _log.warning("standing.not_told", sink=self.name, error=str(answer))
        self._told_away = answer is not None

    def close(self) -> None:
        """Let go of the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()
        self._beat_client.close()

    def _open(self) -> httpx.Client:
        return httpx.Client(
            auth=self._auth,
            verify=self._tls,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE),
            headers={"user-agent": "differline"},
        )

    def _begin_anew(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()  # wakes the threads that still wait for its answers
        self._client, self._threads = self._open(), ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook")

    def _post_row(self, row: OutboxRow, deadline: float) -> TransientError | Refused | None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return NotTried("there was no time left for it")
        assert isinstance(row.content, PublishedVerdict)  # noqa: S101 - it wants no other kind
        return self._post(self._client, verdict_attributes(row.content), verdict_json(row.content), left_s)

    def _post(
        self, client: httpx.Client, attributes: Mapping[str, str], data: Mapping[str, object], timeout_s: float
    ) -> TransientError | Refused | None:
        event = {**attributes, "datacontenttype": "application/json", "data": data}
        body = json.dumps(event, ensure_ascii=False, allow_nan=False).encode()
        at_s = int(self._clock().timestamp())
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": attributes["id"],
            "webhook-timestamp": str(at_s),
            "webhook-signature": signature(self._keys, attributes["id"], at_s, body),
            "idempotency-key": attributes["id"],
        }
        try:
            with client.stream("POST", self._url, content=body, headers=headers, timeout=timeout_s) as response:
                return self._judge(response)
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            OSError,
            RuntimeError,
        ) as error:  # RuntimeError: the client was closed
            reason = str(error) or type(error).__name__
            return PeerAwayError(f"the webhook cannot be reached: {self._shown(reason)}")

    def _judge(self, response: httpx.Response) -> TransientError | Refused | None:
        status = response.status_code
        if 200 <= status < 300:
            if int(response.headers.get("content-length", _MOST_READ)) < _MOST_READ:
                _read(response)
            return None
        text = _read(response)
        said = f"the webhook answers {status} {self._shown(text)}".rstrip()
        if status in _LATER or status >= 500:
            self._leave_alone(response.headers.get("retry-after"))
            return PeerAwayError(said)
        if status in _OURS:
            return PeerAwayError(f"{said}; look at our credentials and its address")
        if status < 400:
            return PeerAwayError(f"{said}; redirects are not followed, set the address itself")
        return Refused(said)

    def _leave_alone(self, retry_after: str | None) -> None:
        """Keep to the peer's `Retry-After`, a minute at most."""
        if retry_after is None:
            return
        try:
            seconds = float(retry_after)
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(retry_after) - self._clock()).total_seconds()
            except (ValueError, TypeError):  # neither a number nor a date with its zone
                return
        if seconds > 0:
            self._not_before = time.monotonic() + min(seconds, _LONGEST_WAIT_S)

    def _shown(self, text: str) -> str:
        """Return what a peer or a library said, on one line and without our credentials."""
        for hidden in self._hidden:
            text = text.replace(hidden, _HIDDEN)
        return printable(" ".join(text.split()))[:_MOST_TOLD]


def _answer_of(post: "Future[TransientError | Refused | None]") -> TransientError | Refused | None:
    if post.cancel():
        return NotTried("there was no time left for it")
    return post.result() if post.done() else PeerAwayError("the webhook does not end its answer in time")


def _read(response: httpx.Response) -> str:
    """Return the beginning of an answer; what is read to its end leaves the connection fit for the next request."""
    read = bytearray()
    for chunk in response.iter_raw():
        read += chunk
        if len(read) >= _MOST_READ:
            break
    return read[: 4 * _MOST_TOLD].decode("utf-8", "replace")


def _checked(target: WebhookTarget) -> tuple[httpx.URL, httpx.BasicAuth | None, list[str]]:
    """Return the address without its credentials, these, and what must never be shown."""
    try:
        url = httpx.URL(target.url)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError("webhook_url is not an address of the form https://HOST/PATH")
    auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else None
    secrets = [part for secret in target.secrets.split() for part in (secret, secret.removeprefix(PREFIX))]
    raw = [part.decode("ascii", "replace") for part in (url.userinfo, url.raw_path, url.query)]
    parts = [*url.path.split("/"), *url.params.values(), url.username, url.password]  # a token may be any of them
    hidden = {text for text in (target.url, *secrets, *raw, *parts) if len(text) > 3}  # shorter ones say nothing
    return url.copy_with(username=None, password=None), auth, sorted(hidden, key=len, reverse=True)


def _tls(cafile: Path | None) -> ssl.SSLContext | bool:
    if cafile is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(cafile))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"webhook_cafile names {cafile}, which has no certificates: {error}") from error
