# SPDX-License-Identifier: MIT
"""As much of unittest as MicroPython's own tests use, for the board that runs them.

Its last lines are what run-tests.py reads the result from.
"""

import sys


class SkipTest(Exception):
    pass


def skip(reason):
    def decorate(function):
        def skipped(*_):
            raise SkipTest(reason)

        return skipped

    return decorate


def skipIf(condition, reason):
    return skip(reason) if condition else lambda function: function


def skipUnless(condition, reason):
    return skipIf(not condition, reason)


class _Raises:
    def __init__(self, expected):
        self.expected = expected

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.exception = value
        assert kind is not None, "%r was not raised" % (self.expected,)
        return issubclass(kind, self.expected)


class TestCase:
    def setUp(self):
        pass

    def tearDown(self):
        pass

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def skipTest(self, reason):
        raise SkipTest(reason)

    def fail(self, message=""):
        raise AssertionError(message)

    def assertTrue(self, x, message=None):
        assert x, message or "%r is not true" % (x,)

    def assertFalse(self, x, message=None):
        assert not x, message or "%r is not false" % (x,)

    def assertEqual(self, x, y, message=None):
        assert x == y, message or "%r != %r" % (x, y)

    def assertNotEqual(self, x, y, message=None):
        assert x != y, message or "%r == %r" % (x, y)

    def assertAlmostEqual(self, x, y, places=7, message=None, delta=None):
        limit = 0.5 * 10**-places if delta is None else delta
        assert x == y or abs(x - y) <= limit, message or "%r is not near %r" % (x, y)

    def assertLess(self, x, y, message=None):
        assert x < y, message or "%r is not less than %r" % (x, y)

    def assertLessEqual(self, x, y, message=None):
        assert x <= y, message or "%r is greater than %r" % (x, y)

    def assertGreater(self, x, y, message=None):
        assert x > y, message or "%r is not greater than %r" % (x, y)

    def assertGreaterEqual(self, x, y, message=None):
        assert x >= y, message or "%r is less than %r" % (x, y)

    def assertIs(self, x, y, message=None):
        assert x is y, message or "%r is not %r" % (x, y)

    def assertIsNot(self, x, y, message=None):
        assert x is not y, message or "%r is the same" % (x,)

    def assertIsNone(self, x, message=None):
        assert x is None, message or "%r is not None" % (x,)

    def assertIsNotNone(self, x, message=None):
        assert x is not None, message or "None"

    def assertIn(self, x, y, message=None):
        assert x in y, message or "%r is not in %r" % (x, y)

    def assertNotIn(self, x, y, message=None):
        assert x not in y, message or "%r is in %r" % (x, y)

    def assertIsInstance(self, x, kind, message=None):
        assert isinstance(x, kind), message or "%r is not of %r" % (x, kind)

    def assertRaises(self, expected, function=None, *args, **kwargs):
        context = _Raises(expected)
        if function is None:
            return context
        with context:
            function(*args, **kwargs)


class _Result:
    def __init__(self):
        self.ran = self.skipped = self.failures = self.errors = 0

    def run(self, kind):
        kind.setUpClass()
        for name in sorted(dir(kind)):
            if name.startswith("test"):
                self.run_one(kind(), name)
        kind.tearDownClass()

    def run_one(self, case, name):
        self.ran += 1
        print("%s (%s) ... " % (name, type(case).__name__), end="")
        try:
            case.setUp()
            try:
                getattr(case, name)()
            finally:
                case.tearDown()
            print("ok")
        except SkipTest as reason:
            self.skipped += 1
            print("skipped:", reason)
        except AssertionError as error:
            self.failures += 1
            print("FAIL")
            sys.print_exception(error)
        except Exception as error:
            self.errors += 1
            print("ERROR")
            sys.print_exception(error)

    def report(self):
        print("-" * 70)
        print("Ran %d tests\n" % self.ran)
        if self.failures or self.errors:
            print("FAILED (failures=%d, errors=%d)" % (self.failures, self.errors))
        elif self.skipped:
            print("OK (skipped=%d)" % self.skipped)
        else:
            print("OK")


def main(module="__main__"):
    result = _Result()
    names = __import__(module).__dict__
    for name in sorted(names):
        kind = names[name]
        if isinstance(kind, type) and issubclass(kind, TestCase) and kind is not TestCase:
            result.run(kind)
    result.report()
