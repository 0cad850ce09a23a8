"""``ctckit info``."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info(as_json: bool) -> None:
    """Show versions, devices, and which kernels run, and why."""
    import importlib.metadata
    import platform

    import h5py
    import torch

    from ctckit import ops

    backend = ops.backend()
    facts = {
        "ctckit": importlib.metadata.version("ctckit"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "h5py": h5py.__version__,
        "cuda devices": torch.cuda.device_count(),
        "threads": torch.get_num_threads(),
        **{f"ops {name}": value for name, value in backend._asdict().items()},
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name:<16} {value}")
