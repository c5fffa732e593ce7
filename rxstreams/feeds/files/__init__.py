"""Files as a source.

opening.py    a file's bytes, unpacked
lines.py      NDJSON: blocks split at line ends
rows.py       CSV
parquet.py    Parquet
stretches.py  records that lie one after the other, and their places
matching.py   which files a pattern means
known.py      how far a file was read, and by what it is known again
reading.py    file after file, look after look
feed.py       the feed and its node
telling.py    progress
public.py     from_files
"""

from rxstreams.feeds.files.feed import FilesFeed
from rxstreams.feeds.files.public import from_files

__all__ = ["FilesFeed", "from_files"]
