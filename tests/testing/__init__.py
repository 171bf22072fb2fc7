"""Tests of reliable_ws.testing."""
