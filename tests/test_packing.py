"""The log of a run, compressed on its way to the disk."""

import zlib

import entries

from app.record.backlog import Item, shape, unchanged
from app.record.entry import Closing
from app.record.packing import packed, unpacked

LOG = b"".join(b"event: delta\nid: r:%d\ndata: {}\n\n" % number for number in range(200))


def test_what_was_packed_comes_back() -> None:
    """A log is a fraction of its size, and the same again when it is read."""
    assert len(packed(LOG)) < len(LOG) / 5
    assert unpacked(packed(LOG)) == LOG


def test_packing_again_changes_nothing() -> None:
    """What was written to a disk goes to the store as it is there, and so has the same content hash."""
    assert packed(packed(LOG)) == packed(LOG)


def test_an_empty_log_stays_empty() -> None:
    """A log that is not kept is no row of nothing, packed."""
    assert packed(b"") == b""


def test_a_log_that_begins_like_a_packed_one_is_packed() -> None:
    """One letter is not enough to take a log for a packed one."""
    log = b"x: a field that nobody knows\n\n"
    assert unpacked(packed(log)) == log


def test_whatever_packed_it_a_log_is_read() -> None:
    """Logs in the store come back whichever library and window they were packed with."""
    packer = zlib.compressobj(level=1, wbits=14)
    assert unpacked(packer.compress(LOG) + packer.flush()) == LOG


def test_an_entry_is_shaped_with_its_log_packed() -> None:
    """A closing takes the disk a fraction of what was streamed; an opening has no log to pack."""
    start = entries.opening()
    end = Item(1, 0.0, 0, entries.closing(start, log=LOG))
    shape(end, unchanged)
    assert isinstance(end.entry, Closing)
    assert end.entry.log == packed(LOG)
    assert end.length < len(LOG) / 2
