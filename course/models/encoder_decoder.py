"""The Transformer: an encoder and a decoder (Vaswani et al. 2017, arXiv:1706.03762).

What came before ViT, as the paper has it: the norm stands behind each residual sum (post-norm), the decoder sees only
what it has written so far, and positions are sines and cosines. ViT is the left half, with the norm moved to the front.
"""

from collections.abc import Callable

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
    """LayerNorm(x + Sublayer(x)) twice, with self-attention and with an MLP: (B, N, D) -> (B, N, D) (section 3.1).

    Args:
        dim: D.
        num_heads: h.
        mlp_ratio: width of the MLP's hidden layer, in units of D.
        eps: of the norms.
        act: class of the MLP's activation; GELU in BERT and GPT.
        norm_first: x + Sublayer(LayerNorm(x)), pre-norm, as in GPT-2 and ViT, in place of the paper's post-norm.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        eps: float = 1e-5,
        act: type = nn.ReLU,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, num_heads)
        self.norm1 = LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, mlp_ratio, act=act)  # two linear layers: equation 2
        self.norm2 = LayerNorm(dim, eps=eps)
        self.norm_first = norm_first

    def forward(self, x: Tensor, visible: Tensor | None = None, causal: bool = False) -> Tensor:
        if self.norm_first:
            z = self.norm1(x)
            x = x + self.attention(z, z, visible, causal)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x, x, visible, causal))
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

    def next_word(self, written: Tensor, memory: Tensor, visible: Tensor | None = None) -> Tensor:
        """Log-probabilities of the word that comes next, (B, M) written and (B, N, D) of the encoder -> (B, words)."""
        y = self.transformer.decode(self.embed(written), memory, visible)  # (B, M, D)
        return F.linear(y[:, -1], self.words).log_softmax(dim=-1)

    @torch.no_grad()
    def greedy(self, source: Tensor, start: int, steps: int) -> Tensor:
        """Write word after word, each the likeliest, (B, N) -> (B, 1 + steps); the first is `start`."""
        visible = self.visible(source)
        memory = self.transformer.encode(self.embed(source), visible)
        written = source.new_full((len(source), 1), start)
        for _ in range(steps):
            likeliest = self.next_word(written, memory, visible).argmax(dim=-1, keepdim=True)  # (B, 1)
            written = torch.cat([written, likeliest], dim=1)  # (B, M + 1)
        return written

    @torch.no_grad()
    def beam(self, source: Tensor, start: int, steps: int, width: int, end: int | None = None) -> Tensor:
        """Search for the likeliest whole sequence by `beam_search`, (B, N) -> (B, 1 + steps), filled up with `end`."""
        visible = self.visible(source)
        memory = self.transformer.encode(self.embed(source), visible)

        def next_word(written: Tensor) -> Tensor:  # (B, W, M) -> (B, W, words)
            count = written.shape[1]
            mask = None if visible is None else visible.repeat_interleave(count, dim=0)  # (B W, N)
            y = self.next_word(written.flatten(0, 1), memory.repeat_interleave(count, dim=0), mask)  # (B W, words)
            return y.unflatten(0, written.shape[:2])

        written, _ = beam_search(next_word, source.new_full((len(source),), start), steps, width, end)
        return written[:, 0]


def beam_search(
    next_word: Callable[[Tensor], Tensor], start: Tensor, steps: int, width: int, end: int | None = None
) -> tuple[Tensor, Tensor]:
    """The likeliest sequences that are found by keeping only the `width` likeliest beginnings at every length.

    ``width=1`` is greedy; from words^(steps - 1) on every sequence is looked at. Sequences are compared by the sum of
    their log-probabilities. That favours short ones: Vaswani et al. 2017, section 6.1, divide by a power of the length.

    Args:
        next_word: beginnings (B, W, M) -> log-probabilities of the word that comes next, (B, W, words).
        start: the first word, (B,).
        steps: how many words are written behind it.
        width: how many beginnings are kept.
        end: the word behind which nothing is written any more; None: there is none.

    Returns:
        Up to `width` sequences each, the likeliest first, (B, W, 1 + steps), filled up with `end`; their
        log-probabilities, (B, W).

    Raises:
        ValueError: the width is below 1.
    """
    if width < 1:
        raise ValueError(f"a beam keeps at least one beginning, and width is {width}")
    written = start[:, None, None]  # (B, 1, 1)
    score = torch.zeros(written.shape[:2], device=start.device)  # (B, 1)
    for _ in range(steps):
        log_probability = next_word(written)  # (B, W, words)
        words = log_probability.shape[-1]
        if end is not None:  # who has ended goes on with `end`, at no cost
            has_ended = (written[..., 1:] == end).any(dim=-1, keepdim=True)  # (B, W, 1)
            is_end = torch.arange(words, device=start.device) == end  # (words,)
            log_probability = torch.where(has_ended, torch.where(is_end, 0.0, -torch.inf), log_probability)
        total = (score[..., None] + log_probability).flatten(1)  # (B, W words)
        score, best = total.topk(min(width, total.shape[1]))  # (B, W')
        kept = written.take_along_dim((best // words)[..., None], dim=1)  # (B, W', M)
        written = torch.cat([kept, (best % words)[..., None]], dim=2)  # (B, W', M + 1)
    return written, score
