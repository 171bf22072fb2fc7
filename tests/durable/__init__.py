"""Real processes, with real stores, that are killed at any time. See :mod:`.harness`."""
