"""A Hub of the standard library: what the real client needs to list, pull and push, and faults on demand."""

import base64
import hashlib
import json
import math
import re
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import yaml

TOKEN = "hf_loopback"
USER = "me"
LARGE = (".safetensors", ".bin", ".png")


@dataclass
class Repo:
    name: str
    private: bool = False
    gated: str | bool = False
    granted: bool = False
    downloads: int = 0
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{self.name} {len(self.commits)} {time.time_ns()}".encode()).hexdigest()
        self.commits.append((sha, files))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        return next((commit for commit in self.commits[::-1] if revision in ("main", commit[0])), None)

    def metadata(self, sha: str, files: dict[str, bytes]) -> dict:
        """What the Hub derives from the files of a commit."""
        config = _json(files.get("config.json", b"null"))
        block = re.match(r"---\n(.*?)\n---", files.get("README.md", b"").decode(), re.DOTALL)
        card = yaml.safe_load(block[1]) if block else None
        languages = (card or {}).get("language", [])
        tags = ["transformers"] if config else []
        tags += ["safetensors"] if any(name.endswith(".safetensors") for name in files) else []
        tags += [f"license:{card['license']}"] if card and "license" in card else []
        tags += [languages] if isinstance(languages, str) else languages
        architecture = "".join((config or {}).get("architectures") or [])
        task = (card or {}).get("pipeline_tag")
        task = task or ("image-classification" if "ForImageClassification" in architecture else None)
        task = task or ("text-classification" if "ForSequenceClassification" in architecture else None)
        total = sum(_parameters(content) for name, content in files.items() if name.endswith(".safetensors"))
        return {
            "id": self.name,
            "modelId": self.name,
            "author": self.name.split("/")[0],
            "sha": sha,
            "private": self.private,
            "gated": self.gated,
            "disabled": False,
            "downloads": self.downloads,
            "tags": tags,
            "pipeline_tag": task,
            "config": config,
            "cardData": card,
            "safetensors": {"parameters": {"F32": total}, "total": total} if total else None,
            "siblings": [{"rfilename": name} for name in sorted(files)],
        }


@dataclass
class Fault:
    pattern: str
    times: int
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    truncate: bool = False
    seconds: float = 0.0


class LoopbackHub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.counting = threading.Lock()
        self.clear()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def clear(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.times: list[float] = []
        """When each request came, seconds of the monotonic clock."""
        self.page_size = 1000

    def add(self, name: str, files: dict[str, bytes] | Path, **settings) -> str:
        """Publish files (or a folder of them) as a new repository or as its next commit; gives the sha."""
        if isinstance(files, Path):
            files = {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
        repo = self.repos.setdefault(name, Repo(name, **settings))
        return repo.commit(dict(files))

    def fault(self, pattern: str, *, times: int = 10**6, **what) -> None:
        """Answer requests that `pattern` finds (as "METHOD /path?query") wrongly, the next so many times.

        Either `status=` with `headers=`, or `truncate=True` (half of the body, then the connection closes), or
        `seconds=` (the answer comes late).
        """
        self.faults.append(Fault(pattern, times, **what))

    def seen(self, pattern: str) -> list[str]:
        """Requests so far that `pattern` finds."""
        return [request for request in self.requests if re.search(pattern, request)]

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may hang up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: LoopbackHub

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        split = urlsplit(self.path)
        self.query = parse_qs(split.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.truncate = False
        request = f"{self.command} {self.path}"
        with self.server.counting:
            self.server.requests.append(request)
            self.server.times.append(time.monotonic())
        fault = next((one for one in self.server.faults if one.times > 0 and re.search(one.pattern, request)), None)
        if fault is not None:
            fault.times -= 1
            self.truncate = fault.truncate
            threading.Event().wait(fault.seconds)  # not `time.sleep`, which a test may have replaced
            if fault.status is not None:
                return self._json({"error": "told to"}, fault.status, **fault.headers)
        for method, pattern, action in _ROUTES:
            match = re.fullmatch(pattern, unquote(split.path))
            if match and self.command in method.split():
                return action(self, **match.groupdict())
        return self._refuse(404, "", f"no such endpoint: {request}")

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if self.truncate else content)
        if self.truncate:
            self.close_connection = True

    def _json(self, value, status: int = 200, **headers: str) -> None:
        self._answer(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def _refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        self._json({"error": message}, status, X_Error_Code=code, X_Error_Message=message, **headers)

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repo(self, name: str, *, content: bool = False) -> Repo | None:
        """The repository if the client may see it (and, for a gated one, its content); else it is told why not."""
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not self._known):
            return self._refuse(404 if self._known else 401, "RepoNotFound", "Repository not found")
        if content and repo.gated and not (repo.granted and self._known):
            return self._refuse(403, "GatedRepo", f"Access to model {name} is restricted")
        return repo

    def _list(self) -> None:
        query = {key: values[0] for key, values in self.query.items()}
        start, limit = int(query.get("cursor", 0)), int(query.get("limit", 1000))
        visible = [repo for repo in self.server.repos.values() if not repo.private or self._known]
        found = [repo.metadata(*repo.commits[-1]) for repo in visible]
        found = [info for info in found if self._asked_for(info, query)]
        if query.get("sort") == "downloads":
            found.sort(key=lambda info: -info["downloads"])
        stop = start + min(limit, self.server.page_size)
        headers = {}
        if stop < len(found):
            following = urlencode({**self.query, "cursor": [stop]}, doseq=True)
            headers["Link"] = f'<{self.server.url}/api/models?{following}>; rel="next"'
        self._json([self._expand(info) for info in found[start:stop]], **headers)

    def _asked_for(self, info: dict, query: dict[str, str]) -> bool:
        largest = re.search(r"max:(\d+)M", query.get("num_parameters", ""))
        return (
            set(self.query.get("filter", [])) <= set(info["tags"])
            and query.get("author", info["author"]) == info["author"]
            and query.get("search", "").lower() in info["id"].lower()
            and query.get("pipeline_tag", info["pipeline_tag"]) == info["pipeline_tag"]
            and (not largest or bool(info["safetensors"]) and info["safetensors"]["total"] <= int(largest[1]) * 10**6)
        )

    def _expand(self, info: dict) -> dict:
        wanted = self.query.get("expand")
        return info if not wanted else {key: value for key, value in info.items() if key in ("id", "modelId", *wanted)}

    def _info(self, name: str, revision: str = "main") -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        commit = repo.at(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        return self._json(self._expand(repo.metadata(*commit)))

    def _tree(self, name: str, revision: str, path: str | None = None) -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        commit = repo.at(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        deep = self.query.get("recursive", ["false"])[0].lower() == "true"
        if path is not None:
            inside = [(name, content) for name, content in commit[1].items() if name.startswith(f"{path}/")]
            return self._json([_entry(name, content) for name, content in inside])
        entries = [_entry(path, content) for path, content in commit[1].items() if deep or "/" not in path]
        folders = {path.split("/")[0] for path in commit[1] if "/" in path}
        entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        return self._json(entries)

    def _auth_check(self, name: str) -> None:
        if self._repo(name, content=True) is not None:
            self._json({})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name, content=True)
        if repo is None:
            return None
        commit = repo.at(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        sha, files = commit
        if path not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found", X_Repo_Commit=sha)
        content, entry = files[path], _entry(path, files[path])
        headers = {"X_Repo_Commit": sha, "ETag": f'"{entry["oid"]}"', "Accept_Ranges": "bytes"}
        if "lfs" in entry:
            headers |= {"X_Linked_Size": str(len(content)), "X_Linked_Etag": f'"{entry["lfs"]["oid"]}"'}
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start is None:
            return self._answer(200, content, **headers)
        span = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
        return self._answer(206, content[int(start[1]) :], Content_Range=span, **headers)

    def _whoami(self) -> None:
        if self._known:
            self._json({"type": "user", "name": USER})
        else:
            self._refuse(401, "", "Invalid username or password.")

    def _create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        if not self._known:
            return self._refuse(401, "", "Invalid username or password.")
        if not name.startswith(f"{USER}/"):
            return self._refuse(403, "", f"You don't have the rights to create a model under {name.split('/')[0]}")
        if name in self.server.repos:
            return self._json({"url": f"{self.server.url}/{name}", "error": "You already created this repo"}, 409)
        self.server.repos[name] = Repo(name, private=asked.get("visibility") == "private")
        self.server.repos[name].commit({})
        return self._json({"url": f"{self.server.url}/{name}", "name": name})

    def _validate_yaml(self) -> None:
        block = re.match(r"---\n(.*?)\n---", json.loads(self.body)["content"], re.DOTALL)
        try:
            card = yaml.safe_load(block[1]) if block else {}
        except yaml.YAMLError:
            return self._json({"errors": [{"message": "metadata is not valid YAML"}], "warnings": []}, 400)
        bad = not isinstance(card.get("license", ""), str)
        errors = [{"message": '"license" must be a string'}] if bad else []
        return self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _preupload(self, name: str, revision: str) -> None:
        if self._repo(name) is None:
            return
        paths = [file["path"] for file in json.loads(self.body)["files"]]
        modes = [{"path": p, "uploadMode": "lfs" if p.endswith(LARGE) else "regular"} for p in paths]
        self._json({"files": [{**mode, "shouldIgnore": False} for mode in modes]})

    def _batch(self, name: str) -> None:
        if self._repo(name) is None:
            return
        objects = [{"oid": one["oid"], "size": one["size"]} for one in json.loads(self.body)["objects"]]
        for one in objects:
            if one["oid"] not in self.server.blobs:
                href = f"{self.server.url}/lfs/{one['oid']}"
                one["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
        self._json({"transfer": "basic", "objects": objects})

    def _upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._refuse(400, "", "content does not match its digest")
        self.server.blobs[oid] = self.body
        return self._answer(200, b"")

    def _verify(self, oid: str) -> None:
        self._json({}) if oid in self.server.blobs else self._refuse(404, "", "not uploaded")

    def _commit(self, name: str, revision: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        if not self._known:
            return self._refuse(403, "", "forbidden")
        files = dict(repo.files)
        for line in self.body.splitlines():
            key, value = json.loads(line)["key"], json.loads(line)["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"], None)
        sha = repo.commit(files)
        return self._json({"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{name}/commit/{sha}"})


_NAME = r"(?P<name>[^/]+(?:/[^/]+)?)"
_REVISION = r"(?P<revision>[^/]+)"
_ROUTES = (
    ("GET", "/api/whoami-v2", _Handler._whoami),
    ("GET", "/api/models", _Handler._list),
    ("GET", f"/api/(?:models|datasets)/{_NAME}/auth-check", _Handler._auth_check),
    ("GET", f"/api/(?:models|datasets)/{_NAME}/revision/{_REVISION}", _Handler._info),
    ("GET", f"/api/(?:models|datasets)/{_NAME}/tree/{_REVISION}(?:/(?P<path>.+))?", _Handler._tree),
    ("GET", f"/api/(?:models|datasets)/{_NAME}", _Handler._info),
    ("GET HEAD", f"/(?:datasets/)?{_NAME}/resolve/{_REVISION}/(?P<path>.+)", _Handler._resolve),
    ("POST", "/api/repos/create", _Handler._create),
    ("POST", "/api/validate-yaml", _Handler._validate_yaml),
    ("POST", f"/api/(?:models|datasets)/{_NAME}/preupload/{_REVISION}", _Handler._preupload),
    ("POST", f"/(?:datasets/)?{_NAME}.git/info/lfs/objects/batch", _Handler._batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]+)", _Handler._upload),
    ("POST", "/lfs/(?P<oid>[0-9a-f]+)/verify", _Handler._verify),
    ("POST", f"/api/(?:models|datasets)/{_NAME}/commit/{_REVISION}", _Handler._commit),
)


def _entry(path: str, content: bytes) -> dict:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def _json(content: bytes):
    try:
        return json.loads(content)
    except ValueError:
        return None


def _parameters(content: bytes) -> int:
    if len(content) < 8:
        return 0
    header = _json(content[8 : 8 + struct.unpack("<Q", content[:8])[0]]) or {}
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
