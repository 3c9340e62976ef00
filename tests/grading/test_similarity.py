"""Who is alike: copies are found however they are dressed up, a class that writes alike is left in peace."""

import random

import pytest

from course.grading.read.merge import ShownCell
from course.grading.report import similarity
from course.grading.report.similarity import OTHER, Work, own_work, similar_submissions
from tests.grading.cpu_time import cpu_seconds

OPERATIONS = [
    "roll",
    "flip",
    "sum",
    "mean",
    "exp",
    "cumsum",
    "softmax",
    "relu",
    "tanh",
    "transpose",
    "reshape",
    "clone",
    "norm",
    "amax",
    "argsort",
]


def program(seed: int, lines: int = 12) -> str:
    """A function that no other seed's resembles."""
    draw = random.Random(seed)
    number = lambda: draw.randint(0, 99)
    body = [
        f"    part_{k} = torch.{draw.choice(OPERATIONS)}(x{draw.choice('+-*/')}{number()}, {number()})"
        f" {draw.choice(['+', '-', '*', '@'])} x.{draw.choice(OPERATIONS)}(-{draw.randint(0, 99)})"
        for k in range(lines)
    ]
    return "\n".join(["def answer(x):", *body, "    return part_0"])


def students(codes) -> list[Work]:
    return [Work(f"s{i}", f"s{i}", code if isinstance(code, dict) else {"first": code}) for i, code in enumerate(codes)]


def names(similar) -> list[tuple[str, str]]:
    return [(pair.first.student, pair.second.student) for pair in similar.pairs]


def test_work_of_ones_own_is_not_alike():
    assert names(similar_submissions(students(program(seed) for seed in range(30)), [])) == []


def test_a_copy_is_found_with_other_names_comments_and_spaces():
    renamed = program(3).replace("part_", "mine_").replace("(x", "(values").replace("answer(x)", "answer(values)")
    dressed = renamed.replace("\n", "  # all mine\n\n").replace(" + ", "+")
    similar = similar_submissions(students([*(program(seed) for seed in range(10)), dressed, program(3)]), [])
    assert set(names(similar)) == {("s3", "s10"), ("s3", "s11"), ("s10", "s11")}
    by_pair = dict(zip(names(similar), similar.pairs))
    assert all(pair.share == 1 for pair in similar.pairs)
    assert by_pair["s3", "s11"].same_names == 1 and by_pair["s3", "s10"].same_names < 0.3


@pytest.mark.parametrize("broken", ["if x:\n        a\n    b\n", "%timeit x\n"])
def test_a_copy_is_found_behind_what_is_not_python(broken):
    codes = [program(0), program(1), broken + program(0).replace("part_", "mine_")]
    assert names(similar_submissions(students(codes), [])) == [("s0", "s2")]


def test_one_copied_exercise_is_found_among_many():
    works = students({f"e{k}": program(100 * i + k) for k in range(6)} for i in range(12))
    works[7].code["e2"] = works[1].code["e2"]
    pair = similar_submissions(works, []).pairs[0]
    assert (pair.first.student, pair.second.student) == ("s1", "s7") and pair.share < 0.3
    assert [(part.exercise, part.share) for part in pair.parts] == [("e2", 1.0)]


def test_half_a_copied_answer_has_its_lines_marked():
    ours, theirs = program(1, 16).split("\n"), program(2, 16).split("\n")
    works = students(["\n".join(ours), "\n".join(theirs[:9] + ours[1:13]), program(3), program(4)])
    part = similar_submissions(works, []).pairs[0].parts[0]
    assert part.lines[0] >= set(range(2, 12)) and not part.lines[0] & set(range(14, 18))
    assert part.lines[1] >= set(range(10, 20)) and not part.lines[1] & set(range(7))


def test_what_the_course_gave_and_what_many_write_accuses_nobody():
    given, popular = program(1), program(2)
    works = students([f"{given}\n\n{popular}\n\n{program(10 + i, 3)}" for i in range(40)])
    assert names(similar_submissions(works, [given])) == []
    few = students([f"{given}\n{program(10 + i, 3)}" for i in range(2)])
    assert names(similar_submissions(few, [])) != [] and names(similar_submissions(few, [given])) == []


def test_a_short_right_answer_accuses_nobody_even_in_a_class_of_two():
    line = "def answer(q, k, v):\n    return torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, dim=-1) @ v"
    assert names(similar_submissions(students([line, line, "pass"]), [])) == []


@pytest.mark.parametrize("codes", [[], [""], ["", ""], [{}, {}], [program(1)]])
def test_a_class_without_anything_to_compare(codes):
    assert similar_submissions(students(codes), []).pairs == ()


def test_more_pairs_than_are_listed(monkeypatch):
    monkeypatch.setattr(similarity, "MOST_PAIRS", 2)
    similar = similar_submissions(students([program(1)] * 4 + [program(9 + i) for i in range(20)]), [])
    assert len(similar.pairs) == 2 and similar.further == 4


HOSTILE = {
    "one token": "x " * 150_000,
    "one operator": "(" * 300_000,
    "no end": "'''" + "a" * 300_000,
    "quotes": "'\"" * 150_000,
    "backslashes": "\\" * 300_000,
    "blank lines": "\n " * 150_000,
    "NUL": "\0" * 300_000,
    "half characters": "x = '\ud800' + \udfff\n" * 20_000,
    "a stair": "".join(f"{' ' * (k % 90)}x\n" for k in range(7_000)),
    "a word": "a" * 300_000,
    "digits": "1_" * 150_000,
    "letters of the world": "é\u0301界\U0001f600\u202e" * 60_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_neither_hangs_nor_blows_up(text):
    shown = [ShownCell("code", text, "first"), *[ShownCell("code", text)] * 50, ShownCell("markdown", text)]
    works = [own_work(f"s{i}", f"s{i}", shown) for i in range(4)]
    assert sum(map(len, works[0].code.values())) <= similarity.LONGEST_WORK + 2 * 50
    assert cpu_seconds(lambda: similar_submissions(works, [])) < 3


def test_a_class_takes_time_by_its_size_not_by_its_square():
    def seconds(count: int) -> float:
        works = students({f"e{k}": program(i + k % 2, 9) for k in range(4)} for i in range(count))
        return cpu_seconds(lambda: similar_submissions(works, []))

    assert seconds(320) < 24 * max(seconds(40), 0.02)  # eight times as many; 64 times as many pairs


def test_copies_are_found_among_a_thousand_in_seconds():
    works = students({f"e{k}": program(9 * i + k, 5) for k in range(3)} for i in range(1000))
    for one, other in ((3, 500), (7, 999)):
        works[other].code.update({name: text.replace("part_", "my") for name, text in works[one].code.items()})
    assert cpu_seconds(lambda: similar_submissions(works, []), runs=1) < 20
    similar = similar_submissions(works, [])
    assert sorted(names(similar)) == [("s3", "s500"), ("s7", "s999")]


def test_the_same_class_gives_the_same_pairs_in_any_order_of_its_students():
    works = students(program(i % 7) for i in range(12))
    told = lambda found: {(frozenset((p.first.student, p.second.student)), p.share, p.same_names) for p in found.pairs}
    similar = similar_submissions(works, [])
    assert similar == similar_submissions(works, []) and told(similar) == told(similar_submissions(works[::-1], []))


def test_what_is_compared_is_the_students_own_code():
    shown = [ShownCell("code", "a = 1"), ShownCell("markdown", "text"), ShownCell("code", "b", "double")]
    shown.append(ShownCell("code", "c"))
    assert own_work("anna", "anna", shown).code == {OTHER: "a = 1\n\nc", "double": "b"}
