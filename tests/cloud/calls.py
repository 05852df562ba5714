"""gRPC as Google's services speak it: TLS, a signed token with each call, errors with codes. It knows no service."""

import datetime
import inspect
import json
import threading
from collections.abc import Callable
from concurrent import futures
from functools import cache
from typing import Any, NamedTuple

import google.auth.jwt
import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

PROJECT = "test-project"
NUMBER = "402100420021"  # what the service itself calls the project in the names that it answers
PEM = serialization.Encoding.PEM


class Refusal(Exception):
    """The error that a service answers a call with."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(f"{code.name}: {message}")
        self.code, self.message = code, message


def invalid(message: str) -> Refusal:
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def absent(name: str) -> Refusal:
    return Refusal(grpc.StatusCode.NOT_FOUND, f"The resource {name} does not exist.")


def full_name(name: str, region: str) -> str:
    """A resource's name with the number of the project, from one with its number or its id."""
    parts = name.split("/")
    if len(parts) < 4 or parts[0] != "projects" or parts[2] != "locations":
        raise invalid(f"Resource name '{name}' is malformed; expected projects/*/locations/*/...")
    if parts[1] not in (PROJECT, NUMBER):
        raise Refusal(grpc.StatusCode.PERMISSION_DENIED, f"Permission denied on resource project {parts[1]}.")
    if parts[3] != region:
        raise invalid(f"The location of '{name}' is not {region}, which this endpoint serves.")
    return "/".join(["projects", NUMBER, *parts[2:]])


def page(found: list[Any], size: int, token: str, most: int = 100) -> tuple[list[Any], str]:
    """One page of what was found, and the token of the next one."""
    if token and not (token.isdigit() and int(token) < len(found)):
        raise invalid(f"Page token '{token}' is not valid.")
    start = int(token or 0)
    end = start + min(size or most, most)
    return found[start:end], str(end) if end < len(found) else ""


class Identity(NamedTuple):
    """Who the server is, and who may call it."""

    certificate: bytes
    key: bytes
    account: str  # JSON of a service account with its private key
    public: bytes  # the key that its tokens are checked with


@cache
def identity() -> Identity:
    """The certificate of this process: gRPC reads the roots once and trusts these to its end."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now, day = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local")]), *_now()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    account_key = rsa.generate_private_key(65537, 2048)
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": _private(account_key).decode(),
        "client_email": f"trainer@{PROJECT}.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:9/token",  # the tokens are signed by the client itself; nobody listens here
    }
    public = account_key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Identity(certificate.public_bytes(PEM), _private(key), json.dumps(account), public)


def _now() -> tuple[datetime.datetime, datetime.timedelta]:
    return datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)


def _private(key: Any) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Fault(NamedTuple):
    method: str
    refusal: Refusal
    after: bool


class Calls:
    """The calls of all services: who may make them, what was asked, and the errors that a test puts in."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.crashes: list[Exception] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def fail_next(self, method: str, code: grpc.StatusCode | str, message: str, times: int, after: bool) -> None:
        code = grpc.StatusCode[code] if isinstance(code, str) else code
        self._faults += [Fault(method, Refusal(code, message), after)] * times

    def _fault(self, method: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.method == method:
                    self._faults.remove(fault)
                    return fault
        return None

    def serve(self, services: dict[str, object]) -> "Listener":
        """Serve on a free port of this machine: by full service name, an object with a method for each call."""
        pool = futures.ThreadPoolExecutor(8, thread_name_prefix="vertex")
        server = grpc.server(pool)
        for name, service in services.items():
            rpcs = {_camel(method): self._handler(_camel(method), f) for method, f in _methods(service).items()}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, rpcs),))
        secure = grpc.ssl_server_credentials([(identity().key, identity().certificate)])
        port = server.add_secure_port("localhost:0", secure)
        server.start()
        return Listener(server, pool, port)

    def _handler(self, method: str, function: Callable[[Any], Any]) -> grpc.RpcMethodHandler:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return self._answer(method, function, request, dict(context.invocation_metadata()))
            except Refusal as refusal:
                context.abort(refusal.code, refusal.message)
            except Exception as error:
                self.crashes.append(error)
                context.abort(grpc.StatusCode.INTERNAL, f"the test server failed: {error!r}")

        takes, gives = _types(function)
        read = takes.deserialize if hasattr(takes, "deserialize") else takes.FromString
        write = gives.serialize if hasattr(gives, "serialize") else gives.SerializeToString
        return grpc.unary_unary_rpc_method_handler(answer, read, write)

    def _answer(self, method: str, function: Callable[[Any], Any], request: Any, metadata: dict[str, str]) -> Any:
        check_token(metadata.get("authorization", ""))
        self.requests.append((method, request))
        fault = self._fault(method)
        if fault and not fault.after:
            raise fault.refusal
        result = function(request)
        if fault:
            raise fault.refusal
        return result


class Listener(NamedTuple):
    """A started server."""

    server: grpc.Server
    pool: futures.ThreadPoolExecutor
    port: int

    def close(self) -> None:
        self.server.stop(0).wait()
        self.pool.shutdown()


def check_token(header: str) -> None:
    """Refuse a call without a token that the service account's own key has signed."""
    scheme, _, token = header.partition(" ")
    try:
        if scheme != "Bearer":
            raise ValueError("no bearer token")
        google.auth.jwt.decode(token, certs=identity().public)
    except ValueError as error:
        message = f"Request had invalid authentication credentials: {error}"
        raise Refusal(grpc.StatusCode.UNAUTHENTICATED, message) from error


def _methods(service: object) -> dict[str, Callable[[Any], Any]]:
    """Calls of a service: its public methods that take a `request`."""
    members = inspect.getmembers(service, inspect.ismethod)
    return {name: f for name, f in members if name[0] != "_" and "request" in inspect.signature(f).parameters}


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _types(function: Callable[[Any], Any]) -> tuple[Any, Any]:
    signature = inspect.signature(function)
    return signature.parameters["request"].annotation, signature.return_annotation
