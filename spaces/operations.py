"""The check of `op_names`, the operations that a space is restricted to."""


def check(space: str, op_names: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Refuses a restriction that is none.

    Args:
      space: the space's name.
      op_names: the operations that it shall allow.
      known: all operations that it has.

    Raises:
      ValueError: no operation, a repeated or an unknown one.
    """
    listed = ", ".join(known)
    if not op_names:
        raise ValueError(f"{space}: op_names is empty; some of {listed}")
    for position, name in enumerate(op_names):
        if name not in known:
            raise ValueError(f"{space}: unknown operation {name!r} at place {position} of op_names; one of {listed}")
        if name in op_names[:position]:
            raise ValueError(f"{space}: operation {name!r} is repeated at place {position} of op_names")
