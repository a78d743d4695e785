"""Four learning rates of the quickstart's stage 0, forty steps each; ten minutes on two cores.

    zv sweep --sweep configs/sweeps/learning_rate.py --workdir runs/sweeps/learning_rate

Result: one table of the last losses, and curves in runs/sweeps/learning_rate/sweep.html.
"""

from zv_jax.sweep.points import Sweep, grid


def get_sweep() -> Sweep:
    """The points."""
    return Sweep(
        config="configs/quickstart.py:stage0",
        points=grid(
            optimizer__lr=(5e-4, 1e-3, 2e-3, 4e-3), train__steps=(40,), optimizer__warmup_steps=(5,)
        ),
    )
