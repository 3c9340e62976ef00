"""Perceiver IO against transformers; Perceiver against transformers' layers, and against its equations, latent by latent."""

import math

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.channel_mixers.mlp import MLP
from course.models.count import count_macs, count_parameters
from course.models.norms import LayerNorm
from course.models.perceiver import CrossAttend, fourier_features
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)

SMALL = dict.fromkeys(
    ["perceiver", "perceiver_io", "perceiver_cifar"],
    dict(img_size=8, num_classes=10, num_latents=5, embed_dim=24, iterations=3, depth=2, num_heads=4, num_bands=64),
)
SIZES = SMALL["perceiver"] | dict(img_size=(6, 8))
IMAGES = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(2))


def config():
    from transformers import PerceiverConfig

    return PerceiverConfig(
        num_latents=5,
        d_latents=24,
        num_blocks=3,
        num_self_attends_per_block=2,
        num_self_attention_heads=4,
        num_cross_attention_heads=1,
        num_labels=10,
        attention_probs_dropout_prob=0.0,
    )


def transformers_io() -> nn.Module:
    from transformers import PerceiverForImageClassificationFourier

    model = PerceiverForImageClassificationFourier(config())
    # It fixes this at 224×224 for any image; the paper's highest frequency is that of the image.
    model.perceiver.input_preprocessor.position_embeddings.max_resolution = (6, 8)
    return model


@proves(143)
def test_perceiver_io_agrees_with_transformers():
    ours, theirs = pair("perceiver_io", SIZES, transformers_io(), "transformers")
    assert_agrees(ours, lambda x: theirs.to(x.dtype)(inputs=x).logits, IMAGES)


class FromTheirLayers(nn.Module):
    """Perceiver, put together from transformers' Perceiver layers: the loop of section 3.1 written out."""

    def __init__(self) -> None:
        from transformers.models.perceiver import modeling_perceiver as theirs

        super().__init__()
        cross = dict(is_cross_attention=True, num_heads=1, q_dim=24, kv_dim=261, widening_factor=1)
        self.positions = theirs.PerceiverFourierPositionEncoding(64, (6, 8))
        self.latents = nn.Parameter(torch.empty(5, 24))
        self.first = theirs.PerceiverLayer(config(), **cross)
        self.other = theirs.PerceiverLayer(config(), **cross)
        self.blocks = nn.ModuleList(
            theirs.PerceiverLayer(config(), num_heads=4, q_dim=24, kv_dim=24, widening_factor=1) for _ in range(2)
        )
        self.fc = nn.Linear(24, 10)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 2, 3, 1)
        position = self.positions(pixels.shape[1:3], len(images), device=images.device, dtype=images.dtype)
        inputs = torch.cat([pixels.flatten(1, 2), position], dim=-1)
        x = self.latents.expand(len(images), -1, -1)
        for iteration in range(3):
            x = (self.other if iteration else self.first)(x, inputs=inputs)[0]
            for block in self.blocks:
                x = block(x)[0]
        return self.fc(x.mean(dim=1))


def our_names(theirs: nn.Module) -> dict[str, Tensor]:
    """The weights of ``FromTheirLayers`` under the names of our Perceiver."""
    state = theirs.state_dict()
    out = {"latents": state["latents"], "head.fc.weight": state["fc.weight"], "head.fc.bias": state["fc.bias"]}

    def layer(source: str, norm: str, packed: str, parts: tuple[str, ...], proj: str, mixer: str) -> None:
        for leaf in ("weight", "bias"):
            out[f"{norm}.{leaf}"] = state[f"{source}.attention.self.layernorm1.{leaf}"]
            out[f"{packed}.{leaf}"] = torch.cat([state[f"{source}.attention.self.{part}.{leaf}"] for part in parts])
            out[f"{proj}.{leaf}"] = state[f"{source}.attention.output.dense.{leaf}"]
            out[f"{mixer}.norm.{leaf}"] = state[f"{source}.layernorm.{leaf}"]
            out[f"{mixer}.branch.fc1.{leaf}"] = state[f"{source}.mlp.dense1.{leaf}"]
            out[f"{mixer}.branch.fc2.{leaf}"] = state[f"{source}.mlp.dense2.{leaf}"]

    for source, ours in (("first", "first_cross_attend"), ("other", "cross_attend")):
        layer(source, f"{ours}.norm", f"{ours}.kv", ("key", "value"), f"{ours}.proj", f"{ours}.channel_mixer")
        for leaf in ("weight", "bias"):
            out[f"{ours}.q.{leaf}"] = state[f"{source}.attention.self.query.{leaf}"]
            out[f"{ours}.norm_inputs.{leaf}"] = state[f"{source}.attention.self.layernorm2.{leaf}"]
    for i in range(2):
        ours = f"latent_transformer.{i}"
        mixer = f"{ours}.token_mixer"
        layer(
            f"blocks.{i}",
            f"{mixer}.norm",
            f"{mixer}.branch.qkv",
            ("query", "key", "value"),
            f"{mixer}.branch.proj",
            f"{ours}.channel_mixer",
        )
    return out


def perceiver_pair() -> tuple[nn.Module, nn.Module]:
    theirs = randomised(FromTheirLayers())
    ours = create_model("perceiver", **SIZES).eval()
    ours.load_state_dict(our_names(theirs))
    return ours, theirs


@proves(142)
def test_perceiver_agrees_with_the_loop_over_transformers_layers():
    assert_agrees(*perceiver_pair(), IMAGES)


def first_cross_attend_is_the_shared_one(model):
    model.first_cross_attend = model.cross_attend


def latents_look_once(model):
    model.iterations = 1


def second_look_lost(model):
    model.cross_attend.forward = lambda latents, keys_values: latents


def head_reads_the_first_latent(model):
    model.head.register_forward_pre_hook(lambda head, inputs: inputs[0][:, :1])


def columns_before_rows(model):
    model.inputs.position = fourier_features((8, 6), 64).view(8, 6, -1).transpose(0, 1).flatten(0, 1)


def sines_and_cosines_swapped(model):
    model.inputs.position = torch.cat([model.inputs.position[:, :2], model.inputs.position[:, 2:].roll(128, 1)], dim=1)


def inputs_not_normed(model):
    for cross_attend in each(model, CrossAttend):
        cross_attend.norm_inputs = nn.Identity()


def gelu_by_tanh(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU(approximate="tanh")


def eps_of_vit(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-6


@pytest.mark.parametrize(
    "mistake",
    [
        first_cross_attend_is_the_shared_one,
        latents_look_once,
        second_look_lost,
        head_reads_the_first_latent,
        columns_before_rows,
        sines_and_cosines_swapped,
        inputs_not_normed,
        gelu_by_tanh,
        eps_of_vit,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *perceiver_pair(), IMAGES)


def decoder_without_its_query(model):
    model.query.data.zero_()


@pytest.mark.parametrize(
    "mistake", [latents_look_once, decoder_without_its_query, inputs_not_normed, sines_and_cosines_swapped]
)
def test_catches_in_perceiver_io(mistake):
    ours, theirs = pair("perceiver_io", SIZES, transformers_io(), "transformers")
    assert_catches(mistake, ours, lambda x: theirs.to(x.dtype)(inputs=x).logits, IMAGES)


def slow_norm(x: Tensor, norm: nn.Module) -> Tensor:
    mean, variance = x.mean(), ((x - x.mean()) ** 2).mean()
    return (x - mean) / torch.sqrt(variance + 1e-5) * norm.weight + norm.bias


def slow_cross_attend(module: CrossAttend, latents: Tensor, inputs: Tensor) -> Tensor:
    """One latent (D,) of one image at a time, one input at a time, head by head."""
    width = module.q.out_features
    d = width // module.num_heads
    out = []
    for latent in latents:
        q = module.q.weight @ slow_norm(latent, module.norm) + module.q.bias
        weights, values = [], []
        for item in inputs:
            kv = module.kv.weight @ slow_norm(item, module.norm_inputs) + module.kv.bias
            of_head = [slice(h * d, h * d + d) for h in range(module.num_heads)]
            weights.append([torch.exp(q[here] @ kv[here] / math.sqrt(d)) for here in of_head])
            values.append(kv[width:])
        heads = []
        for h in range(module.num_heads):
            total = sum(w[h] for w in weights)
            heads.append(sum(w[h] / total * v[h * d : h * d + d] for w, v in zip(weights, values)))
        x = latent + module.proj.weight @ torch.cat(heads) + module.proj.bias
        mlp = module.channel_mixer.branch
        hidden = mlp.fc1.weight @ slow_norm(x, module.channel_mixer.norm) + mlp.fc1.bias
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        out.append(x + mlp.fc2.weight @ hidden + mlp.fc2.bias)
    return torch.stack(out)


@proves(142)
@pytest.mark.parametrize("heads", [1, 3])
def test_a_cross_attend_is_its_equation(heads):
    module = randomised(CrossAttend(8, 6, num_heads=heads))
    latents, inputs = torch.randn(2, 3, 8), torch.randn(2, 7, 6)

    def slow(x, y):
        model = module.to(x.dtype)
        return torch.stack([slow_cross_attend(model, a, b) for a, b in zip(x, y)])

    def ours(x, y):
        return module.to(x.dtype)(x, module.keys_values(y))

    assert_agrees(ours, slow, latents, inputs)


@proves(142)
def test_fourier_features_are_those_of_section_3_2():
    table = fourier_features((5, 7), 4).double()
    for row in range(5):
        for column in range(7):
            expected = [-1 + 2 * row / 4, -1 + 2 * column / 6]
            for wave in (math.sin, math.cos):
                for place, length in zip(expected[:2], (5, 7)):
                    expected += [wave(math.pi * place * (1 + k * (length / 2 - 1) / 3)) for k in range(4)]
            found = table[row * 7 + column]
            torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=2e-6)


def test_the_order_of_the_pixels_does_not_matter_if_they_keep_their_positions():
    """Table 2 of the paper, "permuted": nothing but the positions tells which pixels are neighbours."""
    model = randomised(create_model("perceiver", **SIZES)).double()
    order = torch.randperm(48, generator=torch.Generator().manual_seed(1))
    images = IMAGES.double()
    before = model(images)
    model.inputs.position = model.inputs.position[order]
    torch.testing.assert_close(model(images.flatten(2)[:, :, order].view_as(images)), before)
    assert not torch.allclose(model(images), before)


@proves(142)
def test_has_the_44_9_million_parameters_and_707_billion_operations_of_the_paper():
    with torch.device("meta"):
        model = create_model("perceiver")
    assert f"{count_parameters(model) / 1e6:.1f}" == "44.9"
    # The paper counts keys and values in each of the 8 looks; we make those of the shared cross-attend once, not 7 times.
    saved = 6 * 224**2 * 261 * (2 * 261)
    assert 2 * (count_macs(model, 1, 3, 224, 224) + saved) / 1e9 == pytest.approx(707.2, rel=0.01)


@pytest.mark.parametrize("name", SMALL)
def test_runs_compiled_in_one_graph(name):
    model = create_model(name, **SIZES).eval()
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(IMAGES), model(IMAGES))
