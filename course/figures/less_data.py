"""The figures of lecture 7: recipes, what they ask of a network, and how sharply the loss bends where they end."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.lines import Line2D
from torch import Tensor

from course.drawing import BLUE, GREY, ORANGE, PAGE, PALE, RED, SKY, SMALL, Picture, colours_of, new_figure, show_image

MARKS = "os^D"
Seeds = Sequence[float]


def ladder(rungs: Mapping[str, Mapping[str, Seeds]], *, chance: float) -> Picture:
    """Accuracies after each change of a recipe: rungs from top to bottom, a line a network, a dot a seed.

    Args:
        rungs: rung -> network -> accuracy 0..1 of each seed. Every rung has the same networks.
        chance: accuracy 0..1 of guessing, drawn as a line.
    """
    networks = list(next(iter(rungs.values())))
    said = "; ".join(
        f"{rung}: " + ", ".join(f"{name} {_range(row[name])} %" for name in networks) for rung, row in rungs.items()
    )
    figure, ((axis,),) = new_figure(f"accuracies, one change a rung. {said}", 1, 1, 6.6, 0.95 + 0.36 * len(rungs))
    for number, (name, colour) in enumerate(zip(networks, colours_of(networks))):
        y = np.arange(len(rungs)) + 0.16 * (number - (len(networks) - 1) / 2)
        seeds = 100 * np.array([row[name] for row in rungs.values()])  # (rungs, seeds)
        axis.plot(seeds.mean(axis=1), y, "-", color=colour, linewidth=1.5, label=name)
        for one in seeds.T:
            axis.plot(one, y, MARKS[number % 4], color=colour, markersize=5, markeredgecolor="white")
    _chance(axis, chance)
    axis.set_yticks(range(len(rungs)), list(rungs))
    axis.grid(axis="y", color=PALE, linewidth=0.6)
    axis.set(xlim=(0, 104), ylim=(len(rungs) - 0.5, -0.5), xlabel="accuracy, %")
    handles = [
        Line2D([], [], color=colour, marker=mark) for colour, mark in zip(colours_of(networks), MARKS, strict=False)
    ]
    figure.legend(handles, networks, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=len(networks))
    return figure


def ranking(recipes: Mapping[str, Mapping[str, Seeds]], *, chance: float) -> Picture:
    """Which network is ahead under which recipe: a recipe a column, a line a network and seed.

    Args:
        recipes: recipe -> network -> accuracy 0..1 of each seed.
        chance: accuracy 0..1 of guessing, drawn as a line.

    Raises:
        ValueError: fewer than two recipes, so that nothing can turn.
    """
    if len(recipes) < 2:
        raise ValueError("a ranking can turn between two recipes or more")
    networks = list(next(iter(recipes.values())))
    said = "; ".join(
        f"{recipe}: " + ", ".join(f"{name} {_range(row[name])} %" for name in networks)
        for recipe, row in recipes.items()
    )
    figure, ((axis,),) = new_figure(f"two networks under two recipes. {said}", 1, 1, 4.6, 3.0)
    for number, (name, colour) in enumerate(zip(networks, colours_of(networks))):
        seeds = 100 * np.array([row[name] for row in recipes.values()])  # (recipes, seeds)
        for i, one in enumerate(seeds.T):
            axis.plot(range(len(recipes)), one, MARKS[number % 4] + "-", color=colour, label=name if i == 0 else None)
    axis.axhline(100 * chance, color=GREY, linewidth=0.8, linestyle=":")
    axis.set_xticks(range(len(recipes)), list(recipes))
    axis.set(xlim=(-0.3, len(recipes) - 0.7), ylim=(0, 104), ylabel="accuracy, %")
    axis.legend(frameon=False, fontsize=SMALL, loc="lower right")
    return figure


def targets(shown: Mapping[str, tuple[Tensor, Tensor]], classes: Sequence[str]) -> Picture:
    """Images, and under each the target that the loss compares the network's answer with.

    Args:
        shown: what was done -> (image (C, H, W), target (K,), which sums to 1).
        classes: the names of the K classes.

    Raises:
        ValueError: a target that does not sum to 1.
    """
    for name, (_, target) in shown.items():
        if abs(float(target.sum()) - 1) > 1e-4:
            raise ValueError(f"{name}: the target sums to {float(target.sum()):g} and not to 1")
    said = "; ".join(
        f"{name}: " + ", ".join(f"{classes[k]} {target[k]:.2f}" for k in target.argsort(descending=True)[:2].tolist())
        for name, (_, target) in shown.items()
    )
    figure, axes = new_figure(
        f"images and their targets, the two largest of each. {said}",
        2,
        len(shown),
        PAGE,
        3.1,
        height_ratios=[1.5, 1],
    )
    for (above, below), (name, (image, target)) in zip(axes.T, shown.items()):
        show_image(above, image)
        above.set_title(name, fontsize=8.5)
        below.bar(range(len(target)), target.numpy(), color=SKY, width=0.8)
        below.set(ylim=(0, 1.05), yticks=[0, 1])
        below.set_xticks(range(len(target)), classes, fontsize=SMALL, rotation=90)
    axes[1, 0].set_ylabel("target")
    return figure


def printed(rows: Mapping[str, Mapping[str, float]], *, xlabel: str) -> Picture:
    """Figures of papers side by side: a row a condition, a mark a method, and its number beside it.

    Args:
        rows: condition -> method -> number; a method that was not measured there is left out.
    """
    methods = list(dict.fromkeys(method for row in rows.values() for method in row))
    said = "; ".join(f"{name}: " + ", ".join(f"{m} {v:g}" for m, v in row.items()) for name, row in rows.items())
    figure, ((axis,),) = new_figure(f"{xlabel}. {said}", 1, 1, 6.8, 0.95 + 0.36 * len(rows))
    every = [value for row in rows.values() for value in row.values()]
    margin = 0.12 * (max(every) - min(every))
    for y, row in enumerate(rows.values()):
        axis.plot([min(row.values()), max(row.values())], [y, y], color=PALE, linewidth=2, zorder=0)
        order = sorted(row, key=row.get)
        for method, value in row.items():
            number = methods.index(method)
            axis.plot(value, y, MARKS[number % 4], color=(GREY, BLUE, ORANGE, RED)[number % 4], markersize=7)
            left = method == order[0] and len(row) > 1
            axis.annotate(
                f"{value:g}",
                (value, y),
                (-6 if left else 6, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=SMALL,
            )
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set(xlim=(min(every) - margin, max(every) + margin), ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    handles = [
        Line2D([], [], color=(GREY, BLUE, ORANGE, RED)[i % 4], marker=MARKS[i % 4], linestyle="")
        for i in range(len(methods))
    ]
    figure.legend(handles, methods, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=len(methods))
    return figure


def worst_nearby(
    loss: Callable[[Tensor], Tensor], weights: Mapping[str, float], *, rho: float, limits: tuple[float, float]
) -> Picture:
    """A loss of one weight, and at a few places the largest loss within rho: what SAM minimises.

    Args:
        loss: (n,) weights to (n,) losses.
        weights: name -> place.
        rho: the radius.
        limits: from where to where the loss is drawn.
    """
    line = torch.linspace(*limits, 601)
    worst = {}
    for name, weight in weights.items():
        near = torch.linspace(weight - rho, weight + rho, 401)
        values = loss(near)
        worst[name] = (float(near[values.argmax()]), float(values.max()), float(loss(torch.tensor([weight]))[0]))
    said = "; ".join(f"{name}: loss {here:.2f}, worst {most:.2f}" for name, (_, most, here) in worst.items())
    figure, ((axis,),) = new_figure(f"a loss of one weight, and the worst within {rho:g}. {said}", 1, 1, 5.6, 2.7)
    axis.plot(line, loss(line), color=BLUE)
    for (name, weight), (at, most, here) in zip(weights.items(), worst.values()):
        axis.axvspan(weight - rho, weight + rho, color=SKY, alpha=0.2, linewidth=0)
        axis.plot(weight, here, "o", color=BLUE)
        axis.plot(at, most, "^", color=RED)
        axis.plot([weight, at, at], [here, here, most], ":", color=GREY)
        axis.annotate(name, (weight, here), (0, -6), textcoords="offset points", ha="center", va="top", fontsize=8.5)
    axis.plot([], [], "o", color=BLUE, label="L(w)")
    axis.plot([], [], "^", color=RED, label=f"the worst within ρ = {rho:g}")
    axis.set(xlabel="w", ylabel="loss", ylim=(float(loss(line).min()) - 0.35, None))
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2)
    return figure


def flatness(results: Mapping[str, Mapping[str, Mapping[str, Seeds]]]) -> Picture:
    """How sharply the loss bends and what the network gets right, beside each other: a row a network and a method.

    Args:
        results: network -> how it was trained -> ``λ_max`` and ``accuracy`` (0..1), of each seed.
    """
    rows = {(name, how): row for name, method in results.items() for how, row in method.items()}
    methods = list(dict.fromkeys(how for _, how in rows))
    said = "; ".join(
        f"{name} with {how}: {min(row['λ_max']):.1f} to {max(row['λ_max']):.1f}, {_range(row['accuracy'])} %"
        for (name, how), row in rows.items()
    )
    figure, ((left, right),) = new_figure(
        f"largest eigenvalue of the Hessian and accuracy. {said}", 1, 2, PAGE, 0.95 + 0.3 * len(rows), sharey=True
    )
    names, y = [], 0.0
    for name, method in results.items():
        for how, row in method.items():
            colour, mark = (GREY, BLUE)[methods.index(how) % 2], MARKS[methods.index(how) % 4]
            left.plot(row["λ_max"], [y] * len(row["λ_max"]), mark, color=colour, markersize=6)
            right.plot(100 * np.asarray(row["accuracy"]), [y] * len(row["accuracy"]), mark, color=colour, markersize=6)
            names.append((y, f"{name}, {how}"))
            y += 1
        y += 0.5
    left.set_yticks([y for y, _ in names], [name for _, name in names])
    left.set(xscale="log", xlabel="λ_max of the loss, a dot a seed", ylim=(y - 0.9, -0.6))
    every = [value for row in rows.values() for value in row["λ_max"]]
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if min(every) / 2 <= t <= 2 * max(every)]
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.set_xticks([], minor=True)
    right.set(xlabel="accuracy on new digits, %")
    for axis in (left, right):
        axis.grid(axis="y", color=PALE, linewidth=0.6)
        axis.set_axisbelow(True)
    return figure


def surfaces(values: Mapping[str, Tensor], steps: Tensor) -> Picture:
    """The loss around several minima along two directions, on one scale of colours; the star is where training ended.

    Args:
        values: name -> (n, n), as from `course.analysis.loss_surface`.
        steps: (n,), as given to it.

    Raises:
        ValueError: there is nothing to draw, or values of another size.
    """
    if not values or any(each.shape != (len(steps), len(steps)) for each in values.values()):
        raise ValueError(f"surfaces are ({len(steps)}, {len(steps)}) each, at least one")
    every = torch.stack(list(values.values())).clamp(min=1e-4)
    levels = np.geomspace(float(every.min()), max(float(every.max()), 1.01 * float(every.min())), 13)
    said = "; ".join(
        f"{name}: {each[len(steps) // 2, len(steps) // 2]:.2g} in the middle, {each.max():.2g} at most"
        for name, each in values.items()
    )
    figure, axes = new_figure(f"the loss along two directions. {said}", 1, len(values), 3.1 * len(values), 3.1)
    for axis, (name, each) in zip(axes.flat, values.items()):
        table = each.clamp(min=1e-4).numpy()
        axis.contourf(steps, steps, table, levels, cmap="Blues", norm="log", extend="both")
        axis.contour(steps, steps, table, levels[1:-1], colors="black", linewidths=0.5)
        axis.plot(0, 0, "*", color=ORANGE, markersize=12, markeredgecolor="black", markeredgewidth=0.6)
        axis.set(title=name, aspect="equal", xlabel="second direction")
    axes[0, 0].set_ylabel("first direction")
    return figure


def _chance(axis, chance: float) -> None:
    axis.axvline(100 * chance, color=GREY, linestyle="--", linewidth=1, zorder=0)
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axis.annotate("chance", (100 * chance, 1), (0, 1), **place, ha="center", va="bottom", fontsize=SMALL, color=GREY)


def _range(seeds: Seeds) -> str:
    """``"72"``, or of several seeds the lowest and the highest, ``"70–73"``."""
    lowest, highest = (f"{100 * value:.0f}" for value in (min(seeds), max(seeds)))
    return lowest if lowest == highest else f"{lowest}–{highest}"
