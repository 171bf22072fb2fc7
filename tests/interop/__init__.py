"""Conversations with peers that were written by others."""
