"""The figures of lecture 8: they draw what they are given, say it in words, and refuse what does not fit."""

import pytest
import torch
from einops import rearrange
from matplotlib.patches import Rectangle

from course.drawing import DPI, GREEN, PURPLE
from course.figures import swin
from course.models.token_mixers.window import relative_position_index, shift_mask
from tests.pictures import assert_nothing_is_cut_off

IMAGE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
BEFORE = torch.arange(24).view(4, 6)
AFTER = rearrange(BEFORE, "(h p) (w q) -> h w (q p)", p=2, q=2)
POINTS = {"a": [("small", 1.0, 80.0), ("large", 16.0, 83.0)], "b": [("only", 4.0, 81.0)]}


def texts(axis):
    return [text.get_text() for text in axis.texts]


@pytest.fixture(scope="module")
def drawn():
    half = torch.zeros(8, 8, dtype=torch.bool)
    half[:4] = True
    return {
        "token_grids": swin.token_grids(
            IMAGE, {"one": (4, 4), "many": (8, 2), "some": (16, 4), "few": (8, 4), "all": (2, 2)}
        ),
        "shift_steps": swin.shift_steps(IMAGE, 8, 4, 2),
        "bias_lookup": swin.bias_lookup(4, 1),
        "merging": swin.merging(BEFORE, AFTER),
        "reach": swin.reach(IMAGE, {"half": half, "all": half | True}, (1, 2), (6, 6)),
        "accuracy_and_cost": swin.accuracy_and_cost(POINTS, xlabel="cost", ylabel="accuracy"),
    }


def test_pictures_fit_a_page_and_nothing_is_cut_off(drawn):
    for name, picture in drawn.items():
        assert_nothing_is_cut_off(name, picture)
        assert picture.get_size_inches()[0] <= 9 and len(picture.png()) < 60_000 and DPI <= 100, name


def test_grids_count_their_windows(drawn):
    assert "many: 8×8 tokens of 4×4 pixels, 16 windows of 2×2 tokens" in drawn["token_grids"].alt
    assert "one: 4×4 tokens of 8×8 pixels, one window" in drawn["token_grids"].alt
    one, many = drawn["token_grids"].axes[:2]
    assert "all look at all" in one.get_xlabel() and "16 windows of 2×2" in many.get_xlabel()
    assert len(many.lines) - len(one.lines) == 2 * (5 - 2) + 2 * (3 - 5)  # borders of windows, tokens in one of them
    with pytest.raises(ValueError, match="windows of 3 tokens do not tile a map of 8"):
        swin.token_grids(IMAGE, {"no": (8, 3)})


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_pieces_are_those_that_the_mask_keeps_apart(shift):
    """Rolled, two tokens of a window share a piece exactly where the public mask is 0."""
    piece = swin.pieces(8, 4, shift)
    assert (
        len(piece.unique()) == (9 if shift else 4) and piece[0, 0] == 0 and int(piece.max()) == len(piece.unique()) - 1
    )
    assert all((piece == n).any(0).sum() * (piece == n).any(1).sum() == (piece == n).sum() for n in piece.unique())
    if shift:
        rolled = piece.roll((-shift, -shift), (0, 1))
        inside = torch.stack([rolled[r : r + 4, c : c + 4].flatten() for r in (0, 4) for c in (0, 4)])  # (4, 16)
        assert torch.equal(inside[:, :, None] == inside[:, None, :], shift_mask((8, 8), 4, shift) == 0)


def test_shift_steps_colour_what_the_mask_allows(drawn):
    picture = drawn["shift_steps"]
    assert "9 pieces" in picture.alt and "allow 576 of 1024 pairs" in picture.alt
    assert picture.alt.endswith("top left 256, top right 128, bottom left 128, bottom right 64")
    left, right, *masks = picture.axes
    assert sorted(texts(left)) == sorted(texts(right)) == list("ABCDEFGHI")
    for axis, allowed in zip(masks, (256, 128, 128, 64), strict=True):
        shown = axis.images[0].get_array()
        assert int((shown < 1).any(-1).sum()) == allowed and f"{allowed} of 256" in axis.get_title()
    assert "1024 of 1024" in swin.shift_steps(IMAGE, 8, 4, 0).alt
    with pytest.raises(ValueError, match="a map of 6 tokens"):
        swin.shift_steps(IMAGE, 8, 3, 1)
    with pytest.raises(ValueError, match="0 <= s < M"):
        swin.shift_steps(IMAGE, 8, 4, 4)


def test_bias_lookup_shows_the_entries_that_the_query_uses(drawn):
    left, right = drawn["bias_lookup"].axes
    entries = [str(entry) for entry in relative_position_index(4)[1].tolist()]
    assert [text.removeprefix("entry ") for text in texts(left) if text.startswith("entry")] == entries
    assert [text for text in texts(left) if text.startswith("key")] == [f"key {key}" for key in range(16)]
    assert f"key 0: entry {entries[0]}, key 1: entry {entries[1]}" in drawn["bias_lookup"].alt
    assert "0, 0" in texts(left) and "0, −2" in texts(left) and "−3, +1" in texts(left)
    assert sorted(texts(right), key=int) == [str(entry) for entry in range(49)]

    def colour_of(axis):
        cells = [patch for patch in axis.patches if patch.get_fill()]
        numbers = [text.removeprefix("entry ") for text in texts(axis) if "," not in text and "key" not in text]
        return {number: cell.get_facecolor() for number, cell in zip(numbers, cells, strict=True)}

    window, table = colour_of(left), colour_of(right)
    assert len(set(window.values())) == 16  # no two keys alike
    assert all(table[entry] == window[entry] for entry in entries)
    assert {table[str(e)] for e in range(49) if str(e) not in entries} == {(1.0, 1.0, 1.0, 1.0)}
    with pytest.raises(ValueError, match="no token 9"):
        swin.bias_lookup(3, 9)


def test_merging_stacks_what_it_is_given(drawn):
    left, right = drawn["merging"].axes
    assert texts(left) == [str(n) for n in range(24)]
    assert texts(right)[:4] == ["0", "6", "1", "7"] and len(texts(right)) == 24
    assert "the first of the tokens [0, 6, 1, 7]" in drawn["merging"].alt
    with pytest.raises(ValueError, match="24 numbers of before"):
        swin.merging(BEFORE, AFTER + 1)


def test_reach_fades_what_was_not_heard(drawn):
    half, every = drawn["reach"].axes
    faded = [sum(isinstance(p, Rectangle) and p.get_alpha() == 0.78 for p in axis.patches) for axis in (half, every)]
    assert faded == [32, 0] and "half: 32 of 64 tokens" in drawn["reach"].alt
    assert "token (1, 2)" in drawn["reach"].alt
    assert "half: 32 of 64 tokens, without the target; all: 64 of 64 tokens, with the target" in drawn["reach"].alt
    with pytest.raises(ValueError, match="do not tile"):
        swin.reach(IMAGE, {"no": torch.ones(5, 5, dtype=torch.bool)}, (0, 0))


def test_accuracy_and_cost_draws_every_model(drawn):
    (axis,) = drawn["accuracy_and_cost"].axes
    assert texts(axis) == ["small", "large", "only"] and "of 3 models." in drawn["accuracy_and_cost"].alt
    assert "a: small 80 at 1, large 83 at 16; b: only 81 at 4" in drawn["accuracy_and_cost"].alt
    assert axis.lines[0].get_xydata().tolist() == [[1.0, 80.0], [16.0, 83.0]] and axis.get_xscale() == "log"
    (raised,) = swin.accuracy_and_cost(POINTS, xlabel="", ylabel="", above=["only"]).axes
    assert [text.get_ha() for text in raised.texts] == ["left", "left", "right"]
    meant = swin.accuracy_and_cost({"ViT, small": POINTS["a"], "CNN: b": POINTS["b"]}, xlabel="", ylabel="").axes[0]
    assert [line.get_color() for line in meant.lines] == [GREEN, PURPLE]
    with pytest.raises(ValueError, match="above 0"):
        swin.accuracy_and_cost({"a": [("free", 0.0, 80.0)]}, xlabel="", ylabel="")
