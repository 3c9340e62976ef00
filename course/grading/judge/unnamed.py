"""What is kept of a wrong answer that no sentence names: what it did on the hidden inputs, to be compared within the class.

It is for the instructor alone. A function may give its inputs back, so what is kept is as secret as these: it stands in files
that only whoever grades may read, and no page holds any of it.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping

from course.checks.calls import FORBIDDEN, Observation
from course.checks.compare import Expected, faulty_calls, same_fault
from course.grading.judge.exercise import ExerciseResult
from course.grading.run.submission import OUT_OF_MEMORY, Lost
from course.grading.statuses import Outcome

MOST_KEPT = 2**17  # characters of one exercise of one student


def unnamed(
    results: Iterable[ExerciseResult],
    seen: Mapping[str, Observation | Lost],
    expected: Mapping[str, Expected],
    broken: Mapping[str, str],
) -> dict[str, str]:
    """By exercise, what an answer did that is wrong in a way no sentence names, as text.

    Nothing of what hung, crashed, ran out of memory (it would again as a mistake), used what is forbidden, is too large, or went wrong only where accuracy counts.
    """
    kept = {}
    for result in results:
        did = seen.get(result.name)
        without_a_name = result.outcome == Outcome.WRONG and not result.named and result.name not in broken
        if without_a_name and isinstance(did, Observation) and FORBIDDEN not in did.notes:
            text = _as_text(did, expected[result.name])
            if text:
                kept[result.name] = text
    return kept


def _as_text(did: Observation, expected: Expected) -> str:
    try:
        if not faulty_calls(expected, did) or not same_fault(expected, did, did):
            return ""
    except Exception:  # tensors of a kind that cannot be compared
        return ""
    if any(OUT_OF_MEMORY.search(note) for key, note in did.notes.items() if key.endswith(".error")):
        return ""
    if sum(tensor.nbytes for tensor in did.tensors.values()) > 16 * MOST_KEPT:
        return ""
    text = base64.b64encode(zlib.compress(did.to_bytes())).decode()
    return text if len(text) <= MOST_KEPT else ""


def what_it_did(text: str) -> Observation:
    """Of what `unnamed` gave. Raises ValueError if it is something else."""
    try:
        unpacked = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), 32 * MOST_KEPT)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(f"not what an answer did: {error}") from None
    return Observation.from_bytes(unpacked)
