"""The version, importable by every folder."""

__version__ = "0.1.0"
