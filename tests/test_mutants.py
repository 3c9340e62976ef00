"""Every mutant still finds its place; `python -m tests.mutants` then says whether tests catch it."""

from tests.mutants import MUTANTS, ROOT


def test_each_text_stands_exactly_once_and_python_is_left():
    lost = []
    for number, mutant in enumerate(MUTANTS, 1):
        text = (ROOT / mutant.file).read_text()
        if text.count(mutant.before) != 1:
            lost.append(f"{number}: {mutant.file}: {mutant.before.strip()!r}")
        compile(text.replace(mutant.before, mutant.after), mutant.file, "exec")
    assert not lost, "rewrite these in tests/mutants.py: " + "; ".join(lost)


def test_each_mutant_is_another_and_has_tests_that_are_there():
    assert len({(mutant.file, mutant.before, mutant.after) for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert mutant.before != mutant.after
        for test in mutant.tests:
            file, _, name = test.partition("::")
            text = (ROOT / file).read_text()
            assert f"def {name}(" in text if name else text, test
