"""Calls and observations survive the journey as bytes; garbage does not get in."""

import pytest
import torch

from course.checks import Call, Observation, Probe, Seeded
from course.checks.calls import calls_from_bytes, calls_to_bytes
from course.checks.observe import observe

CALLS = [
    Call(
        "f", {"x": torch.arange(6.0).view(2, 3), "mask": None, "scale": 0.5, "n": 3, "causal": True}, gradients=("x",)
    ),
    Call(
        "Net",
        {"x": torch.ones(1, 2, dtype=torch.bool), "generator": Seeded(7)},
        init={"attention": Probe("token_mixer", {"weight": torch.eye(4)}, ask=torch.zeros(1, 3, 4)), "width": 4},
        parameters={"query.weight": torch.randn(4, 4)},
        layouts=({"qkv.weight": ["query.weight"]},),
        start=("query.weight",),
    ),
]


def test_calls_come_back_as_they_went():
    first, second = calls_from_bytes(calls_to_bytes(CALLS))
    assert list(first.arguments) == ["x", "mask", "scale", "n", "causal"], "the order of arguments is their meaning"
    assert torch.equal(first.arguments["x"], CALLS[0].arguments["x"])
    assert first.arguments["mask"] is None and first.arguments["causal"] is True and first.init is None
    assert second.arguments["generator"] == Seeded(7) and second.arguments["x"].dtype == torch.bool
    probe = second.init["attention"]
    assert (
        probe.kind == "token_mixer"
        and torch.equal(probe.tensors["weight"], torch.eye(4))
        and probe.ask.shape == (1, 3, 4)
    )
    assert second.layouts == CALLS[1].layouts and first.gradients == ("x",)
    assert second.start == ("query.weight",) and first.start == ()


def test_equal_calls_give_equal_bytes():
    assert calls_to_bytes(CALLS) == calls_to_bytes(calls_from_bytes(calls_to_bytes(CALLS)))


def test_an_argument_that_cannot_travel_is_named():
    with pytest.raises(TypeError, match="0.in.x is a object"):
        calls_to_bytes([Call("f", {"x": object()})])


def test_observation_round_trip():
    seen = Observation({"0.out": torch.tensor([1, 2])}, {"1.error": "ValueError: é"})
    back = Observation.from_bytes(seen.to_bytes())
    assert back.notes == seen.notes and torch.equal(back.tensors["0.out"], seen.tensors["0.out"])


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 64,
        b"not safetensors at all",
        (2**62).to_bytes(8, "little") + b"{}",
        b"\x02" + b"\0" * 7 + b"{}",
    ],
)
def test_garbage_is_a_value_error(garbage):
    with pytest.raises(ValueError):
        Observation.from_bytes(garbage)


def test_truncated_observation_is_a_value_error():
    whole = Observation({"0.out": torch.randn(8, 8)}, {}).to_bytes()
    for end in range(0, len(whole), 17):
        with pytest.raises(ValueError):
            Observation.from_bytes(whole[:end])


def test_notes_must_be_texts():
    from course.checks.calls import pack

    for described in ([], {"0.error": 3}, "text", {"0.error": {"deep": []}}):
        with pytest.raises(ValueError):
            Observation.from_bytes(pack({}, described))


@pytest.mark.parametrize("shape", [(0, 2**62), (2**41, 0), (3, 0, 2**50, 1)])
def test_a_result_without_elements_whose_axes_are_huge_is_said_and_not_sent(shape):
    seen = observe({"f": lambda x: torch.empty(shape)}, [Call("f", {"x": torch.ones(2)})])
    assert seen.tensors == {} and seen.notes == {"0.type": f"a tensor of shape {shape}"}
    assert Observation.from_bytes(seen.to_bytes()).notes == seen.notes


def test_a_result_without_elements_is_sent():
    seen = observe({"f": lambda x: x[:, :0]}, [Call("f", {"x": torch.ones(2, 3)})])
    assert Observation.from_bytes(seen.to_bytes()).tensors["0.out"].shape == (2, 0)
