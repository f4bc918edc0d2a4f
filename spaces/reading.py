"""Reading of architecture strings that come from anywhere: a cursor that says exactly where and why it stopped."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

LONGEST = 4096
"""Characters that any string may have; longer ones are refused before they are looked at."""

_SHOWN = 60


class Reader:
    """A cursor over `spec`, for the space called `space`."""

    def __init__(self, space: str, spec: str, longest: int = LONGEST) -> None:
        """Starts at character 0.

        Raises:
          ValueError: `spec` is no string, or longer than `longest`.
        """
        if not isinstance(spec, str):
            raise ValueError(f"{space}: an architecture is written as a string, got {type(spec).__name__}")
        if len(spec) > longest:
            raise ValueError(
                f"{space}: a string of {len(spec)} characters at character 0; at most {longest} are allowed"
            )
        self.space = space
        self.spec = spec
        self.position = 0

    def expect(self, text: str) -> None:
        """Moves over `text`, which must stand here.

        Raises:
          ValueError: another character stands here, or none.
        """
        for character in text:
            found = self.spec[self.position : self.position + 1]
            if found != character:
                raise self.error("unexpected", found, f"{character!r}", self.position)
            self.position += 1

    def until(self, stops: str) -> str:
        """Returns the characters up to the first of `stops` or the end, and moves there."""
        start = self.position
        while self.position < len(self.spec) and self.spec[self.position] not in stops:
            self.position += 1
        return self.spec[start : self.position]

    def one_of(self, allowed: str) -> str:
        """Returns the character here, one of `allowed`, and moves over it.

        Raises:
          ValueError: another character stands here, or none.
        """
        found = self.spec[self.position : self.position + 1]
        if not found or found not in allowed:
            raise self.error("unexpected", found, ", ".join(map(repr, allowed)), self.position)
        self.position += 1
        return found

    def end(self) -> None:
        """Checks that nothing is left.

        Raises:
          ValueError: text follows.
        """
        if self.position < len(self.spec):
            raise self.error("trailing text", self.spec[self.position :], "the end", self.position)

    def error(self, what: str, found: str, allowed: str, position: int) -> ValueError:
        """Returns the error: what stood where, and what is allowed; escaped and cut, since specs come from anywhere."""
        end = not found and position >= len(self.spec)
        shown = "unexpected end" if end else f"{what} {_shorten(found)}"
        return ValueError(f"{self.space}: {shown} at character {position} of {_shorten(self.spec)}; allowed: {allowed}")


def _shorten(text: str) -> str:
    shown = ascii(text[:_SHOWN])  # up to ten characters for one that has to be escaped
    cut = len(text) > _SHOWN or len(shown) > 2 * _SHOWN
    return shown[: 2 * _SHOWN] + ("…" if cut else "")


class RowError(ValueError):
    """What is wrong with one of many strings; `row` says which, counted from 0."""

    def __init__(self, row: int, error: ValueError) -> None:
        """Says what `error` says."""
        super().__init__(str(error))
        self.row = row


def many(
    specs: Sequence[str],
    pattern: str,
    values: Sequence[Mapping[str, int]],
    one: Callable[[str], npt.NDArray[np.int32]],
) -> npt.NDArray[np.int32]:
    """Returns int32[n, G], what stands in the G groups of a pattern, string by string.

    Args:
      specs: the strings.
      pattern: a regular expression with G groups.
      values: for each group, what its texts mean.
      one: reads a string that the pattern does not fit, or says what is wrong with it.

    Raises:
      RowError: `one` refuses a string.
    """
    compiled = re.compile(pattern)
    read = np.zeros((len(specs), len(values)), np.int32)
    for row, spec in enumerate(specs):
        match = compiled.fullmatch(spec) if isinstance(spec, str) and len(spec) <= LONGEST else None
        found = [value.get(text, -1) for value, text in zip(values, match.groups(), strict=True)] if match else [-1]
        if min(found) >= 0:
            read[row] = found
            continue
        try:
            read[row] = one(spec)
        except ValueError as error:
            raise RowError(row, error) from error
    return read
