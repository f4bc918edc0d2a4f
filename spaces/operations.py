"""Operations by name: the check of `op_names`, to which a space is restricted, and what each operation is."""

Description = tuple[float, ...]
"""(convolves, rings around the pixel, channel by channel, pools, by the largest, nothing): what an operation does, weighted."""

_PLAIN: Description = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_DESCRIBED: dict[str, Description] = {
    "none": (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    "skip_connect": _PLAIN,
    "nor_conv_1x1": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "nor_conv_3x3": (1.0, 0.4, 0.0, 0.0, 0.0, 0.0),
    "avg_pool_3x3": (0.0, 0.0, 0.0, 0.7, 0.0, 0.0),
    "conv1x1-bn-relu": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "conv3x3-bn-relu": (1.0, 0.4, 0.0, 0.0, 0.0, 0.0),
    "maxpool3x3": (0.0, 0.0, 0.0, 0.7, 0.3, 0.0),
    "conv3x3": (1.0, 0.4, 0.0, 0.0, 0.0, 0.0),
    "sep3x3": (1.0, 0.4, 0.4, 0.0, 0.0, 0.0),
    "conv5x5": (1.0, 0.8, 0.0, 0.0, 0.0, 0.0),
    "sep5x5": (1.0, 0.8, 0.4, 0.0, 0.0, 0.0),
    "avgpool3x3": (0.0, 0.0, 0.0, 0.7, 0.0, 0.0),
}


def described(names: tuple[str, ...]) -> tuple[Description, ...]:
    """Returns a place for each operation, so that like ones lie close: a convolution by a convolution, not by a skip.

    The distances (1 between a convolution and a skip, .4 between two kernel sizes, .7 to a pooling) were chosen by hand.

    Args:
      names: operations of any space here; "" for a label that is none.
    """
    return tuple(_DESCRIBED.get(name, _PLAIN) for name in names)


def check(space: str, op_names: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Refuses a restriction that is none.

    Args:
      space: the space's name.
      op_names: the operations that it shall allow.
      known: all operations that it has.

    Raises:
      ValueError: no tuple, no operation, a repeated or an unknown one.
    """
    listed = ", ".join(known)
    if not isinstance(op_names, tuple):
        raise ValueError(f"{space}: op_names is a {type(op_names).__name__}; a tuple of names is needed")
    if not op_names:
        raise ValueError(f"{space}: op_names is empty; some of {listed}")
    for position, name in enumerate(op_names):
        if name not in known:
            raise ValueError(f"{space}: unknown operation {name!r} at place {position} of op_names; one of {listed}")
        if name in op_names[:position]:
            raise ValueError(f"{space}: operation {name!r} is repeated at place {position} of op_names")
