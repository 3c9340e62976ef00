"""The command `course`: one subcommand per thing a person does. The work is done in the packages it calls."""

import argparse
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from course.remembered import Memory, code_and_versions
from course.steps import Steps

# Imports of the working packages stand inside the functions: `course doctor` must run where they cannot be imported.


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if hasattr(options, "spec") and all("=" in word and not word.startswith("-") for word in rest):
        options.spec += rest  # KEY=VALUE behind an option, where the usage shows it and argparse does not look
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.remember = arguments is None  # a function that is called, by a test for example, works everything out anew
    try:
        return options.run(options)
    except _Stopped as stopped:
        print(f"{stopped.command}: stopped; nothing is half-written, run it again", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `course data | head`
        sys.stderr.close()
        return 0


class _Stopped(BaseException):
    """A command was told to end, by signal `number`; what it had begun has been undone."""

    def __init__(self, command: str, number: int):
        super().__init__(command, number)
        self.command, self.number = command, number


class _StoppableSteps(Steps):
    """The steps of a command that Ctrl-C and SIGTERM end: the first of them raises `_Stopped`.

    The others are ignored: nothing disturbs what is then undone. Some libraries swallow every
    exception, so the next step raises it again.
    """

    _number = 0

    def __enter__(self) -> "_StoppableSteps":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # only there can a signal be handled
            numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
            self._before = {n: signal.signal(n, self._stop) for n in numbers}
        return self

    def __call__(self, what: str, number: int = 0, total: int = 0) -> None:
        self._raise_if_stopped()
        super().__call__(what, number, total)

    def __exit__(self, kind, *_) -> None:
        super().__exit__()
        for n, handler in self._before.items():
            signal.signal(n, handler)
        if kind is None:
            self._raise_if_stopped()

    def _stop(self, number: int, frame) -> None:
        for n in self._before:
            signal.signal(n, signal.SIG_IGN)
        self._number = number
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self._number:
            raise _Stopped(self.command, self._number)


def _doctor(options) -> int:
    from course.doctor import report

    return report()


def _progress(options) -> int:
    from course.progress import progress_command

    return progress_command(options.folder)


def _data(options) -> int:
    from course.data.command import data_command

    return data_command(options.name)


def _new(options) -> int:
    from course.authoring import new_command

    return new_command(options.name)


def _build(options) -> int:
    command = "course build --check" if options.check else "course build"
    with _StoppableSteps(command) as steps:
        steps("loading PyTorch")
        from course.authoring import build_command

        return build_command(options.path, options.check, steps, options.remember)


def _release(options) -> int:
    from course.authoring.repository import AuthoringError, find_root, require_releasable

    try:  # what can be said at once, before the packages that take seconds
        require_releasable(options.out, options.homework, find_root())
    except (AuthoringError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    with _StoppableSteps("course release") as steps:
        steps("loading PyTorch")
        from course.authoring import release_command

        return release_command(options.out, options.homework, steps, options.remember)


def _site(options) -> int:
    with _StoppableSteps("course site") as steps:
        steps("loading PyTorch")
        from course.site import site_command

        return site_command(options.out, steps, options.remember, options.instructor)


def _slides(options) -> int:
    with _StoppableSteps("course slides") as steps:
        steps("starting")
        from course.slides import slides_command

        return slides_command(options.lecture, options.out, steps)


def _check(options) -> int:
    from course.grading import check_command

    return check_command(options.notebook)


def _grade(options) -> int:
    # Who calls `main` from code of their own finds the grader in that very process.
    if options.remember and hasattr(sys.modules["__main__"], "__file__") and sys.platform == "linux":
        from course.grading import grade_apart as grade
    else:
        from course.grading import grade_command as grade
    return grade(
        options.submissions,
        options.assignment,
        options.out,
        workers=options.workers,
        scheduler=options.scheduler,
        seed=options.seed,
        timeout=options.timeout,
        memory=options.memory,
        sandbox=options.sandbox,
        again=options.again,
        config=options.config,
        gradebook=options.gradebook,
        roster=options.roster,
    )


def _name_mistake(options) -> int:
    with Steps("course name-mistake") as steps:
        steps("loading PyTorch")
        from course.grading.name_mistake import name_mistake
    return name_mistake(options.group, options.sentence, options.out, options.yes)


def _formgrader(options) -> int:
    from course.grading import formgrader_command

    return formgrader_command(
        options.out, port=options.port, browser=not options.no_browser, gradebook=options.gradebook
    )


def _models(options) -> int:
    whole_table = options.name is None
    memory = Memory.beside_the_package() if options.remember and whole_table else None
    key = code_and_versions() if memory else ""
    table = memory.recall("models", key) if memory else None
    if table is not None:
        print(table)
        return 0
    with Steps("course models") as steps:
        if whole_table:
            steps("loading PyTorch")
        from course.models.pages import models_command

        keep = (lambda text: memory.keep("models", key, text)) if memory else None
        return models_command(options.name, options.compare, steps, keep)


def _train(options) -> int:
    from course.training.command import train_command

    return train_command(
        options.model,
        options.spec,
        data=options.data,
        recipe=options.recipe,
        epochs=options.epochs,
        steps=options.steps,
        batch_size=options.batch_size,
        seed=options.seed,
        out=options.out,
        device=options.device,
    )


def _bench(options) -> int:
    from course.bench import bench_command

    flags = {"compiled": options.compiled, "workers": options.workers, "timeout": options.timeout}
    flags |= {"data": options.data, "seeds": options.seeds, "save": options.save}
    with Steps(" ".join(filter(None, ["course bench", options.name]))) as steps:
        steps("loading PyTorch and what it is compared with")
        return bench_command(options.name, options.only, options.json, steps, **flags)


def _parser() -> argparse.ArgumentParser:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="course",
        usage="course COMMAND ...",
        description="A teaching course on vision transformers.",
        formatter_class=as_written,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog="course", help=argparse.SUPPRESS)
    for_readers: list[str] = []
    for_instructors: list[str] = []

    def command(listed: list[str], name: str, run, help: str) -> argparse.ArgumentParser:
        width = max(shutil.get_terminal_size().columns - 2, 40)
        listed.append(textwrap.fill(f"    {name:<14}{help}", width, subsequent_indent=" " * 18))
        sub = commands.add_parser(name, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    _add_commands_of_readers(partial(command, for_readers))
    _add_commands_of_instructors(partial(command, for_instructors))
    for_readers.insert(0, "for everybody who takes the course:")
    for_instructors.insert(0, "for instructors and authors:")
    end = "`course COMMAND --help` says more of one."
    parser.epilog = "\n\n".join(["\n".join(for_readers), "\n".join(for_instructors), end])
    return parser


def _add_commands_of_readers(command: Callable[..., argparse.ArgumentParser]) -> None:
    command("doctor", _doctor, "what this machine has, line by line, with the remedy; exit 1 if the course cannot run")

    progress = command("progress", _progress, "what is right, begun and open in your homeworks, and what to do next")
    progress.add_argument("folder", nargs="?", type=Path, help="where they lie (default: assignments/ of the course)")

    check = command("check", _check, "every check of your homework, as grading runs them: points and sentences")
    check.add_argument("notebook", type=Path, help="hwN_topic.ipynb, or its folder")

    data = command("data", _data, "which data sets are here; with a name, fetch that one")
    data.add_argument("name", nargs="?")

    models = command("models", _models, "the table of models; with a name, its figures and its source on one page")
    models.add_argument("name", nargs="?")
    models.add_argument("--compare", metavar="OTHER", help="what differs from this one, instead")

    _add_train_options(
        command("train", _train, "train a model and keep checkpoint, figures and curve; under torchrun, on many GPUs")
    )


def _add_commands_of_instructors(command: Callable[..., argparse.ArgumentParser]) -> None:
    release = command("release", _release, "write the tree a student receives: no solution, no hidden input")
    release.add_argument("out", type=Path)
    release.add_argument("homework", nargs="*", help="hw1 ...; without it, all")

    _add_grade_options(
        command("grade", _grade, "grade a class: grades.csv, a gradebook, a page for each student and one for all")
    )

    name = command("name-mistake", _name_mistake, "give what a group of report.html does its sentence, in exercises.py")
    name.add_argument("group", help="as the report calls it: attention_scores-3f9a1c")
    name.add_argument("sentence", help="what students should read")
    name.add_argument("-o", "--out", required=True, type=Path, help="the folder that `course grade` wrote")
    name.add_argument("--yes", action="store_true", help="do not ask; the code has been read in the report")

    formgrader = command("formgrader", _formgrader, "nbgrader's own page on a graded class, to mark written questions")
    formgrader.add_argument("out", type=Path, help="the folder that `course grade` wrote with -o")
    formgrader.add_argument("--port", type=int, help="default: 8888, or the next free one")
    formgrader.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    formgrader.add_argument("--gradebook", metavar="URL", help="as given to `course grade`")

    new = command("new", _new, "a small homework that is complete as it stands, for its author to change")
    new.add_argument("name", help="hwN_topic")

    build = command("build", _build, "percent sources to notebooks; without a path, all whose source changed")
    build.add_argument("path", nargs="*", type=Path)
    build.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what differs")

    site = command("site", _site, "the course as web pages, from the notebooks as they are; no network")
    site.add_argument("out", nargs="?", type=Path, help="default: build/site, or build/site-instructor")
    site.add_argument("--instructor", action="store_true", help="with answers and rubrics: not for students")

    slides = command("slides", _slides, "lectures as decks of slides, one file each, with speaker's notes; no network")
    slides.add_argument("lecture", nargs="*", metavar="NN", help="05, or its name; without it, all")
    slides.add_argument("-o", "--out", type=Path, help="default: build/slides")

    _add_bench_options(
        command("bench", _bench, "measured comparisons, each with a ratio against a named peer; without a name, all")
    )


def _add_grade_options(grade: argparse.ArgumentParser) -> None:
    grade.add_argument(
        "submissions", type=Path, help="folder or zip: STUDENT/hwN_topic/hwN_topic.ipynb or STUDENT.ipynb"
    )
    grade.add_argument("-a", "--assignment", required=True, help="hwN_topic, or hwN")
    grade.add_argument("-o", "--out", required=True, type=Path)
    grade.add_argument("--workers", type=int, help="submissions graded at a time (default: one a core)")
    grade.add_argument("--scheduler", metavar="ADDRESS", help="run them on the Dask cluster there: tcp://HOST:PORT")
    grade.add_argument(
        "--seed",
        type=int,
        help="of the hidden inputs (default: that of the earlier run in OUT, else a fresh secret one)",
    )
    grade.add_argument(
        "--again",
        action="store_true",
        help="grade everybody again, on fresh hidden inputs; marks given by a person stay",
    )
    grade.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for a cell or an exercise")
    grade.add_argument("--memory", type=int, default=4 << 30, metavar="BYTES", help="for a submission")
    grade.add_argument("--sandbox", choices=("auto", "none"), default="auto")
    grade.add_argument("--config", type=Path, metavar="FILE", help="due dates (default: solutions/grading.toml)")
    grade.add_argument("--gradebook", metavar="URL", help="a database in place of OUT/gradebook.db")
    grade.add_argument("--roster", type=Path, metavar="CSV", help="the students, as Canvas or Moodle exports them")


def _add_train_options(train: argparse.ArgumentParser) -> None:
    train.add_argument("model", help="one of `course models`")
    train.add_argument("spec", nargs="*", metavar="KEY=VALUE", help="other than the model's own spec: depth=3")
    train.add_argument(
        "--data",
        default="cifar10",
        metavar="NAME",
        help="NAME, NAME:QUESTION, or a folder of images: FOLDER/CLASS/* (default: cifar10)",
    )
    train.add_argument("--recipe", metavar="NAME", help="default: gpu where there is one, else cpu_minute")
    train.add_argument("--epochs", type=int, help="in place of the recipe's length")
    train.add_argument("--steps", type=int, help="likewise")
    train.add_argument("--batch-size", type=int, help="in place of the recipe's; its learning rate follows")
    train.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    train.add_argument("--out", type=Path, metavar="DIR", help="where it is kept; there already: go on from it")
    train.add_argument("--device", choices=("cpu", "cuda", "mps"))


def _add_bench_options(bench: argparse.ArgumentParser) -> None:
    names = (
        "cifar, counters, grading, hostile_text, kernels, large_class, lessons, loading, models, photographs, shapes, "
        "startup or training_speed"
    )
    bench.add_argument("name", nargs="?", help=names)
    only = "cifar, hostile_text, lessons, models, photographs, shapes: only these; the others: how many"
    bench.add_argument("only", nargs="*", metavar="WHICH", help=only)
    bench.add_argument("--compiled", action="store_const", const=True, help="models: both through torch.compile")
    bench.add_argument("--workers", type=int, help="large_class: submissions graded at a time (default: one a core)")
    bench.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="grading, large_class: for a cell or an exercise"
    )
    bench.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="cifar: images packed by benchmarks/pack_cifar.py; photographs: a folder",
    )
    bench.add_argument("--seeds", type=int, help="cifar, lessons, photographs: how often each is trained")
    bench.add_argument(
        "--save",
        action="store_const",
        const=True,
        help="cifar, photographs, shapes: store small weights for the lectures",
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")


if __name__ == "__main__":
    sys.exit(main())
