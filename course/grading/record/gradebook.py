"""The record as an nbgrader gradebook, so that formgrader and ``nbgrader export`` read it and essays can be marked.

Everything is written in one transaction, into the database itself: what formgrader has open stays the same file, and
a failure leaves all as it was. Beside nbgrader's tables there is one of our own, ``course_submission``, which holds
what was graded last; nbgrader takes no notice of it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import course.quick_nbformat
import course.quick_nbgrader  # noqa: F401
from course.grading.problems import BadGradebook
from course.grading.read.cells import Cell
from course.grading.read.merge import Template
from course.grading.record.deadlines import Deadline
from course.grading.record.result import Mark, StudentResult

LONGEST_WAIT = 10.0  # seconds for another program that has the gradebook locked

SECONDS_TO_CONNECT = 1.0  # where it is only looked whether it answers

NO_ANSWER = "No response, an automatic 0"  # "No response." is what nbgrader itself says

COURSE = "default_course"  # what nbgrader calls a course without a name

Marks = dict[str, dict[str, Mark]]  # by student, then by exercise or written question


def write_gradebook(
    address: Path | str,
    topic: str,
    template: Template,
    results: Iterable[StudentResult],
    deadline: Deadline = Deadline(),
) -> Marks:
    """Bring a gradebook up to date: automatic scores are replaced, marks given by a person are kept.

    A mark given before the student handed in again is flagged for a second look, as nbgrader does.

    Args:
        address: an SQLite file, or the address of a database as SQLAlchemy takes it.
        results: may be none, to see whether the gradebook can be used.

    Returns:
        The marks that persons have given, of all students in the gradebook.

    Raises:
        BadGradebook: it cannot be reached, is locked, is no nbgrader database, or not of this nbgrader's version.
    """
    from nbgrader.api import Student

    with _transaction(address) as gradebook:
        assignment = _describe_assignment(gradebook, topic, template, deadline)
        seen = _Seen(gradebook.db, topic)
        submitted = _submitted(gradebook, topic)
        known = {student.id for student in gradebook.students}
        with gradebook.db.no_autoflush:  # what is half made is not written
            for result in results:
                if result.student not in known:
                    gradebook.db.add(Student(id=result.student))
                if result.student not in submitted:
                    if not result.exercises:
                        continue  # nbgrader, too, shows a student without a submission apart from one who earned 0
                    submitted[result.student] = _submission(gradebook.db, assignment, topic, result.student)
                _write_student(submitted[result.student], result, assignment, deadline, seen)
        gradebook.db.flush()
        return {student: _marks(notebook.grades) for student, notebook in submitted.items()}


def require_reachable(address: Path | str) -> None:
    """Look whether a gradebook answers and could be nbgrader's, without what takes seconds to load.

    Raises:
        BadGradebook: it cannot be reached, is damaged, or holds something else.
    """
    from sqlalchemy import inspect
    from sqlalchemy.exc import DatabaseError

    engine = _engine(address, waiting=SECONDS_TO_CONNECT)
    try:
        file = Path(engine.url.database or "") if engine.url.get_backend_name() == "sqlite" else None
        if file and not file.exists():  # to open it would make it
            if not file.parent.is_dir():
                raise BadGradebook(f"{shown_place(address)} cannot be used: there is no folder {file.parent}")
            return
        with engine.connect() as connection:
            tables = set(inspect(connection).get_table_names())
    except DatabaseError as error:
        said = _in_words(error, address)
        if "is being written" in said:  # it may be free by the time that it is needed
            return
        raise BadGradebook(said) from None
    finally:
        engine.dispose()
    if tables and "alembic_version" not in tables:
        raise BadGradebook(_another(address, "it holds other tables"))


def homework_in(address: Path | str) -> list[str]:
    """The homework of a gradebook, by name. Raises `BadGradebook` as `write_gradebook` does."""
    with _transaction(address) as gradebook:
        return sorted(assignment.name for assignment in gradebook.assignments)


def shown_place(address: Path | str) -> str:
    """A gradebook's address as a message can show it: without a password."""
    if isinstance(address, Path):
        return str(address)
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        # What follows a question mark can hold a password, too.
        return make_url(address).set(query={}).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "the address of the gradebook"


# -- the database


@contextmanager
def _transaction(address: Path | str) -> Iterator:
    """A `Gradebook` of nbgrader whose changes are all kept if the block ends well, and none if not."""
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import DatabaseError
    from sqlalchemy.orm import scoped_session, sessionmaker

    engine = _engine(address)
    try:
        with engine.connect() as connection, connection.begin():
            _prepare_tables(connection, address)
            # Its constructor would open a connection of its own and commit what it does there.
            gradebook = Gradebook.__new__(Gradebook)
            # nbgrader commits after every step: here that ends a savepoint, and all of it stays one transaction.
            maker = sessionmaker(bind=connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
            gradebook.engine, gradebook.db = engine, scoped_session(maker)
            gradebook.course_id, gradebook.authenticator = COURSE, None
            try:
                gradebook.check_course(gradebook.course_id)
                yield gradebook
                gradebook.db.commit()
            finally:
                gradebook.db.remove()
    except DatabaseError as error:
        raise BadGradebook(_in_words(error, address)) from None
    finally:
        engine.dispose()


def _engine(address: Path | str, waiting: float | None = None):
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = URL.create("sqlite", database=str(address)) if isinstance(address, Path) else make_url(address)
        backend = url.get_backend_name()
        waiting = LONGEST_WAIT if waiting is None else waiting
        arguments = {"timeout": waiting} if backend == "sqlite" else {}
        if backend == "postgresql" and url.get_driver_name() in ("psycopg", "psycopg2"):
            arguments = {"connect_timeout": max(2, int(waiting))}  # less than 2 counts as 2 there
        engine = create_engine(url, connect_args=arguments)
    except ModuleNotFoundError as error:
        raise BadGradebook(
            f"{shown_place(address)} needs the package {error.name}, which is not installed; for PostgreSQL run "
            '`pip install "psycopg[binary]"` and write the address as postgresql+psycopg://USER@HOST/NAME'
        ) from None
    except (ArgumentError, ValueError, TypeError):  # its text may quote the address
        example = "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        raise BadGradebook(f"--gradebook takes the address of a database, {example}; this is none") from None

    if backend == "sqlite":

        @event.listens_for(engine, "connect")
        def leave_transactions_to_us(connection, _):
            connection.isolation_level = None  # else Python's sqlite3 begins and ends them by rules of its own

        @event.listens_for(engine, "begin")
        def begin(connection):
            # The lock is taken now, so that nobody writes between what is read here and what is written.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    elif backend == "postgresql":

        @event.listens_for(engine, "begin")
        def wait_no_longer(connection):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(1000 * LONGEST_WAIT)}")

    return engine


def _prepare_tables(connection, address: Path | str) -> None:
    """Make nbgrader's tables in an empty database; refuse one that holds something else."""
    from nbgrader.api import Base
    from sqlalchemy import inspect, text

    tables = set(inspect(connection).get_table_names())
    newest = newest_version()
    if not tables:
        Base.metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:newest)"), {"newest": newest})
    elif "alembic_version" not in tables or not set(Base.metadata.tables) <= tables:
        raise BadGradebook(_another(address, "it holds other tables"))
    else:
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if version != newest:
            raise BadGradebook(_another(address, f"its tables are of version {version}, not {newest}"))
    _Seen.table().create(connection, checkfirst=True)


def newest_version() -> str:
    """Of nbgrader's tables: the revision that no other follows, as alembic finds it, without running all of them."""
    from nbgrader.dbutil import ALEMBIC_DIR

    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(ALEMBIC_DIR, "versions").glob("*.py"))]
    told = {key: set(re.findall(rf"^{key} = '(\w+)'", "\n".join(texts), re.M)) for key in ("revision", "down_revision")}
    (newest,) = told["revision"] - told["down_revision"]
    return newest


def _in_words(error, address: Path | str) -> str:
    from sqlalchemy.exc import OperationalError

    where = shown_place(address)
    said = " ".join(str(error.orig).split())
    secret = None if isinstance(address, Path) else _password(address)
    said = said.replace(secret, "***") if secret else said
    if isinstance(error, OperationalError):
        if "locked" in said or "lock timeout" in said:
            return (
                f"{where} is being written by another program, and {LONGEST_WAIT:g} s of waiting did not help: "
                "close formgrader or whatever has it open, then run this again"
            )
        return f"{where} cannot be used ({said})"
    return _another(address, said)


def _another(address: Path | str, why: str) -> str:
    remedy = "move it away to have a new one made" if isinstance(address, Path) else "give an empty database"
    return (
        f"{shown_place(address)} is damaged or from another version of nbgrader ({why}): {remedy}, or run "
        "`nbgrader db upgrade` on it"
    )


def _password(address: str) -> str | None:
    from sqlalchemy.engine import make_url

    url = make_url(address)
    return url.password or url.query.get("password")


class _Seen:
    """What was graded last, by student: the digest of the notebook, and which marks of a person were there."""

    def __init__(self, session, topic: str):
        self._session, self._table, self._topic = session, self.table(), topic
        rows = session.execute(self._table.select().where(self._table.c.assignment == topic))
        self._before = {row.student: (row.digest, set(json.loads(row.marked))) for row in rows}

    def digest(self, student: str) -> str:
        return self._before.get(student, ("", set()))[0]

    def marked(self, student: str) -> set[str]:
        return self._before.get(student, ("", set()))[1]

    def put(self, student: str, digest: str, marked: set[str]) -> None:
        if self._before.get(student) == (digest, marked):
            return
        row = {"digest": digest, "marked": json.dumps(sorted(marked))}
        if student in self._before:
            is_this = (self._table.c.assignment == self._topic) & (self._table.c.student == student)
            self._session.execute(self._table.update().where(is_this).values(row))
        else:
            key = {"assignment": self._topic, "student": student}
            self._session.execute(self._table.insert().values({**key, **row}))
        self._before[student] = (digest, marked)

    @staticmethod
    def table():
        from sqlalchemy import Column, MetaData, String, Table, Text

        return Table(
            "course_submission",
            MetaData(),
            Column("assignment", String(128), primary_key=True),
            Column("student", String(128), primary_key=True),
            Column("digest", String(64), nullable=False),
            Column("marked", Text, nullable=False),
        )


# -- what is written


def _describe_assignment(gradebook, topic: str, template: Template, deadline: Deadline):
    due = {"duedate": _as_nbgrader(deadline.due)} if deadline.due else {}  # else what formgrader was told stays
    assignment = gradebook.update_or_create_assignment(topic, **due)
    gradebook.update_or_create_notebook(topic, topic)
    for name, cell in template.labelled.items():
        told = cell.nbgrader
        if told.get("grade"):
            points = float(told.get("points", 0))
            gradebook.update_or_create_grade_cell(name, topic, topic, max_score=points, cell_type=cell.kind)
        if told.get("solution"):
            gradebook.update_or_create_solution_cell(name, topic, topic)
        gradebook.update_or_create_source_cell(name, topic, topic, **_source_cell(cell))
    return assignment


def _source_cell(cell: Cell) -> dict:
    return {
        "cell_type": cell.kind,
        "locked": bool(cell.nbgrader.get("locked")),
        "source": cell.source,
        "checksum": cell.nbgrader.get("checksum"),
    }


def _submitted(gradebook, topic: str) -> dict:
    """What nbgrader has of this homework, by student: in a few queries, however large the class."""
    from nbgrader.api import Assignment, Comment, Grade, SubmittedAssignment, SubmittedNotebook
    from sqlalchemy.orm import joinedload, selectinload

    found = (
        gradebook.db.query(SubmittedNotebook)
        .join(SubmittedAssignment, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .join(Assignment, SubmittedAssignment.assignment_id == Assignment.id)
        .filter(Assignment.name == topic)
        .options(joinedload(SubmittedNotebook.assignment))
        .options(selectinload(SubmittedNotebook.grades).joinedload(Grade.cell))
        .options(selectinload(SubmittedNotebook.comments).joinedload(Comment.cell))
    )
    return {notebook.assignment.student_id: notebook for notebook in found if notebook.name == topic}


def _submission(session, assignment, topic: str, student: str):
    """What ``Gradebook.add_submission`` makes, without a commit for each student: that takes minutes for a class."""
    from nbgrader.api import Comment, Grade, SubmittedAssignment, SubmittedNotebook

    submission = SubmittedAssignment(assignment=assignment, student_id=student)
    submission.notebooks = [SubmittedNotebook(notebook=notebook) for notebook in assignment.notebooks]
    for notebook in submission.notebooks:
        cells = notebook.notebook
        notebook.grades = [Grade(cell=cell) for cell in (*cells.grade_cells, *cells.task_cells)]
        notebook.comments = [Comment(cell=cell) for cell in (*cells.solution_cells, *cells.task_cells)]
    session.add(submission)
    return next(notebook for notebook in submission.notebooks if notebook.name == topic)


def _write_student(notebook, result: StudentResult, assignment, deadline: Deadline, seen: _Seen) -> None:
    from nbgrader.api import Grade

    known = {grade.name for grade in notebook.grades}
    for cell in notebook.notebook.grade_cells:
        if cell.name not in known:  # an exercise that was added since this student was last graded
            notebook.grades.append(Grade(cell_id=cell.id, cell=cell))
    digest = result.handed_in.digest if result.handed_in else ""
    before = seen.digest(result.student)
    again = bool(digest and before and digest != before)
    earned = {f"check_{exercise.name}": exercise.points for exercise in result.exercises}
    earned |= dict.fromkeys(result.unanswered, 0.0)
    for comment in notebook.comments:
        comment.auto_comment = (
            f"{NO_ANSWER}: {result.unanswered[comment.name]}." if comment.name in result.unanswered else None
        )
    for grade in notebook.grades:
        grade.auto_score = earned.get(grade.name)
        if grade.manual_score is None:
            grade.needs_manual_grade = grade.auto_score is None
        elif again:
            grade.needs_manual_grade = True
        elif grade.name not in seen.marked(result.student):
            grade.needs_manual_grade = False
        # Else it stays as it is: formgrader takes the flag away when a person saves the mark again.
    marked = {grade.name for grade in notebook.grades if grade.manual_score is not None}
    seen.put(result.student, digest or before, marked)
    notebook.late_submission_penalty = result.penalty * sum(map(_score, notebook.grades)) if result.penalty else None
    submission = notebook.assignment
    if result.handed_in and result.handed_in.time:
        submission.timestamp = _as_nbgrader(result.handed_in.time)
    if deadline.due:
        until = deadline.extensions.get(result.student)
        submission.extension = until - deadline.due if until else None


def _marks(grades) -> dict[str, Mark]:
    """What persons gave, under the names of exercises and written questions."""
    return {
        grade.name.removeprefix("check_"): Mark(
            grade.manual_score, grade.extra_credit or 0.0, bool(grade.needs_manual_grade)
        )
        for grade in grades
        if grade.manual_score is not None or grade.extra_credit
    }


def _score(grade) -> float:
    """What the grade counts, as nbgrader's ``Grade.score`` has it once it is written."""
    score = grade.auto_score if grade.manual_score is None else grade.manual_score
    return 0.0 if score is None else score + (grade.extra_credit or 0.0)


def _as_nbgrader(time: datetime) -> datetime:
    """In UTC without saying so, which is what nbgrader's columns hold."""
    return time.astimezone(UTC).replace(tzinfo=None)
