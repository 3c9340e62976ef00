"""VATT: one Transformer for video, audio and text (Akbari et al. 2021, arXiv:2104.11178).

Each modality is cut into tokens in its own way; from there on the same encoder, with the same weights, reads them all
(the modality-agnostic model). It learns without labels: a clip and its sound, a clip and its words, should meet.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.backbone import Block, Residual, Stage
from course.models.channel_mixers.mlp import MLP
from course.models.heads import linear_or_nothing
from course.models.model import Model
from course.models.norms import LayerNorm
from course.models.stems import divided, resized_positions
from course.models.token_mixers.attention import SelfAttention


def _table(rows: int, dim: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, dim) * 0.02)


class Aggregation(nn.Module):
    """The modality's own AGG token in front of (B, N, D): its output will stand for the whole, (B, 1 + n, D).

    Args:
        drop_token: share of the tokens that training goes without, drawn anew for each batch (DropToken): neighbours
            in a raw signal say much the same, and the cost falls with the square.
    """

    def __init__(self, dim: int, drop_token: float = 0.0) -> None:
        super().__init__()
        self.agg = _table(1, dim)
        self.drop_token = drop_token

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.drop_token > 0:
            kept = torch.randperm(x.shape[1], device=x.device)[: round(x.shape[1] * (1 - self.drop_token))]
            x = x[:, kept]  # (B, n, D)
        return torch.cat([self.agg.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + n, D)


class VideoTokens(nn.Module):
    """Clips (B, T, C, H, W), cut into t×P×P voxels and mapped linearly, to (B, 1 + N, D).

    A position is the sum of three learned rows: of its time, of its row and of its column. That makes T/t + H/P + W/P
    vectors in place of their product (equation 1).
    """

    def __init__(
        self,
        dim: int,
        num_frames: int = 32,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        tubelet_size: int = 4,
        patch_size: int = 16,
        drop_token: float = 0.0,
    ) -> None:
        super().__init__()
        if num_frames % tubelet_size:
            raise ValueError(f"{num_frames} frames are not divided by voxels of {tubelet_size} frames")
        rows, columns = divided((img_size, img_size) if isinstance(img_size, int) else img_size, patch_size)
        self.voxel = (tubelet_size, patch_size)
        self.grid = (num_frames // tubelet_size, rows, columns)
        self.proj = nn.Linear(tubelet_size * patch_size**2 * in_chans, dim)
        self.time = _table(num_frames // tubelet_size, dim)
        self.row = _table(rows, dim)
        self.column = _table(columns, dim)
        self.aggregation = Aggregation(dim, drop_token)

    def resized(self, name: str, weight: Tensor, trained: "VideoTokens | None" = None) -> Tensor:
        """The rows' and the columns' positions for as many as there are here."""
        if name not in ("row", "column"):
            return weight
        return resized_positions(weight, (len(weight), 1), (len(getattr(self, name)), 1))

    def forward(self, clips: Tensor) -> Tensor:
        t, p = self.voxel
        voxels = rearrange(clips, "b (i t) c (j p) (k q) -> b i j k (t p q c)", t=t, p=p, q=p)
        position = self.time[:, None, None] + self.row[:, None] + self.column  # (T/t, H/P, W/P, D)
        x = self.proj(voxels) + position  # (B, T/t, H/P, W/P, D)
        return self.aggregation(x.flatten(1, 3))


class AudioTokens(nn.Module):
    """Waveforms (B, S), cut into pieces of s samples and mapped linearly, to (B, 1 + S/s, D): no spectrogram."""

    def __init__(self, dim: int, num_samples: int = 153_600, audio_patch: int = 128, drop_token: float = 0.0) -> None:
        super().__init__()
        if num_samples % audio_patch:
            raise ValueError(f"{num_samples} samples are not divided by pieces of {audio_patch}")
        self.audio_patch = audio_patch
        self.proj = nn.Linear(audio_patch, dim)
        self.time = _table(num_samples // audio_patch, dim)
        self.aggregation = Aggregation(dim, drop_token)

    def forward(self, waves: Tensor) -> Tensor:
        x = self.proj(waves.unflatten(1, (-1, self.audio_patch)))  # (B, S/s, D)
        return self.aggregation(x + self.time)


class TextTokens(nn.Module):
    """Words (B, N) as numbers, each a learned vector, to (B, 1 + N, D). None is ever dropped."""

    def __init__(self, dim: int, vocab_size: int = 65_536, num_words: int = 16) -> None:
        super().__init__()
        self.words = _table(vocab_size, dim)
        self.place = _table(num_words, dim)
        self.aggregation = Aggregation(dim)

    def forward(self, words: Tensor) -> Tensor:
        return self.aggregation(F.embedding(words, self.words) + self.place)


def encoder(dim: int, depth: int, num_heads: int, mlp_ratio: float = 4.0, eps: float = 1e-6) -> Stage:
    """ViT's blocks and last norm, (B, N, D) -> (B, N, D): equations 2 to 4 of arXiv:2010.11929."""

    def block() -> Block:
        return Block(
            Residual(SelfAttention(dim, num_heads), norm=LayerNorm(dim, eps=eps)),
            Residual(MLP(dim, mlp_ratio), norm=LayerNorm(dim, eps=eps)),
        )

    return Stage([block() for _ in range(depth)], norm=LayerNorm(dim, eps=eps))


def projection(*widths: int) -> nn.Sequential:
    """Linear layers (B, D) -> (B, D'), each with a batch norm, and ReLU between them."""
    layers = []
    for in_dim, dim in zip(widths, widths[1:]):
        layers += [nn.Linear(in_dim, dim), nn.BatchNorm1d(dim), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class VATT(nn.Module):
    """Clips, their sound and their words to where they should meet: a hierarchy of common spaces (equation 3).

    Video and audio are compared in one space, video and text in a coarser one, which video reaches by way of the
    first: a sound tells much of what is seen, words tell less.

    Args:
        video, audio, text: what makes tokens of each, all of one width D (the paper drops half of the first two's).
        encoder: of tokens (B, N, D), the one for all three.
        dim: D.
        audio_dim, text_dim: widths of the two spaces.
    """

    def __init__(
        self,
        video: VideoTokens,
        audio: AudioTokens,
        text: TextTokens,
        encoder: Stage,
        dim: int = 1024,
        audio_dim: int = 512,
        text_dim: int = 256,
    ) -> None:
        super().__init__()
        self.video, self.audio, self.text = video, audio, text
        self.encoder = encoder
        self.video_to_va = projection(dim, audio_dim, audio_dim)
        self.audio_to_va = projection(dim, audio_dim)
        self.va_to_vt = projection(audio_dim, text_dim)
        self.text_to_vt = projection(dim, text_dim)

    def forward(self, clips: Tensor, waves: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Args:
            clips: (B, T, C, H, W).
            waves: (B, S).
            words: (B, P, N): P sentences for each clip, of which any may be the one that fits.

        Returns:
            Of video and of audio in their space, (B, 512) each; of video (B, 256) and of text (B, P, 256) in theirs.
        """
        video = self.encoder(self.video(clips))[:, 0]  # (B, D)
        audio = self.encoder(self.audio(waves))[:, 0]  # (B, D)
        text = self.encoder(self.text(words.flatten(0, 1)))[:, 0]  # (B*P, D)
        video_va = self.video_to_va(video)  # (B, 512)
        text_vt = self.text_to_vt(text).unflatten(0, words.shape[:2])  # (B, P, 256)
        return video_va, self.audio_to_va(audio), self.va_to_vt(video_va), text_vt


def nce(video: Tensor, audio: Tensor, temperature: float = 0.07) -> Tensor:
    """-log of the share that a clip and its own sound have among all pairs with that clip or that sound.

    (B, d), (B, d) -> one number; compared by their cosine. Equation 4 of the paper.
    """
    return mil_nce(video, audio[:, None], temperature)


def mil_nce(video: Tensor, text: Tensor, temperature: float = 0.07) -> Tensor:
    """As ``nce``, with P sentences for a clip: their shares are summed, so that one good one is enough.

    (B, d), (B, P, d) -> one number. Equation 5; the loss is that of Miech et al. 2020, arXiv:1912.06430, where
    negatives of clip i are the pairs of i with another's sentences and of another clip with the sentences of i.
    """
    score = (
        torch.einsum("id,jpd->ijp", F.normalize(video, dim=-1), F.normalize(text, dim=-1)) / temperature
    )  # (B, B, P)
    own = torch.eye(len(video), dtype=torch.bool, device=video.device)[:, :, None]  # (B, B, 1)
    with_clip = score.flatten(1)  # (B, B*P): row i has clip i, positives included
    with_text = score.transpose(0, 1).masked_fill(own, -torch.inf).flatten(1)  # (B, B*P): row i has the sentences of i
    positive = score.diagonal().logsumexp(dim=0)  # (B,), of (P, B)
    return (torch.cat([with_clip, with_text], dim=1).logsumexp(dim=1) - positive).mean()


def vatt_loss(
    video_va: Tensor, audio_va: Tensor, video_vt: Tensor, text_vt: Tensor, text_weight: float = 1.0
) -> Tensor:
    """NCE of video and audio plus λ times MIL-NCE of video and text, of what ``VATT`` gives (equation 6)."""
    return nce(video_va, audio_va) + text_weight * mil_nce(video_vt, text_vt)


class VATTClassifier(Model):
    """The encoder after pretraining, with a linear layer on AGG: clips (B, T, C, H, W) -> logits (B, num_classes)."""

    def __init__(
        self,
        num_frames: int = 32,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 400,
        tubelet_size: int = 4,
        patch_size: int = 16,
        embed_dim: int = 1024,
        depth: int = 12,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.video = VideoTokens(embed_dim, num_frames, img_size, in_chans, tubelet_size, patch_size)
        self.encoder = encoder(embed_dim, depth, num_heads, mlp_ratio)
        self.num_features = embed_dim
        self.head = linear_or_nothing(embed_dim, num_classes)

    def stage_outputs(self, clips: Tensor) -> list[Tensor]:
        """The encoder's normed tokens, AGG in front, (B, 1 + N, D), as the one stage there is."""
        return [self.encoder(self.video(clips))]

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.stage_outputs(clips)[-1][:, 0])
