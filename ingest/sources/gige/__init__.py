"""GigE Vision cameras through Aravis, in a process of its own: Debian's Python has the bindings; a crash there stays there."""
