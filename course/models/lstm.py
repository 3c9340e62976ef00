"""The long short-term memory: what read sentences before attention (Hochreiter and Schmidhuber 1997).

With the forget gate of Gers et al. 2000, as every library has it.
"""

import torch
from torch import Tensor, nn


class LSTM(nn.Module):
    """Read a sequence word by word with one state of two vectors, (B, N, D) -> (B, N, H) and the last state.

    At each step, with σ the logistic function and ⊙ the product number by number::

        i, f, g, o = W x + U h + b            one linear layer each of the input and of h, cut into four
        c ← σ(f) ⊙ c + σ(i) ⊙ tanh(g)         forget a part of the memory, write a part of the new
        h ← σ(o) ⊙ tanh(c)                    show a part of it

    The two layers have a bias each, as in ``torch.nn.LSTM``; one would do.

    Args:
        dim: D, of the words' vectors.
        hidden: H, of h and c.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.of_input = nn.Linear(dim, 4 * hidden)
        self.of_state = nn.Linear(hidden, 4 * hidden)

    def step(self, gates: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """One word: what the input says to the gates (B, 4 H) and the state (B, H) twice -> the new state."""
        i, f, g, o = (gates + self.of_state(h)).chunk(4, dim=-1)  # (B, H) each
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """
        Args:
            x: (B, N, D).
            lengths: (B,), how many of the N are words; behind them the state stays as it is and the output is 0, as
                with packed sequences. None: all of them.

        Returns:
            h after each word (B, N, H), and (h, c) after the last word of each sequence, (B, H) each.
        """
        h = c = x.new_zeros(x.shape[0], self.hidden)
        gates = self.of_input(x)  # (B, N, 4 H): only what depends on h has to wait for the word before
        outputs = []
        for n in range(x.shape[1]):
            new_h, new_c = self.step(gates[:, n], h, c)
            if lengths is None:
                h, c = new_h, new_c
                outputs.append(h)
            else:
                reads = (n < lengths)[:, None]  # (B, 1)
                h, c = torch.where(reads, new_h, h), torch.where(reads, new_c, c)
                outputs.append(h * reads)
        return torch.stack(outputs, dim=1), (h, c)


class LSTMClassifier(nn.Module):
    """Words (B, N) to logits (B, classes): the state after the last word, through a linear layer.

    Args:
        vocab_size: how many words there are.
        num_classes: how many classes.
        dim: of the words' vectors.
        hidden: of the state.
        padding: the word that fills up the sequences and is not read.
    """

    def __init__(self, vocab_size: int, num_classes: int, dim: int = 32, hidden: int = 32, padding: int = 0) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, dim)
        self.lstm = LSTM(dim, hidden)
        self.head = nn.Linear(hidden, num_classes)
        self.padding = padding

    def forward(self, words: Tensor) -> Tensor:
        _, (h, _) = self.lstm(self.words(words), (words != self.padding).sum(dim=1))
        return self.head(h)
