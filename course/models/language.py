"""Two language models that are one half of the Transformer each: BERT reads, GPT writes.

BERT (Devlin et al. 2019, arXiv:1810.04805) is the encoder: every word sees every other one, and what it learns from are
words that were hidden. GPT (Radford et al. 2018; here GPT-2's layout, 2019) is the decoder without cross-attention: every
word sees those before it, and what it learns from is the next one.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.encoder_decoder import EncoderLayer
from course.models.norms import LayerNorm


class BERT(nn.Module):
    """Words (B, N), and which of two sentences each belongs to, to features (B, N, D).

    Args:
        vocab_size: how many words there are.
        dim: D.
        num_heads: h.
        depth: layers.
        mlp_ratio: width of the MLP's hidden layer, in units of D.
        max_length: the longest sequence; positions are learned.
        padding: the word that fills up and that nothing looks at.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int = 768,
        num_heads: int = 12,
        depth: int = 12,
        mlp_ratio: float = 4.0,
        max_length: int = 512,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, dim)
        self.position = nn.Parameter(0.02 * torch.randn(max_length, dim))
        self.sentence = nn.Embedding(2, dim)
        self.norm = LayerNorm(dim, eps=1e-12)
        self.layers = nn.ModuleList(
            EncoderLayer(dim, num_heads, mlp_ratio, eps=1e-12, act=nn.GELU) for _ in range(depth)
        )
        self.padding = padding

    def forward(self, words: Tensor, sentence: Tensor | None = None) -> Tensor:
        """
        Args:
            words: (B, N).
            sentence: (B, N), 0 for the words of the first sentence and 1 for those of the second; None: all are of the first.
        """
        sentence = torch.zeros_like(words) if sentence is None else sentence
        x = self.norm(self.words(words) + self.position[: words.shape[1]] + self.sentence(sentence))  # (B, N, D)
        for layer in self.layers:
            x = layer(x, words != self.padding)
        return x


class MaskedWordHead(nn.Module):
    """Features (B, N, D) to logits of the word at each place (B, N, words), by the matrix that embeds the words."""

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__()
        vocab_size, dim = words.weight.shape
        self.words = words  # the same matrix, not a copy
        self.linear = nn.Linear(dim, dim)
        self.norm = LayerNorm(dim, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.linear(x))), self.words.weight, self.bias)


class NextSentenceHead(nn.Module):
    """Features (B, N, D) to two logits (B, 2), read at the first place: 0 for "the second sentence follows the first"."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pool = nn.Linear(dim, dim)
        self.answer = nn.Linear(dim, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.pool(x[:, 0]).tanh())


def hide_words(
    words: Tensor, vocab_size: int, *, mask: int, special: int, share: float = 0.15
) -> tuple[Tensor, Tensor]:
    """Words to be guessed, as BERT hides them (section 3.1, appendix A.1), from torch's own random numbers.

    Of the chosen ones 80 % become `mask`, 10 % any word, 10 % stay as they are, so that no place is known to be right.

    Args:
        words: (B, N).
        vocab_size: how many words there are.
        mask: the word that stands for a hidden one.
        special: the first so many words of the vocabulary (padding and such) are never chosen, nor put in.
        share: of the words that is chosen.

    Returns:
        What the network reads, (B, N), and which words were chosen, bool (B, N).
    """
    chosen = (torch.rand(words.shape, device=words.device) < share) & (words >= special)
    how = torch.rand(words.shape, device=words.device)
    any_word = torch.randint_like(words, special, vocab_size)
    read = torch.where(chosen & (how < 0.8), mask, words)
    return torch.where(chosen & (how >= 0.9), any_word, read), chosen


def masked_word_loss(logits: Tensor, words: Tensor, chosen: Tensor) -> Tensor:
    """Cross-entropy of the words that were chosen, and of no others: (B, N, words), (B, N), (B, N) -> ()."""
    return F.cross_entropy(logits[chosen], words[chosen])


class MaskedLanguageModel(nn.Module):
    """``forward`` hides some of the words (B, N) and gives the loss of guessing them, a scalar: ``fit`` trains it.

    Args:
        body: words (B, N) to features (B, N, D); its ``words`` is the ``nn.Embedding`` that it reads them by.
        mask, special, share: as in `hide_words`.
    """

    def __init__(self, body: nn.Module, *, mask: int, special: int, share: float = 0.15) -> None:
        super().__init__()
        self.body = body
        self.head = MaskedWordHead(body.words)
        self.mask, self.special, self.share = mask, special, share

    def forward(self, words: Tensor) -> Tensor:
        vocab_size = self.body.words.num_embeddings
        read, chosen = hide_words(words, vocab_size, mask=self.mask, special=self.special, share=self.share)
        return masked_word_loss(self.head(self.body(read)).float(), words, chosen)


class GPT(nn.Module):
    """Words (B, N) to logits of the word behind each (B, N, words), each from the words up to it.

    Args:
        vocab_size: how many words there are.
        dim: D.
        num_heads: h.
        depth: layers; pre-norm, with one more norm behind the last.
        mlp_ratio: width of the MLP's hidden layer, in units of D.
        max_length: the longest sequence; positions are learned.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int = 768,
        num_heads: int = 12,
        depth: int = 12,
        mlp_ratio: float = 4.0,
        max_length: int = 1024,
    ) -> None:
        super().__init__()
        self.words = nn.Parameter(0.02 * torch.randn(vocab_size, dim))
        self.position = nn.Parameter(0.02 * torch.randn(max_length, dim))
        gelu = partial(nn.GELU, approximate="tanh")
        self.layers = nn.ModuleList(
            EncoderLayer(dim, num_heads, mlp_ratio, act=gelu, norm_first=True) for _ in range(depth)
        )
        self.norm = LayerNorm(dim, eps=1e-5)

    def forward(self, words: Tensor) -> Tensor:
        x = F.embedding(words, self.words) + self.position[: words.shape[1]]  # (B, N, D)
        for layer in self.layers:
            x = layer(x, causal=True)
        return F.linear(self.norm(x), self.words)
