"""ConViT: attention with a soft bias to convolution (d'Ascoli et al. 2021, arXiv:2103.10697)."""

import torch
from torch import Tensor, nn

from course.models.backbone import Block, Residual
from course.models.channel_mixers.mlp import MLP
from course.models.heads import ClassTokenHead
from course.models.model import Model
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Whole
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.gated_positional import GatedPositionalAttention

PAPER = "d'Ascoli et al. 2021, arXiv:2103.10697, table 1"

TIMM = {
    "patch_embed.proj.*": "stem.proj.*",
    "pos_embed": "tokens.position",
    "cls_token": "class_token",
    "blocks.#.norm1.*": "blocks.#.token_mixer.norm.*",
    "blocks.#.attn.pos_proj.*": "blocks.#.token_mixer.branch.position.*",
    "blocks.#.attn.gating_param": "blocks.#.token_mixer.branch.gate",
    "blocks.#.attn.*": "blocks.#.token_mixer.branch.*",
    "blocks.#.norm2.*": "blocks.#.channel_mixer.norm.*",
    "blocks.#.mlp.*": "blocks.#.channel_mixer.branch.*",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


class ConViT(Model):
    """Images (B, C, H, W) -> logits (B, num_classes): local blocks on the patches, then global ones with a class token.

    The class token has no place in the image, so it joins where the gated positional attention ends.

    Args:
        embed_dim: D.
        depth: number of blocks.
        local_depth: how many of them, from the first, have gated positional attention; the others have ViT's.
        num_heads: a square number that divides D.
        drop_path: rate of the last block; it grows from 0 along the depth.

    Raises:
        ValueError: the patches do not divide the image, the heads do not divide D or are no square number, or no
            block is left for the class token.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        patch_size: int = 16,
        embed_dim: int = 432,
        depth: int = 12,
        local_depth: int = 10,
        num_heads: int = 9,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if local_depth >= depth:
            raise ValueError(f"of {depth} blocks at most {depth - 1} can be local, and not {local_depth}")
        size = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.stem = PatchEmbed(embed_dim, size, in_chans, patch_size)
        self.tokens = Tokens(embed_dim, self.stem.grid, class_tokens=0)
        self.class_token = nn.Parameter(torch.randn(1, embed_dim) * 0.02)
        self.local_depth = local_depth
        self.blocks = nn.ModuleList()
        for index, rate in enumerate(torch.linspace(0, drop_path, depth, device="cpu").tolist()):
            if index < local_depth:
                attention = GatedPositionalAttention(embed_dim, self.stem.grid, num_heads)
            else:
                attention = SelfAttention(embed_dim, num_heads, qkv_bias=False)
            self.blocks.append(
                Block(
                    Residual(attention, norm=LayerNorm(embed_dim), drop_path=rate),
                    Residual(MLP(embed_dim, mlp_ratio), norm=LayerNorm(embed_dim), drop_path=rate),
                )
            )
        self.num_features = embed_dim
        self.head = ClassTokenHead(embed_dim, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The tokens behind the local blocks, (B, N, D), and behind the global ones, (B, 1 + N, D)."""
        x = self.tokens(self.stem(images))  # (B, N, D)
        for block in self.blocks[: self.local_depth]:
            x = block(x)
        local = x
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + N, D)
        for block in self.blocks[self.local_depth :]:
            x = block(x)
        return [local, x]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage_outputs(images)[-1])


register("convit_s", Whole(ConViT), paper=PAPER, says="27M 5.4G", keys={"timm": TIMM})
