"""The command ``course formgrader``: nbgrader's own page, on what ``course grade`` wrote, to mark written questions.

Formgrader is an extension of the Jupyter server. It is started here by itself, with a configuration made for it: what
this machine or the folder has for nbgrader is not read, so that nothing leads to another gradebook. Neither JupyterLab
nor a kernel is behind it, so no student's code can be run there.
"""

import os
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from course.grading.problems import CannotGrade
from course.grading.record.gradebook import COURSE, homework_in, shown_place

HOST = "127.0.0.1"
EXTENSION = "nbgrader.server_extensions.formgrader"
USUAL_PORT = 8888


def formgrader_command(
    out: Path, *, port: int | None = None, browser: bool = True, gradebook: str | None = None
) -> int:
    """Serve formgrader until Ctrl-C or SIGTERM.

    Args:
        out: the folder that ``course grade`` wrote.
        port: None takes 8888 or the next free one.
        browser: open it there.
        gradebook: address of a database in place of ``OUT/gradebook.db``, as for ``course grade``.

    Returns:
        0 once it was stopped; 2 if it could not be started.
    """
    try:
        out = Path(out).resolve()
        place = _gradebook_of(out, gradebook)
        homework = homework_in(place)
        if not homework:
            raise CannotGrade(f"{shown_place(place)} holds no homework yet: run `course grade` first.")
        with tempfile.TemporaryDirectory(prefix="course-formgrader-") as folder:
            _serve(Path(folder), out, place, homework, port, browser)
        print(f"course formgrader: stopped; the marks are in {shown_place(place)}", file=sys.stderr)
        return 0
    except CannotGrade as problem:
        print(f"course formgrader: {problem}", file=sys.stderr)
        return 2


def _gradebook_of(out: Path, gradebook: str | None) -> Path | str:
    if not out.is_dir():
        raise CannotGrade(f"{out} does not exist: give the folder that `course grade` wrote with -o.")
    if gradebook is not None:
        return gradebook
    path = out / "gradebook.db"
    if not path.is_file():
        raise CannotGrade(f"{path} does not exist: `course grade SUBMISSIONS -a HOMEWORK -o {out}` makes it.")
    return path


def _serve(folder: Path, out: Path, place: Path | str, homework: list[str], port: int | None, browser: bool) -> None:
    """Until a signal comes. `folder` is for what the server needs beside the class: configuration, secrets."""
    # Formgrader lists the homework that has a folder among the sources; their content it does not need.
    for topic in homework:
        (folder / "source" / topic).mkdir(parents=True)
    where = {"root": str(out), "source_directory": str(folder / "source"), "course_id": COURSE}
    where["db_url"] = f"sqlite:///{place}" if isinstance(place, Path) else place
    lines = ["c = get_config()", *(f"c.CourseDirectory.{key} = {value!r}" for key, value in where.items())]
    lines.append(f"c.Exchange.root = {str(folder / 'no_exchange')!r}")
    config = folder / "nbgrader_config.py"
    config.touch(mode=0o600)  # the address may hold a password
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    kinds = {"CONFIG": folder, "DATA": folder / "data", "RUNTIME": folder / "runtime"}
    os.environ |= {f"JUPYTER_{kind}_DIR": str(path) for kind, path in kinds.items()} | {"JUPYTER_NO_CONFIG": "1"}
    before = Path.cwd()
    os.chdir(folder)  # nbgrader would take the configuration of the folder it is started in as well
    try:
        server = _server(out, homework, port, browser)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: server.stop(from_signal=True))
        address = f"http://{HOST}:{server.port}{server.default_url}?token={server.identity_provider.token}"
        print(f"Formgrader is at {address}")
        print(
            "A mark counts once you leave its field; `course grade` again takes it into grades.csv. Ctrl-C ends this."
        )
        sys.stdout.flush()
        server.start()
    finally:
        os.chdir(before)


def _server(out: Path, homework: list[str], port: int | None, browser: bool):
    try:
        from jupyter_server.serverapp import ServerApp
        from nbgrader.server_extensions import formgrader  # noqa: F401
        from traitlets.config import Config
    except ImportError as error:
        raise CannotGrade(
            f"nbgrader's formgrader cannot be loaded ({error}): run `pip install nbgrader` in this environment."
        ) from None
    (topic, *others) = homework
    page = "/formgrader/gradebook" if others else f"/formgrader/gradebook/{topic}/{topic}"
    settings = {
        "root_dir": str(out),
        "ip": HOST,
        "port": USUAL_PORT if port is None else port,
        "port_retries": 50 if port is None else 0,
        "open_browser": browser,
        "default_url": page,
        "jpserver_extensions": {EXTENSION: True},
        "allow_root": True,  # it serves no kernel
        "log_level": "ERROR",
    }
    # Without a path of its own the cookie would be for the folder of the page alone, and its requests elsewhere refused.
    identity = {"token": secrets.token_hex(24), "cookie_options": {"path": "/"}}
    config = Config({"ServerApp": settings, "IdentityProvider": identity})
    server = ServerApp(config=config)
    try:
        server.initialize(argv=[])
    except SystemExit:
        raise CannotGrade(f"port {settings['port']} is taken: give another with --port.") from None
    package = server.extension_manager.extensions.get(EXTENSION)
    if package is None or not package.enabled:
        raise CannotGrade("nbgrader's formgrader could not be started: `pip install --force-reinstall nbgrader`.")
    return server
