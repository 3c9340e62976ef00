"""The figures of lecture 4 draw what they are given, and say so in words."""

import pytest
import torch

from course.figures import transformer
from tests.pictures import assert_readable

TABLE = torch.tensor([[0.5, 0.4, 0.1], [0.4, 0.3, 0.3], [0.05, 0.05, 0.9], [0.4, 0.3, 0.3]])


def texts(picture) -> list[str]:
    return [text.get_text() for axis in picture.axes for text in axis.texts]


def test_every_figure_is_readable():
    points = {"Transformer, base": (3.3e18, 27.3), "MoE": (2e19, 26.03)}
    pictures = {
        "lstm_cell": transformer.lstm_cell(),
        "encoder_decoder": transformer.encoder_decoder(),
        "beam_tree": transformer.beam_tree(TABLE, 2),
        "quality_over_cost": transformer.quality_over_cost(points, ours="Transformer"),
    }
    for name, picture in pictures.items():
        assert_readable(name, picture)
        assert picture.png()[1:4] == b"PNG"


def test_the_cell_has_its_four_gates_and_four_operations():
    said = texts(transformer.lstm_cell())
    assert {"forget\nσ(f)", "input\nσ(i)", "new\ntanh(g)", "output\nσ(o)"} <= set(said)
    assert said.count("×") == 3 and said.count("+") == 1


def test_the_decoder_has_one_part_more_than_the_encoder():
    said = texts(transformer.encoder_decoder())
    assert said.count("add & norm") == 5 and said.count("MLP") == 2
    assert said.count("cross-attention") == said.count("masked self-attention") == said.count("self-attention") == 1


def test_the_tree_has_every_sequence_and_says_what_a_beam_finds():
    greedy, two = transformer.beam_tree(TABLE, 1), transformer.beam_tree(TABLE, 2)
    assert {"aa\n0.20", "bc\n0.36", "cb\n0.03"} <= set(texts(two)) and len(texts(two)) == 1 + 3 + 9
    assert "keeps a and finds aa; the likeliest is bc" in greedy.alt
    assert "keeps a and b and finds bc; the likeliest is bc" in two.alt
    with pytest.raises(ValueError, match="4 by 3"):
        transformer.beam_tree(TABLE[:3], 2)


def test_quality_is_drawn_at_its_cost():
    picture = transformer.quality_over_cost({"Transformer": (3.3e18, 27.3), "MoE": (2e19, 26.03)}, ours="Transformer")
    (axis,) = picture.axes
    at = {line.get_color(): tuple(map(float, line.get_xydata()[0])) for line in axis.lines}
    assert at == {transformer.GREEN: (3.3e18, pytest.approx(27.3)), transformer.ORANGE: (2e19, pytest.approx(26.03))}
    assert axis.get_xscale() == "log" and "MoE: 2.0e+19 operations, 26.03" in picture.alt
