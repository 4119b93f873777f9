"""A stand-in of the Hugging Face hub: as much of its HTTP API as models are fetched and put by."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_stand_in"
READ_ONLY = "hf_read_only"
LFS = ("*.safetensors", "*.pth")  # what .gitattributes would say

Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits by their hash, and branches."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files, message: str = "") -> str:
        parent = self.branches.get(branch, "")
        told = json.dumps([parent, message, sorted((k, _sha256(v)) for k, v in files.items())])
        sha = hashlib.sha1(told.encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def at(self, revision: str) -> str | None:
        sha = self.branches.get(revision, revision)
        return sha if sha in self.commits else None


class Hub:
    """What the hub has, and what it was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by hash
        self.asked: list[str] = []
        self.failing = 0  # a status that every request is answered with
        self.url = ""

    def add(self, name: str, files: Files, **how: Any) -> Repository:
        repository = self.repositories[name] = Repository(**how)
        repository.commit("main", files)
        return repository


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub at `hub.url`, which stops at the end."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(f"{self.command} {path}")
        try:
            if self.hub.failing:
                raise _Refused(self.hub.failing, message="out of order")
            for methods, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in methods.split():
                    answer(self, *match.groups(), body=body)
                    return
            raise _Refused(404)
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self._send(refused.status, json.dumps({"error": refused.message}).encode(), headers)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    @property
    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _readable(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._token):
            raise _Refused(404 if self._token else 401, "RepoNotFound", "Repository not found")
        return repository

    def _writable(self, name: str) -> Repository:
        self._may_write()
        return self._readable(name)

    def _may_write(self) -> None:
        if not self._token:
            raise _Refused(401, message="Invalid username or password.")
        if self._token != TOKEN:
            raise _Refused(403, message="You don't have the rights to create a model")

    def _commit_of(self, name: str, revision: str) -> tuple[str, Files]:
        repository = self._readable(name)
        sha = repository.at(revision)
        if sha is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha, repository.commits[sha]

    # Reading

    def info(self, name: str, revision: str | None, body: bytes) -> None:
        sha, files = self._commit_of(name, revision or "main")
        self._json({"id": name, "sha": sha, "siblings": [{"rfilename": path} for path in files]})

    def tree(self, name: str, revision: str, body: bytes) -> None:
        _, files = self._commit_of(name, revision)
        self._json([_entry(path, content) for path, content in files.items()])

    def resolve(self, name: str, revision: str, path: str, body: bytes) -> None:
        sha, files = self._commit_of(name, revision)
        if self.hub.repositories[name].gated:
            raise _Refused(403, "GatedRepo", "Access to this model is restricted")
        if path not in files:
            raise _Refused(404, "EntryNotFound", "Entry not found")
        content, entry = files[path], _entry(path, files[path])
        headers = {"X-Repo-Commit": sha, "ETag": f'"{entry["oid"]}"'}
        if "lfs" in entry:
            oid = entry["lfs"]["oid"]
            self.hub.objects[oid] = content
            headers |= {
                "X-Linked-Etag": f'"{oid}"',
                "X-Linked-Size": str(len(content)),
                # Another host, as the hub's: a client asks the first one about the file alone.
                "Location": f"{self.hub.url.replace('127.0.0.1', 'localhost')}/objects/{oid}",
            }
            self._send(302, b"", headers)
        else:
            self._send(200, content, headers | {"Content-Length": str(len(content))})

    def object(self, oid: str, body: bytes) -> None:
        self._send(200, self.hub.objects[oid], {"ETag": f'"{oid}"'})

    # Writing

    def create(self, body: bytes) -> None:
        self._may_write()
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.url}/{name}"
        if name in self.hub.repositories:
            self._json({"url": url, "error": "You already created this model repo"}, 409)
            return
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        self._json({"url": url, "id": name})

    def branch(self, name: str, branch: str, body: bytes) -> None:
        repository = self._writable(name)
        if branch in repository.branches:
            raise _Refused(409, message="Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        self._json({}, 201)

    def validate(self, body: bytes) -> None:
        text = json.loads(body)["content"]
        front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        errors = [] if front and isinstance(yaml.safe_load(front[1]), dict) else ["no metadata"]
        self._json({"errors": [{"message": error} for error in errors], "warnings": []})

    def preupload(self, name: str, revision: str, body: bytes) -> None:
        self._writable(name)
        self._json(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if _is_lfs(file["path"]) else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
            }
        )

    def batch(self, name: str, body: bytes) -> None:
        self._writable(name)
        asked = json.loads(body)
        assert asked["operation"] == "upload"
        self._json(
            {
                "transfer": "basic",
                "objects": [
                    {
                        **entry,
                        "actions": {"upload": {"href": f"{self.hub.url}/objects/{entry['oid']}"}},
                    }
                    for entry in asked["objects"]
                ],
            }
        )

    def put(self, oid: str, body: bytes) -> None:
        assert _sha256(body) == oid
        self.hub.objects[oid] = body
        self._send(200)

    def commit(self, name: str, branch: str, body: bytes) -> None:
        repository = self._writable(name)
        files, message = dict(repository.commits[repository.branches[branch]]), ""
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise _Refused(400, message=f"unknown key {line['key']}")
        sha = repository.commit(branch, files, message)
        url = f"{self.hub.url}/{name}/commit/{sha}"
        self._json({"success": True, "commitOid": sha, "commitUrl": url, "pullRequestUrl": None})


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.validate),
    ("GET", rf"/api/models/{NAME}/tree/([\w.-]+)", _Handler.tree),
    ("POST", rf"/api/models/{NAME}/branch/([\w.-]+)", _Handler.branch),
    ("POST", rf"/api/models/{NAME}/preupload/([\w.-]+)", _Handler.preupload),
    ("POST", rf"/api/models/{NAME}/commit/([\w.-]+)", _Handler.commit),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("GET", rf"/api/models/{NAME}(?:/revision/([\w.-]+))?", _Handler.info),
    ("GET HEAD", rf"/{NAME}/resolve/([\w.-]+)/(.+)", _Handler.resolve),
    ("GET HEAD", r"/objects/(\w+)", _Handler.object),
    ("PUT", r"/objects/(\w+)", _Handler.put),
]


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """Of a listing."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "oid": blob, "size": len(content), "path": path}
    if _is_lfs(path):
        entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 134}
    return entry


def _is_lfs(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in LFS)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
