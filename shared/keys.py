"""Every key in Redis, named in one place.

All keys of a partition share its hash tag, so that a script touches one slot; the partition
is a function of the job id alone. There is one today.

==============================  ======  ====================  ==================  ===========
key after ``penstock:{P}:``     type    written by            read by             expires
==============================  ======  ====================  ==================  ===========
queue:<model>@<version>:<lane>  stream  submit, move          predictors          trimmed
raw…:<model>@<version>          stream  submit                preprocess workers  trimmed
job:<id>                        hash    submit … answered     everybody           retention
outcomes:<id>                   hash    submit, settle        gateways            retention
payload:<id>:<at>:<chunk>       string  submit, move          workers             acknowledge
reply:<gateway>                 stream  finish                its gateway         1 minute
load:<model>@<version>          hash    submit … acknowledge  submit, begin       trim at rest
dead:<model>                    stream  begin                 operators           capped
predictors                      hash    heartbeat             gateways, begin     1 minute
preprocessors                   hash    heartbeat             gateways            1 minute
gateways                        hash    heartbeat             predictors          1 minute
refusals                        hash    heartbeat             gateways            1 minute
catalogue                       hash    desire                everybody           never
==============================  ======  ====================  ==================  ===========

Fields of ``job:<id>`` (none over 64 bytes, so that Redis keeps the hash a listpack):

=============  =====================================================================
state          queued, running, succeeded, failed, canceled, expired
model          ``<model>@<version>``
print          the payload's fingerprint, 16 bytes
rows           rows in the job
left           rows without an outcome
fresh          rows in chunks that were never begun
good, bad,     rows that succeeded, failed, expired; absent while zero
late
at, begun,     submitted, first begun, completed: microseconds of the Redis clock
done
again          when a chunk was begun last, once the first of them was; absent where none was
due            deadline on the same clock; absent without one
keep           retention in milliseconds; less once it was answered where it was asked
top            ``top_k`` of the answer; absent when 1
admit, prep    microseconds before the submit
raw            microseconds of preprocessing after it; absent where it was inline
batch, infer   microseconds of the last settled chunk
watch          gateways to tell at the end
c<chunk>       ``attempt tries open worker`` of a chunk that was begun
attempt        the highest attempt of any chunk
=============  =====================================================================

``<at>`` in a payload's key is the record's ``at``: an id that was dropped may be used again.

``outcomes:<id>`` holds ``<chunk>`` (a whole chunk), ``<chunk>.<row>`` (a single row) and
``layout`` (see :class:`shared.contract.Layout`).
"""

from typing import Final

from shared.contract import UNENCODED, GatewayId, JobId, Lane, ModelKey

PARTITION: Final = "penstock:{0}:"
PREDICTORS_GROUP: Final = "predictors"
PREPROCESSORS_GROUP: Final = "preprocessors"
PREDICTORS: Final = f"{PARTITION}{PREDICTORS_GROUP}"
GATEWAYS: Final = f"{PARTITION}gateways"
REFUSALS: Final = f"{PARTITION}refusals"
CATALOGUE: Final = f"{PARTITION}catalogue"
PREPROCESSORS: Final = f"{PARTITION}{PREPROCESSORS_GROUP}"


def stream(model: ModelKey, lane: Lane) -> str:
    """The stream a model's chunks wait in."""
    if lane in UNENCODED:
        return f"{PARTITION}{lane}:{model}"
    return f"{PARTITION}queue:{model}:{lane}"


def group(lane: Lane) -> str:
    """The consumer group that reads a lane."""
    return PREPROCESSORS_GROUP if lane in UNENCODED else PREDICTORS_GROUP


def job(job_id: JobId) -> str:
    """The record of a job."""
    return f"{PARTITION}job:{job_id}"


def outcomes(job_id: JobId) -> str:
    """The outcomes of a job's rows."""
    return f"{PARTITION}outcomes:{job_id}"


def payload(job_id: JobId, chunk: int, *, submitted_us: int) -> str:
    """The tensors of a chunk too large for its stream entry.

    By the job's acceptance too: what is left of a dropped job takes nothing from a namesake.
    """
    return f"{PARTITION}payload:{job_id}:{submitted_us}:{chunk}"


def reply(gateway: GatewayId) -> str:
    """Where a gateway hears of the jobs it watches."""
    return f"{PARTITION}reply:{gateway}"


def load(model: ModelKey) -> str:
    """Jobs and tokens of a model that are not yet acknowledged."""
    return f"{PARTITION}load:{model}"


def dead(model: ModelKey) -> str:
    """What was given up, with the reason."""
    return f"{PARTITION}dead:{model.name}"
