"""The pages, one file each; app.py decides how they hang together."""
