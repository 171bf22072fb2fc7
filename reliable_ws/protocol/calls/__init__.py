"""Calls: requests, replies, faults and streams, numbered beside the messages (CALL-1)."""
