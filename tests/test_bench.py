"""``course bench``: real ratios of real runs, on the shortest of them."""

import json

import pytest

from course.cli import main


def test_models_prints_ratios_and_ends_with_the_figure_that_counts(tmp_path, capsys):
    assert main(["bench", "models", "vit_l32", "--json", str(tmp_path / "out.json")]) == 0
    *_, line, last = capsys.readouterr().out.splitlines()
    assert line.startswith("vit_l32") and last.startswith("median of 1 models, eager on ")
    [row] = json.loads((tmp_path / "out.json").read_text())["models"]["rows"]
    assert row["forward"]["rounds"] >= 5 and row["forward"]["low"] <= row["forward"]["ratio"] <= row["forward"]["high"]
    assert 0.2 < row["step"]["ratio"] < 5 and row["step"]["ours_ms"] > 1
    weights = 306_535_400 - 22 * 12_596_224  # 2 of 24 blocks
    assert row["memory"]["ours"] > 2 * 4 * weights  # weights and gradients, at least


@pytest.mark.parametrize("arguments, sentence", [(["modles"], "did you mean 'models'"), (["models", "vit_b17"], "did you mean 'vit_b16'")])
def test_an_unknown_name_is_a_sentence(arguments, sentence, capsys):
    assert main(["bench", *arguments]) == 2
    assert sentence in capsys.readouterr().err
