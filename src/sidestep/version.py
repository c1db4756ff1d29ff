"""The version of Sidestep."""

__version__ = "0.1.0"
