"""Writes files of the Contec ECG90A for the tests of their reader."""


def contec(steps, *, time=b"2020-11-16 21:44:39", sex=0, age=66, end=bytes(37)):
    head = b"0000050\x00\x00\x00" + time.ljust(22, b"\x00") + b"Roe Jane" + bytes([sex, age, 70])
    return head + (steps.T + 2048).astype("<u2").tobytes() + end
