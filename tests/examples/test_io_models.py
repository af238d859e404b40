"""The I/O models of examples/io_models. Each model echoes, and each shows its special property."""

import functools
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time
import unittest

from program import Program, a_mebibyte_comes_back
from server import DEADLINE, ClientTest, clean_environment, echoes, ended, read_exactly, wait_until

SERIAL = "blocking_serial"
SWEEPING = ("nonblocking_spin", "poller_per_descriptor")
MULTIPLEXED = ("select", "poll", "epoll")
FOR_EACH_CLIENT = ("process_per_connection", "thread_per_connection")
GLUED = "glued_loops"
CONCURRENT = (*SWEEPING, *MULTIPLEXED, *FOR_EACH_CLIENT, GLUED)
ALL = (SERIAL, *CONCURRENT)

FD_SETSIZE = 1024


def processes(pid):
    """The process and its children. Children that have ended and were not waited for count, too."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


class Model(Program):
    def __init__(self, name):
        self.name = name
        super().__init__(f"io_model_{name}", None)

    def read_ready_line(self):
        line = self.read_line()
        match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", line)
        if not match:
            raise AssertionError(f"no ready line: {line!r}, standard error: {self.stderr()!r}")
        self.port = int(match[1])

    def open_descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def children(self):
        return processes(self.process.pid)[1:]

    def threads(self):
        """The directories in /proc of all threads, including those of the children."""
        return [task for pid in processes(self.process.pid) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]

    def status(self, field):
        return [re.search(rf"^{field}:\s+(\S+)", (task / "status").read_text(), re.MULTILINE)[1]
                for task in self.threads()]

    def waits(self):
        """How often these threads have gone to sleep."""
        return sum(map(int, self.status("voluntary_ctxt_switches")))

    def cpu_ns(self):
        return sum(int((task / "schedstat").read_text().split()[0]) for task in self.threads())


class SlowReader:
    """A client that has sent as much as it can and has read nothing. It is a context manager, which closes the
    client."""

    def __init__(self, port):
        self.payload = os.urandom(1 << 24)  # more than the kernel can buffer, so the server cannot send all of it
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.sent = 0
        # If there is no room only for a moment, the server is not yet stuck. So this waits 0.3 s before it gives up.
        while select.select([], [self.socket], [], 0.3)[1]:
            self.sent += self.socket.send(self.payload[self.sent:])

    def read_all(self, test):
        """Reads all answers. The client sends no more, so the server must send the rest by itself."""
        self.socket.settimeout(DEADLINE)
        test.assertLess(self.sent, len(self.payload))
        test.assertTrue(read_exactly(self.socket, self.sent) == self.payload[:self.sent])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def of(*names):
    """Runs the test with a server of each of these models."""
    def decorate(test):
        @functools.wraps(test)
        def run(self):
            for name in names:
                with self.subTest(model=name), Model(name) as server:
                    test(self, server)
        return run
    return decorate


class IoModels(ClientTest):
    def connect(self, server, count):
        clients = [self.enterContext(server.connect()) for _ in range(count)]
        for client in clients:
            echoes(client, b"one of many")
        return clients

    @of(*ALL)
    def test_one_mebibyte_comes_back_intact(self, server):
        with server.connect() as client:
            self.assertTrue(a_mebibyte_comes_back(client))

    @of(*ALL)
    def test_what_a_client_sends_before_it_ends_its_side_comes_back(self, server):
        with server.connect() as client:
            client.sendall(b"the last words")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(read_exactly(client, 14), b"the last words")
            self.assertTrue(ended(client))

    # Not for glued loops: they send back what they have received in one step, and each step takes 10 ms.
    @of("nonblocking_spin", *MULTIPLEXED, *FOR_EACH_CLIENT)
    def test_a_client_that_does_not_read_holds_up_no_other(self, server):
        slow = self.enterContext(SlowReader(server.port))
        [other] = self.connect(server, 1)
        for _ in range(10):
            echoes(other)
        slow.read_all(self)

    @of(*MULTIPLEXED)
    def test_one_wait_sleeps_while_a_client_does_not_read(self, server):
        with SlowReader(server.port):
            # There is more to receive, but the server must not wait for that.
            wait_until(lambda: server.status("State") == ["S"], "it sleeps until there is room to send")

    @of("poller_per_descriptor")
    def test_where_sockets_block_a_client_that_does_not_read_holds_up_all(self, server):
        [other] = self.connect(server, 1)
        slow = self.enterContext(SlowReader(server.port))
        wait_until(lambda: server.status("State") == ["S"], "it sleeps, which it does in send only")
        other.sendall(b"me too")
        self.assertEqual(select.select([other], [], [], 0)[0], [], "the other client was answered")
        slow.read_all(self)
        self.assertEqual(read_exactly(other, 6), b"me too")

    @of(*CONCURRENT)
    def test_many_connections_come_and_go(self, server):
        self.connect(server, 1)
        before = server.open_descriptors()
        for _ in range(3):
            for client in self.connect(server, 50):
                client.close()
        wait_until(lambda: server.open_descriptors() <= before, "all connections are closed")

    @of(SERIAL)
    def test_the_serial_one_answers_a_second_client_when_the_first_has_left(self, server):
        with server.connect() as first, server.connect() as second:
            echoes(first)
            second.sendall(b"me too")
            for _ in range(100):
                echoes(first)
            self.assertEqual(select.select([second], [], [], 0)[0], [], "the second client was answered")
            first.close()
            self.assertEqual(read_exactly(second, 6), b"me too")

    @of(*CONCURRENT)
    def test_the_others_answer_all_clients_at_once(self, server):
        clients = self.connect(server, 5)
        for client in reversed(clients):
            echoes(client, b"again")

    @of(SERIAL, *MULTIPLEXED, *FOR_EACH_CLIENT)
    def test_those_that_wait_sleep_while_nothing_happens(self, server):
        clients = self.connect(server, 1 if server.name == SERIAL else 5)
        wait_until(lambda: set(server.status("State")) == {"S"}, "all threads sleep")
        before = server.waits(), server.cpu_ns()
        with self.assertRaises(subprocess.TimeoutExpired):
            server.process.wait(1)
        self.assertEqual((server.waits(), server.cpu_ns()), before)
        for client in clients:
            echoes(client)

    @of(*SWEEPING)
    def test_those_that_sweep_run_all_the_time(self, server):
        self.connect(server, 5)
        waits, cpu = server.waits(), server.cpu_ns()
        wait_until(lambda: server.cpu_ns() - cpu > 300_000_000, "it uses CPU time while nothing happens")
        self.assertEqual(server.waits(), waits)

    @of(GLUED)
    def test_glued_loops_wake_up_while_nothing_happens(self, server):
        self.connect(server, 5)
        waits = server.waits()
        wait_until(lambda: server.waits() - waits > 20, "it wakes up again and again")

    @of(GLUED)
    def test_of_glued_loops_one_keeps_the_other_waiting(self, server):
        [client] = self.connect(server, 1)
        start = time.monotonic()
        for _ in range(20):
            echoes(client)
        # Each round trip takes 10 ms, except if the timer of the application ends the wait. This is 1 round trip in 25.
        self.assertGreater(time.monotonic() - start, 0.1)

    @of("process_per_connection")
    def test_a_process_for_each_client_ends_with_it_and_is_no_zombie(self, server):
        clients = self.connect(server, 5)
        self.assertEqual(len(server.children()), 5)
        for client in clients:
            client.close()
        wait_until(lambda: not server.children(), "no child is left")

    @of("process_per_connection")
    def test_no_process_outlives_the_server(self, server):
        self.connect(server, 5)
        children = server.children()
        self.assertEqual(server.end(), 0, server.stderr())
        self.assertEqual([child for child in children if os.path.exists(f"/proc/{child}")], [])

    @of("thread_per_connection")
    def test_a_thread_for_each_client_ends_with_it(self, server):
        clients = self.connect(server, 5)
        self.assertEqual(len(server.threads()), 6)
        for client in clients:
            client.close()
        wait_until(lambda: len(server.threads()) == 1, "only the first thread is left")

    @of("select")
    def test_select_turns_away_what_it_can_not_watch(self, server):
        room = FD_SETSIZE - server.open_descriptors()
        clients = self.connect(server, room)
        for _ in range(3):
            with server.connect() as client:
                self.assertTrue(ended(client))
        echoes(clients[0])
        echoes(clients[-1])
        self.assertIn("select() can't watch descriptor 1024", server.stderr())

    @of(*ALL)
    def test_sigterm_ends_it_with_a_client_connected(self, server):
        self.ends_on(server, signal.SIGTERM)

    @of(*ALL)
    def test_sigint_ends_it_with_a_client_connected(self, server):
        self.ends_on(server, signal.SIGINT)

    def ends_on(self, server, number):
        [client] = self.connect(server, 1)
        self.assertEqual(server.end(number), 0, server.stderr())
        self.assertTrue(ended(client))

    def test_what_is_no_address_on_loopback_is_refused(self):
        program = os.environ["ONLOOP_EXAMPLE_io_model_epoll"]
        for address in ("0.0.0.0:0", "192.0.2.1:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:1x"):
            with self.subTest(address=address):
                done = subprocess.run([program, address], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                      timeout=DEADLINE, env=clean_environment())
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertEqual(done.stderr, f'ADDRESS is 127.0.0.1:PORT, not "{address}"\n')

    def test_an_address_in_use_is_an_error(self):
        with Model("epoll") as server:
            program = os.environ["ONLOOP_EXAMPLE_io_model_poll"]
            done = subprocess.run([program, f"127.0.0.1:{server.port}"], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=DEADLINE, env=clean_environment())
            self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", "bind: Address already in use\n"))


if __name__ == "__main__":
    unittest.main()
