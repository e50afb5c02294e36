"""The ground floor that everything else stands on.

Messages, settings, errors, the frames bus, the store, live state and the archive. Imports run downwards only: nothing here
imports ingest, scorer, trainer or dashboard.
"""
