# SPDX-License-Identifier: MIT
# The part of unittest that tests on a board use; the host finds and runs them.


class SkipTest(Exception):
    pass


class _AssertRaises:
    def __init__(self, expected, pattern=None):
        self.expected = expected
        self.pattern = pattern

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            raise AssertionError("%r not raised" % (self.expected,))
        if not issubclass(kind, self.expected):
            return False
        self.exception = error
        if self.pattern is not None:
            import re

            if not re.search(self.pattern, str(error)):
                raise AssertionError("%r does not match %r" % (self.pattern, str(error)))
        return True


class _SubTest:
    def __init__(self, message, values):
        self.said = " ".join(
            [str(message)] * bool(message) + ["%s=%r" % v for v in values.items()]
        )

    def __enter__(self):
        pass

    def __exit__(self, kind, error, traceback):
        if kind is not None and issubclass(kind, AssertionError):
            raise AssertionError("%s (%s)" % (error, self.said))


def _different(a, b):
    return "%r != %r" % (a, b)


class TestCase:
    def __init__(self):
        self._cleanups = []

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

    def addCleanup(self, function, *arguments, **keywords):
        self._cleanups.append((function, arguments, keywords))

    def doCleanups(self):
        while self._cleanups:
            function, arguments, keywords = self._cleanups.pop()
            function(*arguments, **keywords)

    def subTest(self, msg=None, **values):
        return _SubTest(msg, values)

    def skipTest(self, reason):
        raise SkipTest(reason)

    def fail(self, msg=""):
        raise AssertionError(msg)

    def _check(self, condition, msg, otherwise):
        if not condition:
            raise AssertionError("%s : %s" % (otherwise, msg) if msg else otherwise)

    def assertTrue(self, x, msg=None):
        self._check(x, msg, "%r is not true" % (x,))

    def assertFalse(self, x, msg=None):
        self._check(not x, msg, "%r is not false" % (x,))

    def assertEqual(self, first, second, msg=None):
        self._check(first == second, msg, _different(first, second))

    assertEquals = assertListEqual = assertTupleEqual = assertDictEqual = assertEqual
    assertSetEqual = assertSequenceEqual = assertMultiLineEqual = assertEqual

    def assertNotEqual(self, first, second, msg=None):
        self._check(first != second, msg, "%r == %r" % (first, second))

    def assertIs(self, first, second, msg=None):
        self._check(first is second, msg, "%r is not %r" % (first, second))

    def assertIsNot(self, first, second, msg=None):
        self._check(first is not second, msg, "unexpectedly identical: %r" % (first,))

    def assertIsNone(self, x, msg=None):
        self._check(x is None, msg, "%r is not None" % (x,))

    def assertIsNotNone(self, x, msg=None):
        self._check(x is not None, msg, "unexpectedly None")

    def assertIn(self, member, container, msg=None):
        self._check(member in container, msg, "%r not found in %r" % (member, container))

    def assertNotIn(self, member, container, msg=None):
        self._check(member not in container, msg, "%r found in %r" % (member, container))

    def assertIsInstance(self, x, kinds, msg=None):
        self._check(isinstance(x, kinds), msg, "%r is not an instance of %r" % (x, kinds))

    def assertNotIsInstance(self, x, kinds, msg=None):
        self._check(not isinstance(x, kinds), msg, "%r is an instance of %r" % (x, kinds))

    def assertGreater(self, a, b, msg=None):
        self._check(a > b, msg, "%r not greater than %r" % (a, b))

    def assertGreaterEqual(self, a, b, msg=None):
        self._check(a >= b, msg, "%r not greater than or equal to %r" % (a, b))

    def assertLess(self, a, b, msg=None):
        self._check(a < b, msg, "%r not less than %r" % (a, b))

    def assertLessEqual(self, a, b, msg=None):
        self._check(a <= b, msg, "%r not less than or equal to %r" % (a, b))

    def assertAlmostEqual(self, a, b, places=None, msg=None, delta=None):
        self._check(self._near(a, b, places, delta), msg, _different(a, b))

    def assertNotAlmostEqual(self, a, b, places=None, msg=None, delta=None):
        self._check(not self._near(a, b, places, delta), msg, "%r == %r" % (a, b))

    def _near(self, a, b, places, delta):
        if a == b:
            return True
        if delta is not None:
            return abs(a - b) <= delta
        return round(abs(a - b), 7 if places is None else places) == 0

    def assertCountEqual(self, first, second, msg=None):
        rest = list(second)
        for x in first:
            if x not in rest:
                break
            rest.remove(x)
        else:
            if not rest:
                return
        self._check(False, msg, "%r and %r differ in what they hold" % (first, second))

    def assertRegex(self, text, pattern, msg=None):
        import re

        self._check(re.search(pattern, text), msg, "%r not found in %r" % (pattern, text))

    def assertRaises(self, kinds, function=None, *arguments, **keywords):
        context = _AssertRaises(kinds)
        if function is None:
            return context
        with context:
            function(*arguments, **keywords)

    def assertRaisesRegex(self, kinds, pattern, function=None, *arguments, **keywords):
        context = _AssertRaises(kinds, pattern)
        if function is None:
            return context
        with context:
            function(*arguments, **keywords)


def skip(reason):
    def decorate(decorated):
        if isinstance(decorated, type):

            @classmethod
            def skipped_class(cls):
                raise SkipTest(reason)

            decorated.setUpClass = skipped_class
            return decorated

        def skipped(*arguments, **keywords):
            raise SkipTest(reason)

        return skipped

    return decorate


def skipIf(condition, reason):
    return skip(reason) if condition else lambda decorated: decorated


def skipUnless(condition, reason):
    return skipIf(not condition, reason)


def expectedFailure(function):
    def expected(*arguments, **keywords):
        try:
            function(*arguments, **keywords)
        except Exception:
            return
        raise AssertionError("unexpected success")

    return expected


class TestResult:
    def __init__(self):
        self.testsRun = self.failuresNum = self.errorsNum = self.skippedNum = 0

    def wasSuccessful(self):
        return self.failuresNum == 0 and self.errorsNum == 0


def _run(case, name, result):
    import sys

    print("%s (%s) ... " % (name, case.__class__.__name__), end="")
    result.testsRun += 1
    try:
        case.setUp()
        try:
            getattr(case, name)()
        finally:
            case.tearDown()
            case.doCleanups()
        print("ok")
    except SkipTest as skipped:
        result.skippedNum += 1
        print("skipped:", skipped)
    except AssertionError as error:
        result.failuresNum += 1
        print("FAIL")
        sys.print_exception(error)
    except Exception as error:
        result.errorsNum += 1
        print("ERROR")
        sys.print_exception(error)


def _run_class(kind, result):
    try:
        kind.setUpClass()
    except SkipTest as skipped:
        result.skippedNum += 1
        print("%s ... skipped: %s" % (kind.__name__, skipped))
        return
    for name in dir(kind):
        if name.startswith("test"):
            _run(kind(), name, result)
    kind.tearDownClass()


# For a file that is run as a program; of one that pytest runs, the host runs the tests.
def main(module="__main__", *arguments, **keywords):
    if isinstance(module, str):
        module = __import__(module)
    result = TestResult()
    for name in dir(module):
        kind = getattr(module, name)
        if isinstance(kind, type) and issubclass(kind, TestCase) and kind is not TestCase:
            _run_class(kind, result)
    print("Ran %d tests" % result.testsRun)
    failed, skipped = result.failuresNum + result.errorsNum, result.skippedNum
    print("FAILED (%d)" % failed if failed else "OK", "(skipped=%d)" % skipped if skipped else "")
    if failed:
        raise SystemExit(1)
    return result
