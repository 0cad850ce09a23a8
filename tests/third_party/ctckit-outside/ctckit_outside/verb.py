"""``ctckit outside-shift``."""

import click

import ctckit
from ctckit_outside.components import BlankTarget


@click.command()
@click.option("--mass", type=float, required=True, help="Mean blank posterior, from 0 to 1.")
@click.option("--steps", type=click.IntRange(min=0), default=10, show_default=True, help="Steps under it.")
def outside_shift(mass: float, steps: int) -> None:
    """Print the shift that the controller comes to under a constant blank share."""
    if not 0.0 <= mass <= 1.0:
        raise ctckit.ConfigError(f"--mass is {mass:g}; it lies between 0 and 1")
    penalty = BlankTarget()
    at = ctckit.Progress(epoch=1, phase="only", phase_epoch=1, phase_epochs=1, epochs=1)
    for _ in range(steps):
        penalty.observe_step(ctckit.StepResult(at, loss=1.0, blank_mass=mass, gradient_norm=1.0))
    click.echo(f"{penalty.shift(at):.3f}")
