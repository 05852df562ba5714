"""What Google's REST services tell about a project: services, images, accounts, roles, quota, as a test sets them.

It knows the paths of the documentation, and any signed token may ask for all of it.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from .calls import PROJECT, Refusal, check_token

_NAME = r"[^/]+"
_PATHS = {
    "enabled": rf"/serviceusage.googleapis.com/v1/projects/{PROJECT}/services/(?P<name>{_NAME})",
    "limit": rf"/serviceusage.googleapis.com/v1beta1/projects/{PROJECT}/services/aiplatform.googleapis.com"
    rf"/consumerQuotaMetrics/(?P<name>{_NAME})",
    "image": rf"/artifactregistry.googleapis.com/v1/(?P<name>projects/{_NAME}/locations/{_NAME}/repositories/{_NAME}"
    rf"/packages/{_NAME}/(tags|versions)/{_NAME})",
    "permissions": rf"/cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}:testIamPermissions",
    "policy": rf"/cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}:getIamPolicy",
    "act_as": rf"/iam.googleapis.com/v1/projects/-/serviceAccounts/(?P<name>{_NAME}@[^/:]+):testIamPermissions",
    "account": rf"/iam.googleapis.com/v1/projects/-/serviceAccounts/(?P<name>{_NAME}@[^/:]+)",
}


class Control(ThreadingHTTPServer):
    """The services on a free port, until closed."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.services: set[str] = set()
        self.images: set[str] = set()  # resource names of tags and versions
        self.permissions: set[str] = set()  # of the caller in the project
        self.accounts: dict[str, bool] = {}  # whether the caller may act as each
        self.bindings: dict[str, list[str]] = {}  # role -> members
        self.limits: dict[str, int] = {}  # metric -> quota in us-central1; others have none
        self.refused: set[str] = set()  # of _PATHS
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="control")
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def answer(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The content of an answer, or None for 404."""
        match kind:
            case "enabled":
                return {"name": name, "state": "ENABLED" if name in self.services else "DISABLED"}
            case "limit":
                buckets: list[dict[str, Any]] = [{"effectiveLimit": "0"}]  # the default, first and without dimensions
                if name in self.limits:
                    there = {"dimensions": {"region": "us-central1"}, "effectiveLimit": str(self.limits[name])}
                    buckets.append(there)
                return {"metric": name, "consumerQuotaLimits": [{"quotaBuckets": buckets}]}
            case "image":
                return {"name": name} if name in self.images else None
            case "permissions":
                return {"permissions": [one for one in body["permissions"] if one in self.permissions]}
            case "policy":
                return {"bindings": [{"role": role, "members": found} for role, found in self.bindings.items()]}
            case "account":
                return {"email": name} if name in self.accounts else None
        return {"permissions": body["permissions"]} if self.accounts.get(name) else {}


class Requests(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: Control

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def handle_one(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        try:
            check_token(self.headers.get("Authorization", ""))
        except Refusal as refusal:
            return self.send(401, {"error": {"message": refusal.message}})
        for kind, pattern in _PATHS.items():
            if found := re.fullmatch(pattern, self.path):
                if kind in self.server.refused:
                    return self.send(403, {"error": {"message": f"Permission denied: {kind}"}})
                name = found.groupdict().get("name", "")
                content = self.server.answer(kind, name if kind == "image" else unquote(name), body)
                return self.send(200 if content is not None else 404, content or {})
        return self.send(501, {"error": {"message": f"the test server does not serve {self.path}"}})

    do_GET = do_POST = handle_one

    def send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
