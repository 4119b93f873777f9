"""The one exception that means: the input is wrong, and here is what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that the user gave cannot be used. The message is one line with the remedy.

    The command line prints the message and exits with code 2; a library caller can catch it.
    """

    def __init__(self, message: str) -> None:
        # What is quoted from files and other libraries may have line breaks.
        super().__init__(" ".join(message.split()))


class Diverged(InputError):
    """Training whose numbers are no longer finite.

    Attributes:
        iteration: the first one that was seen to be so, of the whole run.
    """

    def __init__(self, iteration: int, what: str) -> None:
        super().__init__(
            f"the training diverged: {what} at iteration {iteration}; lower train.lr or train.clip"
        )
        self.iteration = iteration


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had too little memory; each says so in its own way."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"OutOfMemoryError", "MemoryError"}) or "can't allocate memory" in str(
        error
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for a misspelt name: the nearest known one, or all of them."""
    known = sorted(known)
    match = difflib.get_close_matches(name, known, n=1)
    if match:
        return f"did you mean {match[0]!r}?"
    return f"choose from: {', '.join(known)}"
