"""What the tests on the target share."""


def raises(kind, function, *args, errno=None, **kwargs):
    """Call *function*, which must raise *kind*, and with *errno* when that is given; returns it."""
    try:
        function(*args, **kwargs)
    except kind as error:
        assert errno is None or error.errno == errno, "errno %r" % error.errno
        return error
    raise AssertionError("%s was not raised" % kind.__name__)


def allocates_nothing(function):
    """Call *function* with the heap locked, after a first call that may still set things up."""
    import micropython

    function()
    micropython.heap_lock()
    try:
        return function()
    finally:
        micropython.heap_unlock()
