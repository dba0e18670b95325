"""The filter program, run by a small interpreter of its own."""

import errno
import struct

import pytest

from aurora_m.evals.sandbox.jail import (
    ARCHES,
    DENIED,
    FCNTL,
    FCNTL_DENIED,
    IOCTL,
    IOCTL_DENIED,
    NEW_CALLS,
    PRLIMIT,
    seccomp_filter,
)

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
READ = {"x86_64": 0, "aarch64": 63}


def verdict(machine: str, number: int, arch: int, first: int = 0, second: int = 0) -> int:
    """What the kernel would do with a system call."""
    program = list(struct.iter_unpack("HBBI", seccomp_filter(machine)))
    data, value, at = {0: number, 4: arch, 16: first, 24: second}, 0, 0
    while True:
        code, if_true, if_false, given = program[at]
        at += 1
        if code == 0x06:
            return int(given)
        if code == 0x20:
            value = data[given]
        else:
            at += if_true if (value == given if code == 0x15 else value >= given) else if_false


@pytest.mark.parametrize("machine", ARCHES)
def test_the_filter(machine: str) -> None:
    column, arch = ARCHES[machine]
    for numbers in DENIED.values():
        number = numbers[column]
        if number is not None:
            assert verdict(machine, number, arch) == EPERM
    for number in (NEW_CALLS, 435, 451, 0x40000000 + 57):
        assert verdict(machine, number, arch) == ENOSYS
    assert verdict(machine, READ[machine], arch) == ALLOW
    assert verdict(machine, PRLIMIT[column], arch, 0) == ALLOW
    assert verdict(machine, PRLIMIT[column], arch, 1) == EPERM
    assert verdict(machine, READ[machine], 0x40000003) == KILL  # a 32-bit call
    for numbers, denied in ((FCNTL, FCNTL_DENIED), (IOCTL, IOCTL_DENIED)):
        assert {verdict(machine, numbers[column], arch, 0, command) for command in denied} == {EPERM}
        assert {verdict(machine, numbers[column], arch, 0, command) for command in (0, 1, 2, 3, 4, 0x5401)} == {ALLOW}


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(KeyError):
        seccomp_filter("riscv64")
