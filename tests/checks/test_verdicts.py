"""What a check says of every kind of wrong work, on a small exercise made for the purpose."""

import numpy
import pytest
import torch
from torch import nn

from course.checks import (
    Accuracy,
    Call,
    CheckFailed,
    Credit,
    Homework,
    Probe,
    check,
    expected_for,
    judge,
    observe,
    public,
)
from course.checks.calls import Observation
from course.checks.compare import Expected, Verdict
from course.checks.message import pack
from course.checks.rounding import NOISE_FACTOR, close, noise_between, nudged

SOURCE = """
# %% tags=["setup"]
import torch
from torch import nn

# %%
raise RuntimeError("only setup and solution cells belong to the reference")

# %% exercise="scale"
def scale(x):
    return 2 * x + x.roll(1, 0)

# %% exercise="Affine"
class Affine(nn.Module):
    def __init__(self, width, mixer):
        super().__init__()
        self.a = nn.Linear(width, width)
        self.b = nn.Linear(width, width, bias=False)
        self.mixer = mixer
    def forward(self, x):
        return self.b(self.a(x).tanh())

# %% exercise="train"
def train(model, images):
    model.weight.data += 1
"""


@pytest.fixture
def homework(tmp_path):
    folder = tmp_path / "hw9_small"
    folder.mkdir()
    source = folder / "hw9_small.py"
    source.write_text(SOURCE)
    homework = Homework("hw9_small", source=source)
    scale = homework.exercise("scale", points=2)

    @scale.inputs
    def _(draw):
        yield Call("scale", {"x": draw.normal(3, 5)}, gradients=("x",))
        yield Call("scale", {"x": draw.normal(1, 5)}, gradients=("x",))  # one row: rolling changes nothing here

    @scale.mistake("You did not roll.")
    def not_rolled(x):
        return 3 * x

    @scale.mistake("You doubled the roll.")
    def rolled_twice(x):
        return 2 * x + x.roll(2, 0)

    affine = homework.exercise("Affine", points=3)

    @affine.inputs
    def _(draw):
        yield Call(
            "Affine",
            {"x": draw.normal(2, 3, 4)},
            init={"width": 4, "mixer": None},
            parameters={**draw.linear("a", 4, 4), "b.weight": draw.normal(4, 4)},
            layouts=({"ab.weight": ["a.weight", "b.weight"], "a_bias": ["a.bias"]},),
            gradients=("x",),
        )

    train = homework.exercise("train", points=1)
    images, weight = torch.eye(4).view(4, 1, 2, 2), torch.zeros(4, 4)

    @train.inputs
    def _(draw):
        yield Call(
            "train",
            {
                "model": Probe("linear_classifier", {"weight": weight, "bias": torch.zeros(4)}, ask=images),
                "images": images,
            },
        )

    train.goals(lambda draw: {0: Accuracy(torch.arange(4), 0.75)})
    homework.folder = folder
    return homework


def verdict(homework, name, **objects):
    exercise = homework.exercises[name]
    return judge(expected_for(exercise, 5), observe(objects, exercise.calls(5)))


def say(homework, function):
    found = verdict(homework, "scale", scale=function)
    assert found.status != "right"
    return found.sentence


def test_right_work_is_right(homework):
    assert verdict(homework, "scale", scale=lambda x: x + x + torch.cat([x[-1:], x[:-1]])).status == "right"


def test_a_mistake_that_shows_on_some_inputs_only_is_still_named(homework):
    assert say(homework, lambda x: x * 3) == "You did not roll."
    assert say(homework, lambda x: 2 * x + x.roll(2, 0)) == "You doubled the roll."


def test_two_mistakes_at_once_are_not_called_by_the_name_of_one(homework):
    found = verdict(homework, "scale", scale=lambda x: 3 * x if len(x) > 1 else x)
    assert found.status == "wrong" and not found.named


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: None, "returned nothing"),
        (lambda x: "text", "returned a str"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda x: (2 * x + x.roll(1, 0)).T, "axes are in another order"),
        (lambda x: x[:, :2], "wrong shape: expected (3, 5), yours is (3, 2)"),
        (lambda x: (2 * x + x.roll(1, 0)) * 4, "the right one times 4"),
        (lambda x: x * torch.nan, "15 of 15 values of the result are NaN"),
        (lambda x: (2 * x + x.roll(1, 0)).detach(), "no gradient flows back"),
        (lambda x: 2 * x + x.roll(1, 0).detach(), "gradient with respect to x"),
        (lambda x: torch.tensor((2 * x + x.roll(1, 0)).tolist()), "no gradient flows back"),
        (lambda x: numpy.asarray((2 * x + x.roll(1, 0)).detach()), "no gradient flows back"),
        (lambda x: x.add_(x) + x.roll(1, 0) / 2, "changes its input `x` in place"),
        (lambda x: x > 0, "should hold numbers"),
        (lambda x: x + torch.ones(3, 5), "100% of its values differ"),
        (lambda x: torch.complex(2 * x + x.roll(1, 0), x), "should hold real numbers"),
        (lambda: 0, "TypeError"),
        (lambda x: exit(), "quit"),
        (lambda x: (x, x), "did not return"),
    ],
)
def test_what_is_said_of_work_that_matches_no_named_mistake(homework, function, words):
    assert words in say(homework, function)


def test_hidden_values_stay_out_of_the_sentence(homework):
    found = verdict(homework, "scale", scale=lambda x: x + 1)
    assert found.detail.startswith("Largest difference at [") and found.detail not in found.sentence
    assert not any(character.isdigit() for character in found.sentence.replace("100%", ""))


def test_a_stub_is_not_started_and_another_not_implemented_error_is_an_error(homework):
    def stub(x):
        raise NotImplementedError("hw9.scale")

    def torch_cannot(x):
        raise NotImplementedError("could not run 'aten::x' on this backend")

    assert verdict(homework, "scale", scale=stub).status == "not started"
    assert "NotImplementedError: could not run" in say(homework, torch_cannot)


def test_an_undefined_name_is_named(homework):
    assert verdict(homework, "scale").sentence.startswith("scale is not defined")


def test_an_endless_error_message_is_cut(homework):
    def shout(x):
        raise ValueError("a" * 10_000_000)

    assert len(say(homework, shout)) < 1000


def test_a_tensor_subclass_cannot_answer_for_itself(homework):
    class Yes(torch.Tensor):
        def __eq__(self, other):
            return True

    assert "returned a Yes" in say(homework, lambda x: torch.zeros(3, 5).as_subclass(Yes))


class Fused(nn.Module):
    def __init__(self, width, mixer):
        super().__init__()
        self.ab = nn.Linear(width, 2 * width, bias=False)
        self.a_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        a, b = self.ab.weight.chunk(2)
        return (x @ a.T + self.a_bias).tanh() @ b.T


def test_a_fused_layout_is_accepted_gradients_included(homework):
    assert verdict(homework, "Affine", Affine=Fused).status == "right"


def test_parameters_that_do_not_fit_are_listed(homework):
    class Other(nn.Module):
        def __init__(self, width, mixer):
            super().__init__()
            self.first = nn.Linear(width, width)

    sentence = verdict(homework, "Affine", Affine=Other).sentence
    assert "expected a.weight (4, 4)" in sentence and "yours has first.weight (4, 4), first.bias (4,)" in sentence


def test_a_function_where_a_module_is_asked_for(homework):
    assert "class Affine(nn.Module)" in verdict(homework, "Affine", Affine=lambda width, mixer: 3).sentence


def test_training_is_judged_by_what_the_network_then_knows(homework):
    def learn(model, images):
        with torch.no_grad():
            model.weight.copy_(torch.eye(4))

    def learn_half(model, images):
        with torch.no_grad():
            model.weight.copy_(torch.eye(4)[[0, 1, 0, 0]])

    assert verdict(homework, "train", train=learn).status == "right"
    wrong = verdict(homework, "train", train=learn_half)
    assert "50% of 4 held-out examples are right; 75% are needed" in wrong.sentence


def test_the_reference_is_run_from_setup_and_solution_cells_only(homework):
    assert set(homework.reference) >= {"scale", "Affine", "train", "torch", "nn"}


# -- containers, first values, lost gradients


def judged(answer, given, **call) -> Verdict:
    """Of one call of ``f``, where `answer` is right."""
    calls = [Call("f", {"x": torch.arange(1.0, 7).view(2, 3)}, **call)]
    return judge(Expected(observe({"f": answer}, calls), [], {}, 1e-4, 1), observe({"f": given}, calls))


@pytest.mark.parametrize(
    "given",
    [(3, 4.0), [3, 4], torch.tensor([3, 4]), numpy.array([3.0, 4.0]), (torch.tensor(3), torch.tensor(4.0))],
    ids=["tuple", "list", "tensor", "array", "tensors"],
)
def test_numbers_side_by_side_may_come_in_a_list_or_a_tensor(given):
    assert judged(lambda x: (3, 4), lambda x: given).status == "right"
    assert judged(lambda x: (3, 5), lambda x: given).status == "wrong"
    assert judged(lambda x: (3, 4, 5), lambda x: given).status == "wrong"


def test_a_list_of_numbers_may_come_as_a_tensor_and_rows_in_tuples():
    assert judged(lambda x: [[1, 2], [3, 4]], lambda x: ((1, 2), (3, 4))).status == "right"
    assert judged(lambda x: [[1, 2], [3, 4]], lambda x: torch.tensor([[1, 2], [3, 4]])).status == "right"
    assert judged(lambda x: 3, lambda x: torch.tensor(3)).status == "right"


def test_a_pair_of_tensors_may_come_in_a_list_gradients_included():
    pair = lambda x: (2 * x, x.sum(0))
    assert judged(pair, lambda x: [2 * x, x.sum(0)], gradients=("x",)).status == "right"
    assert judged(pair, lambda x: [x.sum(0), 2 * x], gradients=("x",)).status == "wrong"


def test_where_a_tensor_is_asked_for_a_list_of_the_right_numbers_is_told_to_become_one():
    said = judged(lambda x: 2 * x, lambda x: (2 * x).tolist()).sentence
    assert said == "The numbers are right, but they came as a list. Return a tensor."
    assert "came as an array" in judged(lambda x: 2 * x, lambda x: (2 * x).numpy()).sentence
    assert "100%" in judged(lambda x: 2 * x, lambda x: (3 * x).tolist()).sentence
    assert "put them together into one tensor" in judged(lambda x: 2 * x, lambda x: list(2 * x)).sentence


def test_what_is_expected_instead_is_said_as_it_is():
    said = [judged(answer, lambda x: {}).sentence for answer in (lambda x: 2 * x, lambda x: 3, lambda x: (3, 4))]
    wanted = ("a torch tensor is", "a number is", "2 numbers are")
    assert said == [f"Your code returned a dict, where {what} expected." for what in wanted]
    assert "a list of numbers or a tensor is expected" in judged(lambda x: [3], lambda x: {}).sentence
    losses = lambda x: [torch.ones((), requires_grad=True)]
    assert "still hangs on the computation that made it" in judged(lambda x: [1.0], losses).sentence


def test_a_gradient_that_does_not_arrive_is_said_so_by_name():
    said = judged(lambda x: 2 * x + x.detach(), lambda x: 3 * x.detach() + 0 * x, gradients=("x",)).sentence
    assert said.startswith("The values are right, but no gradient arrives at x: something between it and your result")
    assert (
        "no gradient arrives"
        not in judged(lambda x: 2 * x, lambda x: 2 * x.detach() + x - x.detach(), gradients=("x",)).sentence
    )


def test_the_values_that_a_module_begins_with_are_asked_for_by_name():
    class Scale(nn.Module):
        begin = 1.0

        def __init__(self):
            super().__init__()
            self.alpha = nn.Parameter(torch.full((3,), self.begin))

        def forward(self, x):
            return self.alpha * x

    module = {"init": {}, "parameters": {"alpha": torch.rand(3)}}
    begun = type("Scale", (Scale,), {"begin": 0.0})
    assert judged(Scale, begun, **module).status == "right"
    assert judged(Scale, Scale, start=("alpha",), **module).status == "right"
    said = judged(Scale, begun, start=("alpha",), **module)
    assert said.sentence.startswith(
        "The value of `alpha` in a new module, before anything is learned, has the right shape"
    )


def test_of_several_mistakes_that_fit_the_nearest_is_named():
    """Without a root, all is wrong where the argument is 0.5; a fixed one is right at 1 and the same elsewhere."""
    calls = [Call("f", {"x": torch.ones(2, 3), "power": power}) for power in (1.0, 0.5)]
    mistakes = [("None.", lambda x, power: x * 3), ("Fixed.", lambda x, power: x * 2 if power == 1 else x * 3)]
    seen = [(sentence, observe({"f": wrong}, calls)) for sentence, wrong in mistakes]
    expected = Expected(observe({"f": lambda x, power: x * 2}, calls), seen, {}, 1e-4, 2)
    assert [judge(expected, each).sentence for _, each in seen] == ["None.", "Fixed."]


# -- the public file


def write_public(homework):
    path = homework.folder / public.FILE_NAME
    path.write_bytes(public.to_bytes(homework))
    return path


def test_the_public_file_gives_the_same_verdicts(homework, monkeypatch, capsys):
    path = write_public(homework)
    monkeypatch.chdir(homework.folder)
    assert check("hw9.scale", homework.reference["scale"]) is None
    assert "2 of 2 points" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match="You did not roll."):
        check("hw9.scale", lambda x: 3 * x)
    assert check("hw9.Affine", Fused) is None
    stored = public.read(path, "train")
    assert stored.expected.goals[0].at_least == 0.75 and stored.points == 1


def test_the_public_file_holds_no_code_of_answers_or_mistakes(homework):
    data = write_public(homework).read_bytes()
    inside = public.messages(data)
    assert b"You did not roll." in inside["scale"]
    for secret in (b"roll(", b"3 * x", b"not_rolled", b"rolled_twice", b"tanh"):
        assert all(secret not in each for each in (data, *inside.values()))


def test_results_of_mistakes_are_rounded_by_less_than_decides(homework):
    values = torch.randn(4000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 6, 4000)
    values[:2] = torch.tensor([float("nan"), float("-inf")])
    rounded = public._rounded(values, 1e-4)
    assert rounded[0].isnan() and rounded[1] == float("-inf") and not torch.equal(rounded[2:], values[2:])
    off = (rounded[2:].double() - values[2:].double()).abs()
    assert (off <= 1e-4 * (1 + values[2:].double().abs()) / 10).all()
    assert torch.equal(public._rounded(torch.arange(5), 1e-4), torch.arange(5))
    stored = public.read(write_public(homework), "scale")
    assert torch.equal(
        stored.calls[0].arguments["x"], homework.exercises["scale"].calls(public.PUBLIC_SEED)[0].arguments["x"]
    )
    assert all(
        close(expected, stored.expected.answer.tensors[key], 0.0)
        for key, expected in homework.exercises["scale"].observe(stored.calls).tensors.items()
    )


def test_check_data_of_another_version_and_an_exercise_that_would_not_end_are_damaged(homework, monkeypatch):
    path = write_public(homework)
    data = path.read_bytes()
    for head in ({"homework": "hw9_small", "exercises": {}}, [], {"homework": "hw9_small", "points": {"scale": 2}}):
        path.write_bytes(pack({}, head))
        assert not public.same_content(path, data)
        with pytest.raises(ValueError, match="damaged .*another version of the course"):
            public.read(path, "scale")
    path.write_bytes(data)
    monkeypatch.setattr(public, "LARGEST", 100)
    with pytest.raises(ValueError, match="damaged .*too large"):
        public.read(path, "scale")


def test_the_public_file_is_the_same_each_time_and_small_differences_do_not_count(homework):
    path = write_public(homework)
    data = public.to_bytes(homework)
    assert path.read_bytes() == data and public.same_content(path, data)
    homework.exercises["scale"].points = 9
    assert not public.same_content(path, public.to_bytes(homework))


def test_check_says_what_is_wrong_with_the_call_itself(homework, monkeypatch, tmp_path):
    path = write_public(homework)
    monkeypatch.chdir(homework.folder)
    with pytest.raises(KeyError, match="it has scale, Affine, train"):
        check("hw9.unknown", abs)
    with pytest.raises(KeyError, match="should look like"):
        check("hw9", abs)
    with pytest.raises(TypeError, match="needs scale; it got 2"):
        check("hw9.scale", abs, abs)
    with pytest.raises(FileNotFoundError, match="keep the notebook in the folder it came in"):
        check("hw77.scale", abs)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        check("hw9.scale", abs)


def test_check_data_is_found_from_a_lecture_beside_assignments(homework, tmp_path):
    place = tmp_path / "repo" / "assignments" / "hw9_small"
    place.mkdir(parents=True)
    (place / public.FILE_NAME).write_bytes(public.to_bytes(homework))
    lectures = tmp_path / "repo" / "notebooks"
    lectures.mkdir()
    assert public.find("hw9.scale", lectures) == place / public.FILE_NAME
    solution = tmp_path / "repo" / "solutions" / "hw9_small"
    solution.mkdir(parents=True)
    assert public.find("hw9.scale", solution) == place / public.FILE_NAME


def test_an_exercise_without_inputs_would_check_nothing(homework):
    empty = homework.exercise("empty", points=1)
    empty.inputs(lambda draw: [])
    with pytest.raises(ValueError, match="would check nothing"):
        empty.calls(0)


# -- what a refactoring could get wrong


def learn_rows(*rows):
    """A training after which the network takes class k for rows[k]."""

    def learn(model, images):
        with torch.no_grad():
            model.weight.copy_(torch.eye(4)[list(rows)])

    return learn


def test_who_just_reaches_a_goal_has_reached_it(homework):
    assert verdict(homework, "train", train=learn_rows(0, 1, 2, 0)).status == "right"  # 75% of 4, which is asked


def test_a_failed_training_is_called_a_mistake_only_if_it_ends_as_that_does(homework):
    homework.exercises["train"].mistake("You trained nothing.")(lambda model, images: None)
    assert verdict(homework, "train", train=lambda model, images: None).sentence == "You trained nothing."
    other = verdict(homework, "train", train=learn_rows(0, 1, 0, 0))
    assert not other.named and "50% of 4 held-out examples" in other.sentence


def test_zeros_are_not_called_right_but_for_a_factor(homework):
    assert say(homework, lambda x: 0 * x).startswith("The result has the right shape, but 100% of its values differ")


def test_one_result_too_many_is_wrong_and_earns_nothing_for_the_shape():
    two = {"out.0": torch.ones(3), "out.1": torch.ones(2)}
    asked = Expected(observation(**two), [], {}, 1e-4, 1, Credit(shape=0.2, values=0.8))
    assert judge(asked, observation(**two)).status == "right"
    found = judge(asked, observation(**two, **{"out.2": torch.ones(1)}))
    assert (found.status, found.share) == ("wrong", 0)
    assert found.sentence == "Your code returned more than was asked for (result number 3)."


# -- rounding: what differs by no more than its noise is the same


def test_values_are_the_same_within_the_tolerance_and_so_many_times_the_noise():
    one, hundred = torch.ones(3), torch.full((3,), 100.0)
    noise = 1e-3
    assert close(one, one + 1.9e-4, 1e-4) and not close(one, one + 2.1e-4, 1e-4)  # absolute, and relative to 1
    assert close(hundred, hundred + 1e-2, 1e-4) and not close(hundred, hundred + 1.1e-2, 1e-4)
    assert close(one, one + 0.95 * NOISE_FACTOR * noise, 1e-4, noise)
    assert not close(one, one + 1.1 * NOISE_FACTOR * noise, 1e-4, noise)
    assert not close(one, one + 0.95 * NOISE_FACTOR * noise, 1e-4)
    whole = torch.tensor([3])
    assert close(whole, torch.tensor([3.0]), 1e-4, noise) and not close(whole, torch.tensor([3.0001]), 1e-4, noise)
    assert not close(torch.tensor([True]), torch.tensor([False]), 2.0, noise)


def test_nudging_moves_every_float_by_its_last_digit_and_nothing_else():
    x, count = torch.randn(200, generator=torch.Generator().manual_seed(1)), torch.arange(5)
    probe = Probe("linear_classifier", {"weight": x + 1}, ask=x + 2)
    call = Call("Net", {"x": x, "count": count, "probe": probe, "n": 3}, init={"scale": x + 3}, parameters={"w": x + 4})
    before = x.clone()
    [moved], [again] = nudged([call]), nudged([call])
    pairs = [
        (x, moved.arguments["x"]),
        (probe.tensors["weight"], moved.arguments["probe"].tensors["weight"]),
        (probe.ask, moved.arguments["probe"].ask),
        (call.init["scale"], moved.init["scale"]),
        (call.parameters["w"], moved.parameters["w"]),
    ]
    for was, now in pairs:
        up = torch.nextafter(was, torch.tensor(torch.inf)) - was
        steps = ((now - was) / up).round()
        assert (steps != 0).all() and (steps.abs() <= 2).all() and now.dtype == was.dtype
        assert 0.3 < (steps > 0).float().mean() < 0.7
    assert torch.equal(moved.arguments["count"], count) and moved.arguments["n"] == 3
    assert torch.equal(x, before) and torch.equal(moved.arguments["x"], again.arguments["x"])


def test_noise_is_the_largest_finite_difference_of_each_tensor():
    inf, nan = torch.inf, torch.nan
    seen = observation(
        a=torch.tensor([1.0, 2.0, 3.0]),
        finite=torch.tensor([1.0, inf, nan]),
        never=torch.tensor([inf]),
        whole=torch.tensor([1]),
        shape=torch.zeros(2),
        gone=torch.zeros(2),
        empty=torch.zeros(0),
    )
    other = observation(
        a=torch.tensor([1.0, 2.5, 2.75]),
        finite=torch.tensor([1.125, 3.0, nan]),
        never=torch.tensor([1.0]),
        whole=torch.tensor([2]),
        shape=torch.zeros(3),
        empty=torch.zeros(0),
    )
    assert noise_between(seen, other) == {"0.a": 0.5, "0.finite": 0.125, "0.never": 0.0}


def observation(**tensors) -> Observation:
    return Observation({f"0.{name}": tensor for name, tensor in tensors.items()})


def test_a_result_that_is_mostly_rounding_is_judged_by_how_much_of_it_is(tmp_path):
    """A difference of large numbers: the last digit of the input is 1e-3, and the tolerance is 1e-4."""
    (tmp_path / "hw9_less.py").write_text('# %% exercise="less"\ndef less(x):\n    return x - 1e4\n')
    homework = Homework("hw9_less", source=tmp_path / "hw9_less.py")
    less = homework.exercise("less", points=1)
    less.inputs(lambda draw: [Call("less", {"x": 1e4 + draw.normal(50)})])
    less.mistake("You doubled.")(lambda x: 2 * (x - 1e4))

    def verdict_on(function):
        return judge(expected_for(less, 1), observe({"less": function}, less.calls(1)))

    assert verdict_on(lambda x: x - 1e4 + 4e-3).status == "right"
    assert verdict_on(lambda x: x - 1e4 + 4e-2).status == "wrong"
    assert verdict_on(lambda x: 2 * (x - 1e4) + 8e-3).sentence == "You doubled."
    assert not verdict_on(lambda x: 2 * (x - 1e4) + 8e-2).named


def test_only_values_beyond_their_rounding_are_said_to_differ():
    expected, seen = torch.zeros(100), torch.full((100,), 5e-3)
    seen[7] = 1.0
    asked = Expected(Observation({"0.out": expected}, {}, {"0.out": 1e-3}), [], {}, 1e-4, 1)
    found = judge(asked, Observation({"0.out": seen}))
    assert found.sentence == "The result has the right shape, but 1% of its values differ from what is expected."
    assert found.detail.startswith("Largest difference at [7]")


# -- what is said where no mistake fits


@pytest.fixture
def loose(tmp_path) -> Homework:
    """Two functions in one exercise, and one whose results are two numbers."""
    source = '# %% exercise="pair"\ndef one(x):\n    return 2 * x\n\ndef two(x, mask=None):\n    return x.cumsum(0) if mask is None else x * mask\n'
    source += '\n# %% exercise="cost"\ndef cost(n):\n    return 4 * n, n * n\n'
    (tmp_path / "hw9_loose.py").write_text(source)
    homework = Homework("hw9_loose", source=tmp_path / "hw9_loose.py")
    pair = homework.exercise("pair", points=1, targets=("one", "two"))

    @pair.inputs
    def _(draw):
        x, mask = draw.normal(6, 5), draw.boolean(6, 5)
        yield Call("one", {"x": x})
        yield Call("two", {"x": x})
        yield Call("two", {"x": x, "mask": mask})

    pair.mistake("You summed the other way.", target="two")(
        lambda x, mask=None: x.cumsum(1) if mask is None else x * mask
    )
    pair.mistake("You turned the mask round.", target="two")(
        lambda x, mask=None: x.cumsum(0) if mask is None else x * ~mask
    )
    pair.mistake("You asked for a row too many.", target="one")(lambda x: 2 * x[[6]])
    cost = homework.exercise("cost", points=1)
    cost.inputs(lambda draw: [Call("cost", {"n": draw.integer(50, 90)})])
    return homework


def test_each_call_is_matched_by_itself_and_only_what_is_true_is_said(loose):
    right = loose.reference["one"]
    found = verdict(loose, "pair", one=right, two=lambda x, mask=None: x.cumsum(1) if mask is None else x)
    assert not found.named and found.sentence == (
        "On input 1 of 2 to `two`, your result is exactly what comes out with this mistake: You summed the other way. "
        "On input 2 of 2 to `two`, it is not: there is something else."
    )
    assert found.detail.endswith("This is input 1 of 2 to `two`: x (6, 5).")
    other = verdict(
        loose, "pair", one=lambda x: x + 1, two=lambda x, mask=None: x.cumsum(1) if mask is None else x * ~mask
    )
    assert other.sentence == (
        "On input 1 of 2 to `two`, your result is exactly what comes out with this mistake: You summed the other way. "
        "On input 2 of 2 to `two`, your result is exactly what comes out with this mistake: You turned the mask round. "
        "On the input to `one`, it is not: there is something else."
    )
    assert "This is the input to `one`: x (6, 5)." in other.detail


def test_hidden_inputs_are_not_spoken_of_one_by_one(loose):
    exercise = loose.exercises["pair"]
    objects = {"one": loose.reference["one"], "two": lambda x, mask=None: x.cumsum(1) if mask is None else x}
    found = judge(expected_for(exercise, 5), observe(objects, exercise.calls(5)), None, [{5, 6}] * 3)
    assert "exactly what comes out" not in found.sentence and "input" not in found.detail


def test_the_class_of_an_error_alone_is_no_mistake(loose):
    def same(x):
        return 2 * x[[6]]  # another line, the same error

    def other(x):
        raise IndexError("no such thing")

    two = loose.reference["two"]
    assert verdict(loose, "pair", one=same, two=two).sentence == "You asked for a row too many."
    found = verdict(loose, "pair", one=other, two=two)
    assert not found.named and "IndexError: no such thing" in found.sentence


def test_a_factor_is_named_where_it_is_simple_and_of_many_values(homework, loose):
    right = homework.reference["scale"]
    assert "the right one times 0.5: a factor" in say(homework, lambda x: 0.5 * right(x))
    assert "the right one times 0.4472 (1/√5): a factor" in say(homework, lambda x: right(x) / 5**0.5)
    assert "the right one times" not in say(homework, lambda x: 0.7109 * right(x))
    found = verdict(loose, "cost", cost=lambda n: (8 * n, n * n))  # twice a single number
    assert found.sentence.startswith("The result number 1 has the right shape, but")


def test_what_is_nearly_right_is_said_to_be_so(homework):
    right = homework.reference["scale"]
    said = say(homework, lambda x: right(x) * 1.0005)
    assert said.startswith("The result is nearly right, off by at most 0.00") and "Look at eps" in said
    assert "nearly" not in say(homework, lambda x: right(x) * 1.05)


def test_several_results_in_one_and_right_numbers_in_another_shape(homework, loose):
    assert verdict(loose, "cost", cost=lambda n: [4 * n, n * n]).status == "right"
    said = verdict(loose, "cost", cost=lambda n: 4 * n + n * n).sentence
    assert said == "Your code did not return 2 results, but one: write them side by side, with commas between."
    assert "right numbers in the wrong shape: expected (3, 5), yours is (15,)" in say(
        homework, lambda x: (2 * x + x.roll(1, 0)).flatten()
    )


def test_writing_into_what_a_gradient_needs_is_said_without_torch_s_words(homework):
    def into_its_own(x):
        y = (2 * x).exp()
        z = y * y
        y += x
        return z + y

    def into_the_input(x):
        y = x * x
        x += 1
        return y + x

    assert "writes into a tensor whose values the gradient still needs" in say(homework, into_its_own)
    assert say(homework, into_the_input).startswith("Your code changes its input `x` in place")


def test_of_what_was_trained_it_is_said_that_it_is_that():
    asked = Expected(observation(**{"after.model": torch.eye(3), "out": torch.ones(4)}), [], {}, 1e-4, 1)
    found = judge(asked, observation(**{"after.model": torch.eye(3) + 1, "out": torch.ones(4)}))
    assert found.sentence.startswith("The output of `model` after your code is through has the right shape, but")
    shorter = judge(asked, observation(**{"after.model": torch.eye(3) + 1, "out": torch.ones(1)}))
    assert shorter.sentence == "The result has the wrong shape: expected (4,), yours is (1,)."


def test_of_parameters_only_those_are_named_that_do_not_fit(homework):
    class FusedWithoutBias(nn.Module):
        def __init__(self, width, mixer):
            super().__init__()
            self.ab = nn.Linear(width, 2 * width, bias=False)

    sentence = verdict(homework, "Affine", Affine=FusedWithoutBias).sentence
    assert sentence == "The names or shapes of your parameters do not fit: expected a_bias (4,); yours has none."

    class Many(nn.Module):
        def __init__(self, width, mixer):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(9))

    assert verdict(homework, "Affine", Affine=Many).sentence.endswith("layers.5.weight (1, 1) and 3 more.")
