"""Side by side with plain websockets, in one run: ratios and medians, never absolute times."""
