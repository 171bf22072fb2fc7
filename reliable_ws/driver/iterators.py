"""Iterators over the messages of one connection: one at a time."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Iterators"]


class Iterators:
    """Says which iterator may take the next message.

    Two in use at the same time would share the messages between them, out of order. One of them is
    refused: the second one if the first one waits for a message, else the first one when it wants
    the next message. A new iterator takes over from one that its loop has left.
    """

    __slots__ = ("newest", "waiting")

    def __init__(self) -> None:
        self.newest = 0
        "The number of the iterator that may go on."
        self.waiting = False
        """Whether it waits for a message. It sets this itself, after it has looked whether it is
        the newest one: this costs no call for each message."""

    def begin(self) -> int:
        """Return the number of a new iterator.

        Raises:
            RuntimeError: Another one waits for a message.
        """
        if self.waiting:
            raise RuntimeError(
                "another task or thread iterates over this connection: only one gets its messages "
                "in order. Let that one hand them on, for example through a queue"
            )
        self.newest += 1
        return self.newest

    def refuse(self) -> NoReturn:
        """Refuse an iterator that is not the newest one.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(
            "another iterator over this connection was begun since: only one gets its messages "
            "in order. Let that one hand them on, for example through a queue"
        )
