"""The journal of a batch: a file with what is done, so that a job that was killed continues where it was.

`file` has the format, the lock and the writing; `lines` one record; `identity` what makes two calls the same; `index` a compact
table of the last records; `ledger` the journal that is open for a batch; `notes` what a transfer has left; `journal` the public
class.
"""

from s3po.journal.identity import READING, Identity
from s3po.journal.journal import Journal, JournalReport
from s3po.journal.ledger import Entry, Ledger, stat_of
from s3po.journal.notes import JobNotes, is_definite

__all__ = ['READING', 'Entry', 'Identity', 'JobNotes', 'Journal', 'JournalReport', 'Ledger', 'is_definite', 'stat_of']
