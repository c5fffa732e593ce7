"""Print the page of operators: ``python -m rxstreams.pictures > docs/operators.md``."""

import sys

from rxstreams.pictures.catalogue import page, table_of_operators

sys.stdout.write(page(table_of_operators()))
