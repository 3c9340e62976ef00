"""BERT with its two tasks and GPT-2 against transformers, and how BERT hides words."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.count import count_macs, count_parameters
from course.models.encoder_decoder import EncoderLayer
from course.models.language import BERT, GPT, MaskedWordHead, NextSentenceHead, hide_words, masked_word_loss
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

D, HEADS, DEPTH, WORDS_IN_ALL, LENGTH = 24, 4, 2, 13, 9
GENERATOR = torch.Generator().manual_seed(0)
WORDS = torch.randint(1, WORDS_IN_ALL, (3, 7), generator=GENERATOR)
WORDS[1, 5:] = 0
SENTENCE = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 1]])


class Bert(nn.Module):
    """BERT with both heads; as a function of its embedded words, too, so that there is a gradient by its input."""

    def __init__(self, **sizes) -> None:
        super().__init__()
        self.body = BERT(**sizes)
        self.word_head = MaskedWordHead(self.body.words)
        self.next_head = NextSentenceHead(self.body.words.weight.shape[1])

    def forward(self, words: Tensor, sentence: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.body(words, sentence)
        return self.word_head(x), self.next_head(x)


class ByItsMatrix(nn.Module):
    """The model as a function of the matrix that embeds the words: its gradient goes through all of the network."""

    def __init__(self, model: nn.Module, path: str) -> None:
        super().__init__()
        self.model = model
        self.path = path

    def forward(self, matrix: Tensor, *inputs: Tensor):
        given = {self.path: matrix}
        return torch.func.functional_call(self.model, given, inputs, tie_weights=True)


def called(theirs: nn.Module):
    """Theirs as a function of the matrix that embeds the words, of words and of sentences: both logits."""

    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = theirs

        def forward(self, words, sentence):
            y = self.model(words, attention_mask=(words != 0).long(), token_type_ids=sentence)
            return y.prediction_logits, y.seq_relationship_logits

    return ByItsMatrix(Called(), "model.bert.embeddings.word_embeddings.weight")


def transformers_bert() -> nn.Module:
    from transformers import BertConfig, BertForPreTraining

    config = BertConfig(
        vocab_size=WORDS_IN_ALL, hidden_size=D, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
        intermediate_size=2 * D, max_position_embeddings=LENGTH, hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    )  # fmt: skip
    theirs = randomised(BertForPreTraining(config))
    theirs.tie_weights()
    theirs.bert.embeddings.word_embeddings.padding_idx = None  # gives padding's row no gradient; nothing looks at it
    return theirs


def copied(pairs: dict[str, nn.Module | Tensor]) -> dict[str, Tensor]:
    """Names of ours -> their modules or numbers, as a state."""
    state = {}
    for name, part in pairs.items():
        state.update({name: part} if isinstance(part, Tensor) else {f"{name}.{k}": v for k, v in part.state_dict().items()})
    return state


def bert_with_weights_of(theirs: nn.Module) -> Bert:
    ours = Bert(vocab_size=WORDS_IN_ALL, dim=D, num_heads=HEADS, depth=DEPTH, mlp_ratio=2, max_length=LENGTH).eval()
    bert, predictions = theirs.bert, theirs.cls.predictions
    pairs = {
        "body.words": bert.embeddings.word_embeddings,
        "body.position": bert.embeddings.position_embeddings.weight,
        "body.sentence": bert.embeddings.token_type_embeddings,
        "body.norm": bert.embeddings.LayerNorm,
        "word_head.words": bert.embeddings.word_embeddings,
        "word_head.linear": predictions.transform.dense,
        "word_head.norm": predictions.transform.LayerNorm,
        "word_head.bias": predictions.bias,
        "next_head.pool": bert.pooler.dense,
        "next_head.answer": theirs.cls.seq_relationship,
    }
    for i, layer in enumerate(bert.encoder.layer):
        attention = layer.attention.self
        pairs |= {
            f"body.layers.{i}.attention.q": attention.query,
            f"body.layers.{i}.attention.kv.weight": torch.cat([attention.key.weight, attention.value.weight]),
            f"body.layers.{i}.attention.kv.bias": torch.cat([attention.key.bias, attention.value.bias]),
            f"body.layers.{i}.attention.proj": layer.attention.output.dense,
            f"body.layers.{i}.norm1": layer.attention.output.LayerNorm,
            f"body.layers.{i}.mlp.fc1": layer.intermediate.dense,
            f"body.layers.{i}.mlp.fc2": layer.output.dense,
            f"body.layers.{i}.norm2": layer.output.LayerNorm,
        }
    ours.load_state_dict(copied(pairs))
    return ours


@proves(151)
def test_bert_agrees_with_transformers():
    theirs = transformers_bert()
    ours = ByItsMatrix(bert_with_weights_of(theirs), "body.words.weight")
    matrix = theirs.bert.embeddings.word_embeddings.weight.detach()
    assert_agrees(ours, called(theirs), matrix, WORDS, SENTENCE)


@proves(151)
def test_bert_has_the_size_of_transformers():
    with torch.device("meta"):
        model = Bert(vocab_size=30522)
    assert f"{count_parameters(model) / 1e6:.3f}M" == "110.106M"

    class OnWords(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x.long())

    assert count_macs(OnWords(), 1, 128) / 1e9 == pytest.approx(14.25, rel=0.001)


def sentences_not_told_apart(model):
    nn.init.zeros_(each(model, BERT)[0].sentence.weight)


def norms_in_front(model):
    for layer in each(model, EncoderLayer):
        layer.norm_first = True


def relu_for_gelu(model):
    for layer in each(model, EncoderLayer):
        layer.mlp.act = nn.ReLU()


def eps_of_torch(model):
    for norm in each(model, nn.LayerNorm):
        norm.eps = 1e-5


def next_sentence_read_at_the_last_place(model):
    head = each(model, NextSentenceHead)[0]
    head.forward = (lambda self, x: NextSentenceHead.forward(self, x.flip(1))).__get__(head)


@pytest.mark.parametrize(
    "mistake",
    [sentences_not_told_apart, norms_in_front, relu_for_gelu, eps_of_torch, next_sentence_read_at_the_last_place],
)
def test_catches_in_bert(mistake):
    theirs = transformers_bert()
    matrix = theirs.bert.embeddings.word_embeddings.weight.detach()
    ours = ByItsMatrix(bert_with_weights_of(theirs), "body.words.weight")
    assert_catches(mistake, ours, called(theirs), matrix, WORDS, SENTENCE)


# how words are hidden


def test_words_are_hidden_as_bert_hides_them():
    torch.manual_seed(0)
    words = torch.randint(0, 50, (400, 100))
    read, chosen = hide_words(words, 50, mask=3, special=4, share=0.15)
    assert not chosen[words < 4].any(), "padding and the other special words are never chosen"
    assert chosen[words >= 4].float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert torch.equal(read[~chosen], words[~chosen])
    masked, same = read[chosen] == 3, read[chosen] == words[chosen]
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert same.float().mean().item() == pytest.approx(0.1 + 0.1 / 46, abs=0.02)
    other = read[chosen][~masked & ~same]
    assert other.min() >= 4 and set(other.tolist()) == set(range(4, 50)), "any word but the special ones"


def test_the_loss_counts_the_chosen_words_alone():
    logits, words = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    chosen = torch.tensor([[True, False, False, True, False], [False, False, True, False, False]])
    expected = 0
    for b, n in chosen.nonzero().tolist():
        expected -= logits[b, n].log_softmax(0)[words[b, n]] / 3
    torch.testing.assert_close(masked_word_loss(logits, words, chosen), expected)


# GPT


def transformers_gpt() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WORDS_IN_ALL, n_positions=LENGTH, n_embd=D, n_layer=DEPTH, n_head=HEADS, n_inner=2 * D,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    theirs = randomised(GPT2LMHeadModel(config))
    theirs.tie_weights()
    return theirs


def gpt_with_weights_of(theirs: nn.Module) -> GPT:
    """Their linear layers hold their matrices transposed, and queries, keys and values in one."""
    ours = GPT(WORDS_IN_ALL, D, HEADS, DEPTH, mlp_ratio=2, max_length=LENGTH).eval()
    body = theirs.transformer
    pairs = {"words": body.wte.weight, "position": body.wpe.weight, "norm": body.ln_f}
    for i, block in enumerate(body.h):
        name, packed = f"layers.{i}", block.attn.c_attn
        pairs |= {
            f"{name}.attention.q.weight": packed.weight[:, :D].T,
            f"{name}.attention.q.bias": packed.bias[:D],
            f"{name}.attention.kv.weight": packed.weight[:, D:].T,
            f"{name}.attention.kv.bias": packed.bias[D:],
            f"{name}.norm1": block.ln_1,
            f"{name}.norm2": block.ln_2,
        }
        linears = {"attention.proj": block.attn.c_proj, "mlp.fc1": block.mlp.c_fc, "mlp.fc2": block.mlp.c_proj}
        for mine, linear in linears.items():
            pairs |= {f"{name}.{mine}.weight": linear.weight.T, f"{name}.{mine}.bias": linear.bias}
    ours.load_state_dict(copied(pairs))
    return ours


def gpt_called(theirs: nn.Module):
    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = theirs

        def forward(self, words):
            return self.model(words).logits

    return ByItsMatrix(Called(), "model.transformer.wte.weight")


@proves(158)
def test_gpt_agrees_with_transformers_gpt2():
    theirs = transformers_gpt()
    matrix = theirs.transformer.wte.weight.detach()
    assert_agrees(ByItsMatrix(gpt_with_weights_of(theirs), "words"), gpt_called(theirs), matrix, WORDS)


def sees_the_future(model):
    for layer in each(model, EncoderLayer):
        layer.forward = (lambda self, x, causal: EncoderLayer.forward(self, x)).__get__(layer)


def exact_gelu(model):
    for layer in each(model, EncoderLayer):
        layer.mlp.act = nn.GELU()


def norms_behind(model):
    for layer in each(model, EncoderLayer):
        layer.norm_first = False


@pytest.mark.parametrize("mistake", [sees_the_future, exact_gelu, norms_behind])
def test_catches_in_gpt(mistake):
    theirs = transformers_gpt()
    matrix = theirs.transformer.wte.weight.detach()
    assert_catches(mistake, ByItsMatrix(gpt_with_weights_of(theirs), "words"), gpt_called(theirs), matrix, WORDS)


@proves(158)
def test_gpt_has_the_size_of_gpt2():
    with torch.device("meta"):
        model = GPT(50257)
    assert count_parameters(model) == 124_439_808  # transformers.GPT2LMHeadModel(GPT2Config())


def test_gpt_is_trained_on_every_next_word_at_once():
    model = randomised(GPT(WORDS_IN_ALL, D, HEADS, DEPTH, mlp_ratio=2, max_length=LENGTH))
    whole = F.cross_entropy(model(WORDS[:, :-1]).flatten(0, 1), WORDS[:, 1:].flatten())
    parts = [F.cross_entropy(model(WORDS[:, :n])[:, -1], WORDS[:, n]) for n in range(1, 7)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())
