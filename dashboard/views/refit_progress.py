"""How far it is to the next refit of a product, in a line or two."""

import streamlit as st

from dashboard import words
from dashboard.sources import sources
from infra.clock import utc_now
from infra.refit_due import Due, calibration_frames_needed
from infra.store.promotions import ModelRow


def show_progress(due: Due) -> None:
    """Draw it; every word of it is our own."""
    settings = sources().settings
    wanted = settings.refit_after_frames
    said = f"{due.unknown:,} of {wanted:,} new released pictures until the next refit"
    if due.reasons:
        said = f"**A refit is due now**: {'; '.join(due.reasons)}"
    st.progress(min(1.0, due.unknown / wanted), text=said)
    st.caption(" · ".join(_about(due, settings.refit_after_days)))


def _about(due: Due, after_days: float) -> list[str]:
    if due.newest is None:
        return ["there is no model yet", f"{due.released:,} pictures are released"]
    newest = due.newest
    about = [f"version {newest.version}, the newest, was learned {words.age(utc_now() - newest.registered_at)}"]
    if not due.reasons:
        about[0] += f"; due after {after_days:g} days once a picture was released"
    if not due.manifest_read:
        about.append("its pictures are not known here, so all released ones count as new")
    about.append(_calibration(newest))
    return about


def _calibration(newest: ModelRow) -> str:
    said = f"calibrated on {newest.calibration_frames:,} frames"
    if newest.attainable_rate <= newest.false_alarm_rate:
        return f"{said}, enough for the {newest.false_alarm_rate:.3g} false alarms asked for"
    needed = calibration_frames_needed(newest.false_alarm_rate)
    return (
        f"{said}, which promise {newest.attainable_rate:.3g} false alarms at best: "
        f"the {newest.false_alarm_rate:.3g} asked for needs {needed:,}"
    )
