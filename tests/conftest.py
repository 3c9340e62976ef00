"""The order in which the files of tests start, for a run on several processes."""

# What takes longest, first: a long file that starts last is waited for by one process alone, while the others are
# through. Measured in `benchmarks/README.md`; a file that is not named here comes after these.
LONGEST_FIRST = [
    "tests/models/test_every_model.py",
    "tests/grading/test_attacks.py",
    "tests/grading/test_kill.py",
    "tests/test_mistakes.py",
    "tests/grading/test_sample_class.py",
    "tests/grading/test_sandbox.py",
    "tests/authoring/test_repository.py",
    "tests/grading/test_every_homework.py",
    "tests/grading/test_cluster.py",
    "tests/grading/test_run.py",
    "tests/grading/test_fuzz.py",
    "tests/grading/test_provisioner.py",
    "tests/training/test_killed.py",
    "tests/test_processors.py",
    "tests/test_bench.py",
    "tests/models/test_sizes.py",
    "tests/grading/test_grade.py",
    "tests/grading/test_stand_ins.py",
    "tests/authoring/test_build.py",
    "tests/test_bench_cifar.py",
    "tests/training/test_finetune.py",
    "tests/training/test_notebook.py",
]


def pytest_collection_modifyitems(items) -> None:
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))
