"""From clips to tokens, against transformers and by loops; and the three ways to begin from an image model's filters."""

import pytest
import torch

from course.models.stems import PatchEmbed
from course.models.tubelets import (
    FrameEmbed,
    TubeletEmbed,
    central_frame_filters,
    inflated_filters,
    random_filters,
    uniform_frames,
)
from tests.models.parity import assert_agrees, assert_catches, proves, randomised

SIZES = dict(dim=12, img_size=(8, 12), num_frames=6, tubelet_size=3, patch_size=4)
CLIPS = torch.randn(2, 6, 3, 8, 12, generator=torch.Generator().manual_seed(2))


def transformers_tubelets():
    from transformers import VivitConfig
    from transformers.models.vivit.modeling_vivit import VivitTubeletEmbeddings

    return VivitTubeletEmbeddings(VivitConfig(image_size=(8, 12), num_frames=6, tubelet_size=[3, 4, 4], hidden_size=12))


def tubelets_and_theirs():
    theirs = randomised(transformers_tubelets())
    ours = TubeletEmbed(**SIZES)
    ours.proj.load_state_dict(theirs.projection.state_dict())
    return ours, theirs


def as_sequence(embed):
    return lambda clips: embed.to(clips.dtype)(clips).flatten(1, 3)


def slow_tubelets(embed):
    """One scalar product for each token: of its box of pixels, frames outermost, with the filters."""

    def tokens(clips):
        weight, bias = (p.detach().to(clips.dtype) for p in (embed.proj.weight, embed.proj.bias))
        boxes = [
            clips[:, t : t + 3, :, y : y + 4, x : x + 4] for t in (0, 3) for y in (0, 4) for x in (0, 4, 8)
        ]  # each (B, t, C, P, P)
        return torch.stack([torch.einsum("btcij,dctij->bd", box, weight) + bias for box in boxes], dim=1)

    return tokens


@proves(33)
def test_tubelets_agree_with_transformers_and_with_scalar_products():
    ours, theirs = tubelets_and_theirs()
    assert ours.grid == (2, 2, 3) and ours(CLIPS).shape == (2, 2, 2, 3, 12)
    assert_agrees(as_sequence(ours), theirs, CLIPS)
    assert_agrees(as_sequence(ours), slow_tubelets(ours), CLIPS)


def frames_backwards(embed):
    embed.proj.weight.data = embed.proj.weight.flip(2)


def channels_taken_for_frames(embed):
    embed.proj.weight.data = embed.proj.weight.transpose(1, 2).contiguous()  # C = t = 3, so no error tells


def rows_and_columns_swapped(embed):
    embed.proj.weight.data = embed.proj.weight.transpose(-2, -1).contiguous()


@pytest.mark.parametrize("mistake", [frames_backwards, channels_taken_for_frames, rows_and_columns_swapped])
def test_catches(mistake):
    ours, theirs = tubelets_and_theirs()
    assert_catches(mistake, ours, lambda clips: theirs.to(clips.dtype)(clips).unflatten(1, (2, 2, 3)), CLIPS)


def slow_frames(embed):
    """ViT's patches of frames 1 and 4 of 0 to 5, the middle ones of each three, frame by frame."""
    image = PatchEmbed(12, (8, 12), patch_size=4)
    image.load_state_dict(embed.state_dict())
    return lambda clips: torch.stack([image.to(clips.dtype)(clips[:, i]) for i in (1, 4)], dim=1)


@proves(34)
def test_uniform_frame_sampling_is_the_patches_of_the_frames_kept():
    ours = randomised(FrameEmbed(**SIZES))
    assert ours.grid == (2, 2, 3)
    assert_agrees(ours, slow_frames(ours), CLIPS)


def kept_from_the_first_frame_on(embed):
    embed.register_forward_pre_hook(lambda embed, inputs: (inputs[0].roll(1, 1),))


def frames_of_different_clips_mixed(embed):
    embed.register_forward_hook(lambda embed, inputs, y: y.flatten(0, 1).unflatten(0, (2, 2)).transpose(0, 1))


@pytest.mark.parametrize(
    "mistake", [kept_from_the_first_frame_on, frames_of_different_clips_mixed, rows_and_columns_swapped]
)
def test_frame_sampling_catches(mistake):
    ours = randomised(FrameEmbed(**SIZES))
    assert_catches(mistake, ours, slow_frames(ours), CLIPS)


def test_uniform_frames_takes_the_middle_of_each_stretch():
    frames = torch.arange(32).view(1, 32, 1, 1, 1)
    assert uniform_frames(frames, 2).flatten().tolist() == list(range(1, 32, 2))
    assert uniform_frames(frames, 8).flatten().tolist() == [4, 12, 20, 28]
    assert uniform_frames(frames, 1).flatten().tolist() == list(range(32))


def with_filters(image: PatchEmbed, filters, tubelet_size: int) -> TubeletEmbed:
    embed = TubeletEmbed(12, (8, 12), 6, tubelet_size=tubelet_size, patch_size=4).to(image.proj.weight.dtype)
    with torch.no_grad():
        embed.proj.weight.copy_(filters(image.proj.weight, tubelet_size))
        embed.proj.bias.copy_(image.proj.bias)
    return embed


@proves(35)
@pytest.mark.parametrize("tubelet_size", [1, 2, 3, 6])
@pytest.mark.parametrize("filters", [inflated_filters, central_frame_filters])
def test_on_a_still_clip_the_tokens_are_the_image_models(filters, tubelet_size):
    image = randomised(PatchEmbed(12, (8, 12), patch_size=4)).double()
    still = CLIPS[:, :1].double()
    tokens = with_filters(image, filters, tubelet_size)(still.expand(-1, 6, -1, -1, -1))
    expected = image(still[:, 0])[:, None].expand_as(tokens)
    torch.testing.assert_close(tokens, expected, rtol=1e-12, atol=1e-12)


@proves(35)
@pytest.mark.parametrize("tubelet_size", [2, 3])
def test_the_central_frame_begins_as_uniform_frame_sampling_and_inflation_as_the_mean(tubelet_size):
    image = randomised(PatchEmbed(12, (8, 12), patch_size=4))
    of_frames = image(CLIPS.flatten(0, 1)).unflatten(0, (2, 6 // tubelet_size, tubelet_size))
    central = with_filters(image, central_frame_filters, tubelet_size)(CLIPS)
    inflated = with_filters(image, inflated_filters, tubelet_size)(CLIPS)
    sampled = FrameEmbed(**SIZES | {"tubelet_size": tubelet_size})
    sampled.load_state_dict(image.state_dict())
    torch.testing.assert_close(central, of_frames[:, :, tubelet_size // 2], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(central, sampled(CLIPS), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inflated, of_frames.mean(dim=2), rtol=1e-5, atol=1e-5)


@proves(35)
def test_random_filters_have_the_spread_of_a_fresh_convolution_and_nothing_of_the_images():
    torch.manual_seed(0)
    image = torch.zeros(64, 3, 8, 8)
    weight, fresh = random_filters(image, 4), torch.nn.Conv3d(3, 64, (4, 8, 8)).weight
    assert weight.shape == fresh.shape
    assert weight.std().item() == pytest.approx(fresh.std().item(), rel=0.02)


def test_not_divided_by_the_average_frame_inflation_is_t_times_too_large():
    image = randomised(PatchEmbed(12, (8, 12), patch_size=4))
    embed = with_filters(image, lambda weight, t: inflated_filters(weight, t) * t, 3)
    still = CLIPS[:, :1].expand(-1, 6, -1, -1, -1)
    assert (embed(still)[:, 0] - image(still[:, 0])).abs().max() > 0.1


@pytest.mark.parametrize("cls", [FrameEmbed, TubeletEmbed])
def test_says_what_fits(cls):
    with pytest.raises(ValueError, match="tubelet_size may be 1, 2, 3, 6"):
        cls(**SIZES | {"tubelet_size": 4})
    with pytest.raises(ValueError, match="got 5: num_frames=5 makes one"):
        cls(**SIZES)(CLIPS[:, :5])
