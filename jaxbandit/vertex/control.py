"""What a project has and allows, asked of Google's REST services. It changes nothing.

Methods, which may change: https://docs.cloud.google.com/service-usage/docs/reference/rest (services.get, and
consumerQuotaMetrics.get of v1beta1), https://docs.cloud.google.com/artifact-registry/docs/reference/rest
(packages.tags.get, packages.versions.get), https://docs.cloud.google.com/iam/docs/reference/rest (serviceAccounts),
https://docs.cloud.google.com/resource-manager/reference/rest (projects.getIamPolicy, testIamPermissions).
"""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from jaxbandit.vertex.answers import SCOPES, from_sdk, translated

ENDPOINT = "JAXBANDIT_CONTROL_ENDPOINT"  # variable of the environment: instead of https://SERVICE.googleapis.com
SECONDS = 30.0


class Refused(Exception):
    """There is an answer, but whoever asks may not know."""


class Control:
    """The services about one project. None is the answer about what is not there."""

    def __init__(self, project: str) -> None:
        """Find credentials.

        Raises:
            InputError: the SDK or credentials are missing.
        """
        self.project = project
        with from_sdk():
            import google.auth
            from google.auth.transport.requests import AuthorizedSession
        with translated("credentials"):
            credentials: Any
            credentials, _ = google.auth.default(scopes=SCOPES)
        if hasattr(credentials, "with_always_use_jwt_access"):  # a service account's key: no token is fetched
            credentials = credentials.with_always_use_jwt_access(True)
        self._session = AuthorizedSession(credentials)

    def is_enabled(self, service: str) -> bool:
        """Whether a service is enabled in the project."""
        found = self._ask("serviceusage", f"v1/projects/{self.project}/services/{service}")
        return found is not None and found.get("state") == "ENABLED"

    def limit(self, metric: str, region: str) -> int | None:
        """Effective quota of Vertex AI in a region; None where the service names no number."""
        path = f"v1beta1/projects/{self.project}/services/aiplatform.googleapis.com/consumerQuotaMetrics"
        found = self._ask("serviceusage", f"{path}/{quote(metric, safe='')}") or {}
        limits: dict[str, int | None] = {}
        for limit in found.get("consumerQuotaLimits", ()):
            for bucket in limit.get("quotaBuckets", ()):
                value = bucket.get("effectiveLimit")
                where = bucket.get("dimensions", {}).get("region", "")
                limits[where] = None if value is None or int(value) < 0 else int(value)
        return limits.get(region, limits.get(""))

    def has_image(self, image: str) -> bool:
        """Whether an image of Artifact Registry, HOST/PROJECT/REPOSITORY/NAME and a tag or a digest, is there."""
        host, project, repository, rest = image.split("/", 3)
        name, at, digest = rest.partition("@")
        name, _, tag = (rest, "", "") if at else name.rpartition(":")
        name = name.partition("@")[0]
        package = f"repositories/{repository}/packages/{quote(name, safe='')}"
        place = f"v1/projects/{project}/locations/{host.removesuffix('-docker.pkg.dev')}/{package}"
        return self._ask("artifactregistry", f"{place}/versions/{digest}" if at else f"{place}/tags/{tag}") is not None

    def may(self, permissions: list[str]) -> set[str]:
        """Which of these permissions the caller has in the project."""
        body = {"permissions": permissions}
        found = self._ask("cloudresourcemanager", f"v1/projects/{self.project}:testIamPermissions", body) or {}
        return set(found.get("permissions", ()))

    def may_act_as(self, account: str) -> bool | None:
        """Whether the caller may let jobs run as a service account; None: there is no such account."""
        place = f"v1/projects/-/serviceAccounts/{account}"
        if self._ask("iam", place) is None:
            return None
        found = self._ask("iam", f"{place}:testIamPermissions", {"permissions": ["iam.serviceAccounts.actAs"]})
        return bool(found and found.get("permissions"))

    def roles(self, account: str) -> set[str]:
        """Roles that the project grants to a service account."""
        policy = self._ask("cloudresourcemanager", f"v1/projects/{self.project}:getIamPolicy", {}) or {}
        member = f"serviceAccount:{account}"
        return {one["role"] for one in policy.get("bindings", ()) if member in one.get("members", ())}

    def _ask(self, service: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        host = f"{service}.googleapis.com"
        base = os.environ.get(ENDPOINT)
        url = f"{base}/{host}/{path}" if base else f"https://{host}/{path}"
        with translated(host):
            kind = "GET" if body is None else "POST"
            answer = self._session.request(kind, url, json=body, timeout=SECONDS)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            try:
                words = str(answer.json()["error"]["message"])
            except (ValueError, LookupError, TypeError):
                words = f"status {answer.status_code}"
            raise Refused(" ".join(words.split()))
        found = answer.json()
        return found if isinstance(found, dict) else {}
