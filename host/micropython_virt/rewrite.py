# SPDX-License-Identifier: MIT
"""Asserts rewritten on the host, as pytest does it, because the board has no ast.

`assert a == b, why` becomes `assert _assert_.compare((a), "==", (b)), _assert_.why((why))`, with
each line where it was. The board keeps the two values when it fails; the host, which has the
source, knows what stood there.
"""

import ast

NAME = "_assert_"
OPERATORS = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}


def rewrite(source):
    """Return the source, bytes, with its asserts rewritten; as it was where that cannot be."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    lines = source.splitlines(keepends=True)
    # From the end, so that what is still to be done lies where the tree says.
    for node in sorted(asserts(tree), key=_place, reverse=True):
        _replace(lines, node)
    return b"".join(lines)


def _place(node):
    return node.lineno, node.col_offset


def asserts(tree):
    """The assert statements of a module, but for those in code that is not bytecode."""
    found = []

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Assert):
                found.append(child)
            elif not _is_native(child):
                walk(child)

    walk(tree)
    return found


def _is_native(node):
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(d).startswith("micropython.") for d in decorators)


def comparison(node):
    """The operator of an assert that compares two values, or None."""
    test = node.test
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return OPERATORS[type(test.ops[0])]
    return None


def _replace(lines, node):
    operator = comparison(node)
    if operator:
        left, right = node.test.left, node.test.comparators[0]
        test = b'%s.compare((%s), "%s", (%s))' % (
            NAME.encode(),
            _text(lines, left),
            operator.encode(),
            _text(lines, right),
        )
    else:
        test = b"%s.value((%s))" % (NAME.encode(), _text(lines, node.test))
    message = b"(%s)" % _text(lines, node.msg) if node.msg else b""
    new = b"assert %s, %s.why(%s)" % (test, NAME.encode(), message)
    first, last = node.lineno - 1, node.end_lineno - 1
    before = lines[first][: node.col_offset]
    after = lines[last][node.end_col_offset :]
    padding = b"\n" * (last - first - new.count(b"\n"))
    text = before + new + after.rstrip(b"\r\n") + b"\n" + padding
    lines[first : last + 1] = text.splitlines(keepends=True)


def _text(lines, node):
    first, last = node.lineno - 1, node.end_lineno - 1
    if first == last:
        return lines[first][node.col_offset : node.end_col_offset]
    pieces = [lines[first][node.col_offset :], *lines[first + 1 : last]]
    return b"".join([*pieces, lines[last][: node.end_col_offset]])
