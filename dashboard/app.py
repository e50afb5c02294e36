"""The router: which pages there are, and what they share. Streamlit runs this file on every rerun."""

import cv2
import numpy as np
import streamlit as st
from PIL import Image

from dashboard.views import alerts, live


def main() -> None:
    """Draw the page that the address asks for."""
    st.set_page_config(page_title="differline", page_icon=_icon(), layout="wide")
    alerts_page = st.Page(alerts.page, title="Alerts", icon=":material/notifications:", url_path="alerts")
    live_page = st.Page(
        lambda: live.page(alerts_page), title="Live", icon=":material/videocam:", url_path="live", default=True
    )
    st.navigation([live_page, alerts_page], position="top").run()


def _icon() -> Image.Image:
    """Draw a lens: an icon by name would be fetched from the internet, which a plant may not have."""
    icon = np.zeros((64, 64, 4), np.uint8)
    cv2.circle(icon, (32, 32), 26, (0, 114, 178, 255), 9, cv2.LINE_AA)
    cv2.circle(icon, (32, 32), 10, (213, 94, 0, 255), -1, cv2.LINE_AA)
    return Image.fromarray(icon)


main()
