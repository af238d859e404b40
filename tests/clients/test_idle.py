"""A server costs nothing while nothing happens."""

import re
import signal
import subprocess
import tempfile
import unittest

from server import DEADLINE, ClientTest, EchoServer, echoes, wait_until

CONNECTIONS = 1000
SECONDS = 3.0
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "restart_syscall"}


def system_calls(summary):
    """The number of calls of each system call, from a summary of strace -c."""
    calls = {}
    for line in summary.splitlines():
        # % time, seconds, usecs/call, calls, errors (or blank), name
        match = re.fullmatch(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)", line)
        if match and match[2] != "total":
            calls[match[2]] = int(match[1])
    return calls


class Idle(ClientTest):
    def setUp(self):
        self.server = self.enterContext(EchoServer())
        self.clients = [self.enterContext(self.server.connect()) for _ in range(CONNECTIONS)]
        for client in self.clients:
            echoes(client)
        self.server.wait_until_asleep()

    def test_1000_idle_connections_cost_no_cpu_and_no_wake_up(self):
        self.quiet_for(self.server, SECONDS)
        for client in self.clients:
            echoes(client)

    def test_1000_idle_connections_cost_no_system_call(self):
        with tempfile.NamedTemporaryFile("r") as summary, tempfile.TemporaryFile("w+") as messages:
            strace = subprocess.Popen(["strace", "-c", "-f", "-o", summary.name, "-p", str(self.server.pid)],
                                      stdin=subprocess.DEVNULL, stderr=messages)
            self.addCleanup(strace.kill)

            def attached():
                messages.seek(0)
                text = messages.read()
                if "Operation not permitted" in text:
                    self.skipTest(f"this system does not permit to attach to a process: {text.strip()}")
                if strace.poll() is not None:
                    self.fail(f"strace ended: {text}")
                return "attached" in text

            wait_until(attached, "strace is attached")
            with self.assertRaises(subprocess.TimeoutExpired):
                strace.wait(SECONDS)
            strace.send_signal(signal.SIGINT)
            strace.wait(DEADLINE)
            text = summary.read()
        calls = system_calls(text)
        self.assertLessEqual(set(calls), WAITS, text)
        # Attaching interrupts the wait, and the process then waits again.
        self.assertLessEqual(sum(calls.values()), 2, text)
        for client in self.clients:
            echoes(client)


if __name__ == "__main__":
    unittest.main()
