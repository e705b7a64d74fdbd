"""Everything that talks to a Hub or reads a folder of models: search, safe download, push. Needs no torch."""

from hf_ctkd.hub.control import RANDOM, random_like
from hf_ctkd.hub.deletion import NewDownloads
from hf_ctkd.hub.download import download_bytes, fetch_file, fetch_teacher
from hf_ctkd.hub.files import push_refusal
from hf_ctkd.hub.folders import folder_teachers
from hf_ctkd.hub.listing import HubSearch, ListedModel
from hf_ctkd.hub.names import candidates_named, license_named
from hf_ctkd.hub.push import push_folder
from hf_ctkd.hub.search import hub_teachers

__all__ = [
    "RANDOM",
    "HubSearch",
    "ListedModel",
    "NewDownloads",
    "candidates_named",
    "download_bytes",
    "fetch_file",
    "fetch_teacher",
    "folder_teachers",
    "hub_teachers",
    "license_named",
    "push_folder",
    "push_refusal",
    "random_like",
]
