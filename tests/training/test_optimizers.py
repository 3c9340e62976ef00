"""Which tensors are decayed, go to Muon and learn slowly; LAMB against timm; resuming to the last bit."""

from collections import Counter
from types import SimpleNamespace

import pytest
import timm
import timm.optim as timm_optim
import torch
from torch import Tensor, nn

from course.models import create_model
from course.training import checkpoint
from course.training.lamb import Lamb
from course.training.optimizers import (
    MuonWithAdamW,
    decayed_names,
    hidden_matrices,
    layer_scales,
    make_optimizer,
)
from tests.models.parity import proves

OPTIMIZERS = ("adamw", "sgd", "muon", "lamb")


def recipe(**changes) -> SimpleNamespace:
    usual = dict(optimizer="adamw", lr=1e-2, muon_lr=0.02, weight_decay=0.1, betas=(0.9, 0.98), layer_decay=None)
    return SimpleNamespace(**usual | changes)


def small_vit(seed: int = 0, **overrides) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("vit_b16", num_classes=5, img_size=32, embed_dim=16, depth=3, num_heads=2, **overrides)


def timm_vit() -> nn.Module:
    return timm.create_model("vit_base_patch16_224", num_classes=5, img_size=32, embed_dim=16, depth=3, num_heads=2)


def train(model: nn.Module, optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def sizes(groups: list[dict]) -> Counter:
    """How many numbers there are for each (scale of the learning rate, decayed or not)."""
    found = Counter()
    for group in groups:
        key = round(group.get("lr_scale", 1.0), 9), group["weight_decay"] > 0
        found[key] += sum(tensor.numel() for tensor in group["params"])
    return found


# Weight decay
# -----------------------------------------------------------------------------------------------------------


def test_decay_is_of_what_multiplies():
    model = small_vit(layer_scale=0.1)
    left_out = {name for name, _ in model.named_parameters()} - decayed_names(model)
    assert {
        "stages.0.entry.position",
        "stages.0.entry.class_tokens",
        "stages.0.blocks.1.token_mixer.scale",
        "head.fc.bias",
    } <= left_out
    assert not [
        name for name in left_out if name.endswith(("qkv.weight", "fc1.weight", "fc.weight", "stem.proj.weight"))
    ]
    swin = create_model("swin_cifar")
    assert {name for name in dict(swin.named_parameters()) if name.endswith("bias_table")}.isdisjoint(
        decayed_names(swin)
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (small_vit, timm_vit),
        (lambda: create_model("swin_t"), lambda: timm.create_model("swin_tiny_patch4_window7_224")),
        (lambda: create_model("convnext_t"), lambda: timm.create_model("convnext_tiny")),
        (
            lambda: create_model("deit_s_distilled"),
            lambda: timm.create_model("deit_small_distilled_patch16_224"),
        ),
    ],
)
def test_as_much_is_decayed_as_in_timm(ours, theirs):
    with torch.device("meta"):
        ours, theirs = ours(), theirs()
    exempt = theirs.no_weight_decay() if hasattr(theirs, "no_weight_decay") else ()
    groups = timm_optim.param_groups_weight_decay(theirs, 0.1, no_weight_decay_list=exempt)
    assert sizes(make_optimizer(ours, recipe()).param_groups) == sizes(groups)


def test_parameters_of_a_students_own_network():
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4)
            self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
            self.space_positions = nn.Parameter(torch.zeros(1, 5, 8))
            self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
            self.gamma = nn.Parameter(torch.ones(8, 1, 1))
            self.words = nn.Embedding(10, 8)
            self.mixing = nn.Parameter(torch.zeros(5, 5))
            self.query = nn.Linear(8, 8)
            self.to_one = nn.Linear(8, 1)

    assert decayed_names(Network()) == {"patches.weight", "mixing", "query.weight", "to_one.weight"}


def test_frozen_parameters_are_left_out_and_something_must_learn():
    model = small_vit().requires_grad_(False)
    for name in OPTIMIZERS:
        with pytest.raises(ValueError, match="no parameter to train"):
            make_optimizer(model, recipe(optimizer=name))
    model.head.requires_grad_(True)
    (decayed, other) = make_optimizer(model, recipe(layer_decay=0.5)).param_groups
    assert decayed["params"] == [model.head.fc.weight] and len(other["params"]) == 3
    assert decayed["lr_scale"] == 1
    # Only matrices learn: AdamW has nothing to do.
    model.head.requires_grad_(False)
    model.stages[0].blocks[0].token_mixer.branch.qkv.weight.requires_grad_(True)
    train(model, make_optimizer(model, recipe(optimizer="muon")), 1)


# Layers
# -----------------------------------------------------------------------------------------------------------


@proves(107)
def test_layer_decay_is_timms():
    ours, theirs = small_vit(), timm_vit()
    groups = timm_optim.param_groups_layer_decay(
        theirs, 0.1, no_weight_decay_list=theirs.no_weight_decay(), layer_decay=0.6
    )
    optimizer = make_optimizer(ours, recipe(layer_decay=0.6))
    expected = sizes(groups)
    # The norm before the head goes with the last block in timm, with the head in BEiT's own code and here.
    expected[0.6, False] -= 2 * 16
    expected[1.0, False] += 2 * 16
    assert sizes(optimizer.param_groups) == expected
    assert sorted({group["lr_scale"] for group in optimizer.param_groups}) == pytest.approx(
        [0.6**4, 0.6**3, 0.6**2, 0.6, 1]
    )
    assert all(group["lr"] == pytest.approx(1e-2 * group["lr_scale"]) for group in optimizer.param_groups)


def test_layers_of_a_pyramid():
    model = create_model("swin_cifar")
    depths = [len(stage.blocks) for stage in model.stages]
    scales = layer_scales(model, 0.5)
    last = sum(depths) + 1
    assert scales["stem.proj.weight"] == 0.5**last
    assert scales["stages.0.blocks.0.token_mixer.branch.qkv.weight"] == 0.5 ** (last - 1)
    behind = 0.5 ** (last - depths[0] - 1)  # the first block of stage 1, and what leads to it
    assert {scale for name, scale in scales.items() if name.startswith(("stages.1.entry", "stages.1.blocks.0."))} == {
        behind
    }
    assert scales[f"stages.{len(depths) - 1}.blocks.{depths[-1] - 1}.channel_mixer.branch.fc2.weight"] == 0.5
    assert {scale for name, scale in scales.items() if name.startswith("head")} == {1}
    assert set(scales) == {name for name, _ in model.named_parameters()}


def test_the_norm_of_a_stage_belongs_to_what_comes_after_it():
    model = create_model("pvt_v2_b2")
    scales = layer_scales(model, 0.5)
    depths = [len(stage.blocks) for stage in model.stages]
    norms = {
        number: {scale for name, scale in scales.items() if name.startswith(f"stages.{number}.norm.")}
        for number in range(len(depths))
    }
    assert norms[0] == {0.5 ** (sum(depths) - depths[0])} and norms[len(depths) - 1] == {1}


def test_layer_decay_needs_layers():
    with pytest.raises(ValueError, match=r"Backbone.*Sequential.*layer_decay=None"):
        make_optimizer(nn.Sequential(nn.Linear(4, 4)), recipe(layer_decay=0.5))


# Muon
# -----------------------------------------------------------------------------------------------------------


def test_muon_gets_the_matrices_inside():
    model = small_vit()
    kinds = {name.split("blocks.")[1][2:] for name in hidden_matrices(model)}
    assert kinds == {
        "token_mixer.branch.qkv.weight",
        "token_mixer.branch.proj.weight",
        "channel_mixer.branch.fc1.weight",
        "channel_mixer.branch.fc2.weight",
    }
    assert len(hidden_matrices(model)) == 12
    plain = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3), nn.Linear(3, 2))
    assert hidden_matrices(plain) == {"1.weight", "3.weight"}
    merging = [name for name in hidden_matrices(create_model("swin_cifar")) if "entry" in name]
    assert len(merging) == len(create_model("swin_cifar").stages) - 1


def test_muon_with_adamw_is_both_side_by_side():
    together, apart = small_vit(), small_vit()
    one = make_optimizer(together, recipe(optimizer="muon"))
    matrices, decayed = hidden_matrices(apart), decayed_names(apart)
    named = dict(apart.named_parameters())
    muon = torch.optim.Muon([named[n] for n in named if n in matrices], lr=0.02, weight_decay=0.1)
    adamw = torch.optim.AdamW(
        [
            {"params": [named[n] for n in named if n in decayed - matrices], "weight_decay": 0.1},
            {"params": [named[n] for n in named if n not in decayed], "weight_decay": 0.0},
        ],
        lr=1e-2,
        betas=(0.9, 0.98),
    )
    assert [group["lr_scale"] for group in one.param_groups] == [2.0, 1.0, 1.0]
    for step in range(3):
        train(together, one, 1, first=step)
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        apart.zero_grad()
        apart(images).square().mean().backward()
        muon.step()
        adamw.step()
    assert same_weights(together, apart)


def test_the_loops_learning_rate_reaches_both_also_after_loading():
    model = small_vit()
    optimizer = make_optimizer(model, recipe(optimizer="muon", layer_decay=0.5))
    train(model, optimizer, 1)
    optimizer.load_state_dict(optimizer.state_dict())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for group in optimizer.param_groups:
        group["lr"] = 1e-2 * group["lr_scale"]
    train(model, optimizer, 1)
    assert not any(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


def test_muon_needs_matrices():
    with pytest.raises(ValueError, match="convolutions.*adamw"):
        make_optimizer(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2)),
            recipe(optimizer="muon"),
        )


# LAMB
# -----------------------------------------------------------------------------------------------------------


@proves(159)
@pytest.mark.parametrize(("decay", "adapt"), [(0.1, True), (0.0, True), (0.0, False)])
def test_lamb_is_timms_lamb(decay, adapt):
    """Which by default also clips the gradient to norm 1, and adapts only what it decays."""

    def start() -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in [(5, 4), (3,), (2, 3, 2)]]
        return [nn.Parameter(tensor) for tensor in (*tensors, torch.zeros(4, 2, dtype=torch.float64))]

    ours, theirs = start(), start()
    options = dict(lr=0.03, betas=(0.8, 0.95), weight_decay=decay)
    mine = Lamb(ours, adapt=adapt, **options)
    other = timm_optim.Lamb(theirs, max_grad_norm=None, always_adapt=adapt, **options)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator, dtype=a.dtype) + a.detach()
            b.grad = a.grad.clone()
        mine.step()
        other.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert not torch.equal(ours[0], start()[0])


def test_lamb_by_hand():
    """One step from rest: m / √v is the gradient's sign, u = 1 + decay · w, and w moves by lr · ‖w‖."""
    weight = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    weight.grad = torch.tensor([0.5, 20.0], dtype=torch.float64)
    Lamb([weight], lr=0.1, weight_decay=0.25, eps=0.0).step()
    u = torch.tensor([1.75, 2.0], dtype=torch.float64)
    torch.testing.assert_close(weight.detach(), torch.tensor([3.0, 4.0], dtype=torch.float64) - 0.1 * 5 * u / u.norm())


def test_lamb_adapts_what_is_decayed_and_no_zero_is_divided_by():
    model = small_vit()
    optimizer = make_optimizer(model, recipe(optimizer="lamb"))
    assert [(group["weight_decay"], group["adapt"]) for group in optimizer.param_groups] == [
        (0.1, True),
        (0.0, False),
    ]
    assert make_optimizer(model, recipe(optimizer="lamb", weight_decay=0.0)).param_groups[0]["adapt"]
    weight = nn.Parameter(torch.zeros(3))
    weight.grad = torch.zeros(3)
    Lamb([weight]).step()
    assert torch.equal(weight.detach(), torch.zeros(3))


# All of them
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_learns_and_goes_on_from_a_checkpoint_to_the_last_bit(name, tmp_path):
    options = recipe(optimizer=name, lr=1e-3, muon_lr=5e-3, layer_decay=0.8)
    straight, stopped, resumed = small_vit(), small_vit(), small_vit(seed=1)
    optimizer = make_optimizer(straight, options)
    train(straight, optimizer, 6)

    first = make_optimizer(stopped, options)
    train(stopped, first, 3)
    signed = {"recipe": {}, "model": {}, "data": {}}
    checkpoint.save(tmp_path / "run.safetensors", stopped, first, signed, {})
    second = make_optimizer(resumed, options)
    checkpoint.resume(tmp_path / "run.safetensors", resumed, second, signed)
    train(resumed, second, 3, first=3)
    assert same_weights(straight, resumed)

    # Without the state it would not have been the same.
    bare = small_vit(seed=1)
    bare.load_state_dict(stopped.state_dict())
    train(bare, make_optimizer(bare, options), 3, first=3)
    assert not same_weights(straight, bare)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loss_falls_and_a_closure_counts_once(name):
    model = small_vit()
    optimizer = make_optimizer(model, recipe(optimizer=name, lr=3e-3))
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 5
    calls = []

    def loss_of() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        calls.append(loss.item())
        return loss

    for _ in range(12):
        assert optimizer.step(loss_of).item() == calls[-1]
    assert len(calls) == 12 and calls[-1] < 0.8 * calls[0]


def test_sgd_has_nesterovs_momentum_and_none_without():
    (group, _) = make_optimizer(small_vit(), recipe(optimizer="sgd")).param_groups
    assert group["momentum"] == 0.9 and group["nesterov"]
    (group, _) = make_optimizer(small_vit(), recipe(optimizer="sgd", betas=(0.0, 0.0))).param_groups
    assert group["momentum"] == 0 and not group["nesterov"]
    assert isinstance(make_optimizer(small_vit(), recipe(optimizer="muon")), MuonWithAdamW)
