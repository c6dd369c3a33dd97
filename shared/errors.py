"""Everything that can go wrong with a request, as one small tree.

    ServiceError
    ├── RequestRejected          the caller must change the request
    │   ├── InvalidRequest       a body, parameter or header without the documented form
    │   ├── MalformedBody        not JSON, not UTF-8, or not what its headers say
    │   ├── InputTooLong         more tokens than the model takes
    │   ├── TooManyInputs        more rows than one request may carry
    │   ├── UnknownModel         no such model or version here
    │   ├── JobTooLarge          more tokens than the queue holds at its emptiest
    │   ├── JobConflict          the id or idempotency key belongs to another payload
    │   ├── BodyTooLarge, BodyTooSlow
    │   └── UnsupportedMediaType
    │       └── UnsupportedEncoding  compressed in a way that is not read
    ├── JobNotFound              never accepted, or no longer retained
    ├── JobNotTerminal, JobTerminal
    ├── CatalogueConflict        the catalogue has changed since it was read
    ├── NotAllowed               it takes a key that the caller has not shown
    │   └── KeyRefused           the key that was shown is not the one
    ├── Overloaded               the queue is full for this model or tenant
    ├── Unavailable              try again elsewhere or later
    │   ├── QueueUnavailable     Redis cannot be reached
    │   └── Draining             this process is on its way out
    ├── DeadlineExceeded         the deadline passed before the job was begun
    ├── JobCanceled
    ├── PredictionFailed         the model raised on this row
    │   ├── OutOfMemory          the batch did not fit
    │   └── DeadLettered         given up after the attempt limit
    ├── DeviceLost               the device is gone, the process must follow
    └── DecodeError              bytes on the wire are not what the codec writes

Only ``code`` and the message cross the queue, never a class.
"""

from typing import ClassVar


class ServiceError(Exception):
    """Root of the tree; ``code`` is stable and part of the API."""

    code: ClassVar[str] = "internal_error"

    @property
    def detail(self) -> str:
        """The sentence a caller reads: the value, the limit and the remedy."""
        return str(self)


class RequestRejected(ServiceError):
    """The request cannot be served as it stands."""

    code = "request_rejected"


class InvalidRequest(RequestRejected):
    """The body, a parameter or a header does not have the documented form."""

    code = "invalid_request"


class MalformedBody(RequestRejected):
    """The body is not what its media type says."""

    code = "malformed_body"


class InputTooLong(RequestRejected):
    """The encoded input exceeds the model's context."""

    code = "input_too_long"

    def __init__(self, size: int, limit: int, unit: str = "tokens") -> None:
        super().__init__(
            f"input is {size} {unit}, the model takes at most {limit}: "
            "shorten it or set parameters.truncate to true"
        )


class TooManyInputs(RequestRejected):
    """One request carries more inputs than the limit."""

    code = "too_many_inputs"

    def __init__(self, inputs: int, limit: int) -> None:
        super().__init__(
            f"request has {inputs} inputs, at most {limit} are taken: split it into several"
        )


class JobTooLarge(RequestRejected):
    """The job would not fit into the queue even if that were empty."""

    code = "job_too_large"

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(
            f"request has {tokens} tokens, the queue takes at most {limit}: "
            "split it into several requests"
        )


class UnknownModel(RequestRejected):
    """The model or the version is not in the model repository."""

    code = "unknown_model"


class JobConflict(RequestRejected):
    """The job id is taken by another payload."""

    code = "job_conflict"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"job {job_id} was created with another payload: "
            "use a new id or Idempotency-Key for a new request"
        )


class BodyTooLarge(RequestRejected):
    """The request body exceeds the limit in bytes."""

    code = "body_too_large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"body is at least {size_bytes} bytes, at most {limit_bytes} are taken: "
            "split it into several requests"
        )


class UnsupportedMediaType(RequestRejected):
    """The body is not in a media type that this route reads."""

    code = "unsupported_media_type"


class UnsupportedEncoding(UnsupportedMediaType):
    """The request body was compressed in a way that is not read here."""

    code = "unsupported_encoding"

    def __init__(self, given: str, taken: str) -> None:
        super().__init__(f"Content-Encoding is {given!r}: send one of {taken}")
        self.taken = taken


class BodyTooSlow(RequestRejected):
    """The client stopped in the middle of its body."""

    code = "body_too_slow"

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"body was not complete after {limit_s:g} s: send it at once")


class JobNotFound(ServiceError):
    """No record under this id for this caller."""

    code = "job_not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id}: it was never accepted here or is no longer retained")


class JobNotTerminal(ServiceError):
    """The verb needs a job that has ended."""

    code = "job_not_terminal"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} is {state}: cancel it or wait for its end first")


class JobTerminal(ServiceError):
    """The verb needs a job that has not ended."""

    code = "job_terminal"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} has already {state}: it can no longer be canceled")


class CatalogueConflict(ServiceError):
    """The catalogue is at another revision than the caller has seen."""

    code = "catalogue_conflict"

    def __init__(self, expected: int, revision: int) -> None:
        super().__init__(
            f"the catalogue is at revision {revision}, not {expected}: read it again, and send "
            "what you want with the revision that you have seen"
        )


class NotAllowed(ServiceError):
    """The route takes a key, and none that opens it is set or was shown."""

    code = "not_allowed"


class KeyRefused(NotAllowed):
    """The key that was shown is not the one."""

    code = "key_refused"


class Overloaded(ServiceError):
    """The queue holds as many tokens as it may, in all or for this tenant."""

    code = "overloaded"

    def __init__(
        self, message: str, *, retry_after_s: int = 1, excess_tokens: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.excess_tokens = excess_tokens
        """How many tokens must leave the queue before the job fits, where that is known."""


class DeadlineTooClose(Overloaded):
    """More is before the job than should be computed by its deadline."""

    def __init__(self, before_tokens: int, in_time_tokens: int, deadline_ms: int) -> None:
        super().__init__(
            f"{before_tokens} tokens are before the job, {in_time_tokens} of them should be "
            f"computed within its {deadline_ms} ms: try again after the time in Retry-After, or "
            "allow for more",
            excess_tokens=max(before_tokens - in_time_tokens, 0),
        )
        self.before_tokens = before_tokens


class Unavailable(ServiceError):
    """This process cannot take the request now."""

    code = "unavailable"
    retry_after_s = 1


class QueueUnavailable(Unavailable):
    """Redis cannot be reached or does not answer."""

    code = "queue_unavailable"

    @property
    def said(self) -> str:
        """What the connection itself said: for logs, callers need not know where Redis is."""
        return str(self.__cause__ or self)


class Draining(Unavailable):
    """This process has been told to stop."""

    code = "draining"


class DeadlineExceeded(ServiceError):
    """The deadline passed before the work was begun."""

    code = "deadline_exceeded"


class JobCanceled(ServiceError):
    """Somebody canceled the job before this row was computed."""

    code = "canceled"


class PredictionFailed(ServiceError):
    """The model raised; the message is the model's own, without the input."""

    code = "prediction_failed"


class OutOfMemory(PredictionFailed):
    """The device had no room for the batch, or for this row alone."""

    code = "out_of_memory"


class DeadLettered(PredictionFailed):
    """Every attempt ended with the death of its process."""

    code = "dead_lettered"

    def __init__(self, attempts: int, *, worker: str) -> None:
        super().__init__(
            f"the {worker} died {attempts} times on this input; it is in the dead letters"
        )


class DeviceLost(ServiceError):
    """The accelerator no longer answers: nothing that runs on it can be saved."""

    code = "device_lost"


class DecodeError(ServiceError):
    """Bytes that the codec did not write, or of a version that it does not read."""

    code = "decode_error"
