"""The encoder-decoder against torch.nn.Transformer, and the properties of sinusoidal and learned positions."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from course.models.count import count_macs, count_parameters
from course.models.encoder_decoder import (
    DecoderLayer,
    EncoderDecoder,
    EncoderLayer,
    MultiHeadAttention,
    Seq2Seq,
    beam_search,
)
from course.models.norms import LayerNorm
from course.models.stems import Tokens, sinusoidal
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

D, HEADS, DEPTH, RATIO = 24, 4, 2, 2
GENERATOR = torch.Generator().manual_seed(2)
SOURCE, WRITTEN = torch.randn(2, 7, D, generator=GENERATOR), torch.randn(2, 5, D, generator=GENERATOR)
VISIBLE = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])


def torch_transformer() -> nn.Transformer:
    return randomised(nn.Transformer(D, HEADS, DEPTH, DEPTH, RATIO * D, dropout=0, batch_first=True))


def with_weights_of(theirs: nn.Transformer, final_norm: bool = True) -> EncoderDecoder:
    """Ours with their weights, layer by layer; every weight of both is used."""
    ours = EncoderDecoder(D, HEADS, DEPTH, RATIO, final_norm=final_norm).eval()
    state = {}

    def attention(name: str, module: nn.MultiheadAttention) -> None:
        for leaf, packed in (("weight", module.in_proj_weight), ("bias", module.in_proj_bias)):
            state[f"{name}.q.{leaf}"], state[f"{name}.kv.{leaf}"] = packed.split([D, 2 * D])
        copy(f"{name}.proj", module.out_proj)

    def copy(name: str, module: nn.Module) -> None:
        state.update({f"{name}.{leaf}": value for leaf, value in module.state_dict().items()})

    for stack, their_stack in (("encoder", theirs.encoder), ("decoder", theirs.decoder)):
        for i, layer in enumerate(their_stack.layers):
            attention(f"{stack}.{i}.attention", layer.self_attn)
            if stack == "decoder":
                attention(f"{stack}.{i}.cross_attention", layer.multihead_attn)
                copy(f"{stack}.{i}.norm3", layer.norm3)
            copy(f"{stack}.{i}.norm1", layer.norm1)
            copy(f"{stack}.{i}.norm2", layer.norm2)
            copy(f"{stack}.{i}.mlp.fc1", layer.linear1)
            copy(f"{stack}.{i}.mlp.fc2", layer.linear2)
        if final_norm:
            copy(f"{stack}_norm", their_stack.norm)
    ours.load_state_dict(state)
    return ours


def called(theirs: nn.Transformer):
    """Theirs, with the decoder's causal mask and the padding mask, as the paper's decoder needs them."""

    def forward(source: Tensor, written: Tensor, visible: Tensor | None = None) -> Tensor:
        theirs.to(source.dtype)
        causal = torch.ones(written.shape[1], written.shape[1], dtype=torch.bool).triu(1)
        hidden = None if visible is None else ~visible
        return theirs(
            source,
            written,
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
        )

    return forward


@proves(154)
@pytest.mark.parametrize("inputs", [(SOURCE, WRITTEN), (SOURCE, WRITTEN, VISIBLE)], ids=["all visible", "with padding"])
def test_agrees_with_torch_transformer(inputs):
    theirs = torch_transformer()
    assert_agrees(with_weights_of(theirs), called(theirs), *inputs)


@proves(154)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm_first, act", [(False, nn.ReLU), (True, nn.GELU)])
def test_a_layer_agrees_with_torchs_before_and_after_the_norm(norm_first, act, causal):
    name = act.__name__.lower()
    theirs = randomised(
        nn.TransformerEncoderLayer(D, HEADS, RATIO * D, 0, name, batch_first=True, norm_first=norm_first)
    )
    ours = EncoderLayer(D, HEADS, RATIO, act=act, norm_first=norm_first)
    ours.load_state_dict(
        {
            "attention.q.weight": theirs.self_attn.in_proj_weight[:D],
            "attention.q.bias": theirs.self_attn.in_proj_bias[:D],
            "attention.kv.weight": theirs.self_attn.in_proj_weight[D:],
            "attention.kv.bias": theirs.self_attn.in_proj_bias[D:],
            **{
                f"{mine}.{leaf}": getattr(module, leaf)
                for mine, module in {
                    "attention.proj": theirs.self_attn.out_proj,
                    "norm1": theirs.norm1,
                    "norm2": theirs.norm2,
                    "mlp.fc1": theirs.linear1,
                    "mlp.fc2": theirs.linear2,
                }.items()
                for leaf in ("weight", "bias")
            },
        }
    )
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None

    def called_layer(x):
        return theirs.to(x.dtype)(x, src_mask=mask, src_key_padding_mask=~VISIBLE)

    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = ours.eval()

        def forward(self, x):
            return self.layer(x, VISIBLE, causal)

    assert_agrees(Called(), called_layer, SOURCE)


@proves(154)
def test_agrees_with_the_paper_that_has_no_norm_behind_the_stacks():
    theirs = torch_transformer()
    theirs.encoder.norm, theirs.decoder.norm = nn.Identity(), nn.Identity()
    assert_agrees(with_weights_of(theirs, final_norm=False), called(theirs), SOURCE, WRITTEN)


class OnBoth(nn.Module):
    """The model with one sequence as source and as what is written."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x, x)


@proves(154)
def test_has_the_size_of_torch_transformer():
    with torch.device("meta"):
        model = EncoderDecoder(final_norm=True)
    assert f"{count_parameters(model) / 1e6:.3f}M" == "44.141M"
    assert count_macs(OnBoth(model), 1, 10, 512) / 1e6 == pytest.approx(442.2, rel=0.01)


def norm_in_front(model):
    def encode(self, x, visible=None):
        x = x + self.attention(self.norm1(x), self.norm1(x), visible)
        return x + self.mlp(self.norm2(x))

    for layer in each(model, EncoderLayer):
        layer.forward = encode.__get__(layer)


def decoder_sees_the_future(model):
    for layer in each(model, DecoderLayer):
        layer.attention.register_forward_pre_hook(lambda m, args, kwargs: (args, {}), with_kwargs=True)


def cross_attention_is_causal_too(model):
    for layer in each(model, DecoderLayer):
        layer.cross_attention.register_forward_pre_hook(lambda m, args: (*args, True))


def norms_forgotten_behind_the_stacks(model):
    model.encoder_norm, model.decoder_norm = nn.Identity(), nn.Identity()


def gelu_for_relu(model):
    for layer in [*each(model, EncoderLayer), *each(model, DecoderLayer)]:
        layer.mlp.act = nn.GELU()


def keys_and_values_swapped(model):
    for attention in each(model, MultiHeadAttention):
        attention.kv.weight.data = attention.kv.weight.roll(D, 0)
        attention.kv.bias.data = attention.kv.bias.roll(D, 0)


def eps_of_vit(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-6


@pytest.mark.parametrize(
    "mistake",
    [
        norm_in_front,
        decoder_sees_the_future,
        cross_attention_is_causal_too,
        norms_forgotten_behind_the_stacks,
        gelu_for_relu,
        keys_and_values_swapped,
        eps_of_vit,
    ],
)
def test_catches(mistake):
    theirs = torch_transformer()
    assert_catches(mistake, with_weights_of(theirs), called(theirs), SOURCE, WRITTEN)


def small() -> Seq2Seq:
    return randomised(Seq2Seq(11, D, HEADS, DEPTH, RATIO, max_length=16, padding=0))


WORDS = torch.randint(1, 11, (2, 6), generator=GENERATOR)


def test_logits_are_those_of_the_paper_step_by_step():
    """Section 3.4 and 3.5 around the proven stacks: √D times the word's row, plus its position; then the same rows."""
    model = small().double()
    rows = model.words.detach()

    def embedded(words):
        out = torch.empty(*words.shape, D, dtype=torch.float64)
        for b, sentence in enumerate(words.tolist()):
            for n, word in enumerate(sentence):
                for c in range(D):
                    angle = n / 10_000 ** ((c - c % 2) / D)
                    position = math.cos(angle) if c % 2 else math.sin(angle)
                    out[b, n, c] = rows[word, c] * math.sqrt(D) + position
        return out

    y = model.transformer(embedded(WORDS), embedded(WORDS[:, :4]), WORDS != 0)
    expected = torch.einsum("bmd,wd->bmw", y, rows)
    # the table of sines is made in float32
    torch.testing.assert_close(model(WORDS, WORDS[:, :4]), expected, rtol=1e-5, atol=1e-5)


def test_a_word_does_not_depend_on_later_words():
    model, changed = small(), WORDS.clone()
    changed[:, 3:] = (changed[:, 3:] % 10) + 1
    before, after = model(WORDS, WORDS), model(WORDS, changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_padding_is_invisible():
    padded = torch.cat([WORDS, torch.zeros(2, 3, dtype=torch.long)], dim=1)
    model = small()
    torch.testing.assert_close(model(padded, WORDS), model(WORDS, WORDS), rtol=1e-5, atol=1e-5)


def test_greedy_writes_what_the_whole_pass_predicts():
    model = small()
    written = model.greedy(WORDS, start=1, steps=5)
    assert written.shape == (2, 6)
    assert torch.equal(model(WORDS, written[:, :-1]).argmax(-1), written[:, 1:])


# Beam search, against all sequences that there are

WORDS_IN_ALL, STEPS, END = 3, 4, 2


def next_word_of_a_table(seed: int):
    """A language in which each word depends on all before it: (B, W, M) -> (B, W, words), and of one beginning."""
    table = 2 * torch.randn(97, WORDS_IN_ALL, generator=torch.Generator().manual_seed(seed))

    def row(written: list[int]) -> Tensor:
        return table[sum(10**n * (word + 1) for n, word in enumerate(written)) % 97].log_softmax(dim=-1)

    return lambda written: torch.stack([torch.stack([row(w.tolist()) for w in each]) for each in written]), row


def exhaustive(row, start: int, end: int | None) -> tuple[list[int], float]:
    """The likeliest of all sequences of that many words, by trying each; behind `end` comes nothing but `end`."""
    best, highest = [], -math.inf
    for words in itertools.product(range(WORDS_IN_ALL), repeat=STEPS):
        sequence, score, has_ended = [start], 0.0, False
        for word in words:
            if has_ended:
                score += 0.0 if word == end else -math.inf
            else:
                score += row(sequence)[word].item()
            has_ended = has_ended or word == end
            sequence.append(word)
        if score > highest:
            best, highest = sequence, score
    return best, highest


@proves(154)
@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_that_is_wide_enough_finds_the_likeliest_of_all_sequences(seed, end):
    next_word, row = next_word_of_a_table(seed)
    start = torch.tensor([0, 1])
    written, score = beam_search(next_word, start, STEPS, width=WORDS_IN_ALL ** (STEPS - 1), end=end)
    for b in range(2):
        sequence, highest = exhaustive(row, b, end)
        assert written[b, 0].tolist() == sequence
        assert score[b, 0].item() == pytest.approx(highest, abs=1e-5)
    finite = score[score.isfinite().all(1)]
    assert torch.equal(finite, finite.sort(descending=True).values), "the likeliest first"


def test_a_narrow_beam_misses_it_and_is_never_better():
    missed = 0
    for seed in range(10):
        next_word, row = next_word_of_a_table(seed)
        greedy = beam_search(next_word, torch.tensor([0]), STEPS, width=1)[1].item()
        _, highest = exhaustive(row, 0, None)
        assert greedy <= highest + 1e-5
        missed += greedy < highest - 1e-5
    assert missed > 0, "or these languages show nothing"


def tiny_vocabulary(seed: int) -> tuple[Seq2Seq, Tensor]:
    model = randomised(Seq2Seq(5, D, HEADS, DEPTH, RATIO, max_length=16, padding=0), seed)
    return model, torch.randint(1, 5, (2, 6), generator=torch.Generator().manual_seed(seed))


def log_probability(model: Seq2Seq, source: Tensor, written: Tensor) -> Tensor:
    """Of whole sequences, in one pass: (K, N) and (K, M) -> (K,)."""
    logits = model(source, written[:, :-1]).log_softmax(-1)  # (K, M - 1, words)
    return logits.take_along_dim(written[:, 1:, None], 2).sum((1, 2))


@proves(154)
def test_the_beam_of_the_transformer_finds_what_trying_all_sequences_finds_and_greedy_does_not_always():
    missed = 0
    for seed in range(6):
        model, source = tiny_vocabulary(seed)
        every = torch.tensor([[1, *words] for words in itertools.product(range(5), repeat=3)])  # (125, 4)
        best = [every[log_probability(model, one.expand(125, -1), every).argmax()] for one in source]
        assert torch.equal(model.beam(source, start=1, steps=3, width=25), torch.stack(best))
        greedy = model.greedy(source, start=1, steps=3)
        assert torch.equal(model.beam(source, start=1, steps=3, width=1), greedy)
        missed += not torch.equal(greedy, torch.stack(best))
    assert missed > 0, "or these models show nothing"


def test_a_beam_sees_no_padding_and_stops_at_the_end():
    model = small()
    padded = torch.cat([WORDS, torch.zeros(2, 3, dtype=torch.long)], dim=1)
    assert torch.equal(model.beam(padded, 1, 5, 3), model.beam(WORDS, 1, 5, 3))
    for row in model.beam(WORDS, start=1, steps=12, width=4, end=2).tolist():
        if 2 in row[1:]:
            first = row[1:].index(2) + 1
            assert set(row[first:]) == {2}


def test_a_beam_without_width_is_refused():
    with pytest.raises(ValueError, match="width is 0"):
        beam_search(lambda written: written, torch.tensor([1]), 3, width=0)


def test_runs_compiled_in_one_graph():
    model = small()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(WORDS, WORDS), model(WORDS, WORDS))


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(ValueError, match="5 heads do not divide 24 channels"):
        EncoderDecoder(24, 5)


# Positions


def by_the_formula(length: int, dim: int) -> Tensor:
    table = torch.empty(length, dim, dtype=torch.float64)
    for position in range(length):
        for i in range(dim // 2):
            table[position, 2 * i] = math.sin(position / 10_000 ** (2 * i / dim))
            table[position, 2 * i + 1] = math.cos(position / 10_000 ** (2 * i / dim))
    return table


@proves(155)
def test_sinusoidal_positions_are_those_of_section_3_5():
    torch.testing.assert_close(sinusoidal(torch.arange(50), 16).double(), by_the_formula(50, 16), rtol=0, atol=5e-6)


@proves(155)
def test_a_relative_shift_is_one_rotation_for_all_positions():
    """Section 3.5: PE(p + k) is a linear function of PE(p); in each pair of channels a rotation by k times its frequency."""
    table, k = sinusoidal(torch.arange(60), 16).double(), 7
    for i in range(8):
        angle = k / 10_000 ** (2 * i / 16)
        turned = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
        pairs = table[:, 2 * i : 2 * i + 2]
        torch.testing.assert_close(pairs[k:], pairs[:-k] @ turned.T, rtol=0, atol=1e-5)


@proves(155)
def test_the_dot_product_of_two_positions_depends_on_their_distance_only():
    table = sinusoidal(torch.arange(40), 16).double()
    products = table @ table.T  # (40, 40)
    for distance in range(40):
        expected = sum(math.cos(distance / 10_000 ** (2 * i / 16)) for i in range(8))
        for diagonal in (products.diagonal(distance), products.diagonal(-distance)):
            torch.testing.assert_close(diagonal, torch.full_like(diagonal, expected), rtol=0, atol=5e-5)


@proves(155)
@pytest.mark.parametrize("wrong", ["sines first, then cosines", "frequencies of 2i+1", "base 1000"])
def test_mistaken_tables_are_seen(wrong):
    table = sinusoidal(torch.arange(50), 16)
    if wrong == "sines first, then cosines":
        table = torch.cat([table[:, ::2], table[:, 1::2]], dim=1)
    elif wrong == "frequencies of 2i+1":
        frequency = 10_000 ** (-torch.arange(16) / 16)
        angle = torch.arange(50)[:, None] * frequency
        table = torch.where(torch.arange(16) % 2 == 0, angle.sin(), angle.cos())
    else:
        table = sinusoidal(torch.arange(50), 16, base=1000.0)
    assert (table.double() - by_the_formula(50, 16)).abs().max() > 0.1


@proves(155)
def test_learned_positions_are_added_row_by_row_and_get_a_gradient():
    tokens = randomised(Tokens(8, (2, 3), class_tokens=1, position="learned"))
    x = torch.randn(2, 2, 3, 8, generator=GENERATOR)
    y = tokens(x)
    for n in range(7):
        plain = tokens.class_tokens[0].expand(2, -1) if n == 0 else x[:, (n - 1) // 3, (n - 1) % 3]
        torch.testing.assert_close(y[:, n], plain + tokens.position[n])
    y.sum().backward()
    torch.testing.assert_close(tokens.position.grad, torch.full((7, 8), 2.0))
