"""Messages between the grader and its child process: one byte of kind, a number, a length, then the payload.

A reply carries the number of the request that it answers, so that whatever student code writes into the channel can
at worst take the place of its own answer; it can neither shift later answers nor be mistaken for a verdict, of
which there are none on this channel.

While a request is answered, a stand-in in the child may ask the grader in its turn (`course.grading.run.stand_in`).
"""

import struct

HEADER = struct.Struct("!cII")
READY = b"R"  # request and reply: the child has imported what it needs
RULE = b"L"  # request: `guards.rule`, which holds until the next; reply: empty
MODULES = (
    b"M"  # request: JSON [{name, file, source, is_package}], what cells may import of the student's own; reply: empty
)
CELL = b"C"  # request: JSON {source, label, keep, skip, definitions}; reply: JSON, see `worker._Runner.run`
AT = b"S"  # the child, on its way through a cell: the number of the statement that comes next, as `at`
OBSERVE = b"O"  # request: `calls_to_bytes`; reply: `Observation.to_bytes`
ASK = b"A"  # the child asks; the reply has the child's own number. Both: `course.checks.message.pack`
LARGEST_ASKED = 2**24  # bytes of a question, and of its answer


_AT = struct.Struct("!I")


class BadFrame(Exception):
    """What came is no message of this program."""


class TooLarge(BadFrame):
    """A message announces more bytes than there may be."""


def at(request: int, statement: int) -> bytes:
    """While it answers `request`, the child comes to this statement of the cell."""
    return pack(AT, request, _AT.pack(statement))


def statement(payload: bytes) -> int:
    """What `at` says; 0 where it is something else."""
    return _AT.unpack(payload)[0] if len(payload) == _AT.size else 0


def pack(kind: bytes, number: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, number, len(payload)) + payload


def unpack_first(buffer: bytearray, largest: int, largest_asked: int = 0) -> tuple[bytes, int, bytes] | None:
    """Take the first whole message (kind, number, payload) out of `buffer`; None if it has not all arrived.

    Raises:
        BadFrame: the message is of another kind.
        TooLarge: its payload has more than `largest` bytes, or, where the child asks, than `largest_asked`.
    """
    if len(buffer) < HEADER.size:
        return None
    kind, number, length = HEADER.unpack_from(buffer)
    if kind not in (READY, RULE, MODULES, CELL, AT, OBSERVE, ASK):
        raise BadFrame("it sent something that is no answer")
    if kind == ASK:
        largest = largest_asked
    if length > largest:
        raise TooLarge(f"returned far too much: {largest:,} bytes are accepted")
    if len(buffer) < HEADER.size + length:
        return None
    payload = bytes(buffer[HEADER.size : HEADER.size + length])
    del buffer[: HEADER.size + length]
    return kind, number, payload


def read(file) -> tuple[bytes, int, bytes] | None:
    """The next message from a blocking file; None at its end. For the child, which trusts what it is sent."""
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, number, length = HEADER.unpack(header)
    return kind, number, file.read(length)
