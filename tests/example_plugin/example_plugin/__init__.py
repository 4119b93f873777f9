"""A strategy and a stream of a third party: the entry points name this, the classes are beside."""

from .mirrors import MirrorOnly, stream

__all__ = ["MirrorOnly", "stream"]
