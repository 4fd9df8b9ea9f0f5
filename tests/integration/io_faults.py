# SPDX-License-Identifier: BSD-2-Clause
"""A disk that fails when a test wants it: rows in a file that the daemons of a developer build have mapped (base/io_fault.h).

    faults = IoFaults(node)                             # before its daemons start
    with faults.on("relayd/worker", "sync", errno.EIO, times=3) as fault: ...       # ends with the block, if not before
    fault.failed                                        # so often, in all
"""
import contextlib
import mmap
import struct

ROWS, ROW = 16, struct.Struct("<24s16siiI")
LEFT = ROW.size - 8  # where `left` and `failed` lie
ALWAYS = 2 ** 31 - 1
# What a file system that is mounted read-only refuses.
WRITING = ("write", "allocate", "truncate", "open-rw", "rename", "unlink")


class Fault:
    def __init__(self, memory, at):
        self._memory, self._at = memory, at

    @property
    def failed(self):
        return struct.unpack_from("<I", self._memory, self._at + LEFT + 4)[0]

    def end(self):
        struct.pack_into("<i", self._memory, self._at + LEFT, 0)


class IoFaults:
    def __init__(self, node):
        path = node.folder / "io-faults"
        path.write_bytes(bytes(ROWS * ROW.size))
        path.chmod(0o666)
        with open(path, "r+b") as rows:
            self._memory = mmap.mmap(rows.fileno(), ROWS * ROW.size)
        self._free = list(range(ROWS))
        for daemon in (node.relayd, node.spoolmgr):
            daemon.env["POSTERN_TEST_IO"] = str(path)

    @contextlib.contextmanager
    def on(self, program, operation, error, times=ALWAYS):
        row = self._free.pop()
        fault = Fault(self._memory, row * ROW.size)
        ROW.pack_into(self._memory, row * ROW.size, program.encode(), operation.encode(), error, 0, 0)
        struct.pack_into("<i", self._memory, row * ROW.size + LEFT, times)
        try:
            yield fault
        finally:
            fault.end()
            self._free.append(row)

    @contextlib.contextmanager
    def read_only(self, program, error):
        """All that changes a file fails."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self.on(program, operation, error)) for operation in WRITING]
