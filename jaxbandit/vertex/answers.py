"""Errors of Google's clients as one line that says what to do. It asks nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxbandit._core.errors import Failure, InputError

ANSWER = 60.0  # seconds to wait for an answer; a creation is never sent twice
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
PATIENCE = 600.0  # seconds for which a question is asked again while the service does not answer


@contextmanager
def from_sdk() -> Iterator[None]:
    """Let the block import the SDK, or say in one line how to install it."""
    try:
        yield
    except ImportError as error:
        raise InputError(f"the cloud SDK is missing ({error.name}); pip install 'jaxbandit[vertex]'") from None


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the SDK's errors into one line that says what to do.

    Over gRPC errors are subclasses of the ones named here, over REST they are these.
    """
    import google.auth.exceptions as auth
    import requests as http
    from google.api_core import exceptions

    try:
        yield
    except (auth.DefaultCredentialsError, auth.RefreshError) as error:
        raise InputError(
            f"no credentials of Google Cloud ({first_line(error)}); allowed: `gcloud auth application-default login`, "
            "or GOOGLE_APPLICATION_CREDENTIALS with the path of a service account's key"
        ) from None
    except exceptions.TooManyRequests as error:
        raise InputError(
            f"quota is exhausted: {error.message}; allowed: another --machine or --region, --scheduling spot, fewer "
            "--parallel, or ask for more at https://console.cloud.google.com/iam-admin/quotas"
        ) from None
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise InputError(f"{what}: no permission: {error.message}") from None
    except (exceptions.Cancelled, exceptions.Aborted) as error:  # subclasses of ClientError, yet no refusal
        raise Failure(f"{what}: {error.message}") from None
    except exceptions.ClientError as error:
        raise InputError(f"{what} was refused: {error.message}") from None
    except exceptions.RetryError as error:
        raise Failure(f"{what}: no answer for {PATIENCE:.0f} s: {first_line(error.cause)}") from None
    except (exceptions.GoogleAPICallError, auth.TransportError, http.RequestException, ConnectionError) as error:
        raise Failure(f"{what}: no answer: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """Take the first line of an error's text, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]
