"""How long a lecture takes is counted, and the build writes it into the header."""

from course.authoring import notebooks
from course.authoring.reading_time import in_words, questions_of, reading_minutes, words_of
from course.authoring.source import read_source

LECTURE = """\
# %% [markdown]
# # 98 · Words
#
# | **It takes** | {reading time} |

# %% tags=["setup"]
x = 1

# %% [markdown]
# WORDS
#
# **Question 98.1** Why? See [the page](https://example.org/a/b)<!-- mixers / pooling -->.
#
# ## Exercises
#
# Words that are not counted. **Question 98.2** Nor is this.
"""


def source_of(tmp_path, words=1500, lines=1):
    path = tmp_path / "98_words.py"
    text = LECTURE.replace("WORDS", "word " * words, 1).replace("x = 1", "\n".join(["x = 1"] * lines), 1)
    path.write_text(text)
    return read_source(path, tmp_path)


def test_words_code_and_questions_are_counted_up_to_the_exercises(tmp_path):
    source = source_of(tmp_path)
    assert 1500 < words_of(source) < 1520 and questions_of(source) == 1
    assert reading_minutes(source) == 15 and reading_minutes(source_of(tmp_path, lines=100)) == 25
    assert in_words(source_of(tmp_path)) == "about 15 minutes (1,500 words with code to read, 1 question)"


def test_the_build_writes_it_where_the_header_leaves_room(tmp_path):
    notebook = notebooks.make_notebook(source_of(tmp_path), notebooks.LECTURE)
    assert "| **It takes** | about 15 minutes (1,500 words with code to read, 1 question) |" in notebook.cells[0].source
    longer = notebooks.make_notebook(source_of(tmp_path, words=3000), notebooks.LECTURE)
    assert notebook.cells[0].id != longer.cells[0].id and notebook.cells[1].id == longer.cells[1].id


def test_answers_of_a_homework_are_not_read(tmp_path):
    path = tmp_path / "hw9_x.py"
    answer = "\n".join(f"    x{n} = {n}" for n in range(200))
    cell = '# %% exercise="f"\ndef f():\n    ### BEGIN SOLUTION\n{}\n    ### END SOLUTION\n'
    header = '# %% [markdown]\n# # X\n#\n# {reading time}\n\n# %% tags=["setup"]\nx = 1\n\n'
    minutes = []
    for body in ("    return 1", answer):
        path.write_text(header + cell.format(body))
        minutes.append(reading_minutes(read_source(path, tmp_path)))
    assert minutes == [0, 0]
