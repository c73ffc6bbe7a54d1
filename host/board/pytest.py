# SPDX-License-Identifier: MIT
# What a test on the board may use of pytest. Marks are read by the host; here they do nothing.


class Skipped(Exception):
    pass


def skip(reason=""):
    raise Skipped(reason)


def fail(reason=""):
    raise AssertionError(reason)


def importorskip(name):
    try:
        return __import__(name, None, None, ("*",))
    except ImportError as error:
        raise Skipped("could not import '%s': %s" % (name, error))


class _Raised:
    value = None

    def __init__(self, kinds, match):
        self._kinds = kinds
        self._match = match

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            raise AssertionError("did not raise %r" % (self._kinds,))
        if not issubclass(kind, self._kinds):
            return False
        self.value, self.type = error, kind
        if self._match is not None:
            import re

            if not re.search(self._match, str(error)):
                raise AssertionError("%r does not match %r" % (str(error), self._match))
        return True


def raises(kinds, function=None, *arguments, match=None, **keywords):
    context = _Raised(kinds, match)
    if function is None:
        return context
    with context:
        function(*arguments, **keywords)
    return context


class approx:
    def __init__(self, expected, rel=1e-6, abs=1e-12):
        self._expected, self._rel, self._abs = expected, rel, abs

    def _near(self, value, expected):
        tolerance = max(self._abs, self._rel * (expected if expected >= 0 else -expected))
        return value == expected or -tolerance <= value - expected <= tolerance

    def __eq__(self, value):
        expected = self._expected
        if isinstance(expected, dict):
            return value.keys() == expected.keys() and all(
                self._near(value[key], expected[key]) for key in expected
            )
        if isinstance(expected, (list, tuple)):
            return len(value) == len(expected) and all(
                self._near(a, b) for a, b in zip(value, expected)
            )
        return self._near(value, expected)

    def __repr__(self):
        return "approx(%r)" % (self._expected,)


class _Mark:
    def __getattr__(self, name):
        return _mark


def _mark(*arguments, **keywords):
    if len(arguments) == 1 and not keywords and callable(arguments[0]):
        return arguments[0]
    return lambda decorated: decorated


mark = _Mark()
