"""The messages on the channel between grader and child."""

import io

import pytest

from course.grading.run import frames


def test_messages_come_out_as_they_went_in_however_they_are_cut():
    sent = [(frames.CELL, 1, b"abc"), (frames.OBSERVE, 2, b""), (frames.CELL, 3, bytes(1000))]
    stream = b"".join(frames.pack(*message) for message in sent)
    buffer, got = bytearray(), []
    for i in range(len(stream)):
        buffer += stream[i : i + 1]
        message = frames.unpack_first(buffer, 1000)
        if message is not None:
            got.append(message)
    assert got == sent and not buffer


def test_too_much_is_refused_from_its_head_alone():
    head = frames.HEADER.pack(frames.CELL, 1, 2**32 - 1)
    with pytest.raises(frames.TooLarge):
        frames.unpack_first(bytearray(head), 10**6)
    with pytest.raises(frames.BadFrame):
        frames.unpack_first(bytearray(b"hello, this is text"), 10**6)


def test_questions_have_a_bound_of_their_own():
    question = frames.pack(frames.ASK, 3, bytes(10))
    assert frames.unpack_first(bytearray(question), 0, 10) == (frames.ASK, 3, bytes(10))
    with pytest.raises(frames.TooLarge):
        frames.unpack_first(bytearray(question), 10**6, 9)
    with pytest.raises(frames.TooLarge):
        frames.unpack_first(bytearray(question), 10**6)


def test_the_child_reads_until_the_end():
    file = io.BytesIO(frames.pack(frames.CELL, 7, b"x") + b"\x00")
    assert frames.read(file) == (frames.CELL, 7, b"x")
    assert frames.read(file) is None
