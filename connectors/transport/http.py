"""HTTP calls to partners: what may be repeated is repeated, everything has a limit, and no credential travels
elsewhere.

What happens to a call, from the most to the least hopeful:

    200 of the right kind              Answer
    connection refused, timeout of a repeatable call, 408 429 502 503 504
                                       tried again a few times, honouring Retry-After up to a cap; then Retry
    other 5xx, a body cut off          Retry (not at once: the same question is likely to fail the same way right away)
    401, 403                           Stop: renew the credential
    a web page for data, another 4xx, a redirect to another host, a body over the limit
                                       Stop
"""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self, TypeAlias
from urllib.parse import urljoin

import httpx
import stamina
from pydantic import SecretStr

from connectors.transport.answer import Answer, Expects, check_kind, instant_of, retry_after_seconds
from connectors.transport.budget import Budget
from connectors.transport.encoding import GZIP, UNPACKED, CutOffError, DamagedError, unpacked
from etl.core.errors import Retry, Stop
from etl.core.redaction import quieten_wire_logs, redact_text, redact_url

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TRY_AGAIN = frozenset({408, 429, 502, 503, 504})
_REFUSED_UNHEARD = frozenset({429, 503})
"""The server says it did nothing, so even a call that must not be repeated may be made again."""
_REDIRECTS_MAX = 5
_QUOTED_BODY_CHARACTERS = 300
_QUOTED_BODY_BYTES = 4096

Parameters: TypeAlias = Mapping[str, str | int | SecretStr]
"""The query of a call; what is a secret there is given as one, and shown nowhere."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """One partner's web service: where it is, the credential, and the limits of a call.

    `connection` is the name of the connection that holds the credential and `credential` what it is called there; both
    are for messages. `authorization` is the whole value of the header named `authorization_header` ("Bearer ...").
    """

    base_url: str
    connection: str
    credential: str = "token"
    authorization: SecretStr | None = None
    authorization_header: str = "Authorization"
    other_secrets: tuple[SecretStr, ...] = ()
    bytes_max: int = 256 * 1024 * 1024
    attempts: int = 4
    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    answer_seconds_max: float = 900.0
    wait_initial_seconds: float = 0.5
    wait_max_seconds: float = 60.0
    plain_http_allowed: bool = False


@dataclass(frozen=True, slots=True)
class _Call:
    """One call as it goes out, whatever the attempt."""

    method: str
    url: httpx.URL
    content: bytes | None
    headers: Mapping[str, str]
    expects: Expects
    accepted: Collection[int]
    repeatable: bool


class _AgainError(Exception):
    """An attempt failed in a way that may be tried again right now, after `after_seconds` if the other side said so."""

    def __init__(self, message: str, after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class HttpClient:
    """Calls to one partner over kept connections; cookies live as long as the client. Use it as a context manager.

    `clock` tells the instant of an answer that carries no Date header. `budget`, where given, is asked before every
    attempt.
    """

    def __init__(self, settings: HttpSettings, *, clock: Callable[[], datetime], budget: Budget | None = None) -> None:
        base = httpx.URL(settings.base_url)
        if base.scheme not in ("http", "https") or not base.host or base.userinfo:
            raise Stop(
                f"{settings.connection}: the base URL {redact_url(settings.base_url)} must be http(s)://host/..., "
                "without "
                f"user or password; correct the connection."
            )
        if base.scheme == "http" and base.host not in _LOOPBACK and not settings.plain_http_allowed:
            raise Stop(
                f"{settings.connection}: {redact_url(settings.base_url)} would send the {settings.credential} "
                "unencrypted; use "
                f"https, or allow plain HTTP for this connection in so many words."
            )
        quieten_wire_logs()
        self.settings = settings
        self.secrets: tuple[SecretStr, ...] = settings.other_secrets
        headers = {"Accept-Encoding": "gzip", "User-Agent": "tallyback"}
        if settings.authorization is not None:
            value = settings.authorization.get_secret_value()
            if not (value.isascii() and value.isprintable()):
                raise Stop(
                    f"{settings.connection}: the {settings.credential} holds characters that cannot be sent (a line "
                    "break, an "
                    f"accent); enter it again."
                )
            self.secrets = (settings.authorization, *settings.other_secrets)
            headers[settings.authorization_header] = value
        self._base = base
        self._clock = clock
        self._budget = budget
        timeout = httpx.Timeout(settings.read_seconds, connect=settings.connect_seconds)
        # Proxies, certificates and .netrc of the environment are settings nobody sees; .netrc would even replace the
        # token.
        self._client = httpx.Client(headers=headers, timeout=timeout, follow_redirects=False, trust_env=False)

    def __repr__(self) -> str:
        return f"HttpClient({self.settings.connection}, {redact_url(self.settings.base_url)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections and forget the cookies."""
        self._client.close()

    def get(
        self,
        path: str,
        parameters: Parameters | None = None,
        *,
        expects: Expects = Expects.JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer to a GET of a path below the base URL, or of a whole address on the same host (a next
        page).
        """
        url = self._url(path, parameters or {})
        return self._send(_Call("GET", url, None, headers or {}, expects, (200,), repeatable=True))

    def post(
        self,
        path: str,
        content: bytes,
        *,
        content_type: str,
        repeatable: bool,
        expects: Expects = Expects.JSON,
        headers: Mapping[str, str] | None = None,
        accepted: Collection[int] = (200, 201, 202),
    ) -> Answer:
        """Return the answer to a POST. `repeatable` says that doing it twice does no harm (a question, not an order).

        A call that is not repeatable raises Stop, not Retry, where it is unknown whether the other side acted on it.
        """
        all_headers = {**(headers or {}), "Content-Type": content_type}
        url = self._url(path, {})
        return self._send(_Call("POST", url, content, all_headers, expects, accepted, repeatable=repeatable))

    def _url(self, path: str, parameters: Parameters) -> httpx.URL:
        try:
            if path.startswith(("http://", "https://", "//")):
                url = httpx.URL(urljoin(str(self._base), path))
            else:
                below = path.lstrip("/")
                url = httpx.URL(f"{str(self._base).rstrip('/')}/{below}" if below else str(self._base))
        except httpx.InvalidURL as error:
            raise Stop(
                f"{self.settings.connection}: {self._redacted(path)} is no valid address; correct the configuration."
            ) from error
        self._check_origin(url, "asked for")
        plain = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in parameters.items()
        }
        found = [value for value in parameters.values() if isinstance(value, SecretStr) and value not in self.secrets]
        self.secrets = (*self.secrets, *found)
        return url.copy_merge_params(plain) if plain else url

    def _check_origin(self, url: httpx.URL, what: str) -> None:
        here, there = self._base, url
        if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
            raise Stop(
                f"{self.settings.connection}: {what} {self._redacted(there)}, which is not on "
                f"{here.scheme}://{here.netloc.decode()}; "
                f"the {self.settings.credential} is not sent to another host. If the partner moved, change the base "
                "URL."
            )

    def _send(self, call: _Call) -> Answer:
        settings = self.settings
        last: _AgainError | None = None
        retrying = stamina.retry_context(
            on=self._backoff,
            attempts=settings.attempts,
            timeout=None,
            wait_initial=settings.wait_initial_seconds,
            wait_max=settings.wait_max_seconds,
            wait_jitter=settings.wait_initial_seconds,
        )
        try:
            for attempt in retrying:
                with attempt:
                    return self._follow(call)
        except _AgainError as error:
            last = error
        # `from None`: the errors below carry the request, and with it headers and addresses that hold credentials.
        raise Retry(f"{settings.connection}: {last}", after_seconds=last.after_seconds if last else None) from None

    def _backoff(self, error: Exception) -> bool | float:
        """Return whether and after how many seconds an attempt is repeated here; a longer wait is left to the
        scheduler.
        """
        if not isinstance(error, _AgainError):
            return False
        if error.after_seconds is None:
            return True
        return error.after_seconds if error.after_seconds <= self.settings.wait_max_seconds else False

    def _follow(self, call: _Call) -> Answer:
        """Make one attempt, following redirects that stay on the host."""
        url = call.url
        for _hop in range(_REDIRECTS_MAX + 1):
            outcome = self._attempt(call, url)
            if isinstance(outcome, Answer):
                return outcome
            url = outcome
        raise Stop(
            f"{self.settings.connection}: {self._redacted(call.url)} redirects more than {_REDIRECTS_MAX} times; "
            "check the base URL."
        )

    def _attempt(self, call: _Call, url: httpx.URL) -> Answer | httpx.URL:
        if self._budget is not None:
            self._budget.take()
        shown = self._redacted(url)
        try:
            with self._client.stream(call.method, url, content=call.content, headers=call.headers) as response:
                return self._outcome(call, url, response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _AgainError(f"{shown} cannot be reached ({self._redacted(error)})") from None
        except httpx.TimeoutException as error:
            self._must_be_repeatable(call, shown, type(error).__name__)
            raise _AgainError(f"{shown} did not answer in time ({type(error).__name__})") from None
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Stop(
                f"{self.settings.connection}: {shown} cannot be called ({self._redacted(error)}); correct the "
                "connection."
            ) from None
        except httpx.TransportError as error:
            self._must_be_repeatable(call, shown, self._redacted(error))
            raise _AgainError(f"{shown}: the answer was cut off ({self._redacted(error)})") from None
        except CutOffError as error:
            self._must_be_repeatable(call, shown, str(error))
            raise _AgainError(f"{shown}: the answer was cut off ({error})") from None
        except DamagedError as error:
            raise Stop(
                f"{self.settings.connection}: the answer of {shown} is compressed and damaged ({error}); ask the "
                "partner."
            ) from None

    def _must_be_repeatable(self, call: _Call, shown: str, why: str) -> None:
        if not call.repeatable:
            raise Stop(
                f"{self.settings.connection}: it is unknown whether {shown} acted on the call ({why}). "
                f"It is not sent again: find out at the partner, then decide."
            )

    def _outcome(self, call: _Call, url: httpx.URL, response: httpx.Response) -> Answer | httpx.URL:
        status, shown = response.status_code, self._redacted(url)
        answered_at = instant_of(response.headers.get("Date"), self._clock())
        content_type = response.headers.get("Content-Type", "")
        if status in call.accepted:
            answer = Answer(self._body(response, shown), answered_at, status, content_type, shown)
            check_kind(answer, call.expects, self.settings.connection)
            return answer
        if response.is_redirect and "Location" in response.headers:
            target = url.join(response.headers["Location"])
            self._check_origin(target, f"{shown} redirects to")
            if call.method == "GET":
                return target
        raise self._refusal(
            call,
            shown,
            response,
            retry_after_seconds(response.headers.get("Retry-After"), response.headers.get("Date")),
        )

    def _refusal(self, call: _Call, shown: str, response: httpx.Response, after_seconds: int | None) -> Exception:
        """Return what an answer with an error status means."""
        status, name = response.status_code, self.settings.connection
        if status in _TRY_AGAIN and (call.repeatable or status in _REFUSED_UNHEARD):
            when = "later" if after_seconds is None else f"in {after_seconds:,} s"
            return _AgainError(f"{shown} answered HTTP {status}; try again {when}", after_seconds)
        if status in (401, 403):
            return Stop(
                f"{name}: {self.settings.credential} refused or expired (HTTP {status} from {shown}): renew the "
                f"{self.settings.credential} in the connection {name}. The partner says: {self._excerpt(response)}"
            )
        if status >= 500:
            self._must_be_repeatable(call, shown, f"HTTP {status}")
            return Retry(
                f"{name}: {shown} failed with HTTP {status}: {self._excerpt(response)}", after_seconds=after_seconds
            )
        return Stop(
            f"{name}: {shown} refused the call with HTTP {status}: {self._excerpt(response)}. Repeating it will not "
            "help; "
            f"check what was asked for against the partner's documentation."
        )

    def _encoding(self, response: httpx.Response, shown: str) -> str:
        """Return how the body is packed; Stop for a compression nobody asked for, such as one inside another."""
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in (*UNPACKED, GZIP):
            raise Stop(
                f"{self.settings.connection}: the answer of {shown} is encoded as {encoding[:60]!r}, but gzip at most "
                "was asked for. Nothing of it is used; ask the partner."
            )
        return str(encoding)

    def _body(self, response: httpx.Response, shown: str) -> bytes:
        """Return the whole body, giving up the moment it is larger or slower than the limits allow."""
        limit = self.settings.bytes_max
        declared = response.headers.get("Content-Length", "")
        if declared.isdigit() and int(declared[:19]) > limit:
            raise self._too_large(shown)
        deadline = time.monotonic() + self.settings.answer_seconds_max
        body = bytearray()
        for piece in unpacked(response.iter_raw(), self._encoding(response, shown)):
            body += piece
            if len(body) > limit:
                raise self._too_large(shown)
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"the answer took over {math.ceil(self.settings.answer_seconds_max)} s")
        return bytes(body)

    def _too_large(self, shown: str) -> Stop:
        return Stop(
            f"{self.settings.connection}: the answer of {shown} is larger than the limit of "
            f"{self.settings.bytes_max:,} bytes. "
            f"Ask for a smaller window, or raise the limit if such an answer is right."
        )

    def _excerpt(self, response: httpx.Response) -> str:
        """Return the beginning of an error body, one line, redacted; what cannot be read is not worth a second
        error.
        """
        body = bytearray()
        try:
            for piece in unpacked(response.iter_raw(), response.headers.get("Content-Encoding", "").strip().lower()):
                body += piece
                if len(body) >= _QUOTED_BODY_BYTES:
                    break
        except (httpx.TransportError, DamagedError, CutOffError):
            pass
        text = " ".join(bytes(body[:_QUOTED_BODY_BYTES]).decode("utf-8", "replace").split())
        text = redact_text("".join(each if each.isprintable() else "?" for each in text), self.secrets)
        return repr(text[:_QUOTED_BODY_CHARACTERS]) if text else "(nothing)"

    def _redacted(self, what: object) -> str:
        return redact_text(str(what), self.secrets)
