"""An index on the Hub: a data set of Parquet files, pushed and pulled."""

import logging
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from huggingface_hub import snapshot_download

from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import push_folder
from hf_ctkd.hub.problems import HubFailure, explain, problem_code
from hf_ctkd.index.store import DATA, PartFolder, parts_of
from hf_ctkd.records import write_text

logger = logging.getLogger(__name__)

_CARD = """---
configs:
- config_name: default
  data_files: {data}/*.parquet
tags:
- hf_ctkd
---
# An index of teachers

{count:,} models with their tasks, sizes, licences, languages and label names, without weights: what
[hf_ctkd](https://pypi.org/project/hf-ctkd) shortlists teachers for distillation from.

```python
from hf_ctkd import TeacherIndex

index = TeacherIndex.from_hub("{repo_id}")
teachers = index.search(["cat", "dog"], k=20)
```

Each model has a licence of its own, in the column `license`.
"""


def push_table(table: pa.Table, repo_id: str, *, private: bool, token: str | None) -> str:
    """Push the rows of an index, those of folders left out: they lie on this machine, and their paths stay here.

    Args:
        table: with the columns of an index.
        repo_id: `"org/name"`, or `"name"` for your own.
        private: whether only you see it.
        token: access token; the stored login when None.

    Raises:
        InvalidArgumentError: if no row is of the Hub.
        PublishingError: if the Hub refuses.
    """
    shared = table.filter(pc.equal(table["source"], "hub"))
    if not len(shared):
        raise InvalidArgumentError(
            "The index holds no teacher of the Hub, so there is nothing to push. Build one first."
        )
    if len(shared) < len(table):
        logger.warning("%d teachers of folders are not pushed.", len(table) - len(shared))
    with tempfile.TemporaryDirectory() as folder:
        store = PartFolder(folder)
        for part in parts_of(shared):
            store.append(part)
        write_text(Path(folder) / "README.md", _CARD.format(data=DATA, count=len(shared), repo_id=repo_id))
        names = [str(part.relative_to(folder)) for part in store.parts]
        return push_folder(
            folder,
            repo_id,
            files=["README.md", *names],
            private=private,
            token=token,
            commit_message=f"Upload index of {len(shared):,} teachers",
            repo_type="dataset",
            replaces=DATA,
        )


def pull_folder(repo_id: str, *, revision: str | None, token: str | None) -> Path:
    """Bring the files of an index into the cache of huggingface_hub.

    Args:
        repo_id: `"org/name"`.
        revision: branch, tag or commit; main when None.
        token: access token; the stored login when None.

    Raises:
        TeacherUnavailableError: if it is missing or private, or the Hub cannot be reached.
        InvalidArgumentError: if the data set holds no index.
    """
    try:
        folder = Path(
            snapshot_download(
                repo_id, repo_type="dataset", revision=revision, token=token, allow_patterns=f"{DATA}/*.parquet"
            )
        )
    except HubFailure as error:
        raise TeacherUnavailableError(
            f"The index {repo_id!r} cannot be fetched: {explain(error, repo_id)}", problem_code(error)
        ) from error
    if not PartFolder(folder).parts:
        raise InvalidArgumentError(
            f"`repo_id` {repo_id!r} holds no index: there is no {DATA}/teachers-*.parquet. Name a data set that "
            "`hf-ctkd index push` made."
        )
    return folder
