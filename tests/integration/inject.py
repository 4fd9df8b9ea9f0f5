# SPDX-License-Identifier: BSD-2-Clause
"""System calls made inside a process that runs: what its sandbox answers is asked there, and not guessed from tables.

    with Injected(pid) as process:                      # its main thread stands still meanwhile
        process.call(SYS["openat"], AT_FDCWD, "/etc/passwd", os.O_RDONLY)      # the result, or -errno

x86-64 and root only (`available`). A call that ends the process raises Ended with the signal."""
import ctypes
import os
import platform
import signal

from world import wait_until

SYS = {"close": 3, "mprotect": 10, "socket": 41, "connect": 42, "listen": 50, "fork": 57, "execve": 59, "kill": 62, "openat": 257,
       "setresuid": 117}
AT_FDCWD = -100
ATTACH, DETACH, GETREGS, SETREGS, SINGLESTEP = 16, 17, 12, 13, 9
ALL = 0x40000000  # __WALL: threads as well
REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs "
             "gs").split()
BELOW_STACK = 4096  # behind the red zone
TEXT_SIZE = 512

available = platform.machine() == "x86_64" and os.geteuid() == 0


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in REGISTERS]


class Ended(Exception):
    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.signal = number


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, pid, data=None):
    if _libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


class Injected:
    def __init__(self, pid):
        self.pid, self.saved, self.ended = pid, Registers(), False

    def __enter__(self):
        wait_until(self._stop_in_call, 20, "the thread waits in a system call")
        return self

    def _stop_in_call(self):
        """False, and it goes on, if it was at work."""
        _ptrace(ATTACH, self.pid)
        self._wait()
        _ptrace(GETREGS, self.pid, ctypes.addressof(self.saved))
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.saved.rip - 2)
            if memory.read(2) == b"\x0f\x05":
                return True
        _ptrace(DETACH, self.pid)
        return False

    def __exit__(self, *_):
        if not self.ended:
            _ptrace(SETREGS, self.pid, ctypes.addressof(self.saved))
            _ptrace(DETACH, self.pid)

    def _wait(self):
        _, status = os.waitpid(self.pid, ALL)
        if os.WIFSIGNALED(status):
            self.ended = True
            raise Ended(os.WTERMSIG(status))
        assert os.WIFSTOPPED(status), f"status {status:#x}"
        return os.WSTOPSIG(status)

    def call(self, number, *args):
        """Texts and bytes are put below the stack; the others are numbers."""
        registers, numbers = Registers(), []
        ctypes.memmove(ctypes.addressof(registers), ctypes.addressof(self.saved), ctypes.sizeof(registers))
        place = self.saved.rsp - BELOW_STACK
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            for arg in args:
                if isinstance(arg, int):
                    numbers.append(arg)
                    continue
                data = arg.encode() + b"\0" if isinstance(arg, str) else arg
                assert len(data) <= TEXT_SIZE
                place -= TEXT_SIZE
                memory.seek(place)
                memory.write(data)
                numbers.append(place)
        numbers += [0] * (6 - len(numbers))
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), numbers):
            setattr(registers, name, value & (2 ** 64 - 1))
        registers.rax, registers.orig_rax = number, 2 ** 64 - 1  # no call is to be begun anew
        registers.rip = self.saved.rip - 2
        _ptrace(SETREGS, self.pid, ctypes.addressof(registers))
        _ptrace(SINGLESTEP, self.pid)
        while self._wait() != signal.SIGTRAP:
            _ptrace(SINGLESTEP, self.pid)
        _ptrace(GETREGS, self.pid, ctypes.addressof(registers))
        return ctypes.c_int64(registers.rax).value
