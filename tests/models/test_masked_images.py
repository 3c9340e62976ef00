"""MAE and SimMIM against transformers: weights copied, reconstruction and loss equal; masking and its inverse."""

import math

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.channel_mixers.mlp import MLP
from course.models.count import count_macs, count_parameters
from course.models.masked_images import (
    MAE,
    MAEDecoder,
    SimMIM,
    enlarged,
    mae_loss,
    patchify,
    random_masking,
    simmim_loss,
    unmask,
    unpatchify,
)
from course.models.norms import LayerNorm
from course.models.reference import copy_weights
from course.models.registry import entry
from course.models.spec import per_stage
from tests.models.parity import assert_agrees, assert_catches, difference, each, proves, randomised

D, DECODER, SIDE, P = 48, 24, 32, 8
GENERATOR = torch.Generator().manual_seed(3)
IMAGES = torch.randn(3, 3, SIDE, SIDE, generator=GENERATOR)
NOISE = torch.rand(3, 16, generator=GENERATOR)
MASK = torch.rand(3, 4, 4, generator=GENERATOR) < 0.6


def small_vit(**changes) -> nn.Module:
    sizes = dict(img_size=SIDE, patch_size=P, embed_dim=D, depth=2, num_heads=4, mlp_ratio=4, num_classes=0)
    return create_model("vit_b16", **sizes | changes)


# masking


def test_masking_hides_the_share_and_unmask_undoes_it():
    tokens = torch.randn(5, 12, 3)
    kept, hidden, restore = random_masking(tokens, 0.75)
    assert kept.shape == (5, 3, 3) and (hidden.sum(1) == 9).all()
    assert len({tuple(row) for row in hidden.tolist()}) > 1, "each image has its own"
    whole = unmask(kept, torch.full((3,), 7.0), restore)
    assert (whole[hidden] == 7).all() and torch.equal(whole[~hidden], tokens[~hidden])


def test_masking_follows_the_noise():
    noise = torch.tensor([[0.4, 0.1, 0.9, 0.2]])
    kept, hidden, _ = random_masking(torch.arange(4.0).view(1, 4, 1), 0.5, noise)
    assert kept.flatten().tolist() == [1, 3] and hidden.tolist() == [[True, False, True, False]]


@pytest.mark.parametrize(("count", "ratio", "kept"), [(196, 0.75, 49), (10, 0.9, 1), (7, 0.5, 3), (4, 0.0, 4)])
def test_how_many_are_left(count, ratio, kept):
    assert random_masking(torch.zeros(1, count, 1), ratio)[0].shape[1] == kept


def test_patches_and_back():
    images = torch.randn(2, 3, 8, 12)
    patches = patchify(images, 4)
    assert patches.shape == (2, 6, 48) and torch.equal(unpatchify(patches, 4, (2, 3)), images)
    assert torch.equal(patches[1, 4].view(4, 4, 3), images[1, :, 4:8, 4:8].permute(1, 2, 0))


# losses, written with loops


@pytest.mark.parametrize("normed", [True, False])
def test_mae_loss_is_that_of_the_hidden_patches(normed):
    images, predicted = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 4, 12, dtype=torch.float64)
    hidden = torch.tensor([[True, False, False, True], [False, True, False, False]])
    squares = []
    for b, n in hidden.nonzero().tolist():
        top, left = 2 * (n // 2), 2 * (n % 2)
        patch = [images[b, c, top + i, left + j].item() for i in range(2) for j in range(2) for c in range(3)]
        if normed:
            mean = sum(patch) / 12
            variance = sum((x - mean) ** 2 for x in patch) / 11
            patch = [(x - mean) / math.sqrt(variance + 1e-6) for x in patch]
        squares += [(p - x) ** 2 for p, x in zip(predicted[b, n].tolist(), patch, strict=True)]
    assert mae_loss(predicted, images, hidden, 2, normed).item() == pytest.approx(sum(squares) / len(squares))


def test_simmim_loss_is_that_of_the_hidden_pixels():
    images, predicted = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    hidden = torch.rand(2, 4, 4) < 0.5
    errors = [abs((predicted - images)[b, c, i, j].item()) for b, i, j in hidden.nonzero().tolist() for c in range(3)]
    assert simmim_loss(predicted, images, hidden).item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)


# MAE against transformers


def transformers_mae() -> nn.Module:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=D, num_hidden_layers=2, num_attention_heads=4, intermediate_size=4 * D, image_size=SIDE,
        patch_size=P, layer_norm_eps=1e-6, decoder_hidden_size=DECODER, decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2, decoder_intermediate_size=4 * DECODER, norm_pix_loss=True,
    )  # fmt: skip
    return randomised(ViTMAEForPreTraining(config))


def mae_with_weights_of(theirs: nn.Module) -> MAE:
    ours = MAE(small_vit(), decoder_dim=DECODER, decoder_depth=2, decoder_heads=2).eval()
    state = theirs.state_dict()
    trunk = {k: v for k, v in state.items() if k.startswith("vit.")}
    copy_weights(ours.encoder, trunk, entry(ours.encoder.name).keys["transformers"])
    decoder = theirs.decoder
    names = {
        "embed": decoder.decoder_embed.state_dict(),
        "norm": decoder.decoder_norm.state_dict(),
        "pixels": decoder.decoder_pred.state_dict(),
    }
    for i, layer in enumerate(decoder.decoder_layers):
        attention, block = layer.attention, f"blocks.{i}"
        linears = [attention.q_proj, attention.k_proj, attention.v_proj]
        packed = {leaf: torch.cat([getattr(linear, leaf) for linear in linears]) for leaf in ("weight", "bias")}
        names |= {
            f"{block}.token_mixer.norm": layer.layernorm_before.state_dict(),
            f"{block}.token_mixer.branch.qkv": packed,
            f"{block}.token_mixer.branch.proj": attention.o_proj.state_dict(),
            f"{block}.channel_mixer.norm": layer.layernorm_after.state_dict(),
            f"{block}.channel_mixer.branch.fc1": layer.mlp.fc1.state_dict(),
            f"{block}.channel_mixer.branch.fc2": layer.mlp.fc2.state_dict(),
        }
    values = {f"{name}.{leaf}": value for name, part in names.items() for leaf, value in part.items()}
    ours.decoder.load_state_dict(values | {"mask_token": decoder.mask_token.flatten()})
    ours.decoder.position.copy_(decoder.decoder_pos_embed[0].detach())
    return ours


class OurMAE(nn.Module):
    """(loss, what it makes of the patches)"""

    def __init__(self, mae: MAE) -> None:
        super().__init__()
        self.mae = mae

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.mae(images, noise), self.mae.reconstruct(images, noise)[0]


class TheirMAE(OurMAE):
    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        y = self.mae(images, noise=noise)
        return y.loss, y.logits


@pytest.fixture(scope="module")
def maes():
    theirs = transformers_mae()
    return OurMAE(mae_with_weights_of(theirs)), TheirMAE(theirs)


@proves(150)
def test_mae_agrees_with_transformers(maes):
    assert_agrees(*maes, IMAGES, NOISE)


def raw_pixels_as_target(model):
    model.mae.norm_pix_loss = False


def another_share_is_hidden(model):
    model.mae.mask_ratio = 0.5


def decoder_without_positions(model):
    each(model, MAEDecoder)[0].position.zero_()


def left_over_tokens_in_shuffled_order(model):
    decoder = each(model, MAEDecoder)[0]
    decoder.forward = (
        lambda self, x, restore: MAEDecoder.forward(self, x, torch.arange(16).expand(len(x), -1))
    ).__get__(decoder)


def encoder_without_its_last_norm(model):
    model.mae.encoder.head.norm = nn.Identity()


def relu_for_gelu(model):
    for mlp in each(each(model, MAEDecoder)[0], MLP):
        mlp.act = nn.ReLU()


def positions_after_masking(model):
    """Each token that is left gets the position of its place in the shortened sequence."""
    stage = model.mae.encoder.stages[0]
    position = stage.entry.position.detach().clone()
    stage.entry.position.data.zero_()
    stage.blocks.register_forward_pre_hook(lambda _, inputs: inputs[0] + position[: inputs[0].shape[1]].to(inputs[0]))


@pytest.mark.parametrize(
    "mistake",
    [
        raw_pixels_as_target,
        another_share_is_hidden,
        decoder_without_positions,
        left_over_tokens_in_shuffled_order,
        encoder_without_its_last_norm,
        relu_for_gelu,
        positions_after_masking,
    ],
)
def test_catches_in_mae(maes, mistake):
    assert_catches(mistake, *maes, IMAGES, NOISE)


def loss_of_all_patches(predicted, images, hidden, patch_size, norm_pix_loss):
    return mae_loss(predicted, images, torch.ones_like(hidden), patch_size, norm_pix_loss)


def loss_of_the_visible_patches(predicted, images, hidden, patch_size, norm_pix_loss):
    return mae_loss(predicted, images, ~hidden, patch_size, norm_pix_loss)


@pytest.mark.parametrize("wrong", [loss_of_all_patches, loss_of_the_visible_patches])
def test_catches_in_the_loss_of_mae(maes, wrong, monkeypatch):
    monkeypatch.setattr("course.models.masked_images.mae_loss", wrong)
    assert difference(*maes, IMAGES, NOISE)[0] > 1e-6


@proves(150)
def test_mae_has_the_size_of_transformers():
    """Which counts both tables of fixed positions as parameters, and masks 147 of 196 patches."""
    with torch.device("meta"):
        model = MAE(create_model("vit_b16", num_classes=0))
    decoder_positions = 197 * 512
    assert f"{(count_parameters(model) + decoder_positions) / 1e6:.3f}M" == "111.908M"
    assert count_macs(model, 1, 3, 224, 224) / 1e9 == pytest.approx(9.781, rel=0.002)


# SimMIM against transformers


def transformers_simmim(kind: str) -> nn.Module:
    from transformers import SwinConfig, SwinForMaskedImageModeling, ViTConfig, ViTForMaskedImageModeling

    if kind == "vit":
        config = ViTConfig(
            hidden_size=D, num_hidden_layers=2, num_attention_heads=4, intermediate_size=4 * D, image_size=SIDE,
            patch_size=P, layer_norm_eps=1e-6, encoder_stride=P,
        )  # fmt: skip
        return randomised(ViTForMaskedImageModeling(config))
    config = SwinConfig(
        image_size=SIDE, patch_size=2, window_size=4, embed_dim=12, depths=(2, 2), num_heads=(2, 4), encoder_stride=4
    )
    return randomised(SwinForMaskedImageModeling(config))


def simmim_with_weights_of(theirs: nn.Module, kind: str) -> SimMIM:
    encoder = small_vit() if kind == "vit" else small_swin()
    ours = SimMIM(encoder, mask_size=8).eval()
    state = theirs.state_dict()
    trunk = {name: weight for name, weight in state.items() if name.startswith(kind) and "mask_token" not in name}
    copy_weights(encoder, trunk, entry(encoder.name).keys["transformers"])
    with torch.no_grad():
        ours.mask_token.copy_(state[f"{kind}.embeddings.mask_token"].flatten())
        ours.pixels.weight.copy_(state["decoder.0.weight"].flatten(1))
        ours.pixels.bias.copy_(state["decoder.0.bias"])
    return ours


def small_swin() -> nn.Module:
    sizes = dict(dims=(12, 24), depths=(2, 2), num_heads=per_stage(2, 4), window_size=4, num_classes=0)
    return create_model("swin_cifar", **sizes)


class OurSimMIM(nn.Module):
    """(loss, what it makes of the pixels)"""

    def __init__(self, simmim: nn.Module) -> None:
        super().__init__()
        self.simmim = simmim

    def forward(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.simmim(images, mask), self.simmim.reconstruct(images, mask)


class TheirSimMIM(OurSimMIM):
    def forward(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        patches = SIDE // self.simmim.config.patch_size
        y = self.simmim(images, bool_masked_pos=enlarged(mask, patches // mask.shape[1]).flatten(1))
        return y.loss, y.reconstruction


@pytest.fixture(scope="module")
def simmims():
    theirs = {kind: transformers_simmim(kind) for kind in ("vit", "swin")}
    return {
        kind: (OurSimMIM(simmim_with_weights_of(model, kind)), TheirSimMIM(model)) for kind, model in theirs.items()
    }


@proves(149)
@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_simmim_agrees_with_transformers(simmims, kind):
    assert_agrees(*simmims[kind], IMAGES, MASK)


def mask_token_is_nothing(model):
    model.simmim.mask_token.data.zero_()


def the_visible_are_hidden(model):
    model.register_forward_pre_hook(lambda _, inputs: (inputs[0], ~inputs[1]))


def without_the_last_norm(model):
    model.simmim.encoder.head.norm = nn.Identity()


def pixels_in_another_order(model):
    weight = model.simmim.pixels.weight
    weight.data = weight.view(3, -1, weight.shape[1]).transpose(0, 1).reshape(weight.shape)


@pytest.mark.parametrize("kind", ["vit", "swin"])
@pytest.mark.parametrize(
    "mistake", [mask_token_is_nothing, the_visible_are_hidden, without_the_last_norm, pixels_in_another_order]
)
def test_catches_in_simmim(simmims, kind, mistake):
    assert_catches(mistake, *simmims[kind], IMAGES, MASK)


@proves(149)
def test_simmim_has_the_size_of_transformers():
    with torch.device("meta"):
        model = SimMIM(create_model("swin_b", img_size=192, window_size=6, num_classes=0))
    assert f"{count_parameters(model) / 1e6:.3f}M" == "89.874M"


def test_squares_are_hidden_in_the_share_asked_for():
    mask = SimMIM(small_vit(), mask_ratio=0.6, mask_size=8).random_mask(torch.zeros(50, 3, SIDE, SIDE))
    assert mask.shape == (50, 4, 4) and (mask.sum((1, 2)) == 10).all(), "16 · 0.6, rounded up"
    assert len({tuple(row) for row in mask.flatten(1).tolist()}) > 40


# what cannot be


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MAE(create_model("vit_cifar")), "num_classes=0"),
        (lambda: MAE(create_model("swin_cifar", num_classes=0)), "take SimMIM"),
        (lambda: MAE(nn.Linear(3, 4)), "takes a ViT"),
        (lambda: SimMIM(create_model("cct_7_3x1_cifar", num_classes=0)), "stem"),
        (lambda: SimMIM(small_vit(), mask_size=12), "whole number of patches"),
        (lambda: SimMIM(create_model("vit_cifar", img_size=40, num_classes=0), mask_size=32), "40 and 64|32 and 64"),
    ],
)
def test_what_cannot_be_is_said(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_every_weight_has_a_gradient_and_the_encoder_is_a_classifier_afterwards():
    for model in (
        MAE(small_vit(), decoder_dim=DECODER, decoder_depth=1, decoder_heads=2),
        SimMIM(small_vit(), mask_size=8),
    ):
        model(IMAGES).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
        model.encoder.reset_classifier(7)
        assert model.encoder(IMAGES).shape == (3, 7)


def test_layer_norms_of_the_decoder_are_vits():
    decoder = MAE(small_vit(), decoder_dim=DECODER, decoder_depth=1, decoder_heads=2).decoder
    assert {norm.eps for norm in each(decoder, LayerNorm)} == {1e-6}
