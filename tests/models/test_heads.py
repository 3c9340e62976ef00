"""Heads (class token, mean, multi-head attention pooling, class attention) against timm, behind the same tokens."""

import pytest
import torch
from torch import nn

from course.models.heads import ClassTokenHead, MeanHead
from course.models.pooling_heads import ClassAttentionHead, MAPHead
from tests.models.parity import assert_agrees, assert_catches, proves, randomised

TOKENS = torch.randn(2, 17, 48, generator=torch.Generator().manual_seed(3))  # of a 4×4 grid and a class token


def timm_vit(**options):
    from timm.models.vision_transformer import VisionTransformer

    sizes = dict(img_size=32, patch_size=8, embed_dim=48, depth=0, num_heads=4, num_classes=10)
    return randomised(VisionTransformer(**sizes | options))


def timm_cait():
    from timm.models.cait import Cait

    return randomised(
        Cait(img_size=32, patch_size=8, embed_dim=48, depth=0, num_heads=4, num_classes=10, init_values=1e-5)
    )


def behind_the_blocks(theirs: nn.Module):
    """What timm's ViT does with the tokens that leave its last block."""
    return lambda x: theirs.to(x.dtype).forward_head(theirs.norm(x))


def copied(ours: nn.Module, theirs: nn.Module, names: dict[str, str]) -> nn.Module:
    """Ours with their weights; of the names the first part is translated, and of two tensors one is made."""
    pieces = {}
    for name, value in theirs.state_dict().items():
        for prefix, target in names.items():
            if name.startswith(prefix):
                pieces.setdefault(target + name[len(prefix) :], []).append(value)
                break
    weights = {k: torch.cat(v).reshape(ours.state_dict()[k].shape) for k, v in pieces.items()}
    ours.load_state_dict(weights)
    return ours.eval()


def class_token_pair():
    theirs = timm_vit(global_pool="token")
    return copied(ClassTokenHead(48, 10), theirs, {"norm.": "norm.", "head.": "fc."}), behind_the_blocks(theirs)


def mean_pair():
    """Averaged first and then normed, as timm does for ViT; without a class token."""
    theirs = timm_vit(global_pool="avg", class_token=False)
    ours = MeanHead(48, 10, norm_first=False)
    return copied(ours, theirs, {"fc_norm.": "norm.", "head.": "fc."}), behind_the_blocks(theirs)


MAP_NAMES = {
    "attn_pool.latent": "query",
    "attn_pool.norm.": "mlp.norm.",
    "attn_pool.mlp.": "mlp.branch.",
    "attn_pool.": "",
    "norm.": "norm.",
    "head.": "fc.",
}


def map_pair():
    """Without a class token, which timm's leaves unread."""
    theirs = timm_vit(global_pool="map", class_token=False)
    return copied(MAPHead(48, 10, num_heads=4), theirs, MAP_NAMES), behind_the_blocks(theirs)


def class_attention_pair():
    theirs = timm_cait()
    names = {"cls_token": "class_token", "norm.": "norm.", "head.": "fc."}
    for i in range(2):
        names |= {
            f"blocks_token_only.{i}.norm1.": f"blocks.{i}.token_mixer.norm.",
            f"blocks_token_only.{i}.attn.k.": f"blocks.{i}.token_mixer.branch.kv.",
            f"blocks_token_only.{i}.attn.v.": f"blocks.{i}.token_mixer.branch.kv.",
            f"blocks_token_only.{i}.attn.": f"blocks.{i}.token_mixer.branch.",
            f"blocks_token_only.{i}.gamma_1": f"blocks.{i}.token_mixer.scale",
            f"blocks_token_only.{i}.norm2.": f"blocks.{i}.channel_mixer.norm.",
            f"blocks_token_only.{i}.mlp.": f"blocks.{i}.channel_mixer.branch.branch.",
            f"blocks_token_only.{i}.gamma_2": f"blocks.{i}.channel_mixer.scale",
        }
    ours = copied(ClassAttentionHead(48, 10, num_heads=4), theirs, names)
    return ours, lambda x: theirs.to(x.dtype).forward_head(theirs.norm(theirs.forward_cls(x)))


@proves(165)
@pytest.mark.parametrize("pair", [class_token_pair, mean_pair, map_pair, class_attention_pair])
def test_agrees_with_timm(pair):
    ours, theirs = pair()
    assert_agrees(ours, theirs, TOKENS)


def query_not_projected(head):
    head.q = nn.Identity()


def no_residual_around_the_mlp(head):
    head.mlp = nn.Sequential(head.mlp.norm, head.mlp.branch)


def norm_after_the_pooling(head):
    head.norm, head.fc = nn.Identity(), nn.Sequential(head.norm, head.fc)


def keys_and_values_exchanged(head):
    head.kv.weight.data = head.kv.weight.data.roll(48, dims=0)


@pytest.mark.parametrize(
    "mistake", [query_not_projected, no_residual_around_the_mlp, norm_after_the_pooling, keys_and_values_exchanged]
)
def test_map_catches(mistake):
    assert_catches(mistake, *map_pair(), TOKENS)


def normed_first(head):
    head.norm_first = True


def the_middle_token(head):
    head.register_forward_pre_hook(lambda module, inputs: inputs[0].roll(1, dims=1))


def test_mean_and_class_token_catch():
    assert_catches(normed_first, *mean_pair(), TOKENS)
    assert_catches(the_middle_token, *class_token_pair(), TOKENS)


def test_without_classes_the_pooled_features_come_out():
    for head in (MAPHead(48, 0), ClassAttentionHead(48, 0)):
        assert head(TOKENS).shape == (2, 48)
