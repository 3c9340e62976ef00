"""Homework 8: update rules, schedules, mixed labels, stochastic depth, batch norm, a teacher, layer-wise rates, SAM.

The right answers stand in ``hw8_training.py``. Here, exercise by exercise: the inputs it is tried on, the mistakes
people make with the sentence that names each, and other right answers.
"""

import math
import re

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from course.checks import Call, Credit, Draw, Homework, Probe, Seeded

homework = Homework(
    "hw8_training",
    forbidden=(
        "torch.optim.SGD",
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "torch.optim.NAdam",
        "torch.optim.RAdam",
        "torch.optim.Adamax",
        "torch.optim.RMSprop",
        "torch.optim.Optimizer",
        "torch.optim.lr_scheduler",
        "torch.optim.sgd",
        "torch.optim.adam",
        "torch.optim.adamw",
        "torch.optim._functional",
        "torch._fused_sgd_",
        "torch._fused_adam_",
        "torch._fused_adamw_",
        "torchvision.ops.stochastic_depth",
        "torchvision.ops.StochasticDepth",
        "torchvision.transforms.v2.MixUp",
        "torchvision.transforms.v2.CutMix",
        "course.training",
        "course.data.mix",
    ),
)

# Right values whose gradient is lost are most of the work, and useless for training: they earn eight tenths.
WITH_GRADIENTS = Credit(shape=0.1, values=0.7, gradients=0.2)


# ------------------------------------------------------------------------------------------------------------
# 1. sgd_momentum and sgd_momentum_averaged

ball = homework.exercise(
    "sgd_momentum",
    points=3,
    targets=("sgd_momentum", "sgd_momentum_averaged"),
    hints=(
        "Take the example by hand: which of your two numbers is not the one of the text, the new v or the new w?",
        "With a decay of 0 nothing is remembered, and both forms are plain gradient descent. Are yours?",
    ),
)


@ball.inputs
def _(draw: Draw):
    for decay in (0.8, 0.3):
        for target in ball.targets:
            shape = draw.sizes(2, low=2, high=5)
            w, g, v = (draw.normal(*shape) for _ in range(3))
            rate = draw.between(0.1, 0.3)
            yield Call(target, {"w": w, "g": g, "v": v, "learning_rate": rate, "decay": decay})


def _ball(w, g, v, learning_rate, decay):
    v = decay * v - learning_rate * g
    return w + v, v


def _averaged(w, g, v, learning_rate, decay):
    v = decay * v - (1 - decay) * g
    return w + learning_rate * v, v


@ball.mistake("Your ball rolls uphill: the gradient is subtracted, not added.")
def rolls_uphill(w, g, v, learning_rate, decay):
    return _ball(w, -g, v, learning_rate, decay)


@ball.mistake(
    "Your v is torch's: a sum of gradients without the rate. Here v is the step itself, with the rate and the minus sign in it."
)
def memory_without_the_rate(w, g, v, learning_rate, decay):
    v = decay * v + g
    return w - learning_rate * v, v


@ball.mistake("The rate multiplies the old v as well. In the first form it belongs to the new gradient alone.")
def rate_on_the_memory(w, g, v, learning_rate, decay):
    v = learning_rate * (decay * v - g)
    return w + v, v


@ball.mistake("Your weights move by the old v. First v becomes new, then w moves by it.")
def moves_by_the_old_memory(w, g, v, learning_rate, decay):
    return w + v, _ball(w, g, v, learning_rate, decay)[1]


@ball.mistake("Your w moves by the gradient alone: v is kept and never used.")
def memory_never_used(w, g, v, learning_rate, decay):
    return w - learning_rate * g, _ball(w, g, v, learning_rate, decay)[1]


@ball.mistake(
    "Your first form takes a mean of gradients. That is the second form; in the first, the gradient counts whole."
)
def first_form_averaged(w, g, v, learning_rate, decay):
    v = decay * v - learning_rate * (1 - decay) * g
    return w + v, v


@ball.mistake("The decay has no effect: your old v comes back whole.")
def memory_without_decay(w, g, v, learning_rate, decay):
    return _ball(w, g, v, learning_rate, 1.0)


@ball.mistake(
    "Your step looks ahead, as Nesterov's does: the decayed v is added once more. Here w moves by the new v alone."
)
def looks_ahead(w, g, v, learning_rate, decay):
    v = decay * v - learning_rate * g
    return w + decay * v - learning_rate * g, v


@ball.mistake("Your v has the other sign: here it is the step itself, which is added to the weights.")
def step_with_the_other_sign(w, g, v, learning_rate, decay):
    v = decay * v + learning_rate * g
    return w - v, v


@ball.mistake("You return v first and w second. Asked for is the other order.")
def memory_before_weights(w, g, v, learning_rate, decay):
    return _ball(w, g, v, learning_rate, decay)[::-1]


@ball.mistake(
    "In your second form the gradient counts whole, as in the first. Of a mean, it gets the share that the decay leaves.",
    target="sgd_momentum_averaged",
)
def whole_gradient_in_the_mean(w, g, v, learning_rate, decay):
    v = decay * v - g
    return w + learning_rate * v, v


@ball.mistake(
    "In your second form old and new have changed shares: the old v is kept with the decay, the gradient gets the rest.",
    target="sgd_momentum_averaged",
)
def shares_of_the_mean_exchanged(w, g, v, learning_rate, decay):
    return _averaged(w, g, v, learning_rate, 1 - decay)


@ball.mistake(
    "In your second form the rate is in v. There v is a mean of gradients; the rate comes when w moves.",
    target="sgd_momentum_averaged",
)
def rate_inside_the_mean(w, g, v, learning_rate, decay):
    v = decay * v - (1 - decay) * learning_rate * g
    return w + v, v


@ball.mistake(
    "In your second form v has the wrong sign: it is a mean of the gradients with the sign turned, and is added to w.",
    target="sgd_momentum_averaged",
)
def mean_with_the_other_sign(w, g, v, learning_rate, decay):
    v = decay * v + (1 - decay) * g
    return w - learning_rate * v, v


@ball.mistake(
    "In your second form w moves by v without the rate. There v is a mean of gradients, and the rate says how far.",
    target="sgd_momentum_averaged",
)
def moves_by_the_whole_mean(w, g, v, learning_rate, decay):
    v = decay * v - (1 - decay) * g
    return w + v, v


@ball.alternative
def ball_by_functions(w, g, v, learning_rate, decay):
    step = torch.sub(torch.mul(v, decay), g, alpha=learning_rate)
    return torch.add(w, step), step


@ball.alternative
def ball_in_copies(w, g, v, learning_rate, decay):
    new_w, new_v = w.clone(), v.clone()
    new_v.mul_(decay).sub_(learning_rate * g)
    new_w += new_v
    return [new_w, new_v]


@ball.alternative(target="sgd_momentum_averaged")
def mean_by_lerp(w, g, v, learning_rate, decay):
    mean = torch.lerp(-g, v, decay)
    return torch.add(w, mean, alpha=learning_rate), mean


@ball.alternative(target="sgd_momentum_averaged")
def mean_number_by_number(w, g, v, learning_rate, decay):
    new_w, new_v = torch.zeros_like(w), torch.zeros_like(v)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            new_v[i, j] = v[i, j] * decay - g[i, j] * (1 - decay)
            new_w[i, j] = w[i, j] + new_v[i, j] * learning_rate
    return new_w, new_v


# ------------------------------------------------------------------------------------------------------------
# 2. lr_schedule

schedule = homework.exercise(
    "lr_schedule",
    points=4,
    hints=(
        "Print all rates of the example by hand, S = 6 and W = 2: which is the first that differs?",
        "At the step W the cosine begins: what is done of it there, and what is the rate then?",
        "How many steps does the cosine have, all of them or those behind the warm-up?",
    ),
)


@schedule.inputs
def _(draw: Draw):
    S, W = draw.integer(18, 24), draw.integer(4, 6)
    peak, floor = draw.between(1, 2), draw.between(0.2, 0.4)
    for step, warmup, lowest in (
        (0, 0, 0.0),
        (S // 2 - 1, 0, 0.0),
        (S // 2 + 2, W, 0.0),
        (0, W, floor),
        (W - 2, W, floor),
        (W, W, floor),
        (S // 2, W, floor),
        (S - 1, W, floor),
    ):
        yield Call("lr_schedule", {"step": step, "steps": S, "warmup_steps": warmup, "peak": peak, "floor": lowest})


def _rate(step, steps, warmup_steps, peak, floor, climb=None, done=None, fall=None):
    """The right curve with replaceable parts: of the warm-up, of what is done behind it, of what is left at a share."""
    if step < warmup_steps:
        return (climb or (lambda: peak * (step + 1) / warmup_steps))()
    share = done() if done else (step - warmup_steps) / (steps - warmup_steps)
    left = fall(share) if fall else 0.5 * (1 + math.cos(math.pi * share))
    return floor + (peak - floor) * left


@schedule.mistake(
    "Your first step has the rate 0 and teaches nothing: the warm-up climbs to the peak one step too late."
)
def first_step_for_nothing(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, floor, climb=lambda: peak * step / warmup_steps)


@schedule.mistake(
    "Your warm-up climbs from 0 to the peak in W - 1 parts, so its first step teaches nothing. It has W parts, and begins with one."
)
def climbs_in_one_part_less(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, floor, climb=lambda: peak * step / (warmup_steps - 1))


@schedule.mistake(
    "Your warm-up lasts one step too long and climbs above the peak. With W steps of warm-up, step W is the cosine's first."
)
def climbs_above_the_peak(step, steps, warmup_steps, peak, floor):
    if warmup_steps and step == warmup_steps:
        return peak * (step + 1) / warmup_steps
    return _rate(step, steps, warmup_steps, peak, floor)


@schedule.mistake("Your warm-up begins at the floor. It climbs from near 0: its first step has the peak divided by W.")
def climbs_from_the_floor(step, steps, warmup_steps, peak, floor):
    climb = lambda: floor + (peak - floor) * (step + 1) / warmup_steps
    return _rate(step, steps, warmup_steps, peak, floor, climb=climb)


@schedule.mistake(
    "Your cosine counts the steps of the warm-up too, so the rate drops at once where the warm-up ends. It has S - W steps, counted from W."
)
def cosine_over_all_steps(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, floor, done=lambda: step / steps)


@schedule.mistake("Your cosine is counted from step 0, but over the steps behind the warm-up. It begins at step W.")
def cosine_counted_from_zero(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, floor, done=lambda: step / (steps - warmup_steps))


@schedule.mistake("Your cosine begins at step W, but is stretched over all S steps. It ends with them.")
def cosine_stretched(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, floor, done=lambda: (step - warmup_steps) / steps)


@schedule.mistake("Your cosine reaches the floor in the last step. The floor would come one step later, at step S.")
def floor_one_step_early(step, steps, warmup_steps, peak, floor):
    done = lambda: (step - warmup_steps) / (steps - warmup_steps - 1)
    return _rate(step, steps, warmup_steps, peak, floor, done=done)


@schedule.mistake("Your cosine is one step ahead: at step W nothing of it is done.")
def cosine_one_step_ahead(step, steps, warmup_steps, peak, floor):
    done = lambda: (step - warmup_steps + 1) / (steps - warmup_steps)
    return _rate(step, steps, warmup_steps, peak, floor, done=done)


@schedule.mistake("One plus the cosine goes from 2 to 0. It has to be halved.")
def cosine_not_halved(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, floor, fall=lambda share: 1 + math.cos(math.pi * share))


@schedule.mistake("Your rate falls along a straight line. Asked for is half a cosine.")
def straight_line_down(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, floor, fall=lambda share: 1 - share)


@schedule.mistake(
    "Your rate falls along a quarter of a cosine, steepest at the end. Asked for is one plus the cosine, halved."
)
def quarter_of_a_cosine(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, floor, fall=lambda share: math.cos(0.5 * math.pi * share))


@schedule.mistake("The floor has no effect: your cosine falls to 0.")
def falls_to_zero(step, steps, warmup_steps, peak, floor):
    return _rate(step, steps, warmup_steps, peak, 0.0)


@schedule.mistake(
    "Your curve falls to 0 and is cut off at the floor. The cosine itself ends there, and is never level."
)
def cut_off_at_the_floor(step, steps, warmup_steps, peak, floor):
    return max(floor, _rate(step, steps, warmup_steps, peak, 0.0))


@schedule.mistake(
    "The floor is added to the whole cosine, so your rate begins above the peak. The cosine spans the rest."
)
def floor_on_top(step, steps, warmup_steps, peak, floor):
    rate = _rate(step, steps, warmup_steps, peak, 0.0)
    return rate if step < warmup_steps else floor + rate


@schedule.mistake(
    "Your warm-up multiplies the cosine, which runs from step 0. During the warm-up there is no cosine yet."
)
def warmup_times_cosine(step, steps, warmup_steps, peak, floor):
    climb = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return climb * (floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))


@schedule.alternative
def rate_by_a_square(step, steps, warmup_steps, peak, floor):
    if step >= warmup_steps:
        angle = math.pi * (step - warmup_steps) / (2 * (steps - warmup_steps))
        return floor * math.sin(angle) ** 2 + peak * math.cos(angle) ** 2
    return (step + 1) / warmup_steps * peak


@schedule.alternative
def rate_from_the_whole_curve(step, steps, warmup_steps, peak, floor):
    climbing = [peak * (s + 1) / warmup_steps for s in range(warmup_steps)]
    share = torch.linspace(0, 1, steps - warmup_steps + 1)[:-1]
    falling = floor + (peak - floor) * (1 + torch.cos(math.pi * share)) / 2
    return torch.cat([torch.tensor(climbing), falling])[step]


@schedule.alternative
def rate_by_middle_and_swing(step, steps, warmup_steps, peak, floor):
    middle, swing = (peak + floor) / 2, (peak - floor) / 2
    behind = max(step - warmup_steps, 0)
    cosine = middle + swing * math.cos(behind * math.pi / (steps - warmup_steps))
    return min((step + 1) / max(warmup_steps, 1), 1) * cosine


# ------------------------------------------------------------------------------------------------------------
# 3. adam_step

adam = homework.exercise(
    "adam_step",
    points=6,
    hints=(
        "Take the example by hand: g = 3, empty means, step 1. Is your step as long as the rate?",
        "Print m and v of your result: are they those of the first line of the formula, without a hat?",
        "With eps = 1 and everything else as in the example: 3 / (3 + 1) of the rate. Is yours 3 / √(9 + 1)?",
    ),
)


def _state(draw: Draw, decay: bool = False) -> dict:
    shape = draw.sizes(2, low=2, high=5)
    g = draw.normal(*shape)
    g = torch.where(g < 0, g - 0.2, g + 0.2)  # none is nearly 0, where rounding would decide
    v = 0.05 + 0.5 * draw.uniform(*shape)
    return {"w": 2 * draw.normal(*shape), "g": g, "m": 0.5 * draw.normal(*shape), "v": v}


def _adam_calls(draw: Draw):
    """Arguments of three calls: the very first step, a later one, one in which eps counts."""
    rate = lambda: draw.between(0.2, 0.4)
    first = _state(draw)
    first |= {"m": torch.zeros_like(first["w"]), "v": torch.zeros_like(first["w"])}
    yield first | {"step": 1, "learning_rate": rate(), "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    step = draw.integer(3, 5)
    yield _state(draw) | {"step": step, "learning_rate": rate(), "beta1": 0.8, "beta2": 0.95, "eps": 1e-8}
    step = draw.integer(2, 4)
    yield _state(draw) | {"step": step, "learning_rate": rate(), "beta1": 0.7, "beta2": 0.9, "eps": 0.3}


@adam.inputs
def _(draw: Draw):
    for arguments in _adam_calls(draw):
        yield Call("adam_step", arguments)


def _lacks(beta, step):
    return 1 - beta**step


def _outside(v_hat, eps):
    return v_hat.sqrt() + eps


def _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps, lacks=(_lacks, _lacks), divisor=_outside):
    """The right step with replaceable parts."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat, v_hat = m / lacks[0](beta1, step), v / lacks[1](beta2, step)
    return w - learning_rate * m_hat / divisor(v_hat, eps), m, v


_nothing = lambda beta, step: 1.0


@adam.mistake(
    "Your means are not corrected: in the first steps they lack most of what they should have, and you divide by nothing."
)
def means_not_corrected(*arguments):
    return _adam(*arguments, lacks=(_nothing, _nothing))


@adam.mistake("You correct the mean of the gradient only. The mean of its square lacks something as well.")
def square_not_corrected(*arguments):
    return _adam(*arguments, lacks=(_lacks, _nothing))


@adam.mistake("You correct the mean of the square only. The mean of the gradient lacks something as well.")
def gradient_not_corrected(*arguments):
    return _adam(*arguments, lacks=(_nothing, _lacks))


@adam.mistake(
    "Your correction counts the steps from 0. The first step has the number 1, and that is what you are given."
)
def corrects_one_step_late(*arguments):
    late = lambda beta, step: 1 - beta ** (step - 1) if step > 1 else math.nan
    return _adam(*arguments, lacks=(late, late))


@adam.mistake("You correct as if one step more had been made. The number of the step is counted from 1 already.")
def corrects_one_step_early(*arguments):
    early = lambda beta, step: 1 - beta ** (step + 1)
    return _adam(*arguments, lacks=(early, early))


@adam.mistake(
    "You correct every step as if it were the first. What a mean lacks after t steps is the share to the power of t."
)
def always_the_first_step(*arguments):
    once = lambda beta, step: 1 - beta
    return _adam(*arguments, lacks=(once, once))


@adam.mistake(
    "You take the root before the correction. The mean of the square is corrected first, then comes its root."
)
def root_before_the_correction(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    divisor = lambda v_hat, eps: v_hat.sqrt() / math.sqrt(_lacks(beta2, step)) + eps
    return _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps, divisor=divisor)


@adam.mistake("Your eps stands inside the root. It is added to the root.")
def eps_inside_the_root(*arguments):
    return _adam(*arguments, divisor=lambda v_hat, eps: (v_hat + eps).sqrt())


@adam.mistake(
    "Your eps is added before the square's mean is corrected, so it grows with the correction. It comes last."
)
def eps_before_the_correction(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    divisor = lambda v_hat, eps: v_hat.sqrt() + eps / math.sqrt(_lacks(beta2, step))
    return _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps, divisor=divisor)


@adam.mistake("The argument eps has no effect: you divide by the root alone, or with a usual value of your own.")
def eps_of_ones_own(*arguments):
    return _adam(*arguments[:-1], 1e-8)


@adam.mistake("You divide by the mean of the square itself. Its root has the size of a gradient.")
def root_forgotten(*arguments):
    return _adam(*arguments, divisor=lambda v_hat, eps: v_hat + eps)


@adam.mistake("Your v is a mean of gradients, not of their squares.")
def square_not_taken(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g
    return w - learning_rate * m / _lacks(beta1, step) / (v.div(_lacks(beta2, step)).sqrt() + eps), m, v


@adam.mistake("Your v gets the square of the running mean. It is the gradient that is squared.")
def square_of_the_mean(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * m * m
    return w - learning_rate * m / _lacks(beta1, step) / (v.div(_lacks(beta2, step)).sqrt() + eps), m, v


@adam.mistake("The two shares have changed places: the first belongs to the gradient, the second to its square.")
def shares_exchanged(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    return _adam(w, g, m, v, step, learning_rate, beta2, beta1, eps)


@adam.mistake("In your means old and new have changed shares: the old keeps beta, the new gets the rest.")
def old_and_new_exchanged(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    new_m = (1 - beta1) * m + beta1 * g
    new_v = (1 - beta2) * v + beta2 * g * g
    m_hat, v_hat = new_m / _lacks(beta1, step), new_v / _lacks(beta2, step)
    return w - learning_rate * m_hat / (v_hat.sqrt() + eps), new_m, new_v


@adam.mistake("Your means add the new gradient whole. Of a running mean, it gets the share that beta leaves.")
def new_gradient_whole(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    m, v = beta1 * m + g, beta2 * v + g * g
    m_hat, v_hat = m / _lacks(beta1, step), v / _lacks(beta2, step)
    return w - learning_rate * m_hat / (v_hat.sqrt() + eps), m, v


@adam.mistake("You return the corrected means. The next step needs them as they are, or they are corrected twice.")
def corrected_means_returned(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    w, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return w, m / _lacks(beta1, step), v / _lacks(beta2, step)


@adam.mistake("Your step is made with the old means: first they take in the new gradient, then the weights move.")
def moves_by_the_old_means(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    _, new_m, new_v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    m_hat, v_hat = m / _lacks(beta1, step), v / _lacks(beta2, step)
    return w - learning_rate * m_hat / (v_hat.sqrt() + eps), new_m, new_v


@adam.mistake("Your step goes along the new gradient itself. It goes along its running mean.")
def along_the_bare_gradient(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    _, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return w - learning_rate * g / ((v / _lacks(beta2, step)).sqrt() + eps), m, v


@adam.mistake("Your step goes uphill: it is added to the weights.")
def adam_uphill(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    new, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return 2 * w - new, m, v


@adam.mistake("You return the means first. Asked for are the weights, then m, then v.")
def means_before_weights(*arguments):
    w, m, v = _adam(*arguments)
    return m, v, w


@adam.alternative
def adam_by_lerp(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    m = torch.lerp(g, m, beta1)
    v = torch.lerp(g.square(), v, beta2)
    root = torch.sqrt(v) / math.sqrt(1 - beta2**step)
    return torch.addcdiv(w, m, root + eps, value=-learning_rate / (1 - beta1**step)), m, v


@adam.alternative
def adam_in_copies(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    w, m, v = w.clone(), m.clone(), v.clone()
    m.mul_(beta1).add_(g, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    denominator = (v / (1 - beta2**step)).sqrt_().add_(eps)
    w.addcdiv_(m, denominator, value=-learning_rate / (1 - beta1**step))
    return w, m, v


@adam.alternative
def adam_number_by_number(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    new = torch.zeros(3, w.numel())
    for i, (weight, slope, mean, square) in enumerate(zip(w.flatten(), g.flatten(), m.flatten(), v.flatten())):
        mean = beta1 * mean + (1 - beta1) * slope
        square = beta2 * square + (1 - beta2) * slope**2
        size = (square / (1 - beta2**step)) ** 0.5
        new[0, i] = weight - learning_rate * (mean / (1 - beta1**step)) / (size + eps)
        new[1, i], new[2, i] = mean, square
    return [row.view_as(w) for row in new]


# ------------------------------------------------------------------------------------------------------------
# 4. adamw_step

adamw = homework.exercise(
    "adamw_step",
    points=5,
    hints=(
        "With a gradient of 0 and empty means only the decay is left. Does 2 become 1.9 in the example by hand?",
        "Print m and v with weight_decay 0 and with 0.5: are they the same?",
    ),
)


@adamw.inputs
def _(draw: Draw):
    for arguments in _adam_calls(draw):
        yield Call("adamw_step", arguments | {"weight_decay": draw.between(0.3, 0.6)})


@adamw.mistake(
    "Your decay is added to the gradient, so it gets into both means and is divided by the size of the gradient. AdamW keeps it outside."
)
def decay_in_the_gradient(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    return _adam(w, g + weight_decay * w, m, v, step, learning_rate, beta1, beta2, eps)


@adamw.mistake("Your decay is not multiplied by the learning rate: it stays as strong when the rate has fallen.")
def decay_without_the_rate(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    moved, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return moved - weight_decay * w, m, v


@adamw.mistake(
    "Your decay shrinks the weights after they have moved, and the step with them. It goes by the weights before the step."
)
def decays_what_has_moved(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    moved, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return moved * (1 - learning_rate * weight_decay), m, v


@adamw.mistake("Your weights do not decay: the argument weight_decay has no effect.")
def without_any_decay(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    return _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)


@adamw.mistake("Your weights grow: the decay is added, and should be taken away.")
def weights_that_grow(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    moved, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return moved + learning_rate * weight_decay * w, m, v


@adamw.mistake(
    "Your means are free of the decay, but the decay is still divided by the size of the gradient. Only the step is divided."
)
def decay_divided_like_the_step(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    moved, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    size = (v / _lacks(beta2, step)).sqrt() + eps
    return moved - learning_rate * weight_decay * w / size, m, v


@adamw.mistake("What decays in your step is the gradient. The weights should.")
def gradient_decays(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    moved, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return moved - learning_rate * weight_decay * g, m, v


@adamw.mistake("Every weight shrinks by the same amount in yours. It should shrink by a share of its size.")
def same_amount_for_all(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    moved, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return moved - learning_rate * weight_decay * w.sign(), m, v


@adamw.mistake(
    "Your decay is in the rate's place: the weights shrink by the rate, and the step is multiplied by the decay."
)
def rate_and_decay_exchanged(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    moved, m, v = _adam(w, g, m, v, step, learning_rate * weight_decay, beta1, beta2, eps)
    return moved - learning_rate * w, m, v


@adamw.mistake("The means that you return have decayed too. Only the weights do.")
def means_decay_too(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    moved, m, v = _adam(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    kept = 1 - learning_rate * weight_decay
    return moved - learning_rate * weight_decay * w, kept * m, kept * v


@adamw.alternative
def shrinks_first(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    shrunk = w * (1 - learning_rate * weight_decay)
    mean = beta1 * m + (1 - beta1) * g
    square = beta2 * v + (1 - beta2) * g.pow(2)
    size = torch.sqrt(square / (1 - beta2**step)) + eps
    return shrunk - learning_rate * mean / (1 - beta1**step) / size, mean, square


@adamw.alternative
def one_update_times_the_rate(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    m = m + (1 - beta1) * (g - m)
    v = v + (1 - beta2) * (g * g - v)
    update = m / (1 - beta1**step) / ((v / (1 - beta2**step)) ** 0.5 + eps) + weight_decay * w
    return w - learning_rate * update, m, v


@adamw.alternative
def adamw_in_copies(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    w, m, v = (tensor.detach().clone() for tensor in (w, m, v))
    w.mul_(1 - learning_rate * weight_decay)
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    w.addcdiv_(m, v.div(1 - beta2**step).sqrt() + eps, value=-learning_rate / (1 - beta1**step))
    return w, m, v


# ------------------------------------------------------------------------------------------------------------
# 5. label_smoothing and soft_cross_entropy

smooth = homework.exercise(
    "label_smoothing",
    points=6,
    targets=("label_smoothing", "soft_cross_entropy"),
    credit=WITH_GRADIENTS,
    forbidden=(
        "torch.nn.functional.cross_entropy",
        "torch.nn.CrossEntropyLoss",
        "torch._C._nn.cross_entropy_loss",
        "torch.nn.functional.kl_div",
        "torch.nn.KLDivLoss",
    ),
    hints=(
        "Print the sum of each row of your smoothed targets: is it 1?",
        "Give all classes the same score: is your loss the logarithm of the number of classes, whatever the targets and however many images?",
        "Try scores of (0, 500): is the loss a finite number? Look for a function that takes softmax and logarithm in one.",
    ),
)


def _shares(draw: Draw, B: int, K: int) -> torch.Tensor:
    """Rows of shares that sum to 1: two classes each."""
    order = torch.stack([torch.randperm(K, generator=draw.generator)[:2] for _ in range(B)])  # (B, 2)
    own = 0.55 + 0.3 * draw.uniform(B, 1)
    return torch.zeros(B, K).scatter(1, order, torch.cat([own, 1 - own], dim=1))


@smooth.inputs
def _(draw: Draw):
    B, K = draw.sizes(2, low=3, high=6)
    hard = F.one_hot(torch.randperm(K, generator=draw.generator)[: min(B, K)].repeat(2)[:B], K).float()
    yield Call("label_smoothing", {"targets": hard, "smoothing": draw.between(0.1, 0.4)})
    scores = 2 * draw.normal(B, K)
    yield Call("soft_cross_entropy", {"scores": scores, "targets": hard}, gradients=("scores",))
    B, K = draw.sizes(2, low=3, high=6)
    yield Call("label_smoothing", {"targets": _shares(draw, B, K), "smoothing": draw.between(0.1, 0.4)})
    arguments = {"scores": 2 * draw.normal(B, K), "targets": _shares(draw, B, K)}
    yield Call("soft_cross_entropy", arguments, gradients=("scores",))
    B, K = draw.sizes(2, low=3, high=6)
    targets = 0.9 * _shares(draw, B, K) + 0.1 / K
    yield Call(
        "soft_cross_entropy", {"scores": 200 * draw.normal(B, K).round() + draw.normal(B, K), "targets": targets}
    )


def _smoothed(targets, smoothing):
    return (1 - smoothing) * targets + smoothing / targets.shape[1]


def _soft(scores, targets):
    return -(targets * scores.log_softmax(1)).sum(1).mean()


@smooth.mistake(
    "You spread the share over the other classes only. It is spread over all of them: the right one gets its part back."
)
def spread_over_the_others(targets, smoothing):
    return (1 - smoothing) * targets + (1 - targets) * smoothing / (targets.shape[1] - 1)


@smooth.mistake("Your right classes lose the share and get nothing of it back, so a row sums to less than 1.")
def right_class_gets_nothing(targets, smoothing):
    return torch.where(targets > 0, (1 - smoothing) * targets, torch.tensor(smoothing / targets.shape[1]))


@smooth.mistake("You add to every class and take nothing away first, so a row sums to more than 1.")
def nothing_taken_away(targets, smoothing):
    return targets + smoothing / targets.shape[1]


@smooth.mistake("Every class gets the whole share. It is divided among them.")
def whole_share_for_each(targets, smoothing):
    return (1 - smoothing) * targets + smoothing


@smooth.mistake("You divide by the number of images. The share is spread over the classes.")
def spread_over_the_images(targets, smoothing):
    return (1 - smoothing) * targets + smoothing / targets.shape[0]


@smooth.mistake("The two shares have changed places: the target keeps 1 minus the smoothing.")
def smoothing_kept(targets, smoothing):
    return smoothing * targets + (1 - smoothing) / targets.shape[1]


@smooth.mistake("You smooth hard labels: of a mixed row only the larger share is left. Targets may be mixed already.")
def hardened_first(targets, smoothing):
    return _smoothed(F.one_hot(targets.argmax(dim=1), targets.shape[1]).float(), smoothing)


@smooth.mistake("Your loss is the sum over the batch. Its mean is asked for.", target="soft_cross_entropy")
def loss_summed_over_the_batch(scores, targets):
    return _soft(scores, targets) * len(scores)


@smooth.mistake(
    "Your loss is the mean over images and classes. Over the classes it is a sum, over the images a mean.",
    target="soft_cross_entropy",
)
def loss_averaged_over_classes(scores, targets):
    return _soft(scores, targets) / scores.shape[1]


@smooth.mistake(
    "Your softmax runs over the images of the batch. It should run over the classes of each one.",
    target="soft_cross_entropy",
)
def softmax_over_the_images(scores, targets):
    return -(targets * scores.log_softmax(0)).sum(1).mean()


@smooth.mistake("Your loss has the wrong sign: it should be positive.", target="soft_cross_entropy")
def loss_with_the_other_sign(scores, targets):
    return -_soft(scores, targets)


@smooth.mistake("Your loss goes by the likeliest class of each target. All shares count.", target="soft_cross_entropy")
def loss_of_the_hardened_targets(scores, targets):
    return -scores.log_softmax(1).gather(1, targets.argmax(1, keepdim=True)).mean()


@smooth.mistake(
    "Your logarithm is taken of probabilities, and those of far lower scores have become 0. Take softmax and logarithm in one.",
    target="soft_cross_entropy",
)
def logarithm_of_nothing(scores, targets):
    return -(targets * scores.softmax(1).log()).sum(1).mean()


@smooth.mistake(
    "A small number is added before your logarithm. That hides the zero, and is wrong where scores lie far apart: take softmax and logarithm in one.",
    target="soft_cross_entropy",
)
def logarithm_of_a_small_number(scores, targets):
    return -(targets * (scores.softmax(1) + 1e-8).log()).sum(1).mean()


@smooth.mistake("Your scores go through the softmax twice.", target="soft_cross_entropy")
def softmax_twice(scores, targets):
    return _soft(scores.softmax(1), targets)


@smooth.mistake(
    "The targets' own logarithm is in your loss: that is the divergence from them, without what they say by themselves. Asked for is the cross entropy.",
    target="soft_cross_entropy",
)
def divergence_for_cross_entropy(scores, targets):
    return _soft(scores, targets) + torch.xlogy(targets, targets).sum(1).mean()


@smooth.mistake(
    "You treat each class as a question of its own, with a sigmoid. Here the classes share one softmax.",
    target="soft_cross_entropy",
)
def a_question_for_each_class(scores, targets):
    return F.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(1).mean()


@smooth.alternative
def smoothed_towards_even(targets, smoothing):
    return torch.lerp(targets, torch.full_like(targets, 1 / targets.shape[1]), smoothing)


@smooth.alternative
def smoothed_row_by_row(targets, smoothing):
    rows = []
    for row in targets:
        rows.append(row - smoothing * (row - row.mean()))
    return torch.stack(rows)


@smooth.alternative
def smoothed_by_a_matrix(targets, smoothing):
    K = targets.shape[1]
    return targets @ ((1 - smoothing) * torch.eye(K) + torch.full((K, K), smoothing / K))


@smooth.alternative(target="soft_cross_entropy")
def loss_by_logsumexp(scores, targets):
    levels = torch.logsumexp(scores, dim=1)
    meant = einsum(scores, targets, "b k, b k -> b")
    return (levels - meant).sum() / scores.shape[0]


@smooth.alternative(target="soft_cross_entropy")
def loss_image_by_image(scores, targets):
    total = 0
    for row, target in zip(scores, targets):
        shifted = row - row.max()
        total = total - torch.dot(target, shifted - shifted.exp().sum().log())
    return total / len(scores)


@smooth.alternative(target="soft_cross_entropy")
def loss_by_layers(scores, targets):
    return (nn.LogSoftmax(dim=-1)(scores) * targets).sum() * (-1 / len(targets))


# ------------------------------------------------------------------------------------------------------------
# 6. mixup_images and mixup_targets

mix = homework.exercise(
    "mixup_targets",
    points=5,
    targets=("mixup_images", "mixup_targets"),
    credit=WITH_GRADIENTS,
    hints=(
        "Set all shares to 1: do images and labels come back as they were?",
        "Set all shares to 0: is the first result the partner of the first image?",
        "Two images of one class: does your row of targets sum to 1?",
    ),
)


def _partners(draw: Draw, B: int) -> torch.Tensor:
    """(B,): everybody's partner is another one, and nobody is the partner's partner: in a ring of B."""
    order = torch.randperm(B, generator=draw.generator)
    return torch.zeros(B, dtype=torch.long).scatter(0, order, order.roll(1))


@mix.inputs
def _(draw: Draw):
    for alike in (False, True):
        B = draw.integer(6, 8)
        C, H, W = draw.sizes(3, low=2, high=5)
        K = 9 + draw.integer(0, 1)
        partners, shares = _partners(draw, B), 0.55 + 0.4 * draw.uniform(B)
        shares[draw.integer(0, B - 1)] = 0.2  # one keeps the smaller part
        yield Call(
            "mixup_images",
            {"images": draw.normal(B, C, H, W), "partners": partners, "shares": shares},
            gradients=("images",),
        )
        labels = torch.randperm(K - 1, generator=draw.generator)[:B]
        if alike:
            labels[0] = labels[partners[0]]
        yield Call("mixup_targets", {"labels": labels, "partners": partners, "shares": shares, "num_classes": K})


def _mixed(images, partners, shares):
    own = shares[:, None, None, None]
    return own * images + (1 - own) * images[partners]


def _mixed_targets(labels, partners, shares, num_classes):
    return _mixed(F.one_hot(labels, num_classes).float()[..., None, None], partners, shares)[..., 0, 0]


@mix.mistake("Your shares have changed places: an image keeps its share of itself, the partner gives the rest.")
def image_keeps_the_rest(images, partners, shares):
    return _mixed(images, partners, 1 - shares)


@mix.mistake("All your images are mixed by the share of the first one. Each has its own.")
def one_share_for_all_images(images, partners, shares):
    return _mixed(images, partners, shares[:1].expand(len(shares)))


@mix.mistake("You mix with the images in reverse order. The argument partners says who is mixed with whom.")
def mixed_with_the_reverse(images, partners, shares):
    return _mixed(images, torch.arange(len(images)).flip(0), shares)


@mix.mistake("You mix each image with the one whose partner it is. Its own partner is asked for.")
def mixed_with_who_chose_it(images, partners, shares):
    return _mixed(images, partners.argsort(), shares)


@mix.mistake("The partner comes in whole, so your images grow brighter. It has what the image's share leaves.")
def partner_comes_in_whole(images, partners, shares):
    return shares[:, None, None, None] * images + images[partners]


@mix.mistake("Your images are mixed half and half: the shares have no effect on them.")
def half_and_half(images, partners, shares):
    return _mixed(images, partners, torch.full_like(shares, 0.5))


@mix.mistake("Your partner gives what its own share leaves. How much comes in says the share of the image itself.")
def rest_of_the_partners_share(images, partners, shares):
    own = shares[:, None, None, None]
    return own * images + (1 - own[partners]) * images[partners]


@mix.mistake("Your mixed targets hold the own class only. The partner's class gets the rest.", target="mixup_targets")
def own_class_only(labels, partners, shares, num_classes):
    return shares[:, None] * F.one_hot(labels, num_classes)


@mix.mistake(
    "Your shares have changed places in the targets: the own class gets the share, the partner's the rest.",
    target="mixup_targets",
)
def targets_exchanged(labels, partners, shares, num_classes):
    return _mixed_targets(labels, partners, 1 - shares, num_classes)


@mix.mistake(
    "Where both have the same class, your second share has written over the first. That class gets both: 1.",
    target="mixup_targets",
)
def second_share_writes_over(labels, partners, shares, num_classes):
    rows = torch.arange(len(labels))
    targets = torch.zeros(len(labels), num_classes)
    targets[rows, labels] = shares
    targets[rows, labels[partners]] = 1 - shares
    return targets


@mix.mistake(
    "Where both have the same class, your first share has written over the second. That class gets both: 1.",
    target="mixup_targets",
)
def first_share_writes_over(labels, partners, shares, num_classes):
    rows = torch.arange(len(labels))
    targets = torch.zeros(len(labels), num_classes)
    targets[rows, labels[partners]] = 1 - shares
    targets[rows, labels] = shares
    return targets


@mix.mistake(
    "Your targets are hard: the larger share gets everything. Both classes get theirs.", target="mixup_targets"
)
def larger_share_gets_all(labels, partners, shares, num_classes):
    chosen = torch.where(shares >= 0.5, labels, labels[partners])
    return F.one_hot(chosen, num_classes).float()


@mix.mistake("Both classes get a whole 1 in your targets. They share it.", target="mixup_targets")
def both_classes_whole(labels, partners, shares, num_classes):
    hard = F.one_hot(labels, num_classes)
    return (hard + hard[partners]).clamp(max=1).float()


@mix.mistake("You take the number of a partner for its class. First find the partner's label.", target="mixup_targets")
def partner_number_as_class(labels, partners, shares, num_classes):
    own = shares[:, None]
    return own * F.one_hot(labels, num_classes) + (1 - own) * F.one_hot(partners, num_classes)


@mix.mistake(
    "All rows of your targets are mixed by the share of the first image. Each has its own.", target="mixup_targets"
)
def one_share_for_all_targets(labels, partners, shares, num_classes):
    return _mixed_targets(labels, partners, shares[:1].expand(len(shares)), num_classes)


@mix.mistake(
    "Your targets go with the image whose partner each one is. Its own partner's label is asked for.",
    target="mixup_targets",
)
def targets_of_who_chose_it(labels, partners, shares, num_classes):
    return _mixed_targets(labels, partners.argsort(), shares, num_classes)


@mix.alternative
def images_by_lerp(images, partners, shares):
    return torch.lerp(images[partners], images, shares.view(-1, 1, 1, 1))


@mix.alternative
def images_one_by_one(images, partners, shares):
    mixed = []
    for b in range(len(images)):
        mixed.append(images[b] * shares[b] + images[partners[b]] * (1 - shares[b]))
    return torch.stack(mixed)


@mix.alternative
def images_by_a_matrix(images, partners, shares):
    B = len(images)
    weights = torch.diag(shares) + (1 - shares)[:, None] * torch.eye(B)[partners]
    return einsum(weights, images, "b a, a c h w -> b c h w")


@mix.alternative(target="mixup_targets")
def targets_by_scatter(labels, partners, shares, num_classes):
    targets = torch.zeros(len(labels), num_classes)
    targets.scatter_add_(1, labels[:, None], shares[:, None])
    targets.scatter_add_(1, labels[partners][:, None], 1 - shares[:, None])
    return targets


@mix.alternative(target="mixup_targets")
def targets_by_comparison(labels, partners, shares, num_classes):
    classes = torch.arange(num_classes)[None]
    mine, theirs = labels[:, None] == classes, labels[partners][:, None] == classes
    return mine * shares[:, None] + theirs * (1 - shares)[:, None]


@mix.alternative(target="mixup_targets")
def targets_by_loops(labels, partners, shares, num_classes):
    rows = []
    for own, partner, share in zip(labels.tolist(), partners.tolist(), shares.tolist()):
        row = [0.0] * num_classes
        row[own] += share
        row[int(labels[partner])] += 1 - share
        rows.append(row)
    return torch.tensor(rows)


# ------------------------------------------------------------------------------------------------------------
# 7. cutmix_box

box = homework.exercise(
    "cutmix_box",
    points=5,
    hints=(
        "Take the example by hand and print the box before it is cut off: rows -1 to 3, columns 3 to 9?",
        "With 0.75 and a box that lies inside, a quarter of the area is replaced, half of each side. Is yours as large?",
        "A box of 5 rows around row 8 begins at 6. Where does it end? Count its rows.",
    ),
)


def _share_for(draw: Draw, height: int, width: int) -> float:
    """A share for which no side of the box lies near a whole number, h is odd and the sides differ."""
    while True:
        share = draw.between(0.3, 0.8)
        sides = [height * math.sqrt(1 - share), width * math.sqrt(1 - share)]
        clear = all(0.1 < side % 1 < 0.9 and abs(side % 1 - 0.5) > 0.05 for side in sides)
        rounded_up = any(side % 1 > 0.5 for side in sides)
        if clear and rounded_up and int(sides[0]) % 2 == 1 and int(sides[0]) != int(sides[1]):
            return share


@box.inputs
def _(draw: Draw):
    for at_row, at_column in ((0.5, 0.5), (0.1, 0.5), (0.9, 0.95), (0.5, 0.05)):
        height, width = draw.sizes(2, low=20, high=32)
        share = _share_for(draw, height, width)
        row, column = max(1, int(at_row * height)), max(1, int(at_column * width))
        yield Call("cutmix_box", {"height": height, "width": width, "share": share, "row": row, "column": column})


def _span(length, side, centre):
    """(start, end) before anything is cut off."""
    start = centre - side // 2
    return start, start + side


def _cut(start, end, length):
    return max(start, 0), min(end, length)


def _box(
    height,
    width,
    share,
    row,
    column,
    side=lambda length, share: int(length * math.sqrt(1 - share)),
    span=_span,
    cut=_cut,
):
    """The right box with replaceable parts."""
    top, bottom = cut(*span(height, side(height, share), row), height)
    left, right = cut(*span(width, side(width, share), column), width)
    return top, left, bottom, right, 1 - (bottom - top) * (right - left) / (height * width)


@box.mistake(
    "You return the share that was asked for. Where the box is cut off at an edge, more is kept: count it again from the box that is left."
)
def share_not_counted_again(height, width, share, row, column):
    return *_box(height, width, share, row, column)[:4], share


@box.mistake("You count the share from the box before it is cut off. What lies outside of the image replaces nothing.")
def share_of_the_whole_box(height, width, share, row, column):
    whole = _box(height, width, share, row, column, cut=lambda start, end, length: (start, end))
    return *_box(height, width, share, row, column)[:4], whole[4]


@box.mistake("You return the share of the box. What the image keeps of itself is the rest.")
def share_of_the_box(height, width, share, row, column):
    *corners, kept = _box(height, width, share, row, column)
    return *corners, 1 - kept


@box.mistake("Your box is not cut off at the edges: it reaches outside of the image.")
def reaches_outside(height, width, share, row, column):
    return _box(height, width, share, row, column, cut=lambda start, end, length: (start, end))


@box.mistake("Your box is moved into the image. It stays where it is, and what is outside is cut off.")
def moved_into_the_image(height, width, share, row, column):
    def move(start, end, length):
        side = end - start
        start = min(max(start, 0), length - side)
        return start, start + side

    return _box(height, width, share, row, column, cut=move)


@box.mistake("Your box has the share that should be kept. It takes the rest of the area.")
def box_of_what_is_kept(height, width, share, row, column):
    return _box(height, width, share, row, column, side=lambda length, share: int(length * math.sqrt(share)))


@box.mistake(
    "You take the share of the area for that of each side. Half of each side is a quarter of the area: a root is missing."
)
def sides_without_a_root(height, width, share, row, column):
    return _box(height, width, share, row, column, side=lambda length, share: int(length * (1 - share)))


@box.mistake("Your box begins at the given pixel. That pixel is its middle.")
def begins_at_the_centre(height, width, share, row, column):
    return _box(height, width, share, row, column, span=lambda length, side, centre: (centre, centre + side))


@box.mistake(
    "Your box reaches half a side to both directions, so one with an odd side is a pixel too small. It ends a whole side behind its beginning."
)
def two_equal_halves(height, width, share, row, column):
    span = lambda length, side, centre: (centre - side // 2, centre + side // 2)
    return _box(height, width, share, row, column, span=span)


@box.mistake("Your box contains one row and one column too many: its end is not included.")
def end_included(height, width, share, row, column):
    span = lambda length, side, centre: (centre - side // 2, centre + side // 2 + 1 + side % 2)
    return _box(height, width, share, row, column, span=span)


@box.mistake("Your sides are rounded to the nearest number. They are rounded down.")
def sides_rounded_up_and_down(height, width, share, row, column):
    return _box(height, width, share, row, column, side=lambda length, share: round(length * math.sqrt(1 - share)))


@box.mistake("Your beginning is rounded the other way: half of an odd side is rounded down before it is taken away.")
def half_rounded_up(height, width, share, row, column):
    span = lambda length, side, centre: (centre - (side + 1) // 2, centre - (side + 1) // 2 + side)
    return _box(height, width, share, row, column, span=span)


@box.mistake("Rows and columns have changed places: the height goes with the row, the width with the column.")
def rows_for_columns(height, width, share, row, column):
    return _box(width, height, share, row, column)


@box.mistake("Row and column of the middle have changed places.")
def middle_turned_over(height, width, share, row, column):
    return _box(height, width, share, column, row)


@box.mistake("Your box is a square. Its sides are to each other as those of the image.")
def always_a_square(height, width, share, row, column):
    side = lambda length, share: int(height * math.sqrt(1 - share))
    return _box(height, width, share, row, column, side=side)


@box.mistake("Your corners stand in another order. Asked for is top, left, bottom, right.")
def rows_then_columns(height, width, share, row, column):
    top, left, bottom, right, kept = _box(height, width, share, row, column)
    return top, bottom, left, right, kept


@box.mistake("You return height and width of the box. Its other two edges are asked for, bottom and right.")
def sizes_for_edges(height, width, share, row, column):
    top, left, bottom, right, kept = _box(height, width, share, row, column)
    return top, left, bottom - top, right - left, kept


@box.mistake("Your ends stop at the last pixel, one before the edge of the image. The end is not included in the box.")
def ends_before_the_edge(height, width, share, row, column):
    cut = lambda start, end, length: (max(start, 0), min(end, length - 1))
    return _box(height, width, share, row, column, cut=cut)


@box.alternative
def box_by_clamping(height, width, share, row, column):
    image = torch.tensor([height, width])
    sides = torch.floor(image * math.sqrt(1 - share)).long()
    starts = torch.tensor([row, column]) - torch.div(sides, 2, rounding_mode="floor")
    ends = torch.minimum(starts + sides, image)
    starts = starts.clamp(min=0)
    kept = 1 - (ends - starts).prod() / image.prod()
    return starts[0], starts[1], ends[0], ends[1], kept


@box.alternative
def box_by_counting_pixels(height, width, share, row, column):
    h, w = int(height * (1 - share) ** 0.5), int(width * (1 - share) ** 0.5)
    rows = [r for r in range(row - h // 2, row - h // 2 + h) if 0 <= r < height]
    columns = [c for c in range(column - w // 2, column - w // 2 + w) if 0 <= c < width]
    kept = torch.ones(height, width)
    kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1, kept.mean().item()]


@box.alternative
def box_by_sides(height, width, share, row, column):
    edges = []
    for length, centre in ((height, row), (width, column)):
        side = math.floor(math.sqrt((1 - share) * length * length))
        start = centre - math.floor(side / 2)
        edges.append((min(max(start, 0), length), min(max(start + side, 0), length)))
    (top, bottom), (left, right) = edges
    inside = (bottom - top) / height * ((right - left) / width)
    return top, left, bottom, right, 1.0 - inside


# ------------------------------------------------------------------------------------------------------------
# 8. drop_path

path = homework.exercise(
    "drop_path",
    points=5,
    credit=WITH_GRADIENTS,
    hints=(
        "Give a branch of ones: which numbers are in each sample of your result? A sample is all 0, or all the same number.",
        "Print what was drawn beside what you kept. Is the branch gone where the number is below the rate?",
        "Take the mean of your result over very many samples of ones. Is it 1?",
    ),
)


def _seed_with_both(draw: Draw, B: int, rate: float) -> int:
    """A seed with which some samples are kept and some are not, and others than with any of the draws that are not asked for."""
    while True:
        seed = draw.integer(0, 10**6)
        drawn, normal, elsewhere = (
            make(B, generator=torch.Generator().manual_seed(start))
            for make, start in ((torch.rand, seed), (torch.randn, seed), (torch.rand, 0))
        )
        kept = drawn >= rate
        others = [normal >= rate, elsewhere >= rate, drawn < rate, drawn < 1 - rate, drawn >= 1 - rate]
        share = float(kept.float().mean())
        # The first one is left out, so who draws once for all leaves out all of them.
        clear = drawn[0] < rate and min((drawn - rate).abs().min(), (drawn - 1 + rate).abs().min()) > 1e-3
        if clear and 0 < share < 1 and abs(share - 1 + rate) > 0.05 and not any(torch.equal(kept, o) for o in others):
            return seed


@path.inputs
def _(draw: Draw):
    for training, rate, axes in ((False, 0.4, 2), (True, 0.3, 2), (True, 0.4, 3)):
        B, *rest = sorted(draw.sizes(axes + 1, low=2, high=7), reverse=True)
        B = B + 3
        yield Call(
            "drop_path",
            {
                "branch": draw.normal(B, *rest),
                "rate": rate,
                "training": training,
                "generator": Seeded(_seed_with_both(draw, B, rate)),
            },
            gradients=("branch",),
        )


def _per_sample(branch, generator):
    return torch.rand(len(branch), generator=generator).view(-1, *[1] * (branch.ndim - 1))


def _drop(branch, rate, training, generator, draw=_per_sample, scale=None, after=None):
    """The right function with replaceable parts."""
    if not training:
        return branch if after is None else after(branch, rate)
    kept = draw(branch, generator) >= rate
    return branch * kept * (1 / (1 - rate) if scale is None else scale(rate))


@path.mistake("In training nothing is left out in yours: every sample comes back as it was.")
def nothing_left_out(branch, rate, training, generator):
    return branch


@path.mistake("In training nothing is left out in yours, and everything is scaled up as if something were.")
def scaled_and_nothing_left_out(branch, rate, training, generator):
    return branch / (1 - rate) if training else branch


@path.mistake("The whole batch loses its branch, or keeps it, together. Each sample has a draw of its own.")
def whole_batch_together(*arguments):
    return _drop(*arguments, draw=lambda branch, generator: torch.rand(1, generator=generator))


@path.mistake("You leave out single numbers, as dropout does. A sample keeps or loses its whole branch.")
def single_numbers_left_out(*arguments):
    return _drop(*arguments, draw=lambda branch, generator: torch.rand(branch.shape, generator=generator))


@path.mistake("You draw for each place inside a sample. One number decides over a whole sample.")
def places_left_out(*arguments):
    def draw(branch, generator):
        drawn = torch.rand(branch.shape[:2], generator=generator)
        return drawn.view(*branch.shape[:2], *[1] * (branch.ndim - 2))

    return _drop(*arguments, draw=draw)


@path.mistake("What is kept is not scaled up, so the branch is smaller in training than afterwards.")
def kept_not_scaled(*arguments):
    return _drop(*arguments, scale=lambda rate: 1.0)


@path.mistake("What is kept is divided by the rate. Divide by the share that is kept, 1 minus the rate.")
def divided_by_the_rate(*arguments):
    return _drop(*arguments, scale=lambda rate: 1 / rate)


@path.mistake("What is kept is made smaller. It has to become larger, to make up for what is left out.")
def kept_made_smaller(*arguments):
    return _drop(*arguments, scale=lambda rate: 1 - rate)


@path.mistake("Branches are left out after training too. If training is False, the branch comes back as it is.")
def dropped_after_training(branch, rate, training, generator):
    return _drop(branch, rate, True, generator)


@path.mistake(
    "After training your branch is scaled down. It comes back as it is: what is kept in training is scaled up."
)
def scaled_after_training(*arguments):
    return _drop(*arguments, scale=lambda rate: 1.0, after=lambda branch, rate: branch * (1 - rate))


@path.mistake("Branches are left out after training and kept in training: the two modes have changed places.")
def modes_exchanged(branch, rate, training, generator):
    return _drop(branch, rate, not training, generator)


@path.mistake("You keep where the number is below the rate. There the branch is left out.")
def keeps_below_the_rate(branch, rate, training, generator):
    if not training:
        return branch
    return branch * (_per_sample(branch, generator) < rate) / (1 - rate)


@path.mistake(
    "You keep where the number is below 1 minus the rate. As often, but not for these samples: it is left out below the rate."
)
def keeps_below_the_rest(branch, rate, training, generator):
    if not training:
        return branch
    return branch * (_per_sample(branch, generator) < 1 - rate) / (1 - rate)


@path.mistake("You draw without the generator that you were given, so no seed brings the draw back.")
def draws_from_elsewhere(branch, rate, training, generator):
    return _drop(branch, rate, training, None)


@path.mistake(
    "Your numbers are normally distributed. They are drawn evenly from 0 to 1, or the rate means something else."
)
def draws_normal_numbers(*arguments):
    def draw(branch, generator):
        return torch.randn(len(branch), generator=generator).view(-1, *[1] * (branch.ndim - 1))

    return _drop(*arguments, draw=draw)


@path.mistake("You scale by the share that was kept in this batch. Divide by 1 minus the rate, whatever was drawn.")
def scaled_by_this_batch(branch, rate, training, generator):
    if not training:
        return branch
    kept = (_per_sample(branch, generator) >= rate).float()
    return branch * kept / kept.mean()


@path.mistake(
    "Your kept samples stay as they are and the lost ones are scaled up: keeping and losing have changed places."
)
def lost_ones_scaled_up(branch, rate, training, generator):
    if not training:
        return branch
    return torch.where(_per_sample(branch, generator) >= rate, branch, branch / (1 - rate))


@path.alternative
def rounded_down(branch, rate, training, generator):
    if rate == 0 or not training:
        return branch
    keep = 1 - rate
    drawn = torch.rand((branch.shape[0],) + (1,) * (branch.ndim - 1), generator=generator)
    return branch.div(keep) * (keep + drawn).floor()


@path.alternative
def sample_by_sample(branch, rate, training, generator):
    if not training:
        return branch
    drawn = torch.rand(branch.shape[0], generator=generator).tolist()
    samples = []
    for sample, number in zip(branch, drawn):
        samples.append(sample * 0 if number < rate else sample / (1 - rate))
    return torch.stack(samples)


@path.alternative
def filled_with_zeros(branch, rate, training, generator):
    if training:
        lost = torch.rand(len(branch), generator=generator, device=branch.device) < rate
        lost = lost[(slice(None),) + (None,) * (branch.dim() - 1)]
        return (branch / (1 - rate)).masked_fill(lost, 0.0)
    return branch


@path.alternative
def by_einsum(branch, rate, training, generator):
    if not training:
        return branch + 0
    factors = (torch.rand(len(branch), generator=generator) >= rate).float() / (1 - rate)
    return einsum(branch, factors, "b ..., b -> b ...")


# ------------------------------------------------------------------------------------------------------------
# 9. batch_norm

bn = homework.exercise(
    "batch_norm",
    points=8,
    credit=WITH_GRADIENTS,
    forbidden=(
        "torch.nn.BatchNorm1d",
        "torch.nn.BatchNorm2d",
        "torch.nn.BatchNorm3d",
        "torch.nn.SyncBatchNorm",
        "torch.nn.functional.batch_norm",
        "torch.nn.GroupNorm",
        "torch.nn.InstanceNorm2d",
        "torch.nn.functional.group_norm",
        "torch.nn.functional.instance_norm",
        "torch.batch_norm",
        "torch.native_batch_norm",
        "torch.instance_norm",
        "torch.group_norm",
        "torch.batch_norm_stats",
    ),
    hints=(
        "In training, with scale 1 and shift 0: print mean and variance of each channel of y. Nearly 0 and 1?",
        "Take the example by hand, two images of one pixel. Which of the numbers -1, 1, 0.3 and 1.7 is another one in yours?",
        "With momentum 1 the running ones are those of this batch alone, with 0 the old ones. Are yours? And does the running variance divide by n - 1?",
    ),
)


@bn.inputs
def _(draw: Draw):
    for training, momentum, eps in ((False, 0.1, 1e-5), (True, 0.2, 1e-5), (True, 0.3, 0.5), (False, 0.3, 0.5)):
        B, C, H, W = draw.sizes(4, low=2, high=5)
        x = draw.normal(B, C, H, W) * (0.5 + draw.uniform(C, 1, 1)) + draw.normal(C, 1, 1) + draw.normal(B, 1, 1, 1)
        yield Call(
            "batch_norm",
            {
                "x": x,
                "scale": 1 + 0.4 * draw.normal(C),
                "shift": draw.normal(C),
                "running_mean": draw.normal(C),
                "running_var": 0.5 + 2 * draw.uniform(C),
                "training": training,
                "momentum": momentum,
                "eps": eps,
            },
            gradients=("x", "scale", "shift"),
        )


def _statistics(x, correction=0):
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=correction)


def _apply(x, mean, var, scale, shift, eps):
    mean, var, scale, shift = (number[:, None, None] for number in (mean, var, scale, shift))
    return (x - mean) / (var + eps).sqrt() * scale + shift


def _blend(old, new, momentum):
    return (1 - momentum) * old + momentum * new.detach()


def _bn(x, scale, shift, running_mean, running_var, training, momentum, eps, of_batch=0, of_running=1, blend=_blend):
    """The right function with replaceable parts."""
    if not training:
        return _apply(x, running_mean, running_var, scale, shift, eps), running_mean, running_var
    mean, var = _statistics(x, of_batch)
    y = _apply(x, mean, var, scale, shift, eps)
    return y, blend(running_mean, mean, momentum), blend(running_var, _statistics(x, of_running)[1], momentum)


@bn.mistake("Your momentum works the wrong way round: it is the share of the new, not of the old.")
def momentum_for_the_old(*arguments):
    return _bn(*arguments, blend=lambda old, new, momentum: _blend(old, new, 1 - momentum))


@bn.mistake("Your running variance takes in the variance divided by n. It takes the one divided by n - 1.")
def running_variance_by_n(*arguments):
    return _bn(*arguments, of_running=0)


@bn.mistake("Your n counts the images alone. A channel has batch times rows times columns numbers.")
def counts_images_alone(x, scale, shift, running_mean, running_var, training, momentum, eps):
    y, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    if training:
        var = _blend(running_var, _statistics(x)[1] * len(x) / (len(x) - 1), momentum)
    return y, mean, var


@bn.mistake(
    "Your variance is the mean of the images' own. Images differ in their means too: take it over all of them at once."
)
def mean_of_the_images_variances(x, scale, shift, running_mean, running_var, training, momentum, eps):
    if not training:
        return _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    n, mean, var = x.numel() / x.shape[1], x.mean((0, 2, 3)), x.var((2, 3), correction=0).mean(0)
    running = _blend(running_mean, mean, momentum), _blend(running_var, var * n / (n - 1), momentum)
    return _apply(x, mean, var, scale, shift, eps), *running


@bn.mistake("You normalise with the variance divided by n - 1. In the batch itself it is divided by n.")
def normalised_by_n_minus_one(*arguments):
    return _bn(*arguments, of_batch=1)


@bn.mistake(
    "Your two variances have changed places: the batch is normalised by the one divided by n, the running one takes n - 1."
)
def variances_exchanged(*arguments):
    return _bn(*arguments, of_batch=1, of_running=0)


@bn.mistake("In training you normalise by the running ones. There, the batch's own mean and variance count.")
def running_ones_in_training(x, scale, shift, running_mean, running_var, training, momentum, eps):
    _, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    return _apply(x, running_mean, running_var, scale, shift, eps), mean, var


@bn.mistake("In training you normalise by the running ones after they have taken in this batch. The batch's own count.")
def new_running_ones_in_training(x, scale, shift, running_mean, running_var, training, momentum, eps):
    _, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    return _apply(x, mean, var, scale, shift, eps), mean, var


@bn.mistake(
    "After training you normalise by the batch. There the running ones count, so that an image's result is its own."
)
def batch_after_training(x, scale, shift, running_mean, running_var, training, momentum, eps):
    y, mean, var = _bn(x, scale, shift, running_mean, running_var, True, momentum, eps)
    return (y, mean, var) if training else (y, running_mean, running_var)


@bn.mistake("The running ones go on changing after training. If training is False, they come back as they were.")
def running_after_training(x, scale, shift, running_mean, running_var, training, momentum, eps):
    y = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)[0]
    return y, *_bn(x, scale, shift, running_mean, running_var, True, momentum, eps)[1:]


@bn.mistake("The argument training has no effect: you always do what is done in training.")
def always_training(x, scale, shift, running_mean, running_var, training, momentum, eps):
    return _bn(x, scale, shift, running_mean, running_var, True, momentum, eps)


@bn.mistake("Your running ones never learn: in training they come back as they were.")
def running_ones_never_learn(x, scale, shift, running_mean, running_var, training, momentum, eps):
    y = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)[0]
    return y, running_mean, running_var


@bn.mistake(
    "You normalise each image by itself. Mean and variance of a channel are taken over all images of the batch."
)
def image_by_itself(x, scale, shift, running_mean, running_var, training, momentum, eps):
    y, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    if training:
        own = x.var((2, 3), correction=0, keepdim=True)
        y = (x - x.mean((2, 3), keepdim=True)) / (own + eps).sqrt() * scale[:, None, None] + shift[:, None, None]
    return y, mean, var


@bn.mistake("You normalise each place by itself, over the batch alone. Rows and columns of a channel count together.")
def place_by_itself(x, scale, shift, running_mean, running_var, training, momentum, eps):
    y, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    if training:
        own = x.var(0, correction=0, keepdim=True)
        y = (x - x.mean(0, keepdim=True)) / (own + eps).sqrt() * scale[:, None, None] + shift[:, None, None]
    return y, mean, var


@bn.mistake("Your eps is added to the root. It stands inside.")
def eps_outside_the_root(x, scale, shift, running_mean, running_var, training, momentum, eps):
    _, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    of_x = _statistics(x) if training else (running_mean, running_var)
    centred = (x - of_x[0][:, None, None]) / (of_x[1].sqrt() + eps)[:, None, None]
    return centred * scale[:, None, None] + shift[:, None, None], mean, var


@bn.mistake("The argument eps has no effect: you leave it out, or take a usual value.")
def eps_as_usual(*arguments):
    return _bn(*arguments[:-1], 1e-5)


@bn.mistake("You divide by the variance. Its root has the size of the numbers.")
def divided_by_the_variance(x, scale, shift, running_mean, running_var, training, momentum, eps):
    _, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    of_x = _statistics(x) if training else (running_mean, running_var)
    centred = (x - of_x[0][:, None, None]) / (of_x[1] + eps)[:, None, None]
    return centred * scale[:, None, None] + shift[:, None, None], mean, var


@bn.mistake("Scale and shift are missing in your result.")
def bare_numbers(x, scale, shift, running_mean, running_var, training, momentum, eps):
    return _bn(x, torch.ones_like(scale), torch.zeros_like(shift), running_mean, running_var, training, momentum, eps)


@bn.mistake("Your running variance is a running root. The variance itself is kept.")
def running_root(x, scale, shift, running_mean, running_var, training, momentum, eps):
    y, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    return y, mean, _blend(running_var, _statistics(x, 1)[1].sqrt(), momentum) if training else var


@bn.mistake(
    "No gradient flows through your mean and variance of the batch: they are cut off. Only the running ones are."
)
def statistics_cut_off(x, scale, shift, running_mean, running_var, training, momentum, eps):
    y, mean, var = _bn(x, scale, shift, running_mean, running_var, training, momentum, eps)
    if training:
        y = _apply(x, *(number.detach() for number in _statistics(x)), scale, shift, eps)
    return y, mean, var


@bn.mistake("Your running ones still hang on the graph and would keep every batch in memory: detach what they take in.")
def running_ones_on_the_graph(*arguments):
    return _bn(*arguments, blend=lambda old, new, momentum: (1 - momentum) * old + momentum * new)


@bn.alternative
def norm_by_einops(x, scale, shift, running_mean, running_var, training, momentum, eps):
    rows = rearrange(x, "b c h w -> c (b h w)")
    if training:
        mean = reduce(rows, "c n -> c", "mean")
        var = reduce(rows**2, "c n -> c", "mean") - mean**2
        n = rows.shape[1]
        running_mean = running_mean + momentum * (mean.detach() - running_mean)
        running_var = running_var + momentum * (var.detach() * (n / (n - 1)) - running_var)
    else:
        mean, var = running_mean, running_var
    factor = scale * torch.rsqrt(var + eps)
    y = einsum(x, factor, "b c h w, c -> b c h w") + repeat(shift - mean * factor, "c -> c 1 1")
    return y, running_mean, running_var


@bn.alternative
def norm_channel_by_channel(x, scale, shift, running_mean, running_var, training, momentum, eps):
    channels, means, variances = [], [], []
    for c in range(x.shape[1]):
        numbers = x[:, c]
        if training:
            mean, var = numbers.mean(), numbers.var(correction=0)
            means.append((1 - momentum) * running_mean[c] + momentum * mean.detach())
            variances.append((1 - momentum) * running_var[c] + momentum * numbers.detach().var())
        else:
            mean, var = running_mean[c], running_var[c]
            means.append(running_mean[c])
            variances.append(running_var[c])
        channels.append(scale[c] * (numbers - mean) / (var + eps) ** 0.5 + shift[c])
    return torch.stack(channels, dim=1), torch.stack(means), torch.stack(variances)


@bn.alternative
def norm_by_var_mean(x, scale, shift, running_mean, running_var, training, momentum, eps):
    new_mean, new_var = running_mean.clone(), running_var.clone()
    shape = (1, x.shape[1], 1, 1)
    if training:
        var, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
        with torch.no_grad():
            new_mean.mul_(1 - momentum).add_(momentum * mean)
            new_var.mul_(1 - momentum).add_(momentum * x.transpose(0, 1).flatten(1).var(dim=1))
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + eps)
    else:
        y = (x - running_mean.view(shape)) / torch.sqrt(running_var.view(shape) + eps)
    return y * scale.view(shape) + shift.view(shape), new_mean, new_var


# ------------------------------------------------------------------------------------------------------------
# 10. distillation_loss

teach = homework.exercise(
    "distillation_loss",
    points=6,
    credit=WITH_GRADIENTS,
    forbidden=("torch.nn.functional.kl_div", "torch.kl_div", "torch.nn.KLDivLoss", "torch.distributions"),
    hints=(
        "Give the student the teacher's own scores: is the second part 0? If not, something in it is missing or at another temperature.",
        "Set the weight to 0: is it the plain cross entropy with the targets, without any temperature?",
        "Take the example by hand: 0.131, or 0.144? Whose shares stand in front of the logarithm?",
    ),
)


@teach.inputs
def _(draw: Draw):
    for temperature, weight in ((1.0, 0.4), (2.5, 0.3), (0.7, 0.6)):
        B, K = draw.sizes(2, low=3, high=7)
        yield Call(
            "distillation_loss",
            {
                "scores": 2 * draw.normal(B, K),
                "targets": _shares(draw, B, K),
                "teacher_scores": 2 * draw.normal(B, K),
                "temperature": temperature,
                "weight": weight,
            },
            gradients=("scores", "teacher_scores"),
        )


def _divergence(student, teacher):
    """From the teacher, both logarithms (B, K) -> (B,)."""
    return (teacher.exp() * (teacher - student)).sum(1)


def _distil(
    scores,
    targets,
    teacher_scores,
    temperature,
    weight,
    far=_divergence,
    label=None,
    factor=lambda temperature: temperature**2,
    of_teacher=None,
):
    """The right loss with replaceable parts; `of_teacher` is the temperature of the teacher alone."""
    student = (scores / temperature).log_softmax(1)
    teacher = (teacher_scores.detach() / (of_teacher or temperature)).log_softmax(1)
    own = _soft(scores if label is None else label(scores, temperature), targets)
    return (1 - weight) * own + weight * factor(temperature) * far(student, teacher).mean()


@teach.mistake(
    "The factor of the squared temperature is missing: the softer the teacher, the less it counts in your loss."
)
def softness_not_made_up_for(*arguments):
    return _distil(*arguments, factor=lambda temperature: 1.0)


@teach.mistake("Your factor is the temperature itself. It is its square: each of the two softmaxes takes one away.")
def temperature_not_squared(*arguments):
    return _distil(*arguments, factor=lambda temperature: temperature)


@teach.mistake(
    "Your divergence goes the other way: the student's shares stand in front. They have to be the teacher's."
)
def divergence_from_the_student(*arguments):
    return _distil(*arguments, far=lambda student, teacher: _divergence(teacher, student))


@teach.mistake("Your teacher learns: a gradient flows into its scores. Cut them off.")
def teacher_that_learns(scores, targets, teacher_scores, temperature, weight):
    student = (scores / temperature).log_softmax(1)
    teacher = (teacher_scores / temperature).log_softmax(1)
    return (1 - weight) * _soft(scores, targets) + weight * temperature**2 * _divergence(student, teacher).mean()


@teach.mistake("Only your student is softened. The teacher's scores are divided by the temperature as well.")
def teacher_not_softened(*arguments):
    return _distil(*arguments, of_teacher=1.0)


@teach.mistake(
    "Only your teacher is softened. In the second part the student's scores are divided by the temperature as well."
)
def student_not_softened(scores, targets, teacher_scores, temperature, weight):
    teacher = (teacher_scores.detach() / temperature).log_softmax(1)
    far = _divergence(scores.log_softmax(1), teacher).mean()
    return (1 - weight) * _soft(scores, targets) + weight * temperature**2 * far


@teach.mistake("The temperature is in your first part too. Labels are asked at temperature 1.")
def labels_softened(*arguments):
    return _distil(*arguments, label=lambda scores, temperature: scores / temperature)


@teach.mistake("Your two parts have changed weights: the teacher's part gets the weight, the labels' the rest.")
def weights_exchanged(scores, targets, teacher_scores, temperature, weight):
    return _distil(scores, targets, teacher_scores, temperature, 1 - weight)


@teach.mistake("Both of your parts count whole. The labels' part gets what the weight leaves.")
def labels_count_whole(scores, targets, teacher_scores, temperature, weight):
    return _distil(scores, targets, teacher_scores, temperature, weight) + weight * _soft(scores, targets)


@teach.mistake(
    "Your second part is the cross entropy with the teacher. Its gradient is right, but it is not 0 where both agree: the teacher's own logarithm is missing."
)
def cross_entropy_with_the_teacher(*arguments):
    return _distil(*arguments, far=lambda student, teacher: -(teacher.exp() * student).sum(1))


@teach.mistake("Your divergence is summed over the batch. Its mean is asked for.")
def divergence_summed(*arguments):
    return _distil(*arguments, far=lambda student, teacher: len(student) * _divergence(student, teacher))


@teach.mistake("Your divergence is the mean over images and classes. Over the classes it is a sum.")
def divergence_averaged_over_classes(*arguments):
    return _distil(*arguments, far=lambda student, teacher: _divergence(student, teacher) / student.shape[1])


@teach.mistake("Your second part takes the teacher's likeliest class as a label. Its whole distribution counts.")
def decision_of_the_teacher(*arguments):
    def far(student, teacher):
        return -student.gather(1, teacher.argmax(1, keepdim=True))[:, 0]

    return _distil(*arguments, far=far)


@teach.mistake("Your scores are multiplied by the temperature. They are divided by it: a high one makes soft.")
def hardened_by_the_temperature(scores, targets, teacher_scores, temperature, weight):
    far = _divergence((scores * temperature).log_softmax(1), (teacher_scores.detach() * temperature).log_softmax(1))
    return (1 - weight) * _soft(scores, targets) + weight * temperature**2 * far.mean()


@teach.mistake(
    "Your first part goes by the likeliest class of each target: of mixed targets only the larger share is left."
)
def hard_labels_beside_the_teacher(scores, targets, teacher_scores, temperature, weight):
    hard = F.one_hot(targets.argmax(1), targets.shape[1]).float()
    return _distil(scores, hard, teacher_scores, temperature, weight)


@teach.mistake(
    "You compare the squares of the differences of the shares. Asked for is the divergence, with logarithms."
)
def squares_of_differences(*arguments):
    return _distil(*arguments, far=lambda student, teacher: (student.exp() - teacher.exp()).square().sum(1))


@teach.alternative
def loss_by_cross_entropies(scores, targets, teacher_scores, temperature, weight):
    with torch.no_grad():
        said = F.softmax(teacher_scores / temperature, dim=1)
        least = -torch.xlogy(said, said).sum(dim=1).mean()
    second = F.cross_entropy(scores / temperature, said) - least
    return (1 - weight) * F.cross_entropy(scores, targets) + weight * temperature * temperature * second


@teach.alternative
def loss_by_rows(scores, targets, teacher_scores, temperature, weight):
    total = 0
    for row, target, taught in zip(scores, targets, teacher_scores.detach()):
        said = (taught / temperature).softmax(0)
        heard = (row / temperature).softmax(0)
        far = (said * (said / heard).log()).sum()
        total = total + weight * temperature**2 * far - (1 - weight) * (target * row.log_softmax(0)).sum()
    return total / len(scores)


@teach.alternative
def loss_by_logsumexp_of_both(scores, targets, teacher_scores, temperature, weight):
    soft = scores / temperature
    fixed = teacher_scores.clone().detach() / temperature
    shares = torch.exp(fixed - fixed.logsumexp(1, keepdim=True))
    gap = einsum(shares, fixed - soft, "b k, b k -> b") - fixed.logsumexp(1) + soft.logsumexp(1)
    own = scores.logsumexp(1) - einsum(scores, targets, "b k, b k -> b")
    return torch.mean((1 - weight) * own + weight * temperature**2 * gap)


# ------------------------------------------------------------------------------------------------------------
# 11. layer_decay

layers = homework.exercise(
    "layer_decay",
    points=4,
    hints=(
        "Take the example by hand, depth 2: do head, the two blocks and the patches get 1, 1/2, 1/4 and 1/8?",
        "Print the layer that you read from `blocks.11.norm1.weight`: is it 12?",
        "Does your code ask whether a word is somewhere in the name, or whether the name begins with it?",
    ),
)


@layers.inputs
def _(draw: Draw):
    depth, decay = draw.integer(12, 14), draw.between(0.7, 0.85)
    below = draw.integer(2, 8)
    for name in (
        "head.bias",
        "patch_embed.weight",
        "blocks.0.mlp.fc1.weight",
        f"blocks.{below}.attention.qkv.weight",
        f"blocks.{draw.integer(10, depth - 2)}.mlp.fc2.bias",
        f"blocks.{depth - 1}.mlp.fc2.weight",
        f"blocks.{below - 1}.norm2.weight",
        f"blocks.{below + 1}.attention.head_scale",
        f"blocks.{below}.attention.positions",
        "norm.weight",
        "class_token",
        "positions",
    ):
        yield Call("layer_decay", {"name": name, "depth": depth, "decay": decay})


def _layer(name, depth):
    if name.startswith("patch_embed.") or name in ("class_token", "positions"):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1


@layers.mistake("Your block 0 shares the layer of the patches. Block i is layer i + 1: the patches come before it.")
def blocks_one_layer_low(name, depth, decay):
    layer = _layer(name, depth)
    return decay ** (depth + 1 - (layer - 1 if name.startswith("blocks.") else layer))


@layers.mistake(
    "Your factors run the wrong way: the head gets the smallest rate. It learns most, and the patches least."
)
def patches_learn_most(name, depth, decay):
    return decay ** _layer(name, depth)


@layers.mistake("Your head is one factor too low. It is the last layer and learns at the full rate, 1.")
def head_below_the_full_rate(name, depth, decay):
    return decay ** (depth + 2 - _layer(name, depth))


@layers.mistake("Your head shares the layer of the last block. It has one of its own, above all blocks.")
def head_in_the_last_block(name, depth, decay):
    return decay ** (depth - min(_layer(name, depth), depth))


@layers.mistake("You read only the first digit of a block's number, so block 11 is taken for block 1.")
def first_digit_only(name, depth, decay):
    layer = int(name[7]) + 1 if name.startswith("blocks.") else _layer(name, depth)
    return decay ** (depth + 1 - layer)


@layers.mistake("A norm inside a block gets the rate of the head in yours. Only the beginning of a name counts.")
def every_norm_at_the_head(name, depth, decay):
    return decay ** (0 if "norm" in name else depth + 1 - _layer(name, depth))


@layers.mistake(
    "A part of a block that has the word head in its name gets the rate of the head in yours. Only the beginning counts."
)
def every_head_at_the_head(name, depth, decay):
    return decay ** (0 if "head" in name else depth + 1 - _layer(name, depth))


@layers.mistake("Positions inside a block go to layer 0 in yours. Only the beginning of a name counts.")
def all_positions_at_the_patches(name, depth, decay):
    return decay ** (depth + 1 - (0 if "positions" in name else _layer(name, depth)))


@layers.mistake(
    "Class token and positions get the rate of the head in yours. They stand beside the patches, in layer 0."
)
def tokens_at_the_head(name, depth, decay):
    return decay ** (0 if name in ("class_token", "positions") else depth + 1 - _layer(name, depth))


@layers.mistake(
    "The last norm is counted to the last block in yours, as some libraries do. Here it goes with the head."
)
def last_norm_in_the_last_block(name, depth, decay):
    return decay ** (1 if name.startswith("norm.") else depth + 1 - _layer(name, depth))


@layers.mistake("The last norm goes to layer 0 in yours. It stands before the head and goes with it.")
def last_norm_at_the_patches(name, depth, decay):
    return decay ** (depth + 1 - (0 if name.startswith("norm.") else _layer(name, depth)))


@layers.mistake("Your factor falls by the same amount with each layer. It is multiplied by the decay with each one.")
def falls_by_an_amount(name, depth, decay):
    return 1 - (1 - decay) * (depth + 1 - _layer(name, depth)) / (depth + 1)


@layers.mistake("All blocks get the same factor in yours. Each is a layer of its own.")
def one_factor_for_all_blocks(name, depth, decay):
    return decay if name.startswith("blocks.") else decay ** (depth + 1 - _layer(name, depth))


@layers.mistake("You return the number of the layer. Its factor is asked for.")
def layer_for_its_factor(name, depth, decay):
    return _layer(name, depth)


@layers.alternative
def factor_by_a_loop(name, depth, decay):
    factor = 1.0
    for layer in range(depth, -1, -1):
        factor *= decay
        own = ("patch_embed", "class_token", "positions") if layer == 0 else (f"blocks.{layer - 1}",)
        if any(name == start or name.startswith(start + ".") for start in own):
            return factor
    return 1.0


@layers.alternative
def factor_by_a_table(name, depth, decay):
    table = {f"blocks.{i}": depth - i for i in range(depth)}
    table |= dict.fromkeys(("patch_embed", "class_token", "positions"), depth + 1)
    parts = name.split(".")
    return decay ** table.get(".".join(parts[:2]), table.get(parts[0], 0))


@layers.alternative
def factor_by_exponential(name, depth, decay):
    block = re.match(r"blocks\.(\d+)\.", name)
    if block:
        above = depth - int(block[1])
    else:
        above = (depth + 1) * (re.match(r"(patch_embed\.|class_token$|positions$)", name) is not None)
    return math.exp(above * math.log(decay))


# ------------------------------------------------------------------------------------------------------------
# 12. sam_step

sharp = homework.exercise(
    "sam_step",
    points=7,
    hints=(
        "Set rho to a millionth: is your step then a plain step of gradient descent?",
        "Set the learning rate to 0: do all weights come back as they were?",
        "Print the length of all that you added uphill, over all parameters together: is it rho?",
    ),
)


def _slope(scale, shift, weight, bias, images, labels) -> float:
    """The length of the gradient of the probe below, over its four tensors together."""
    weights = [tensor.clone().requires_grad_() for tensor in (scale, shift, weight, bias)]
    x = F.layer_norm(images.flatten(1), scale.shape, *weights[:2])  # (B, H·W)
    return float(_length(torch.autograd.grad(F.cross_entropy(F.linear(x, *weights[2:]), labels), weights)))


@sharp.inputs
def _(draw: Draw):
    for B, K, share in ((4, 5, 0.4), (7, 4, 1.7)):  # rho is shorter than the gradient, then longer
        H, W = draw.sizes(2, low=2, high=3)
        weights = {
            "scale": 1 + 0.5 * draw.normal(H * W),
            "shift": draw.normal(H * W),
            "weight": 1.5 * draw.normal(K, H * W) / (H * W) ** 0.5,
            "bias": draw.normal(K),
        }
        images, labels = 2 * draw.normal(B, 1, H, W), torch.randperm(K, generator=draw.generator).repeat(2)[:B]
        yield Call(
            "sam_step",
            {
                "model": Probe("normed_classifier", weights, ask=2 * draw.normal(6, 1, H, W)),
                "images": images,
                "labels": labels,
                "learning_rate": draw.between(0.3, 0.6),
                "rho": round(share * _slope(*weights.values(), images, labels), 2),  # the same on every processor
            },
        )


def _gradients(model, images, labels):
    weights = list(model.parameters())
    loss = F.cross_entropy(model(images), labels)
    return loss.item(), torch.autograd.grad(loss, weights)


def _length(gradients):
    return torch.stack([g.square().sum() for g in gradients]).sum().sqrt()


def _move(weights, directions, factor):
    with torch.no_grad():
        for w, direction in zip(weights, directions):
            w += factor * direction


def _sam(model, images, labels, learning_rate, rho, climb=None, step=None, told=None, begin=None):
    """The right step with replaceable parts: what is added uphill, the gradient of the step, the loss, where it begins."""
    weights = list(model.parameters())
    old = [w.detach().clone() for w in weights]
    loss, uphill = _gradients(model, images, labels)
    added = climb(uphill) if climb else [rho * g / _length(uphill) for g in uphill]
    _move(weights, added, 1.0)
    above, there = _gradients(model, images, labels)
    with torch.no_grad():
        for w, before in zip(weights, old if begin is None else begin(old, weights, there)):
            w.copy_(before)
    _move(weights, step(uphill, there) if step else there, -learning_rate)
    return told(loss, above) if told else loss


@sharp.mistake(
    "Your step does not begin where it came from: the weights stay uphill. Put the old ones back before the step."
)
def stays_uphill(*arguments):
    return _sam(*arguments, begin=lambda old, weights, there: [w.clone() for w in weights])


@sharp.mistake(
    "What you add uphill is the gradient times rho, however long it is. It has the length rho: divide by the gradient's length."
)
def radius_not_normalised(model, images, labels, learning_rate, rho):
    return _sam(model, images, labels, learning_rate, rho, climb=lambda uphill: [rho * g for g in uphill])


@sharp.mistake(
    "You only shorten a gradient that is longer than rho. What you add has the length rho, also where the gradient is short."
)
def only_shortened(model, images, labels, learning_rate, rho):
    climb = lambda uphill: [g * (rho / _length(uphill)).clamp(max=1) for g in uphill]
    return _sam(model, images, labels, learning_rate, rho, climb=climb)


@sharp.mistake(
    "Each tensor is divided by its own length, so the way uphill is too long. There is one length for all together."
)
def a_length_for_each_tensor(model, images, labels, learning_rate, rho):
    climb = lambda uphill: [rho * g / g.norm() for g in uphill]
    return _sam(model, images, labels, learning_rate, rho, climb=climb)


@sharp.mistake("You divide by the squared length of the gradient. A root is missing.")
def squared_length(model, images, labels, learning_rate, rho):
    climb = lambda uphill: [rho * g / _length(uphill) ** 2 for g in uphill]
    return _sam(model, images, labels, learning_rate, rho, climb=climb)


@sharp.mistake(
    "You add up the lengths of the tensors. The length of all together is the root of the sum of all squares."
)
def lengths_added_up(model, images, labels, learning_rate, rho):
    climb = lambda uphill: [rho * g / sum(each.norm() for each in uphill) for g in uphill]
    return _sam(model, images, labels, learning_rate, rho, climb=climb)


@sharp.mistake(
    "You first go downhill. The gradient is taken where the loss is worse: the small step before it is added."
)
def downhill_first(model, images, labels, learning_rate, rho):
    climb = lambda uphill: [-rho * g / _length(uphill) for g in uphill]
    return _sam(model, images, labels, learning_rate, rho, climb=climb)


@sharp.mistake(
    "Your step is made with the gradient from below: the second one is never used. This is plain gradient descent."
)
def plain_descent(*arguments):
    return _sam(*arguments, step=lambda uphill, there: uphill)


@sharp.mistake("Your step adds both gradients: the first one was not cleared before the second.")
def both_gradients_added(*arguments):
    return _sam(*arguments, step=lambda uphill, there: [a + b for a, b in zip(uphill, there)])


@sharp.mistake("Your step is the mean of both gradients. Only the one from uphill counts.")
def mean_of_both_gradients(*arguments):
    return _sam(*arguments, step=lambda uphill, there: [(a + b) / 2 for a, b in zip(uphill, there)])


@sharp.mistake("You return the loss from uphill. Asked for is the one before anything moved.")
def loss_from_uphill(*arguments):
    return _sam(*arguments, told=lambda loss, above: above)


@sharp.mistake("Your weights end where they began: you put the old ones back after the step.")
def nothing_learned(*arguments):
    return _sam(*arguments, step=lambda uphill, there: [0 * g for g in there])


@sharp.mistake(
    "On the way back you take away something else than you added: it was worked out anew, from the second gradient."
)
def another_way_back(model, images, labels, learning_rate, rho):
    def begin(old, weights, there):
        return [w.detach() - rho * g / _length(there) for w, g in zip(weights, there)]

    return _sam(model, images, labels, learning_rate, rho, begin=begin)


@sharp.mistake(
    "You add the sign of the gradient, in all directions alike. The way uphill has the gradient's own direction."
)
def sign_of_the_gradient(model, images, labels, learning_rate, rho):
    return _sam(model, images, labels, learning_rate, rho, climb=lambda uphill: [rho * g.sign() for g in uphill])


@sharp.mistake("The gradient of your step has been cut to the length 1. Only the way uphill is normalised.")
def step_normalised_too(*arguments):
    return _sam(*arguments, step=lambda uphill, there: [g / _length(there) for g in there])


@sharp.mistake("The way uphill has the learning rate in it. Its length is rho alone.")
def rate_on_the_way_uphill(model, images, labels, learning_rate, rho):
    climb = lambda uphill: [learning_rate * rho * g / _length(uphill) for g in uphill]
    return _sam(model, images, labels, learning_rate, rho, climb=climb)


@sharp.mistake("Your loss is summed over the images. The cross entropy takes their mean.")
def loss_of_the_whole_batch(model, images, labels, learning_rate, rho):
    return len(images) * _sam(model, images, labels, learning_rate * len(images), rho)


@sharp.alternative
def step_by_backward(model, images, labels, learning_rate, rho):
    model.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    length = sum((w.grad**2).sum() for w in model.parameters()) ** 0.5
    added = [rho * w.grad / length for w in model.parameters()]
    with torch.no_grad():
        for w, e in zip(model.parameters(), added):
            w.add_(e)
    model.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    with torch.no_grad():
        for w, e in zip(model.parameters(), added):
            w.sub_(e)
            w.sub_(learning_rate * w.grad)
    model.zero_grad()
    return float(loss.detach())


@sharp.alternative
def step_by_functional_call(model, images, labels, learning_rate, rho):
    named = {name: w.detach().clone().requires_grad_() for name, w in model.named_parameters()}
    loss = F.cross_entropy(torch.func.functional_call(model, named, (images,)), labels)
    first = torch.autograd.grad(loss, list(named.values()))
    length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in first]))
    moved = {name: (w + rho / length * g).detach().requires_grad_() for (name, w), g in zip(named.items(), first)}
    above = F.cross_entropy(torch.func.functional_call(model, moved, (images,)), labels)
    second = torch.autograd.grad(above, list(moved.values()))
    for w, g in zip(model.parameters(), second):
        w.data -= learning_rate * g
    return loss.item()


@sharp.alternative
def step_on_one_long_vector(model, images, labels, learning_rate, rho):
    start = parameters_to_vector(model.parameters()).detach().clone()
    slopes, losses = [], []
    for _ in range(2):  # from the old weights, then from uphill
        model.zero_grad()
        losses.append(F.cross_entropy(model(images), labels))
        losses[-1].backward()
        slopes.append(parameters_to_vector([w.grad for w in model.parameters()]))
        vector_to_parameters(start + rho * slopes[0] / slopes[0].norm(), model.parameters())
    vector_to_parameters(start - learning_rate * slopes[1], model.parameters())
    return losses[0].detach()
