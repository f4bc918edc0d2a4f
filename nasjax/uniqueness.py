"""What tells that a query is new: `--unique` on the command line, and how results call it.

By default the space's canonical key. NAS-Bench-201 also has the classes by which its authors count: a space with a setting
`classes` that may be "published".
"""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:  # the command line leaves jax alone until a command needs it
    from nasjax.base import Space

Unique: TypeAlias = Literal["config", "key", "published"]


def applied(space: "Space", unique: Unique) -> "Space":
    """Returns the space in which queries are told apart so.

    Args:
      space: of a config.
      unique: "config" = as the space says already; "key": exact classes; "published": published ones.

    Raises:
      ValueError: "published", and the space has no such classes.
    """
    if unique == "config" or (unique == "key" and not hasattr(space, "classes")):
        return space
    if not hasattr(space, "classes"):
        raise ValueError(f"--unique published: the space {space.name} has no published classes, as nasbench201 has")
    made: Space = dataclasses.replace(_as_dataclass(space), classes="exact" if unique == "key" else unique)
    return made


def named(space: "Space") -> Literal["key", "published"]:
    """Returns what tells queries apart in a space, as `summary.json` says it."""
    return "published" if getattr(space, "classes", "") == "published" else "key"


def _as_dataclass(space: "Space") -> Any:
    return space
