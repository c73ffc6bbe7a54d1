"""Runs in CPython and talks to a board: what one program alone cannot see."""


def test_records_outlive_a_reset(board):
    write = "import sys; sys.path.insert(0, '/host/src'); from datalog import DataLog"
    board.exec(f"{write}; DataLog('/log').append(1, 20)")
    board.reset()
    board.exec(write)
    assert board.eval("list(DataLog('/log'))") == [(1, 20)]
