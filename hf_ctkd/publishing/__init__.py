"""A student's folder -> card, clean list of files, push. Needs no torch."""

from hf_ctkd.publishing.files import publishable_files
from hf_ctkd.publishing.publish import publish, write_card

__all__ = ["publish", "publishable_files", "write_card"]
