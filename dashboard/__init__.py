"""What a supervisor sees: the live line and its alerts, in a browser."""
