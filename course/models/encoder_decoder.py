"""The Transformer: an encoder and a decoder (Vaswani et al. 2017, arXiv:1706.03762).

What came before ViT, as the paper has it: the norm stands behind each residual sum (post-norm), the decoder sees only
what it has written so far, and positions are sines and cosines. ViT is the left half, with the norm moved to the front.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.stems import sinusoidal
from course.models.token_mixers.attention import head_width


class MultiHeadAttention(nn.Module):
    """Queries from one sequence, keys and values from another, (B, N, D) and (B, M, D) -> (B, N, D).

    Section 3.2.2: head i is Attention(Q W_i^Q, K W_i^K, V W_i^V), and W^O maps the heads side by side to D. The linear
    layers have biases, as in every library; the paper writes none.

    Args:
        dim: D.
        num_heads: h; each has width d = D/h.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(self, dim: int, num_heads: int = 8) -> None:
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, visible: Tensor | None = None, causal: bool = False) -> Tensor:
        """
        Args:
            x: where the queries come from, (B, N, D).
            memory: where the keys and values come from, (B, M, D); x itself: self-attention.
            visible: (B, M), True for what is no padding; None: all of it.
            causal: whether query n sees only the keys up to n (section 3.2.3).
        """
        q = rearrange(self.q(x), "b n (h d) -> b h n d", h=self.num_heads)
        k, v = rearrange(self.kv(memory), "b m (two h d) -> two b h m d", two=2, h=self.num_heads)
        mask = None if visible is None else visible[:, None, None, :]  # (B, 1, 1, M)
        if mask is not None and causal:
            mask = mask & torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=x.device).tril()  # (B, 1, N, M)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and mask is None)  # (B, h, N, d)
        return self.proj(rearrange(y, "b h n d -> b n (h d)"))


class EncoderLayer(nn.Module):
    """LayerNorm(x + Sublayer(x)) twice, with self-attention and with an MLP: (B, N, D) -> (B, N, D) (section 3.1)."""

    def __init__(self, dim: int, num_heads: int = 8, mlp_ratio: float = 4.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, num_heads)
        self.norm1 = LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, mlp_ratio, act=nn.ReLU)  # two linear layers: equation 2
        self.norm2 = LayerNorm(dim, eps=eps)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        x = self.norm1(x + self.attention(x, x, visible))
        return self.norm2(x + self.mlp(x))


class DecoderLayer(nn.Module):
    """As the encoder's, with a look at the encoder's output in between: (B, M, D), (B, N, D) -> (B, M, D)."""

    def __init__(self, dim: int, num_heads: int = 8, mlp_ratio: float = 4.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, num_heads)
        self.norm1 = LayerNorm(dim, eps=eps)
        self.cross_attention = MultiHeadAttention(dim, num_heads)
        self.norm2 = LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, mlp_ratio, act=nn.ReLU)
        self.norm3 = LayerNorm(dim, eps=eps)

    def forward(self, y: Tensor, memory: Tensor, visible: Tensor | None = None) -> Tensor:
        y = self.norm1(y + self.attention(y, y, causal=True))
        y = self.norm2(y + self.cross_attention(y, memory, visible))
        return self.norm3(y + self.mlp(y))


class EncoderDecoder(nn.Module):
    """Source (B, N, D) and what is written so far (B, M, D), both with positions, to features (B, M, D): figure 1.

    Args:
        dim: D.
        num_heads: h.
        depth: layers of the encoder, and of the decoder.
        mlp_ratio: width of the MLP's hidden layer, in units of D.
        final_norm: a norm behind each stack. The paper has none, for each layer ends in a norm already;
            ``torch.nn.Transformer`` adds it.
    """

    def __init__(
        self, dim: int = 512, num_heads: int = 8, depth: int = 6, mlp_ratio: float = 4.0, final_norm: bool = False
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(EncoderLayer(dim, num_heads, mlp_ratio) for _ in range(depth))
        self.encoder_norm = LayerNorm(dim, eps=1e-5) if final_norm else nn.Identity()
        self.decoder = nn.ModuleList(DecoderLayer(dim, num_heads, mlp_ratio) for _ in range(depth))
        self.decoder_norm = LayerNorm(dim, eps=1e-5) if final_norm else nn.Identity()

    def encode(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        for layer in self.encoder:
            x = layer(x, visible)
        return self.encoder_norm(x)

    def decode(self, y: Tensor, memory: Tensor, visible: Tensor | None = None) -> Tensor:
        for layer in self.decoder:
            y = layer(y, memory, visible)
        return self.decoder_norm(y)

    def forward(self, x: Tensor, y: Tensor, visible: Tensor | None = None) -> Tensor:
        return self.decode(y, self.encode(x, visible), visible)


class Seq2Seq(nn.Module):
    """The whole Transformer: source words (B, N) and written words (B, M) to logits of the next word (B, M, words).

    One matrix turns words into vectors, times √D, and vectors into logits (section 3.4); positions are sinusoidal
    (section 3.5).

    Args:
        vocab_size: how many words there are, of both languages together.
        max_length: the longest sequence.
        padding: the word that fills up the source and that nothing may look at; None: there is none.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int = 512,
        num_heads: int = 8,
        depth: int = 6,
        mlp_ratio: float = 4.0,
        max_length: int = 512,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.randn(vocab_size, dim) * dim**-0.5)
        self.register_buffer("position", sinusoidal(torch.arange(max_length), dim), persistent=False)  # (max_length, D)
        self.transformer = EncoderDecoder(dim, num_heads, depth, mlp_ratio)
        self.padding = padding

    def embed(self, words: Tensor) -> Tensor:
        """Vectors of the words, at their positions, (B, N) -> (B, N, D)."""
        return F.embedding(words, self.words) * self.words.shape[1] ** 0.5 + self.position[: words.shape[1]]

    def visible(self, source: Tensor) -> Tensor | None:
        return None if self.padding is None else source != self.padding  # (B, N)

    def forward(self, source: Tensor, written: Tensor) -> Tensor:
        y = self.transformer(self.embed(source), self.embed(written), self.visible(source))
        return F.linear(y, self.words)  # (B, M, words)

    @torch.no_grad()
    def greedy(self, source: Tensor, start: int, steps: int) -> Tensor:
        """Write word after word, each the likeliest, (B, N) -> (B, 1 + steps); the first is `start`."""
        visible = self.visible(source)
        memory = self.transformer.encode(self.embed(source), visible)
        written = source.new_full((len(source), 1), start)
        for _ in range(steps):
            y = self.transformer.decode(self.embed(written), memory, visible)  # (B, M, D)
            likeliest = F.linear(y[:, -1:], self.words).argmax(dim=-1)  # (B, 1)
            written = torch.cat([written, likeliest], dim=1)  # (B, M + 1)
        return written
