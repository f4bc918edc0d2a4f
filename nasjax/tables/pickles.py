"""Data in Python's pickle format, read without executing anything.

A pickle is a program for a stack machine. This machine knows containers, numbers and texts, and of all that such a program
may call just three names, which NATS-Bench's files use: `collections.OrderedDict` (a dict here), `numpy.dtype` and
`numpy.core.multiarray.scalar` (a Python number here). Every other name or instruction is refused, and no memory is
taken on the word of a file: what is made is at most in proportion to its bytes.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

Data = Any
"""dict, list, tuple, set, frozenset, str, bytes, int, float, bool or None."""

_KINDS = {"f2": "e", "f4": "f", "f8": "d", "b1": "?"}
_KINDS |= {
    f"{kind}{size}": code
    for kind, codes in (("i", "bhiq"), ("u", "BHIQ"))
    for size, code in zip((1, 2, 4, 8), codes, strict=True)
}
"""NumPy's scalars as `struct` writes them."""


class _Name(NamedTuple):
    """One of the three names."""

    module: str
    name: str


_DICT = _Name("collections", "OrderedDict")
_DTYPE = _Name("numpy", "dtype")
_SCALAR = _Name("numpy.core.multiarray", "scalar")


class _Dtype:
    """A `numpy.dtype` of numbers: its kind and, by `BUILD`, its byte order."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.order = "<"


class _Mark:
    """Where a container's items begin on the stack."""


_MARK = _Mark()


def loads(data: bytes, what: str) -> Data:
    """Returns the object of a pickle of protocol 2 to 5.

    Args:
      data: the whole pickle.
      what: its name, for errors.

    Raises:
      ValueError: it names something else than the three, has an instruction that is not read, or is damaged; says where.
    """
    machine = _Machine(data)
    try:
        return machine.run()
    except _Refused as error:
        raise ValueError(f"{what}: byte {machine.start}: {error}") from error
    except (IndexError, KeyError, TypeError, ValueError, struct.error, AttributeError) as error:
        raise ValueError(f"{what}: byte {machine.start}: a damaged pickle") from error


class _Refused(Exception):  # noqa: N818 - becomes a ValueError
    """What a pickle asks for and does not get."""


class _Machine:
    """The stack machine."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.start = 0  # of the present instruction
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Data:
        data, steps = self.data, _STEPS
        while True:
            self.start = self.position
            code = data[self.position]
            self.position += 1
            if code == _STOP:
                result = self.stack.pop()
                if self.stack:
                    raise IndexError
                if isinstance(result, _Name | _Dtype | _Mark):
                    raise _Refused(f"the content is {type(result).__name__}, not data")
                return result
            step = steps.get(code)
            if step is None:
                raise _Refused(f"instruction {code:#04x} is not read")
            step(self)

    def take(self, size: int) -> bytes:
        taken = self.data[self.position : self.position + size]
        if len(taken) < size:
            raise _Refused("cut off")
        self.position += size
        return taken

    def number(self, code: str) -> int:
        found: int = struct.unpack("<" + code, self.take(struct.calcsize(code)))[0]
        return found

    def line(self) -> str:
        end = self.data.index(b"\n", self.position)
        text = self.data[self.position : end].decode("ascii")
        self.position = end + 1
        return text

    def items(self) -> list[Any]:
        """What stands above the last mark; mark and items are taken off."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def named(self, module: str, name: str) -> None:
        found = _Name(module, name)
        if found not in (_DICT, _DTYPE, _SCALAR):
            raise _Refused(f"it asks for {f'{module}.{name}'[:100]!a}, and nothing of that kind is ever called")
        self.stack.append(found)


def _put(value: Any) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(value)

    return step


def _new(kind: Callable[[], Any]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(kind())

    return step


def _integer(code: str) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(machine.number(code))

    return step


def _long(machine: _Machine) -> None:
    machine.stack.append(int.from_bytes(machine.take(machine.number("B")), "little", signed=True))


def _float(machine: _Machine) -> None:
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


def _text(code: str) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(machine.take(machine.number(code)).decode())

    return step


def _bytes(code: str) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(machine.take(machine.number(code)))

    return step


def _tuple(size: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        stack = machine.stack
        if len(stack) < size or any(item is _MARK for item in stack[-size:]):
            raise IndexError
        stack[-size:] = [tuple(stack[-size:])]

    return step


def _marked(kind: Callable[[list[Any]], Any]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        items = machine.items()
        machine.stack.append(kind(items))

    return step


def _append(machine: _Machine) -> None:
    item = machine.stack.pop()
    _top(machine, list).append(item)


def _appends(machine: _Machine) -> None:
    items = machine.items()
    _top(machine, list).extend(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _top(machine, dict).update([(_plain(key), value)])


def _set_items(machine: _Machine) -> None:
    items = machine.items()
    _top(machine, dict).update(_pairs(items))


def _add_items(machine: _Machine) -> None:
    items = machine.items()
    _top(machine, set).update(map(_plain, items))


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(_plain, items[::2]), items[1::2], strict=True))


def _plain(key: Any) -> Any:
    """A key; hashing one that is nested a million deep would overflow Python's own stack."""
    if not all(
        part is None or isinstance(part, str | bytes | int | float) for part in (key if type(key) is tuple else (key,))
    ):
        raise TypeError
    return key


def _top(machine: _Machine, kind: type) -> Any:
    top = machine.stack[-1]
    if type(top) is not kind:
        raise TypeError
    return top


def _memoize(machine: _Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _remember(code: str) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.memo[machine.number(code)] = machine.stack[-1]

    return step


def _recall(code: str) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(machine.memo[machine.number(code)])

    return step


def _global(machine: _Machine) -> None:
    module = machine.line()
    machine.named(module, machine.line())


def _stack_global(machine: _Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError
    machine.named(module, name)


def _reduce(machine: _Machine) -> None:
    """Calls one of the three names, which is to say: makes the plain thing that stands for its result."""
    arguments, called = machine.stack.pop(), machine.stack.pop()
    if type(called) is not _Name or type(arguments) is not tuple:
        raise TypeError
    if called == _DICT and not arguments:
        machine.stack.append({})
    elif called == _DTYPE and arguments and type(arguments[0]) is str and arguments[0] in _KINDS:
        machine.stack.append(_Dtype(arguments[0]))
    elif called == _SCALAR and len(arguments) == 2 and type(arguments[0]) is _Dtype:
        kind, content = arguments
        machine.stack.append(struct.unpack(kind.order + _KINDS[kind.kind], content)[0])
    else:
        raise _Refused("a call that makes no dict, no kind of number and no number")


def _build(machine: _Machine) -> None:
    """The state of a kind of number: its byte order."""
    state = machine.stack.pop()
    kind = machine.stack[-1]
    if not isinstance(kind, _Dtype) or type(state) is not tuple or state[1] not in ("<", ">", "|", "="):
        raise _Refused("a state for something that has none")
    kind.order = ">" if state[1] == ">" else "<"


def _nothing(size: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.take(size)

    return step


_STOP = ord(".")

_STEPS: dict[int, Callable[[_Machine], None]] = {
    0x80: _nothing(1),  # PROTO
    0x95: _nothing(8),  # FRAME
    ord("("): _put(_MARK),
    ord("N"): _put(None),
    0x88: _put(True),
    0x89: _put(False),
    ord("K"): _integer("B"),
    ord("M"): _integer("H"),
    ord("J"): _integer("i"),
    0x8A: _long,
    ord("G"): _float,
    0x8C: _text("B"),
    ord("X"): _text("I"),
    0x8D: _text("Q"),
    ord("C"): _bytes("B"),
    ord("B"): _bytes("I"),
    0x8E: _bytes("Q"),
    ord(")"): _put(()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): _marked(tuple),
    ord("]"): _new(list),
    ord("l"): _marked(list),
    ord("a"): _append,
    ord("e"): _appends,
    ord("}"): _new(dict),
    ord("d"): _marked(_pairs),
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x8F: _new(set),
    0x90: _add_items,
    0x91: _marked(lambda items: frozenset(map(_plain, items))),
    0x94: _memoize,
    ord("q"): _remember("B"),
    ord("r"): _remember("I"),
    ord("h"): _recall("B"),
    ord("j"): _recall("I"),
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    ord("b"): _build,
}
"""What the machine does, by instruction; protocols 2 to 5 write numbers, texts and containers with these."""
