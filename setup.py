"""Build of the one distribution: the ctckit package and the first-party plugins under plugins/."""

from setuptools import setup

setup(
    packages=[
        "ctckit",
        "ctckit.cli",
        "ctckit.data",
        "ctckit.engine",
        "ctckit.ops",
        "ctckit.report",
        "ctckit_hierarchical",
    ],
    package_dir={"ctckit": "ctckit", "ctckit_hierarchical": "plugins/ctckit_hierarchical"},
    package_data={"ctckit": ["py.typed"], "ctckit.report": ["*.html"], "ctckit_hierarchical": ["py.typed"]},
    # The name of an entry point is exactly what `--plugin` takes.
    entry_points={
        "ctckit": [
            "hierarchical_fixed = ctckit_hierarchical.fixed",
            "hierarchical_multistage = ctckit_hierarchical.multistage",
        ]
    },
)
