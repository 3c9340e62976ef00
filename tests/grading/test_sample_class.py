"""The sample class of ``make demo``: every student gets the points and the status that stand in its table."""

import sqlite3

from tests.sample_class import TOPIC, demo, expected


def test_the_sample_class_is_graded_as_expected(tmp_path, capsys):
    assert len(expected()) >= 14
    assert demo(tmp_path) == 0, capsys.readouterr().out
    out = tmp_path / "grades"
    statuses = set().union(*(statuses for _, statuses in expected().values()))
    assert statuses == {"graded", "missing", "unreadable", "timeout", "crashed", "limit", "tampered"}
    pages = {page.stem: page.read_text() for page in (out / "feedback").iterdir()}
    assert set(pages) == set(expected())
    assert "not divided by the square root" in pages["dora"]
    for page in [*pages.values(), (out / "report.html").read_text()]:
        assert "SOLUTION" not in page and "<script" not in page
    with sqlite3.connect(out / "gradebook.db") as connection:
        scores = dict(
            connection.execute(
                "SELECT s.student_id, sum(g.auto_score) FROM submitted_assignment s JOIN submitted_notebook n "
                "ON n.assignment_id = s.id JOIN grade g ON g.notebook_id = n.id GROUP BY s.student_id"
            )
        )
    ungraded = {"missing", "unreadable"}
    assert scores == {name: points for name, (points, status) in expected().items() if not status & ungraded}
    assert (out / "grades.csv").read_text().count(f",{TOPIC},") == len(expected())
