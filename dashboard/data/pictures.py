"""Pictures and heatmaps of frames, from the archive and the store."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.access import Right, needs
from dashboard.sources import sources
from infra.errors import ArchiveAwayError, BadFrameError
from infra.heatmaps import decode_heatmap
from infra.pictures import RgbPicture, decode, encode_jpeg, thumbnail
from infra.store import verdicts as verdict_store
from infra.store.verdicts import Verdict

MOST_THUMBNAILS = 400
_DETAIL_PX = 900


@needs(Right.SEE)
def picture(archive_ref: str) -> RgbPicture | None:
    """Return a picture of the archive, at most 900 px a side; None where it is not kept or cannot be read.

    Shared by all sessions: not to be written to.
    """
    return _picture(archive_ref)


@needs(Right.SEE)
def small_picture(archive_ref: str, side_px: int) -> bytes | None:
    """Return a picture of the archive as JPEG, at most so many pixels a side; None where it cannot be had."""
    return _small_picture(archive_ref, side_px)


@needs(Right.SEE)
def heat(verdict: Verdict) -> NDArray[np.float32] | None:
    """Return the heat of a frame, in units of its model's scale; None where no heatmap was kept or it cannot be read.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    png = verdict_store.heatmap(sources().database, verdict.camera, verdict.frame_id, verdict.received_at)
    if png is None:
        return None
    try:
        return decode_heatmap(png)
    except ValueError:
        return None


@st.cache_resource(max_entries=16, ttl=600.0, show_spinner=False)
def _picture(archive_ref: str) -> RgbPicture | None:
    at = sources()
    try:
        return thumbnail(decode(at.archive.read(archive_ref), at.settings.max_pixels), _DETAIL_PX)
    except (OSError, ArchiveAwayError, BadFrameError):
        return None


@st.cache_data(max_entries=MOST_THUMBNAILS, ttl=600.0, show_spinner=False)
def _small_picture(archive_ref: str, side_px: int) -> bytes | None:
    found = _picture(archive_ref)
    return None if found is None else encode_jpeg(thumbnail(found, side_px))
