"""Frames in: cameras, folders and a simulated camera become messages on the frames bus."""
