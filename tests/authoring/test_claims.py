"""Numbers in the text of a lecture: what marks say is checked, what has neither mark nor source is found."""

import json
from pathlib import Path

import pytest

from course.authoring.claims import experiments_of, unmarked, wrong_claims
from course.authoring.source import read_source
from course.seeds import FOLDER, stored_runs
from course.training.pretrained import FOLDER as checkpoints
from course.training.pretrained import runs_of

ROOT = Path(__file__).parents[2]
LECTURES = sorted((ROOT / "notebooks" / "source").glob("*.py"))
WITHOUT_LOOSE_NUMBERS = (
    "00_start_here",
    "01_convolution",
    "02_beyond_local",
    "03_self_attention",
    "04_transformer",
    "05_vision_transformer",
    "06_what_vits_see",
    "07_training_with_less_data",
    "08_swin",
    "09_vit_cnn_spectrum",
    "10_all_mlp",
    "11_metaformer",
    "12_convnets_strike_back",
    "13_scaling",
    "14_video",
    "15_dense_prediction",
    "16_self_supervision_and_multimodal",
)

STORED = {
    "mixers": {
        "0": {"pooling": {"relation": 0.7021}, "shift": {"relation": 0.794}, "loss": [2.0, 1.0]},
        "1": {"pooling": {"relation": 0.7281}, "shift": {"relation": 0.79}, "loss": [2.0, 0.5]},
        "2": {"pooling": {"relation": 0.71}, "shift": {"relation": 0.80}, "loss": [2.0, 0.9]},
    }
}


@pytest.fixture
def lecture(tmp_path):
    """Makes a source from the text of its markdown and of its code."""

    def made(text="", code="x = 1"):
        path = tmp_path / "98_claims.py"
        commented = "\n".join(f"# {line}" for line in text.splitlines())
        path.write_text(f'# %% [markdown]\n{commented}\n\n# %% tags=["setup"]\n{code}\n')
        return read_source(path, tmp_path)

    return made


@pytest.mark.parametrize(
    "text",
    [
        "Pooling gets 70 to 73 %<!-- mixers / pooling / relation -->.",
        "Pooling gets 70, 73 and 71 %<!-- mixers / pooling / relation -->.",
        "Pooling gets 70, 71, 73 %\n<!-- mixers /\npooling / relation -->.",
        "In 2022 it was so. About 71 %<!-- mixers / pooling / relation --> of the shift's 79 %<!-- mixers / shift / relation -->.",
        "More than 78 %<!-- > mixers / shift / relation --> and less than 81 %<!-- < mixers / shift / relation -->.",
        "| shift | 79–80<!-- % mixers / shift / relation --> |",
        "6 to 9 points<!-- mixers / shift / relation - mixers / pooling / relation --> more.",
        "The loss falls to 0.9<!-- mixers / loss / -1 -->.",
        "It has 1,234<!-- printed --> parameters.",
        "Guessing gets 10 %<!-- = 100 / 10 -->, and 2³ is 8<!-- = 2 ** 3 -->.",
    ],
)
def test_what_the_runs_bear_out(lecture, text):
    assert wrong_claims(lecture(text), STORED, "1,234 parameters, 56") == []


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("70 to 74 %<!-- mixers / pooling / relation -->", "says 70 to 74 %, and the seeds gave 70.21, 72.81, 71"),
        ("70 %<!-- mixers / pooling / relation -->", "says 70 %, and the seeds gave"),
        ("73, 70, 71 %<!-- mixers / pooling / relation -->", "says 73, 70, 71 %"),
        ("more than 79 %<!-- > mixers / shift / relation -->", "says 79 %"),
        ("70 to 73<!-- mixers / pooling / relation -->", "says 70 to 73, and the seeds gave 0.7021"),
        ("71 %<!-- mixer / pooling -->", "there is no experiment 'mixer'"),
        ("71 %<!-- mixers / pool / relation -->", "there is no entry 'pool'"),
        ("71 %<!-- mixers / pooling -->", "there is no single number 'mixers / pooling'"),
        ("much<!-- mixers / pooling / relation -->", "there is no number before the mark"),
        ("1,235<!-- printed -->", "no cell prints 1,235"),
        ("234<!-- printed -->", "no cell prints 234"),
        ("11 %<!-- = 100 / 10 -->", "says 11 %, and 100 / 10 is 10"),
    ],
)
def test_what_they_do_not(lecture, text, sentence):
    (found,) = wrong_claims(lecture(f"# Title\n\n{text}"), STORED, "1,234 parameters")
    assert found.startswith("98_claims.py:4: ") and sentence in found


def test_a_percentage_without_mark_or_source_is_found_with_its_line(lecture):
    text = """\
Pooling gets 70 to 73 %<!-- mixers / pooling / relation -->.

The paper's pooling gets 77.2 % (Yu and others 2022), `90 %` is code, $5\\,\\%$ a formula.

Here it is 45 %, and there 12 to 15 %."""
    found = unmarked(lecture(text))
    assert [line.split(" ", 1)[0] for line in found] == ["98_claims.py:6:"] * 2
    assert ["45 %" in found[0], "15 %" in found[1]] == [True, True]


CODE = """\
import torch
STEPS = 3
other = 1
def helper(x):
    return x + STEPS  # three more
def experiment(seed):
    return {"a": helper(seed)}
print(other)
results = over_seeds("98_claims/sums", experiment)"""


def code_of(source):
    (experiment,) = experiments_of(source)
    return experiment.code


@pytest.mark.parametrize(
    "old, new, same",
    [
        ("STEPS = 3", "STEPS = 4", False),
        ("x + STEPS", "x - STEPS", False),
        ('{"a"', '{"b"', False),
        ("other = 1", "other = 2", True),
        ("# three more", "# some more", True),
        ("def helper(x):\n", "def helper(x):\n\n", True),
        ("print(other)", "print(other + 1)", True),
    ],
)
def test_a_stored_run_belongs_to_the_code_it_depends_on(lecture, old, new, same):
    assert (code_of(lecture(code=CODE)) == code_of(lecture(code=CODE.replace(old, new)))) == same


def test_an_experiment_of_another_name_is_refused_with_its_line(lecture):
    with pytest.raises(ValueError, match=r'98_claims.py:13: .* over_seeds\("98_claims/NAME", experiment\)'):
        experiments_of(lecture(code=CODE.replace("98_claims/sums", "sums")))


# -- the lectures themselves


def printed_by(notebook: Path) -> str:
    """What the cells of a built notebook print."""
    outputs = [output for cell in json.loads(notebook.read_text())["cells"] for output in cell.get("outputs", [])]
    texts = [output.get("text", output.get("data", {}).get("text/plain", "")) for output in outputs]
    return "\n".join("".join(text) for text in texts)


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_every_number_of_a_lecture_is_one_that_was_measured(path):
    source = read_source(path, ROOT)
    on_photographs = {file.stem: runs_of(file.stem) for file in checkpoints.glob("photographs_*.json")}
    stored = stored_runs(path.stem)
    assert wrong_claims(source, stored | on_photographs, printed_by(ROOT / "notebooks" / f"{path.stem}.ipynb")) == []
    code = {experiment.name: experiment.code for experiment in experiments_of(source)}
    about = json.loads((FOLDER / f"{path.stem}.json").read_text())["about"] if stored else {"code": {}}
    remedy = f"run `course bench lessons {path.stem}`"
    assert about["code"] == code and set(stored) == set(code), f"its stored run is of other code: {remedy}"


@pytest.mark.parametrize("name", WITHOUT_LOOSE_NUMBERS)
def test_no_percentage_of_a_lecture_stands_without_mark_or_source(name):
    assert unmarked(read_source(ROOT / "notebooks" / "source" / f"{name}.py", ROOT)) == []
