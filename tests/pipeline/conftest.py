"""Fixtures of several files here."""

from sending import sender, server

__all__ = ["sender", "server"]
