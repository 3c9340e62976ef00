"""The class token's attention as a mask, and how well two masks fit."""

import pytest
import torch

from course.analysis.attention_mask import attention_masks, iou
from tests.models.parity import proves

WEIGHTS = torch.zeros(1, 2, 5, 5)
WEIGHTS[0, 0, 0] = torch.tensor([0.5, 0.25, 0.05, 0.15, 0.05])  # of patches: 0.5 0.1 0.3 0.1
WEIGHTS[0, 1, 0] = torch.tensor([0.0, 0.1, 0.1, 0.1, 0.7])


@proves(205)
def test_the_fewest_patches_with_that_share():
    masks = attention_masks(WEIGHTS, (4, 4), mass=0.6)
    assert masks.shape == (1, 2, 4, 4)
    assert masks[0, :, ::2, ::2].int().tolist() == [[[1, 0], [1, 0]], [[0, 0], [0, 1]]]
    assert torch.equal(masks[0, 0, :2, :2], torch.ones(2, 2, dtype=torch.bool)), "a patch is two pixels wide"
    assert attention_masks(WEIGHTS, (4, 4), mass=0.75)[0, :, ::2, ::2].sum((1, 2)).tolist() == [2, 2]
    assert not attention_masks(WEIGHTS, (4, 4), mass=0.0).any()


@proves(205)
def test_iou_is_counted():
    one = torch.tensor([[True, True], [False, False]])
    other = torch.tensor([[True, False], [True, False]])
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    stacked = iou(torch.stack([one, one, nothing, one]), torch.stack([other, one, nothing, nothing]))
    assert stacked.tolist() == pytest.approx([1 / 3, 1, 1, 0])


def test_what_has_no_mask_is_refused():
    with pytest.raises(ValueError, match="no class token"):
        attention_masks(torch.ones(1, 1, 4, 4), (4, 4))
    with pytest.raises(ValueError, match="mass is a share"):
        attention_masks(WEIGHTS, (4, 4), mass=60)
    with pytest.raises(ValueError, match="below 0"):
        attention_masks(-WEIGHTS, (4, 4))
