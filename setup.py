"""Build of the one distribution: the ctckit package and the first-party plugins under plugins/."""

from setuptools import setup

setup(
    packages=[
        "ctckit",
        "ctckit.cli",
        "ctckit.data",
        "ctckit.doctor",
        "ctckit.engine",
        "ctckit.ops",
        "ctckit.report",
        "ctckit_hierarchical",
    ],
    package_dir={"ctckit": "ctckit", "ctckit_hierarchical": "plugins/ctckit_hierarchical"},
    package_data={"ctckit": ["py.typed"], "ctckit.report": ["*.html"], "ctckit_hierarchical": ["py.typed"]},
)
