"""Frames that cameras and inspection cells post by HTTP."""
