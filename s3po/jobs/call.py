"""A call of a connection as one value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from s3po.checks import slot_setters
from s3po.errors import JobError
from s3po.jobs.durable import LOST, durable, restored
from s3po.jobs.options import DEFAULTS, INTERNAL, NAMES, ON_BUCKETS
from s3po.model import ObjectRef, bucket_ref_of, ref_of

__all__ = ['Call']

# The names of the object, as arguments.
REF: Final = ('bucket', 'key', 'version_id')
# Options that a file of calls does not contain.
_LEFT_OUT: Final = INTERNAL | {'progress'}
_ALL_NAMES: Final = frozenset[str]().union(*NAMES.values()) - _LEFT_OUT
# Options that limit the attempts. The same call with other limits has the same identity.
LIMITS: Final = frozenset({'retries', 'timeout_s'})


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Call:
    """A call of one of Connection's methods.

    Attributes:
        operation: The name of the method, such as 'upload'.
        ref: The object; of a copy, the source. For an operation on a bucket, a BucketRef.
        options: The other arguments, without those that were not given: one of the dicts of this module. Read only.
    """

    operation: str
    ref: ObjectRef
    options: Mapping[str, Any]

    def __init__(self, operation: str, ref: ObjectRef, options: Mapping[str, Any]) -> None:
        # One is made for each job, and the generated __init__ takes twice the time.
        _call_operation(self, operation)
        _call_ref(self, ref)
        _call_options(self, options)

    def __repr__(self) -> str:
        # Without the options, which may hold data and secrets.
        return f'<Call {self}>'

    def __str__(self) -> str:
        return f'{self.operation} {self.ref}'

    @property
    def silent_value(self) -> bool | None:
        """What a silent call returns when it fails."""
        return False if self.operation.startswith('upload') else None

    @property
    def identity(self) -> str:
        """A hash (SHA-256, in hex) of the operation, the object and the durable options: the same in every process.

        Options at their default count as not given. `retries` and `timeout_s` do not count.
        """
        said = self.to_json()
        del said['lost']
        said['options'] = {name: value for name, value in said['options'].items() if _is_of_identity(name, value)}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The call in JSON values, with the durable options. The names of the other arguments are in 'lost'.

        Internal options are left out: they are not the caller's. So is `progress`, which is not part of the work.
        """
        given = {name: value for name, value in self.options.items() if value is not None and name not in _LEFT_OUT}
        options = {name: durable(name, value) for name, value in given.items()}
        lost = [name for name, value in options.items() if value is LOST]
        # A name that is not a str is invalid, and its job failed.
        names = {name: getattr(self.ref, name) for name in REF}
        lost += [name for name, value in names.items() if not isinstance(value, str) and (name, value) != ('version_id', None)]
        return {
            'operation': self.operation,
            'bucket': str(self.ref.bucket),
            'key': str(self.ref.key),
            'version_id': None if 'version_id' in lost else self.ref.version_id,
            'options': {name: value for name, value in options.items() if value is not LOST},
            'lost': lost,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Call:
        """The inverse of to_json(). What was lost is LOST in the options. An unknown option is kept: see mistake().

        Raises:
            JobError: The value is not a valid call.
        """
        try:
            bucket, key = said['bucket'], said['key']
            ref = bucket_ref_of(bucket, key) if said['operation'] in ON_BUCKETS else ref_of(bucket, key, said['version_id'])
            options = {name: restored(name, value) if name in _ALL_NAMES else value for name, value in said['options'].items()}
            call = cls(said['operation'], ref, {**options, **dict.fromkeys(said['lost'], LOST)})
            is_known = call.operation in NAMES
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise JobError(f'not a valid call: {error!r}') from error
        if not is_known:
            raise JobError(f'not a valid call: there is no operation {call.operation!r}')
        return call

    def mistake(self) -> JobError | None:
        """The error for an operation or an option that does not exist; None for a call that can be carried out."""
        if self.operation not in NAMES:
            return JobError(f'there is no operation {self.operation!r}')
        # From a file, an internal option is an unknown one.
        unknown = {
            name
            for name in self.options.keys() - NAMES[self.operation]
            if name not in INTERNAL or durable(name, self.options[name]) is not LOST
        }
        return JobError(f'{self.operation} has no option {min(unknown)!r}') if unknown else None


_call_operation, _call_ref, _call_options = slot_setters(Call)


def _is_of_identity(name: str, value: object) -> bool:
    return name not in LIMITS and (name not in DEFAULTS or value != DEFAULTS[name])
