"""A mixture of experts against transformers' Mixtral, and against a loop over the tokens."""

import math

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.channel_mixers.mixture_of_experts import (
    MixtureOfExperts,
    load_balancing_loss,
)
from course.models.count import count_macs, count_parameters
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    difference,
    each,
    proves,
    randomised,
)

SMALL = {
    "vit_moe_s16": dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=4, mlp_ratio=2, num_classes=10)
}
GENERATOR = torch.Generator().manual_seed(2)
TOKENS = torch.randn(2, 9, 12, generator=GENERATOR)
IMAGES = torch.randn(2, 3, 32, 32, generator=GENERATOR)


def mixtral() -> nn.Module:
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(hidden_size=12, intermediate_size=24, num_local_experts=5, num_experts_per_tok=2)
    config._experts_implementation = "eager"
    return randomised(MixtralSparseMoeBlock(config))


def with_weights_of(theirs: nn.Module) -> MixtureOfExperts:
    ours = MixtureOfExperts(12, num_experts=5, top_k=2, mlp_ratio=2, gated=True).eval()
    ours.load_state_dict(
        {
            "router.weight": theirs.gate.weight,
            "fc1": theirs.experts.gate_up_proj.transpose(1, 2),
            "fc2": theirs.experts.down_proj.transpose(1, 2),
        }
    )
    return ours


@proves(145)
def test_agrees_with_mixtral():
    theirs = mixtral()

    def called(x):
        return theirs.to(x.dtype)(x.clone())

    # Mixtral's router takes its softmax in float32, whatever the rest is in.
    assert_agrees(with_weights_of(theirs), called, TOKENS, float64=1e-6)


def slow_mixture(module: MixtureOfExperts, x: Tensor) -> Tensor:
    """Token by token, with a list of who is in which box; all choices of first rank are served first."""
    batch, length, dim = x.shape
    num_experts, k = len(module.fc1), module.top_k
    capacity = length
    if module.capacity_factor is not None:
        capacity = min(length, math.ceil(module.capacity_factor * length * k / num_experts))
    out = []
    for b in range(batch):
        sums = [torch.zeros(dim, dtype=x.dtype) for _ in range(length)]
        load = [0] * num_experts
        ratings = [(module.router.weight @ x[b, n]).tolist() for n in range(length)]
        ranking = [sorted(range(num_experts), key=lambda e: -rating[e]) for rating in ratings]
        for rank in range(k):
            for n in range(length):
                e = ranking[n][rank]
                if load[e] == capacity:
                    continue
                load[e] += 1
                exponentials = [torch.exp(module.router.weight[c] @ x[b, n]) for c in ranking[n][:k]]
                hidden = x[b, n] @ module.fc1[e]
                if module.gated:
                    gate, up = hidden[: len(hidden) // 2], hidden[len(hidden) // 2 :]
                    hidden = gate / (1 + torch.exp(-gate)) * up
                else:
                    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
                sums[n] = sums[n] + exponentials[rank] / sum(exponentials) * (hidden @ module.fc2[e])
        out.append(torch.stack(sums))
    return torch.stack(out)


def slow(module: MixtureOfExperts):
    return lambda x: slow_mixture(module.to(x.dtype), x)


@proves(145)
@pytest.mark.parametrize("capacity_factor", [None, 0.5, 1.0])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_agrees_with_the_loop_over_tokens(top_k, gated, capacity_factor):
    module = randomised(MixtureOfExperts(12, 4, top_k, mlp_ratio=2, gated=gated, capacity_factor=capacity_factor))
    assert_agrees(module, slow(module), TOKENS)


def softmax_over_all_experts(module):
    def forward(x):
        kept = module.router.to(x.dtype)(x).topk(2, dim=-1).values.exp().sum(-1, keepdim=True)
        everyone = module.router(x).exp().sum(-1, keepdim=True)
        return MixtureOfExperts.forward(module.to(x.dtype), x) * kept / everyone

    module.forward = forward


def gate_and_values_swapped(module):
    module.fc1.data = module.fc1.data.roll(24, dims=2)


def one_expert_too_few(module):
    module.top_k = 1


def not_gated(module):
    module.gated = False
    module.fc1.data = module.fc1.data[:, :, :24]


def tokens_without_room(module):
    module.capacity_factor = 0.5


@pytest.mark.parametrize(
    "mistake", [softmax_over_all_experts, gate_and_values_swapped, one_expert_too_few, not_gated, tokens_without_room]
)
def test_catches(mistake):
    theirs = mixtral()
    assert_catches(mistake, with_weights_of(theirs), lambda x: theirs.to(x.dtype)(x.clone()), TOKENS)


def test_second_choices_that_queue_first_are_seen():
    module = randomised(MixtureOfExperts(12, 4, 2, capacity_factor=0.5))
    reference = randomised(MixtureOfExperts(12, 4, 2, capacity_factor=0.5))
    forwards = slow(reference)
    assert difference(module, lambda x: forwards(x.flip(1)).flip(1), TOKENS)[0] > 1e-3


def test_a_map_is_mixed_like_its_tokens():
    module = randomised(MixtureOfExperts(12, 4))
    maps = TOKENS.view(2, 3, 3, 12)
    torch.testing.assert_close(module(maps).flatten(1, 2), module(TOKENS))


def test_an_image_does_not_depend_on_the_others_of_its_batch():
    module = randomised(MixtureOfExperts(12, 4, capacity_factor=0.6))
    torch.testing.assert_close(module(TOKENS)[1:], module(TOKENS[1:]))


@proves(145)
@pytest.mark.parametrize("top_k", [1, 2])
def test_load_balancing_loss_agrees_with_transformers(top_k):
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits = torch.randn(30, 5, generator=GENERATOR)
    assert_agrees(
        lambda x: load_balancing_loss(x, top_k),
        lambda x: load_balancing_loss_func((x,), num_experts=5, top_k=top_k),
        logits,
        float64=1e-6,  # theirs counts the choices in float32
    )


def test_load_balancing_loss_is_1_when_all_are_used_alike_and_E_when_one_gets_everything():
    alike = 50 * torch.eye(4).repeat(3, 1)
    torch.testing.assert_close(load_balancing_loss(alike), torch.tensor(1.0))
    everything = torch.tensor([[50.0, 0, 0, 0]]).repeat(12, 1)
    torch.testing.assert_close(load_balancing_loss(everything), torch.tensor(4.0))


def test_eight_experts_have_eight_times_the_weights_at_about_twice_the_cost():
    with torch.device("meta"):
        mixture, plain = MixtureOfExperts(384, capacity_factor=1.0), MixtureOfExperts(384, 1, 1)
    assert count_parameters(mixture) - 8 * 384 == 8 * (count_parameters(plain) - 384)
    assert count_macs(mixture, 1, 196, 384) == pytest.approx(2 * count_macs(plain, 1, 196, 384), rel=0.01)


def test_every_second_block_of_the_vit_has_experts():
    model = create_model("vit_moe_s16", **SMALL["vit_moe_s16"] | dict(depth=4))
    kinds = [type(block.channel_mixer.branch).__name__ for block in model.stages[0].blocks]
    assert kinds == ["MLP", "MixtureOfExperts"] * 2 and len(each(model, MixtureOfExperts)) == 2


def test_runs_compiled_in_one_graph():
    model = create_model("vit_moe_s16", **SMALL["vit_moe_s16"]).eval()
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(IMAGES), model(IMAGES))


def test_every_expert_that_is_chosen_and_the_router_get_a_gradient():
    module = MixtureOfExperts(12, 4, top_k=2)
    module(TOKENS).square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in module.parameters())


def test_more_choices_than_experts_are_named():
    with pytest.raises(ValueError, match="top_k is between 1 and the 4 experts"):
        MixtureOfExperts(12, 4, top_k=5)
