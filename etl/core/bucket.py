"""An S3 bucket as both the lake and the file transport reach it: one client, and errors that are Retry or Stop."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import boto3
import botocore.exceptions
from botocore.config import Config
from pydantic import SecretStr

from etl.core.errors import Retry, Stop
from etl.core.redaction import quieten_wire_logs, redact_text

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REFUSED = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "Forbidden",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
    }
    | {"401", "403", "TokenRefreshRequired", "AuthorizationHeaderMalformed"}
)
_MISSING = frozenset({"NoSuchKey", "NoSuchUpload", "NotFound", "404"})
_TAKEN = frozenset({"PreconditionFailed", "412"})
_TRY_AGAIN = frozenset(
    {"ConditionalRequestConflict", "InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"}
    | {"RequestTimeTooSkewed", "OperationAborted", "408", "409", "429", "500", "502", "503", "504"}
)


class Missing(Stop):
    """There is no object under the key."""


class Taken(Stop):
    """A condition on the key does not hold: for a conditional write, the key exists and nothing was written."""


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """One bucket and how it is reached.

    `name` is what messages call it. Without a key, boto3's own chain is asked: the AWS_… variables, a profile, the
    machine's role. Without `endpoint_url`, AWS_ENDPOINT_URL_S3, else Amazon.
    """

    name: str
    bucket: str
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    region: str | None = None
    endpoint_url: str | None = field(default=None, repr=False)
    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    attempts: int = 4

    @property
    def kept_in(self) -> str:
        """Return where a person finds the credentials."""
        return f"the connection {self.name}" if self.access_key_id else "the AWS_… variables, the profile or the role"

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Return what must never be shown."""
        return tuple(each for each in (self.secret_access_key, self.session_token) if each is not None)


def open_client(access: BucketAccess, signature: str | None = None) -> S3Client:
    """Return a client for the bucket; nothing is sent yet. Stop if what is given is no way to reach one.

    It signs as the bucket's endpoint wants it, unless `signature` names a way.
    """
    quieten_wire_logs()
    with typed_errors(access, "opening"):
        session = boto3.session.Session(
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=_told(access.secret_access_key),
            aws_session_token=_told(access.session_token),
            region_name=access.region,
        )
        client: S3Client = session.client(
            "s3",
            endpoint_url=access.endpoint_url,
            config=Config(
                connect_timeout=access.connect_seconds,
                read_timeout=access.read_seconds,
                signature_version=signature,
                retries={"mode": "standard", "total_max_attempts": access.attempts},
                # A store of one's own seldom has a host name per bucket.
                s3={"addressing_style": "auto" if access.endpoint_url is None else "path"},
                # What needs a checksum says which: the default ones come as trailers, which not every store knows.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    return client


def _told(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def checksum(content: bytes) -> str:
    """Return the sha256 of `content` as S3 takes it: the store checks what arrives, and Object Lock asks for it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode("ascii")


@contextmanager
def typed_errors(access: BucketAccess, doing: str) -> Iterator[None]:
    """Turn botocore's errors into Retry (the world) or Stop (a person), named after the bucket and without secrets.

    Stop is Missing where a key is not there, Taken where a condition on it does not hold.
    """
    name, hidden = access.name, access.secrets
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _error_of(access, doing, error, redact_text(str(error), hidden)) from None
    except (
        botocore.exceptions.ParamValidationError,
        botocore.exceptions.NoCredentialsError,
        botocore.exceptions.PartialCredentialsError,
        botocore.exceptions.ProfileNotFound,
        ValueError,
    ) as error:
        raise Stop(f"{name}: {doing}: {redact_text(str(error), hidden)}; correct {access.kept_in}.") from None
    except (botocore.exceptions.BotoCoreError, OSError) as error:
        # Timeouts, refused connections and bodies that end early are all BotoCoreErrors.
        said = redact_text(f"{type(error).__name__}: {error}", hidden)
        raise Retry(f"{name}: {doing} failed ({said}).") from None


def _error_of(
    access: BucketAccess, doing: str, error: botocore.exceptions.ClientError, said: str
) -> Retry | Stop | Missing | Taken:
    name = access.name
    code = str(error.response.get("Error", {}).get("Code", "unknown"))
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    if code in _TAKEN:
        return Taken(f"{name}: {doing}: the condition on it does not hold ({said}).")
    if code in _REFUSED:
        return Stop(
            f"{name}: {doing}: credential refused or expired, or without this right: renew it in {access.kept_in}, or "
            f"allow it (docs/bring-your-own.md has the policy). ({said})"
        )
    if code in _MISSING:
        return Missing(f"{name}: {doing}: not there in s3://{access.bucket} ({said}); check the name.")
    if code == "NoSuchBucket":
        return Stop(
            f"{name}: {doing}: not there: the bucket s3://{access.bucket} ({said}); check its name, or make it (the "
            "lake's: tallyback lake create)."
        )
    if code in _TRY_AGAIN or status.startswith("5"):
        return Retry(f"{name}: {doing} failed for now ({said}).")
    return Stop(f"{name}: {doing} was refused ({said}); check {access.kept_in}.")
