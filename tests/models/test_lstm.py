"""The LSTM against torch.nn.LSTM, with sequences of one length and of several."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from course.models.count import count_macs, count_parameters
from course.models.lstm import LSTM, LSTMClassifier
from tests.models.parity import assert_agrees, assert_catches, proves, randomised

D, H = 6, 5
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(3, 7, D, generator=GENERATOR)
LENGTHS = torch.tensor([7, 1, 4])
WORDS = torch.randint(1, 11, (3, 7), generator=GENERATOR) * (torch.arange(7) < LENGTHS[:, None])


def with_weights_of(theirs: nn.LSTM) -> LSTM:
    ours = LSTM(D, H)
    names = {"of_input": "ih", "of_state": "hh"}
    state = {f"{name}.{leaf}": getattr(theirs, f"{leaf}_{names[name]}_l0") for name in names for leaf in ("weight", "bias")}
    ours.load_state_dict(state)
    return ours


def flat(model: nn.Module):
    """Outputs and last state as one tuple."""

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, lengths: Tensor | None = None):
            y, (h, c) = self.model(x, lengths)
            return y, h, c

    return Flat()


class Packed(nn.Module):
    """torch's LSTM on packed sequences, as (outputs, h, c)."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, x: Tensor, lengths: Tensor | None = None):
        if lengths is None:
            y, (h, c) = self.lstm(x)
            return y, h[0], c[0]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (h, c) = self.lstm(packed)
        return pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0], h[0], c[0]


def torch_lstm() -> nn.LSTM:
    return randomised(nn.LSTM(D, H, batch_first=True), std=0.6)


@proves(156)
@pytest.mark.parametrize("inputs", [(X,), (X, LENGTHS)], ids=["one length", "several lengths"])
def test_agrees_with_torch(inputs):
    theirs = torch_lstm()
    assert_agrees(flat(with_weights_of(theirs)), Packed(theirs), *inputs)


def gates_in_another_order(model):
    for layer in (model.model.of_input, model.model.of_state):
        layer.weight.data = layer.weight.data.roll(H, 0)
        layer.bias.data = layer.bias.data.roll(H, 0)


def memory_is_shown_without_tanh(model):
    def step(self, gates, h, c):
        i, f, g, o = (gates + self.of_state(h)).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c, c

    model.model.step = step.__get__(model.model)


def padding_is_read(model):
    model.model.forward = (lambda self, x, lengths: LSTM.forward(self, x)).__get__(model.model)


@pytest.mark.parametrize("mistake", [gates_in_another_order, memory_is_shown_without_tanh, padding_is_read])
def test_catches(mistake):
    theirs = torch_lstm()
    assert_catches(mistake, flat(with_weights_of(theirs)), Packed(theirs), X, LENGTHS)


@proves(156)
def test_has_the_size_of_torchs():
    with torch.device("meta"):
        model = LSTM(512, 512)
    assert f"{count_parameters(model) / 1e6:.3f}M" == "2.101M"
    assert count_macs(model, 1, 10, 512) / 1e6 == pytest.approx(21.0, abs=0.05)


def test_the_classifier_reads_the_state_after_the_last_word():
    model = randomised(LSTMClassifier(11, 3, D, H))
    theirs = nn.LSTM(D, H, batch_first=True)
    for leaf in ("weight", "bias"):
        getattr(theirs, f"{leaf}_ih_l0").data = getattr(model.lstm.of_input, leaf).data
        getattr(theirs, f"{leaf}_hh_l0").data = getattr(model.lstm.of_state, leaf).data
    packed = pack_padded_sequence(model.words(WORDS), LENGTHS, batch_first=True, enforce_sorted=False)
    _, (h, _) = theirs(packed)
    torch.testing.assert_close(model(WORDS), model.head(h[0]))
    longer = torch.cat([WORDS, torch.zeros(3, 4, dtype=torch.long)], dim=1)
    torch.testing.assert_close(model(longer), model(WORDS))
