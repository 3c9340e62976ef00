"""The command `course`: one subcommand per thing a person does. The work is done in the packages it calls."""

import argparse
import sys
from pathlib import Path

# Imports of the working packages stand inside the functions: `course doctor` must run where they cannot be imported.


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `course data | head`
        sys.stderr.close()
        return 0


def _doctor(options) -> int:
    from course.doctor import report

    return report()


def _data(options) -> int:
    from course.data.command import data_command

    return data_command(options.name)


def _build(options) -> int:
    from course.authoring import build_command

    return build_command(options.path, check=options.check)


def _release(options) -> int:
    from course.authoring import release_command

    return release_command(options.out, options.homework)


def _check(options) -> int:
    from course.grading import check_command

    return check_command(options.notebook)


def _grade(options) -> int:
    from course.grading import grade_command

    return grade_command(
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


def _models(options) -> int:
    from course.models.pages import models_command

    return models_command(options.name, options.compare)


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
    return bench_command(options.name, options.only, options.json, **flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="course", description="A teaching course on vision transformers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    command("doctor", _doctor, "what this machine has, line by line, with the remedy; exit 1 if the course cannot run")

    data = command("data", _data, "which data sets are here; with a name, fetch that one")
    data.add_argument("name", nargs="?")

    build = command("build", _build, "percent sources to notebooks; without a path, all whose source changed")
    build.add_argument("path", nargs="*", type=Path)
    build.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what differs")

    check = command("check", _check, "every check of a student's notebook: points and sentences")
    check.add_argument("notebook", type=Path)

    release = command("release", _release, "write the tree a student receives: no solution, no hidden input")
    release.add_argument("out", type=Path)
    release.add_argument("homework", nargs="*", help="hw1 ...; without it, all")

    grade = command("grade", _grade, "grade a class: grades.csv, a gradebook, a page for each student and one for all")
    grade.add_argument("submissions", type=Path, help="folder or zip: STUDENT/hwN_topic/hwN_topic.ipynb or STUDENT.ipynb")
    grade.add_argument("-a", "--assignment", required=True, help="hwN_topic, or hwN")
    grade.add_argument("-o", "--out", required=True, type=Path)
    grade.add_argument("--workers", type=int, help="submissions graded at a time (default: one a core)")
    grade.add_argument("--scheduler", metavar="ADDRESS", help="run them on the Dask cluster there: tcp://HOST:PORT")
    grade.add_argument(
        "--seed", type=int, help="of the hidden inputs (default: that of the earlier run in OUT, else a fresh secret one)"
    )
    grade.add_argument(
        "--again", action="store_true", help="grade everybody again, on fresh hidden inputs; marks given by a person stay"
    )
    grade.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for a cell or an exercise")
    grade.add_argument("--memory", type=int, default=4 << 30, metavar="BYTES", help="for a submission")
    grade.add_argument("--sandbox", choices=("auto", "none"), default="auto")
    grade.add_argument("--config", type=Path, metavar="FILE", help="due dates (default: solutions/grading.toml)")
    grade.add_argument("--gradebook", metavar="URL", help="a database in place of OUT/gradebook.db")
    grade.add_argument("--roster", type=Path, metavar="CSV", help="the students, as Canvas or Moodle exports them")
    models = command("models", _models, "the table of models; with a name, its figures and its source on one page")
    models.add_argument("name", nargs="?")
    models.add_argument("--compare", metavar="OTHER", help="what differs from this one, instead")

    train = command("train", _train, "train a model and keep checkpoint, figures and curve; under torchrun, on many GPUs")
    train.add_argument("model", help="one of `course models`")
    train.add_argument("spec", nargs="*", metavar="KEY=VALUE", help="other than the model's own spec: depth=3")
    train.add_argument("--data", default="cifar10", metavar="NAME", help="NAME, or NAME:QUESTION (default: cifar10)")
    train.add_argument("--recipe", metavar="NAME", help="default: gpu where there is one, else cpu_minute")
    train.add_argument("--epochs", type=int, help="in place of the recipe's length")
    train.add_argument("--steps", type=int, help="likewise")
    train.add_argument("--batch-size", type=int, help="in place of the recipe's; its learning rate follows")
    train.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    train.add_argument("--out", type=Path, metavar="DIR", help="where it is kept; there already: go on from it")
    train.add_argument("--device", choices=("cpu", "cuda"))

    bench = command("bench", _bench, "measured comparisons, each with a ratio against a named peer; without a name, all")
    names = "cifar, grading, hostile_text, kernels, large_class, lessons, models or training_speed"
    bench.add_argument("name", nargs="?", help=names)
    only = "cifar, hostile_text, lessons, models: only these; the others: how many"
    bench.add_argument("only", nargs="*", metavar="WHICH", help=only)
    bench.add_argument("--compiled", action="store_const", const=True, help="models: both through torch.compile")
    bench.add_argument("--workers", type=int, help="large_class: submissions graded at a time (default: one a core)")
    bench.add_argument("--timeout", type=float, metavar="SECONDS", help="grading, large_class: for a cell or an exercise")
    bench.add_argument("--data", type=Path, metavar="FILE", help="cifar: images packed by benchmarks/pack_cifar.py")
    bench.add_argument("--seeds", type=int, help="cifar, lessons: how often each is trained (default: 5 and 3)")
    bench.add_argument("--save", action="store_const", const=True, help="cifar: store small weights for the lectures")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
