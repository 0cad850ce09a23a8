"""Build of the one distribution: the ctckit package, the first-party plugins under plugins/, and the kernels.

The kernels are compiled here where torch can be found (pip --no-build-isolation), elsewhere on first use, from
the sources that travel with the package. Both go through ctckit/ops/build.py, which is loaded by its path
because ctckit itself imports torch.
"""

import importlib.util
import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

_spec = importlib.util.spec_from_file_location("build", Path(__file__).parent / "ctckit/ops/build.py")
kernels = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kernels)


class BuildKernels(build_ext):
    """Compiles the library, which is no Python module, to the place where ctckit looks for it."""

    def get_ext_filename(self, name):
        """Return the library's path: the same for every Python, for it links none."""
        return os.path.join(*name.split(".")[:-1], kernels.LIBRARY)  # noqa: PTH118 setuptools wants a str

    def build_extension(self, ext):
        """Compile ahead of time, unless there is no compiler to do it: then first use will say so again."""
        try:
            kernels.find_compiler()
        except kernels.BuildError as error:
            if os.environ.get("CTCKIT_CUDA") == "1":
                raise
            self.warn(f"{error}; ctckit will run its reference in plain torch")
            return
        # A wheel may meet any torch. A checkout has the one that is here.
        environment = kernels.for_installed_torch() if self.editable_mode else os.environ
        kernels.build(Path(self.get_ext_fullpath(ext.name)).resolve(), environment)


class AnyPython(bdist_wheel):
    """One binary wheel for every Python: the library uses torch's stable ABI and no Python of its own."""

    def get_tag(self):
        """Return py3-none with the platform of the kernels, if any."""
        return ("py3", "none", super().get_tag()[2])


with_torch = importlib.util.find_spec("torch") is not None

setup(
    packages=[
        "ctckit",
        "ctckit.ablation",
        "ctckit.audit",
        "ctckit.cli",
        "ctckit.csrc",
        "ctckit.data",
        "ctckit.data.importers",
        "ctckit.doctor",
        "ctckit.engine",
        "ctckit.export",
        "ctckit.integrations",
        "ctckit.lm",
        "ctckit.nn",
        "ctckit.ops",
        "ctckit.record",
        "ctckit.record.foreign",
        "ctckit.report",
        "ctckit.testing",
        "ctckit.transcripts",
        "ctckit_cures",
        "ctckit_doctor",
        "ctckit_hierarchical",
    ],
    package_dir={
        "ctckit": "ctckit",
        "ctckit.csrc": "csrc",
        "ctckit_cures": "plugins/ctckit_cures",
        "ctckit_doctor": "plugins/ctckit_doctor",
        "ctckit_hierarchical": "plugins/ctckit_hierarchical",
    },
    package_data={
        "ctckit": ["py.typed"],
        "ctckit.csrc": [f"{part}/*" for part in ("binding", "core", "cpu", "cuda", "lm")],  # shim is for the tests
        "ctckit.report": ["*.html"],
        "ctckit_cures": ["py.typed"],
        "ctckit_doctor": ["py.typed"],
        "ctckit_hierarchical": ["py.typed"],
    },
    # Optional: where no compiler was found there is nothing to copy into an editable install's checkout.
    ext_modules=[Extension("ctckit.ops.kernels", sources=[], optional=True)] if with_torch else [],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": AnyPython},
)
