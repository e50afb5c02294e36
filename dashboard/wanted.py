"""What somebody wanted to see who had to sign in first: the provider sends them back to the first page.

It is remembered for a short time under the browser's XSRF cookie, which outlives the way to the provider. Only an address
within the dashboard is kept, so whoever could guess the cookie would learn nothing and reach nothing.
"""

import hashlib
import time
from binascii import Error, unhexlify
from collections import OrderedDict
from dataclasses import dataclass
from itertools import cycle
from threading import Lock

import streamlit as st

_COOKIE = "_streamlit_xsrf"
_KEPT_S = 15 * 60.0
_MOST = 1000
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page, by its name, and the parameters of its address."""

    page: str
    parameters: dict[str, str]


class _Memory:
    """What each browser wanted last; the newest thousand of them, for a quarter of an hour."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[float, Wanted]] = OrderedDict()

    def put(self, browser: str, wanted: Wanted) -> None:
        with self._lock:
            self._kept[browser] = (time.monotonic(), wanted)
            self._kept.move_to_end(browser)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)

    def take(self, browser: str) -> Wanted | None:
        with self._lock:
            at, wanted = self._kept.pop(browser, (0.0, None))
            return wanted if wanted is not None and time.monotonic() - at <= _KEPT_S else None


_memory = _Memory()


def remember(page: str) -> None:
    """Remember the page and the address that this browser asks for now."""
    parameters = st.query_params.to_dict()
    browser = _browser()
    if browser is not None and sum(map(len, parameters.values())) <= _LONGEST:
        _memory.put(browser, Wanted(page, parameters))


def take() -> Wanted | None:
    """Return what this browser wanted before it signed in, once; None where it is not known."""
    browser = _browser()
    return None if browser is None else _memory.take(browser)


def _browser() -> str | None:
    cookie = st.context.cookies.get(_COOKIE)
    return None if cookie is None else browser_of(cookie)


def browser_of(cookie: str) -> str | None:
    """Return what stays the same of the cookie, whose text is masked anew with each answer (Tornado's form, version 2).

    Returns:
        A digest of it; None where the cookie has another form.
    """
    try:
        version, mask, masked, _ = cookie.strip("\"'").split("|")
        token = bytes(a ^ b for a, b in zip(unhexlify(masked), cycle(unhexlify(mask)), strict=False))
    except (ValueError, Error):
        return None
    return hashlib.sha256(token).hexdigest() if version == "2" and token else None
