"""TimeSformer against transformers, and all five forms against attention with an explicit mask for each pair of tokens."""

from functools import cache

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.token_mixers.space_time import GROUPS, GroupedAttention
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)

SIZES = dict(img_size=16, patch_size=4, num_frames=4, embed_dim=24, depth=2, num_heads=4, mlp_ratio=2, num_classes=10)
SMALL = {f"timesformer_{form}": SIZES for form in ("space", "joint", "divided", "local_global", "axial")}
CLIPS = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
WIDE = SIZES | dict(img_size=(16, 32), num_frames=6)  # 6×4×8 tokens: no axis can be taken for another
WIDE_CLIPS = torch.randn(2, 6, 3, 16, 32, generator=torch.Generator().manual_seed(2))


def transformers_timesformer(attention_type):
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(
        image_size=16,
        patch_size=4,
        num_frames=4,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        num_labels=10,
        attention_type=attention_type,
    )
    return TimesformerForVideoClassification(config)


def logits_of(theirs):
    """Their attention over space alone gives logits for each frame: the clip's are the mean."""
    return lambda x: theirs.to(x.dtype)(x).logits.unflatten(0, (len(x), -1)).mean(dim=1)


# The slow version: which pairs of tokens (t, h, w) see each other, of a clip of T×H×W tokens.
SEES = {
    "joint": lambda a, b, size: True,
    "space": lambda a, b, size: a[0] == b[0],
    "time": lambda a, b, size: a[1:] == b[1:],
    "height": lambda a, b, size: (a[0], a[2]) == (b[0], b[2]),
    "width": lambda a, b, size: a[:2] == b[:2],
    "local": lambda a, b, size: all((2 * a[i] < size[i]) == (2 * b[i] < size[i]) for i in (1, 2)),
    "global": lambda a, b, size: all((a[i] - b[i]) % 2 == 0 for i in (0, 1, 2)),
}


def places(size):
    return [(t, h, w) for t in range(size[0]) for h in range(size[1]) for w in range(size[2])]


@cache
def pairs(within, size):
    """Who sees whom, bool (T*H*W, T*H*W)."""
    return torch.tensor([[SEES[within](a, b, size) for b in places(size)] for a in places(size)])


def slow_norm(x, p, eps=1e-6):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * p["weight"] + p["bias"]


def slow_linear(x, p):
    return x @ p["weight"].T + p["bias"]


def sub(p, prefix):
    return {k[len(prefix) + 1 :]: v for k, v in p.items() if k.startswith(prefix + ".")}


def slow_heads(x, p, masks):
    """Attention of tokens (N, D), head by head, each with its own mask (N, N), joined but not yet projected."""
    dim, width = x.shape[1], x.shape[1] // len(masks)
    qkv, out = slow_linear(x, sub(p, "qkv")), []
    for head, mask in enumerate(masks):
        q, k, v = (qkv[:, i * dim + head * width : i * dim + (head + 1) * width] for i in range(3))
        scores = (q @ k.T / width**0.5).masked_fill(~mask, -torch.inf)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        out.append(weights @ v)
    return torch.cat(out, dim=-1)


def slow_mixer(x, p, within, size, heads, class_token):
    """One attention of a block on a sequence (n + N, D)."""

    def project(y):
        y = slow_linear(y, sub(p, "proj"))
        return slow_linear(y, sub(p, "fc")) if "fc.weight" in p else y

    if within == "split_heads":
        return project(slow_heads(x, p, [pairs("space", size)] * (heads // 2) + [pairs("time", size)] * (heads // 2)))
    mask = pairs(within, size)
    if class_token is None:
        return project(slow_heads(x, p, [mask] * heads))
    if class_token == "skipped":
        return torch.cat([torch.zeros_like(x[:1]), project(slow_heads(x[1:], p, [mask] * heads))])
    n = len(x)
    patches_too = torch.ones(n, n, dtype=torch.bool)
    patches_too[1:, 1:] = mask  # every patch also sees the class token
    y = project(slow_heads(x, p, [patches_too] * heads))
    results = []
    for group in mask.unique(dim=0):  # the class token looks at one group after the other
        seen = torch.cat([x[:1], x[1:][group]])
        everyone = torch.ones(len(seen), len(seen), dtype=torch.bool)
        results.append(project(slow_heads(seen, p, [everyone] * heads))[0])
    return torch.cat([torch.stack(results).mean(0, keepdim=True), y[1:]])


def slow_blocks(x, p, attention, size, heads, class_token, gelu):
    depth = len({name.split(".")[0] for name in p})
    for block in (sub(p, str(i)) for i in range(depth)):
        for i, within in enumerate(attention):
            step = sub(block, f"token_mixer.{i}")
            role = class_token and ("copied" if i == len(attention) - 1 else "skipped")
            x = x + slow_mixer(slow_norm(x, sub(step, "norm")), sub(step, "branch"), within, size, heads, role)
        step = sub(block, "channel_mixer")
        hidden = gelu(slow_linear(slow_norm(x, sub(step, "norm")), sub(step, "branch.fc1")))
        x = x + slow_linear(hidden, sub(step, "branch.fc2"))
    return x


def exact_gelu(x):
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def slow_patches(clip, weight, bias):
    """Tokens (T*h*w, D) of one clip (T, C, H, W): a scalar product for each box of t×P×P pixels, by weight (D, C, t, P, P)."""
    _, _, frames, side, _ = weight.shape
    size = (len(clip) // frames, clip.shape[2] // side, clip.shape[3] // side)
    tokens = [
        torch.einsum(
            "tcij,dctij->d",
            clip[t * frames : (t + 1) * frames, :, h * side : (h + 1) * side, w * side : (w + 1) * side],
            weight,
        )
        for t, h, w in places(size)
    ]
    return torch.stack(tokens) + bias, size


def weights_of(model, dtype):
    return {name: value.to(dtype) for name, value in model.state_dict().items()}


def slow_timesformer(model, attention):
    def logits(clips):
        p = weights_of(model, clips.dtype)
        rows = []
        for clip in clips:
            x, size = slow_patches(clip, p["stem.proj.weight"][:, :, None], p["stem.proj.bias"])
            position = p["tokens.position"]
            patches = [position[1 + h * size[2] + w] + p["tokens.time"][t] for t, h, w in places(size)]
            x = torch.cat([p["tokens.class_token"] + position[:1], x + torch.stack(patches)])
            x = slow_blocks(x, sub(p, "blocks"), attention, size, 4, "there is one", exact_gelu)
            rows.append(slow_linear(slow_norm(x[0], sub(p, "head.norm")), sub(p, "head.fc")))
        return torch.stack(rows)

    return logits


def slow_space_only(model):
    """ViT on each frame; the clip's logits are the mean over its frames."""

    def logits(clips):
        p = weights_of(model, clips.dtype)
        rows = []
        for frame in clips.flatten(0, 1):
            x, size = slow_patches(frame[None], p["stem.proj.weight"][:, :, None], p["stem.proj.bias"])
            x = torch.cat([p["space.tokens.class_tokens"], x]) + p["space.tokens.position"]
            x = slow_blocks(x, sub(p, "space.blocks"), ("joint",), size, 4, "there is one", exact_gelu)
            rows.append(slow_linear(slow_norm(x[0], sub(p, "space.norm")), sub(p, "fc")))
        return torch.stack(rows).unflatten(0, (len(clips), -1)).mean(dim=1)

    return logits


@proves(132, 133, 134)
@pytest.mark.parametrize(
    "name, attention_type",
    [
        ("timesformer_space", "space_only"),
        ("timesformer_joint", "joint_space_time"),
        ("timesformer_divided", "divided_space_time"),
    ],
)
def test_agrees_with_transformers(name, attention_type):
    ours, theirs = pair(name, SIZES, transformers_timesformer(attention_type), "transformers")
    assert_agrees(ours, logits_of(theirs), CLIPS)


FORMS = {
    "timesformer_joint": ("joint",),
    "timesformer_divided": ("time", "space"),
    "timesformer_local_global": ("local", "global"),
    "timesformer_axial": ("time", "width", "height"),
}


@proves(132, 133, 134, 135, 136)
@pytest.mark.parametrize("name", SMALL)
def test_agrees_with_explicit_masks(name):
    ours = randomised(create_model(name, **WIDE))
    theirs = slow_timesformer(ours, FORMS[name]) if name in FORMS else slow_space_only(ours)
    assert_agrees(ours, theirs, WIDE_CLIPS)


def eps_of_the_other_framework(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


def gelu_by_tanh(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU(approximate="tanh")


def no_second_linear_layer(model):
    for attention in each(model, GroupedAttention):
        attention.fc = nn.Identity()


def space_before_time(model):
    for block in model.blocks:
        time, space = block.token_mixer
        time.branch.class_token, space.branch.class_token = "copied", "skipped"
        block.token_mixer = nn.Sequential(space, time)


def a_time_for_the_class_token(model):
    model.tokens.position.data[0] += model.tokens.time.data[0]


def tokens_read_time_last(model):
    for attention in each(model, GroupedAttention):  # (h w t) for (t h w)
        if "(b h w) t" in attention.pattern:
            attention.pattern, attention.back = "b (h w t) d -> (b h w) t d", "(b h w) t d -> b (h w t) d"


def class_token_without_its_groups_but_the_first(model):
    for attention in each(model, GroupedAttention):
        if attention.class_token == "copied":
            attention.class_token = "skipped"


@pytest.mark.parametrize(
    "mistake",
    [
        eps_of_the_other_framework,
        gelu_by_tanh,
        no_second_linear_layer,
        space_before_time,
        a_time_for_the_class_token,
        tokens_read_time_last,
        class_token_without_its_groups_but_the_first,
    ],
)
def test_catches(mistake):
    ours, theirs = pair("timesformer_divided", SIZES, transformers_timesformer("divided_space_time"), "transformers")
    assert_catches(mistake, ours, logits_of(theirs), CLIPS)


def height_before_width(model):
    swapped = {GROUPS["width"]: GROUPS["height"], GROUPS["height"]: GROUPS["width"]}
    for attention in each(model, GroupedAttention):
        attention.pattern = swapped.get(attention.pattern, attention.pattern)
        attention.back = " -> ".join(reversed(attention.pattern.split(" -> ")))


def neighbours_for_every_second(model):
    for attention in each(model, GroupedAttention):
        attention.pattern = attention.pattern.replace("(t p h i w j)", "(p t i h j w)")
        attention.back = attention.back.replace("(t p h i w j)", "(p t i h j w)")


def every_second_for_neighbours(model):
    for attention in each(model, GroupedAttention):
        attention.pattern = attention.pattern.replace("(t i h j w)", "(t h i w j)")
        attention.back = attention.back.replace("(t i h j w)", "(t h i w j)")


@pytest.mark.parametrize(
    "name, mistake",
    [
        ("timesformer_axial", height_before_width),
        ("timesformer_axial", no_second_linear_layer),
        ("timesformer_local_global", neighbours_for_every_second),
        ("timesformer_local_global", every_second_for_neighbours),
        ("timesformer_local_global", no_second_linear_layer),
    ],
)
def test_explicit_masks_catch(name, mistake):
    ours = randomised(create_model(name, **WIDE))
    assert_catches(mistake, ours, slow_timesformer(ours, FORMS[name]), WIDE_CLIPS)


def test_space_alone_is_blind_to_the_order_of_frames_and_the_others_are_not():
    for name in SMALL:
        model = randomised(create_model(name, **SIZES))
        change = (model(CLIPS) - model(CLIPS.flip(1))).abs().max().item()
        assert change < 1e-4 if name == "timesformer_space" else change > 1e-2, name


@pytest.mark.parametrize(
    "name, options, what",
    [
        ("timesformer_local_global", dict(num_frames=3), "4×4 tokens: t is odd"),
        ("timesformer_divided", dict(num_heads=5), "5 heads do not divide 24 channels"),
        ("timesformer_divided", dict(attention=("time", "spaces")), "did you mean 'space'"),
        ("timesformer_divided", dict(attention=()), "at least one attention"),
        ("timesformer_divided", dict(attention=("split_heads",)), "class_token=False fits"),
        ("timesformer_divided", dict(position="absolute"), "joint, separate"),
        ("timesformer_divided", dict(embedding="tubes"), "did you mean 'tubelets'"),
    ],
)
def test_says_what_fits(name, options, what):
    with pytest.raises(ValueError, match=what):
        create_model(name, **SIZES | options)
