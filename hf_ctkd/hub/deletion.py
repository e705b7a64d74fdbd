"""Deleting what a run downloaded, and nothing else, from the cache of huggingface_hub."""

import logging
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import constants, scan_cache_dir

from hf_ctkd.records import TeacherCandidate

logger = logging.getLogger(__name__)


class NewDownloads:
    """The models that came into the cache after this was made; make it before the run downloads anything.

    A model of which the cache held anything before, whatever commit or part of it, is never deleted, nor is a folder.
    The cache does not tell who downloaded what, so another program may lose a model that it downloads meanwhile.
    """

    def __init__(self) -> None:
        cache = Path(constants.HF_HUB_CACHE)
        # The names of the folders, since a scan leaves out a model whose download was interrupted early.
        self._before = {path.name for path in cache.iterdir()} if cache.is_dir() else set()

    def delete(self, candidates: Iterable[TeacherCandidate]) -> None:
        """Delete all commits of these models that are new in the cache.

        A failure to delete is logged: it costs room on the disk, and no result.

        Args:
            candidates: those on the Hub; others are left alone.
        """
        model_ids = {candidate.model_id for candidate in candidates if candidate.source == "hub"}
        cache = Path(constants.HF_HUB_CACHE)
        if not model_ids or not cache.is_dir():
            return
        try:
            scan = scan_cache_dir(cache)
            commits = [
                copy.commit_hash
                for repo in scan.repos
                if repo.repo_type == "model" and repo.repo_id in model_ids and repo.repo_path.name not in self._before
                for copy in repo.revisions
            ]
            scan.delete_revisions(*commits).execute()
        except OSError as error:
            logger.warning("Downloads of %s are left in the cache: %s", ", ".join(sorted(model_ids)), error)
