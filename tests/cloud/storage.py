"""Cloud Storage's JSON interface over a directory: a bucket is a folder in it, an object is a file.

It asks for no credentials, as the client sends none to a host named in STORAGE_EMULATOR_HOST.
"""

import base64
import contextlib
import datetime
import hashlib
import json
import re
import socket
import tempfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c

from .calls import NUMBER, Refusal, page

_OBJECTS = re.compile(
    r"(?P<kind>/storage|/download/storage|/upload/storage)/v1/b/(?P<bucket>[^/]+)(?P<rest>/o(?:/.*)?|/iam/testPermissions)?"
)
# Names of objects have no slash in an address: it is written %2F there.
_COPY = re.compile(r"/o/([^/]+)/(?:(rewriteTo)/b/([^/]+)|moveTo)/o/([^/]+)")


class Problem(Exception):
    """What a request is refused with."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


class Storage(ThreadingHTTPServer):
    """Buckets under `directory`, by name with their locations, served on a free port until closed."""

    daemon_threads = False

    def __init__(self, directory: Path, buckets: Mapping[str, str]):
        super().__init__(("127.0.0.1", 0), Requests)
        self.directory, self.buckets = directory, dict(buckets)
        self.hidden: set[str] = set()  # buckets of which a client may use the objects alone
        for name in buckets:
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix=".uploads-", dir=directory.parent))  # renamed into place from here
        self.open_connections: set[socket.socket] = set()
        self.uploads: dict[str, tuple[dict[str, str], str, bytearray]] = {}
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="storage")
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        for connection in list(self.open_connections):
            with contextlib.suppress(OSError):  # wakes a thread that waits for the next request of a kept connection
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def path(self, bucket: str, name: str) -> Path:
        folder = self.directory / self.known(bucket)
        path = (folder / name).resolve()
        if not name or not path.is_relative_to(folder.resolve()):
            raise Problem(400, f"Invalid object name '{name}'")
        return path

    def known(self, bucket: str) -> str:
        if bucket not in self.buckets:
            raise Problem(404, f"The specified bucket does not exist: {bucket}")
        return bucket

    def describe_bucket(self, name: str) -> dict[str, Any]:
        location = self.buckets[self.known(name)].upper()
        kind = "region" if "-" in location else "dual-region" if location[-1].isdigit() else "multi-region"
        return {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "projectNumber": NUMBER,
            "location": location,
            "locationType": kind,
            "storageClass": "STANDARD",
        }

    def describe(self, bucket: str, name: str) -> dict[str, Any]:
        path = self.path(bucket, name)
        if not path.is_file():
            raise Problem(404, f"No such object: {bucket}/{name}")
        content, status = path.read_bytes(), path.stat()
        time = datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{status.st_mtime_ns}",
            "name": name,
            "bucket": bucket,
            "generation": str(status.st_mtime_ns),
            "metageneration": "1",
            "size": str(len(content)),
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            "etag": str(status.st_mtime_ns),
            "timeCreated": time,
            "updated": time,
            **checksums(content),
        }

    def list(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        folder, prefix, delimiter = self.directory / self.known(bucket), query.get("prefix", ""), query.get("delimiter")
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        found = []
        for name in (name for name in names if name.startswith(prefix)):
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            found.append((prefix + head + cut, True) if cut else (name, False))
        found, token = page(
            list(dict.fromkeys(found)), int(query.get("maxResults", 0)), query.get("pageToken", ""), 1000
        )
        items = [self.describe(bucket, name) for name, folded in found if not folded]
        answer = {"kind": "storage#objects", "items": items, "prefixes": [name for name, folded in found if folded]}
        return answer | ({"nextPageToken": token} if token else {})

    def write(self, bucket: str, name: str, content: bytes, query: dict[str, str]) -> dict[str, Any]:
        path = self.path(bucket, name)
        self.check_generation(path, query)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.scratch, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
        return self.describe(bucket, name)

    def check_generation(self, path: Path, query: dict[str, str]) -> None:
        wanted = query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != (path.stat().st_mtime_ns if path.is_file() else 0):
            raise Problem(412, "At least one of the pre-conditions you specified did not hold.")


class Requests(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Storage

    def setup(self) -> None:
        super().setup()
        self.server.open_connections.add(self.connection)

    def finish(self) -> None:
        self.server.open_connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def handle_one(self) -> None:
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            place = _OBJECTS.fullmatch(address.path)
            if not place:
                raise Problem(501, f"the test server does not serve {self.command} {self.path}")
            bucket, name = unquote(place["bucket"]), unquote((place["rest"] or "")[len("/o/") :])
            if place["kind"] == "/upload/storage":
                self.upload(bucket, query, body)
            elif place["rest"] == "/iam/testPermissions":
                self.only("GET")
                self.server.known(bucket)
                asked = [value for name, value in parse_qsl(address.query) if name == "permissions"]
                self.answer(200, {"permissions": [] if bucket in self.server.hidden else asked})
            elif copy := _COPY.fullmatch(place["rest"] or ""):
                self.only("POST")
                self.copy(bucket, *map(unquote, copy.groups("")))
            elif place["rest"] is None:
                self.only("GET")
                if bucket in self.server.hidden:
                    raise Problem(403, f"does not have storage.buckets.get access to {bucket}")
                self.answer(200, self.server.describe_bucket(bucket))
            elif not name:
                self.only("GET")
                self.answer(200, self.server.list(bucket, query))
            else:
                self.object(bucket, name, query)
        except Problem as problem:
            self.answer(problem.status, {"error": {"code": problem.status, "message": problem.message}})
        except Refusal as refusal:
            self.answer(400, {"error": {"code": 400, "message": refusal.message}})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one

    def only(self, *commands: str) -> None:
        if self.command not in commands:
            raise Problem(501, f"the test server does not serve {self.command} {self.path}")

    def object(self, bucket: str, name: str, query: dict[str, str]) -> None:
        self.only("GET", "HEAD", "DELETE")
        found = self.server.describe(bucket, name)
        path = self.server.path(bucket, name)
        self.server.check_generation(path, query)
        if self.command == "DELETE":
            path.unlink()
            self.answer(204, None)
        elif query.get("alt") == "media":
            self.download(path.read_bytes(), found)
        else:
            self.answer(200, found)

    def copy(self, bucket: str, name: str, rewrite: str, target: str, new: str) -> None:
        """Copy an object, or within its bucket move it."""
        source = self.server.path(bucket, name)
        content = self.server.describe(bucket, name) and source.read_bytes()
        copied = self.server.write(target or bucket, new, content, {})
        if rewrite:
            self.answer(200, {"kind": "storage#rewriteResponse", "done": True, "resource": copied})
        else:
            source.unlink()
            self.answer(200, copied)

    def download(self, content: bytes, found: dict[str, Any]) -> None:
        headers = {"X-Goog-Hash": f"crc32c={found['crc32c']},md5={found['md5Hash']}"}
        headers |= {"X-Goog-Generation": found["generation"], "ETag": found["etag"]}
        wanted = self.headers.get("Range", "")
        if last := re.fullmatch(r"bytes=-(\d+)", wanted):
            wanted = f"bytes={max(0, len(content) - int(last[1]))}-"
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        if not part or (int(part[1]) == 0 and not content):
            self.send(200, content, headers)
        elif int(part[1]) >= len(content):
            raise Problem(416, "The requested range cannot be satisfied.")
        else:
            piece = content[int(part[1]) : int(part[2] or len(content)) + 1]
            place = f"bytes {part[1]}-{int(part[1]) + len(piece) - 1}/{len(content)}"
            self.send(206, piece, headers | {"Content-Range": place})

    def upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
        self.server.known(bucket)
        if "upload_id" in query:  # Google's client puts a piece there, gcsfs posts it
            self.only("PUT", "POST")
            return self.go_on(bucket, query["upload_id"], body)
        self.only("POST")
        kind = query.get("uploadType")
        if kind == "resumable":
            described = json.loads(body or "{}")
            identifier = str(len(self.server.uploads) + 1)
            self.server.uploads[identifier] = (query, described.get("name") or query["name"], bytearray())
            host = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o?upload_id={identifier}"
            return self.send(200, b"", {"Location": host})
        described, content = _parts(self.headers["Content-Type"], body) if kind == "multipart" else ({}, body)
        wrong = {key for key, value in checksums(content).items() if described.get(key, value) != value}
        if wrong:
            raise Problem(400, f"Provided {', '.join(wrong)} does not match the content.")
        name = described.get("name") or query["name"]
        return self.answer(200, self.server.write(bucket, name, content, query))

    def go_on(self, bucket: str, identifier: str, body: bytes) -> None:
        query, name, content = self.server.uploads[identifier]
        content += body
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total == "*" or len(content) < int(total):
            self.send(308, b"", {"Range": f"bytes=0-{len(content) - 1}"} if content else {})
        else:
            self.answer(200, self.server.write(bucket, name, bytes(content), query))

    def answer(self, status: int, message: dict[str, Any] | None) -> None:
        content = b"" if message is None else json.dumps(message).encode()
        self.send(status, content, {"Content-Type": "application/json; charset=UTF-8"})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        with contextlib.suppress(ConnectionError):  # a client may end while it is answered
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)


def checksums(content: bytes) -> dict[str, str]:
    """The two checksums of an object as the interface writes them."""
    crc32c = google_crc32c.value(content).to_bytes(4, "big")
    return {
        "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
        "crc32c": base64.b64encode(crc32c).decode(),
    }


def _parts(kind: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The description and the content of an upload in two parts."""
    boundary = re.search(r'boundary="?([^";]+)', kind)[1].strip("'").encode()
    line = b"\r\n" if body.startswith(b"--" + boundary + b"\r\n") else b"\n"  # as Cloud Storage takes from gcsfs
    _, first, second, _ = re.split(rb"(?:\A|" + line + rb")--" + re.escape(boundary), body)
    described = first.partition(line * 2)[2]
    return json.loads(described), second.partition(line * 2)[2]
