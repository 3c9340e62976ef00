"""Grading a class, from its files to grades, a gradebook and pages."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from course.atomic import write_atomically
from course.grading.collect.roster import Matched
from course.grading.collect.whose import Found
from course.grading.exam import Exam, prepare_exam
from course.grading.limits import Limits
from course.grading.place import Place, place_for
from course.grading.problems import CannotGrade, writing
from course.grading.record.exports import canvas_csv, grades_csv, moodle_csv
from course.grading.record.gradebook import Marks, shown_place, write_gradebook
from course.grading.record.result import StudentResult, page_names
from course.grading.report import pages as report
from course.grading.report.groups import FILE as GROUPS_FILE
from course.grading.report.groups import Groups, Wrong, group, to_json
from course.grading.report.similarity import Similar, Work, code_of_the_course, own_work, similar_submissions
from course.grading.report.to_mark import notebook_to_mark, place_to_mark
from course.grading.resume import Fingerprints, Kept, Run, find_run, put_back, read_kept, result_to_json
from course.grading.run.child import Stopped
from course.grading.settings import Settings
from course.grading.statuses import Status
from course.grading.student import Judged, ToRun, our_fault, put_together, read_student
from course.steps import Steps, silent

MOST_NAMES = 5  # of students in one line
MOST_GROUPS = 3  # in the summary; the report shows more


@dataclass(frozen=True)
class Request:
    """What ``course grade`` was asked for, checked.

    Args:
        students: those found in the submissions, and those of the roster.
        root, folder: of the homework, see `course.grading.settings.find_homework`.
        The others as in `course.grading.command.grade_command`.
    """

    students: Matched
    root: Path
    folder: Path
    out: Path
    settings: Settings
    limits: Limits
    workers: int
    scheduler: str | None
    seed: int | None
    again: bool


def grade_class(request: Request, steps: Steps) -> None:
    """Grade all submissions into ``request.out``, but for what an earlier run there has graded already.

    Args:
        steps: show what is done before the first student.

    Raises:
        CannotGrade: see there.
    """
    root, folder, out = request.root, request.folder, request.out
    begin = time.monotonic()
    run, said = find_run(out, folder.name, request.seed, request.again)
    place = place_for(request.scheduler, request.workers, request.limits)
    try:
        exam = prepare_exam(root, folder, run.seed, steps)
        steps("opening the gradebook")
        marks = _write_gradebook(out, exam, request.settings, [])
        steps("starting the sandbox")
        place.give(exam)
        steps.close()
        if said:
            print(said, file=sys.stderr)
        if run.is_new:
            with writing(out):
                run.write(out)
        grading = _Class(request, exam, marks, place, run)
        grading.grade()
        grading.write(code_of_the_course(root, folder))
    finally:
        place.close()
    grading.print_summary(time.monotonic() - begin)


@dataclass(frozen=True)
class _Submission:
    """A student whose work is read: the exercises that still hold from an earlier run, and what today's depend on.

    `inputs` says on which hidden inputs the student was graded before, or, once they are chosen, is graded now.
    """

    work: ToRun
    old: Judged | None
    fingerprints: dict[str, str]
    inputs: str


class _Class:
    """The class between the first student and the last."""

    def __init__(self, request: Request, exam: Exam, marks: Marks, place: Place, run: Run):
        self.request, self.settings, self.out = request, request.settings, request.out
        self.students, self.found = request.students, request.students.found
        self.exam, self.marks, self.run = exam, marks, run
        self.place, self.isolation = place, place.isolation
        self.pages = page_names(student.student for student in self.found)
        self.fingerprints = Fingerprints(exam, run, place.limits, self.isolation)
        self.inputs_given = run.seed  # which the place has
        self.results: dict[str, StudentResult] = {}
        self.works: dict[str, Work] = {}
        self.wrong: dict[str, Wrong] = {}
        self.groups = Groups()
        self.taken = 0  # students of whom nothing had to be run again

    def grade(self) -> None:
        """Read and record every student here, and have what they wrote run and judged at the place for it."""
        waiting: dict[Future, _Submission] = {}
        # smoothing=0: the time left follows from the mean; submissions that hang are few and far between.
        with tqdm(
            total=len(self.found), desc=f"Grading {self.exam.topic}", unit="student", smoothing=0, file=sys.stderr
        ) as bar:

            def record_what_is_done() -> None:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    self._record(waiting.pop(future), _judged(future))
                    bar.update()

            for student in self.found:
                submission = self._read(student)
                if submission is None:
                    bar.initial += 1  # took no time, which says nothing about the others
                    bar.update()
                    continue
                submission = self._with_inputs(submission)
                waiting[self.place.submit(submission.work)] = submission
                if len(waiting) >= self.place.at_a_time:
                    record_what_is_done()
            while waiting:
                record_what_is_done()

    def _read(self, student: Found) -> _Submission | None:
        """What is to be run, or None where the student's row is finished already."""
        page = self.pages[student.student]
        work = read_student(student, page, self.exam)
        if isinstance(work, StudentResult):
            self._write_student(work, [], None)
            return None
        fingerprints = self.fingerprints.of(work)
        kept = self._kept(student.student, page)
        # A seed that was asked for holds for everybody.
        counts = kept and (not self.run.is_given or kept.inputs == self.run.inputs_id)
        old = kept.usable(fingerprints) if counts else None
        known = {exercise.name for exercise in old.exercises} if old else set()
        work = replace(work, asked=tuple(name for name in work.asked if name not in known))
        submission = _Submission(work, old, fingerprints, kept.inputs if kept else "")
        if not work.asked:
            self.taken += 1
            self._record(submission, Judged())
            return None
        return submission

    def _kept(self, student: str, page: str) -> Kept | None:
        path = self.out / "results" / f"{page}.json"
        try:
            return read_kept(path, self.run)
        except ValueError as problem:
            tqdm.write(f"{path} is damaged ({problem}): {student} is graded again.", file=sys.stderr)
            return None

    def _with_inputs(self, submission: _Submission) -> _Submission:
        """Fresh hidden inputs, where a page may tell of the present ones; see `course.grading.resume`."""
        if not self.run.is_given and (self.run.told or submission.inputs == self.run.inputs_id):
            self.run = self.run.with_fresh_inputs()
            with writing(self.out):
                self.run.write(self.out)
        if self.inputs_given != self.run.inputs:
            tqdm.write("Preparing fresh hidden inputs for whoever is graded again.", file=sys.stderr)
            self.place.give(prepare_exam(self.request.root, self.request.folder, self.run.inputs, silent))
            self.inputs_given = self.run.inputs
        return replace(submission, inputs=self.run.inputs_id)

    def _record(self, submission: _Submission, judged: Judged) -> None:
        judged = put_back(submission.old, judged, list(self.exam.questions))
        result = put_together(submission.work, judged)
        self.wrong[result.student] = Wrong(submission.inputs, judged.did)
        kept = None if judged.fault else Kept(judged, submission.fingerprints, submission.inputs)
        self._write_student(result, submission.work.merged.shown, kept)

    def _write_student(self, result: StudentResult, shown: list, kept: Kept | None) -> None:
        exam, result = self.exam, self._settled(result)
        row, most = result.automatic, sum(exam.points.values())
        try:
            page = report.feedback_page(exam.topic, exam.template, row, shown, most, self.isolation)
        except Exception as error:  # a page without the notebook is better than a class without grades
            our_fault(error)
            page = report.feedback_page(exam.topic, exam.template, row, [], most, self.isolation)
        with writing(self.out):  # the result last: where it is, the page is too
            write_atomically(self.out / "feedback" / f"{result.page}.html", page)
            self._write_to_mark(result, shown)
            row = result_to_json(result, kept, self.run)
            # For nobody else to read: what a wrong answer does may tell a hidden input.
            write_atomically(self.out / "results" / f"{result.page}.json", row, mode=0o600)
        self.results[result.student] = result
        try:
            self.works[result.student] = own_work(result.student, result.page, shown)
        except Exception as error:  # then nothing is similar to it
            our_fault(error)
            self.works[result.student] = own_work(result.student, result.page, [])

    def _write_to_mark(self, result: StudentResult, shown: list) -> None:
        """The notebook that formgrader shows; none where nothing could be graded."""
        place = place_to_mark(result.student, self.exam.topic)
        if place is None:
            if result.exercises:
                tqdm.write(
                    f"{result.student}: no folder can be called so, formgrader will not show it.", file=sys.stderr
                )
            return
        path = self.out / place
        if not result.exercises:
            path.unlink(missing_ok=True)
            return
        try:
            notebook = notebook_to_mark(self.exam.template, result, shown)
        except Exception as error:
            our_fault(error)
            notebook = notebook_to_mark(self.exam.template, result, [])
        if not path.exists() or path.read_bytes() != notebook:
            write_atomically(path, notebook)

    def write(self, known: list[str]) -> None:
        """What is about the class as a whole; its order is that of the students' names, whoever was done first.

        `known` is the `code_of_the_course`.
        """
        exam, roster, most = self.exam, self.settings.roster, sum(self.exam.points.values())
        try:
            self.marks = _write_gradebook(self.out, exam, self.settings, self._rows())
        finally:  # without the gradebook, too, what was graded is written down
            results = self._rows()
            similar, similar_pages = self._similar(known)
            self.groups = self._grouped()
            rows = [row.automatic for row in results]
            page = report.class_page(exam.topic, exam.template, exam.points, rows, self.isolation, similar, self.groups)
            groups = to_json(exam.topic, self.groups, self.run.inputs_id, self.run.inputs)
            tables = {
                "grades.csv": grades_csv(exam.topic, exam.points, exam.template.written, results),
                "canvas.csv": canvas_csv(exam.topic, most, results, self.students, roster),
                "moodle.csv": moodle_csv(exam.topic, most, results, self.students, roster),
            }
            with writing(self.out):
                for name, table in tables.items():
                    write_atomically(self.out / name, table)
                self._write_similar(similar_pages)
                write_atomically(self.out / GROUPS_FILE, groups, mode=0o600)
                write_atomically(self.out / "report.html", page)
                if not self.run.told:
                    self.run = replace(self.run, told=True)
                    self.run.write(self.out)

    def _similar(self, known: list[str]) -> tuple[Similar, dict[str, bytes]]:
        """Who is alike, and the pages of the pairs. A fault in it costs its part of the report and nothing else."""
        works = [self.works[student.student] for student in self.found]
        try:
            similar = similar_submissions(works, [*known, *self.exam.template.texts])
            return similar, report.similar_pages(self.exam.topic, similar, self.isolation)
        except Exception as error:
            return Similar(problem=our_fault(error)), {}

    def _grouped(self) -> Groups:
        """Wrong answers that do the same. A fault in it costs its part of the report and nothing else."""
        try:
            return group(self.wrong, self.works, self.exam.expected)
        except Exception as error:
            return Groups(problem=our_fault(error))

    def _write_similar(self, pages: dict[str, bytes]) -> None:
        folder = self.out / "similar"
        for old in folder.glob("*--*.html"):
            if old.stem not in pages:
                old.unlink()
        if pages:
            folder.mkdir(exist_ok=True)
        for name, page in pages.items():
            write_atomically(folder / f"{name}.html", page)

    def _rows(self) -> list[StudentResult]:
        return [self._settled(self.results[student.student]) for student in self.found]

    def _settled(self, result: StudentResult) -> StudentResult:
        """With what coming late costs and what a person has marked."""
        marks = self.marks.get(result.student, {})
        return self.settings.deadline.applied(replace(result, written=self.exam.template.written, marks=marks))

    def print_summary(self, seconds: float) -> None:
        results = self._rows()
        counts = Counter(status for result in results for status in result.statuses)
        summary = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
        print(f"{self.exam.topic}: {len(results)} students in {seconds:.0f} s: {summary}")
        if self.taken:
            print(f"  {self.taken} of them were graded by an earlier run and have not changed (--again grades all)")
        gone = sorted({path.stem for path in (self.out / "results").glob("*.json")} - set(self.pages.values()))
        if gone:
            print(f"  {len(gone)} graded earlier, no longer in the class, so not in grades.csv: {_names(gone)}")
        deadline, unmatched = self.settings.deadline, self.students.unmatched
        if deadline.note:
            print(f"  {deadline.note}")
        undated = deadline.undated(results)
        if undated:
            print(
                f"  {len(undated)} without a date of submission, so nothing was taken off: there is a due date, and "
                f"dates of files tell nothing: {_names(undated)}"
            )
        if self.settings.roster.listed and unmatched:
            print(f"  {len(unmatched)} not in the roster: {_names(unmatched)}")
        for found in [each for each in self.groups.listed if each.students > 1][:MOST_GROUPS]:
            print(
                f"  {found.students} students are wrong in the same way in {found.exercise}, and no sentence says so: "
                f'see the report, then course name-mistake {found.id} "…" -o {self.out}'
            )
        print(f"  grades     {self.out / 'grades.csv'}; for import: canvas.csv, moodle.csv")
        print(f"  gradebook  {shown_place(self.settings.gradebook)}")
        print(f"  report     {self.out / 'report.html'}")
        print(f"  feedback   {self.out / 'feedback'}")
        if self.exam.template.written:
            print(f"  to mark    course formgrader {self.out}")
        if self.request.seed is None:
            print(f"  seed       {self.run.inputs} (kept in run.json; with --seed, the same hidden inputs elsewhere)")
        print(self.isolation)


def _names(students: Sequence[str]) -> str:
    more = f" and {len(students) - MOST_NAMES} more" if len(students) > MOST_NAMES else ""
    return f"{', '.join(students[:MOST_NAMES])}{more}"


def _judged(future: Future) -> Judged:
    try:
        return future.result()
    except (Stopped, CannotGrade):
        raise
    except Exception as error:  # of the place: `run_and_judge` itself raises nothing else
        return Judged(fault=our_fault(error))


def _write_gradebook(out: Path, exam: Exam, settings: Settings, results: list[StudentResult]) -> Marks:
    with writing(out):
        return write_gradebook(settings.gradebook, exam.topic, exam.template, results, settings.deadline)
