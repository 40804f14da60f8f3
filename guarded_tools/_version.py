"""The version, read by the build and by ``guarded-tools --version``."""

__version__ = "0.1.0"
