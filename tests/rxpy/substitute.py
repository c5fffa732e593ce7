"""A pytest plugin that puts our operators in the place of RxPY's, as functions and as fluent methods."""

from __future__ import annotations

import reactivex
from reactivex import Observable, operators as theirs

from rxstreams import operators as ours


def _method(name: str) -> object:
    return lambda self, *args, **kwargs: getattr(ours, name)(*args, **kwargs)(self)


for _name in ours.__all__:
    if hasattr(theirs, _name):
        setattr(theirs, _name, getattr(ours, _name))
        setattr(Observable, _name, _method(_name))


def _combine(function: object, fallback: object) -> object:
    return lambda *sources: function(*sources[1:])(sources[0]) if sources else fallback()


reactivex.merge = _combine(ours.merge, reactivex.merge)
reactivex.combine_latest = _combine(ours.combine_latest, reactivex.combine_latest)
reactivex.with_latest_from = _combine(ours.with_latest_from, reactivex.with_latest_from)
reactivex.zip = _combine(ours.zip, reactivex.zip)
reactivex.concat = _combine(ours.concat, reactivex.concat)
