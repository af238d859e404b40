"""Several workers are one service for the clients, for the control socket and for the service manager."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import tempfile
import unittest

from server import (DEADLINE, LOAD, LOOP, ClientTest, EchoServer, clean_environment, ctl, echoes, ended, listens, run,
                    wait_until)
from test_control import Control
from test_descriptor_limit import decide

SANITIZED = os.environ.get("ONLOOP_SANITIZED", "") == "1"  # ThreadSanitizer has a thread of its own that wakes up
WORKERS = 4
CLIENTS = 64  # the kernel spreads them by their ports; with so many, several workers get some


class WorkersTest(ClientTest):
    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory())
        self.path = f"{self.directory}/control"

    def server(self, *arguments, workers=WORKERS, **options):
        return EchoServer("--workers", str(workers), "--control", self.path, "--drain-timeout", "0", *arguments,
                          **options)

    def clients(self, server, count=CLIENTS):
        clients = [self.enterContext(server.connect()) for _ in range(count)]
        for client in clients:
            echoes(client)
        return clients

    def told(self, *words):
        result = ctl(self.path, *words)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)
        return result.stdout[:-1]

    def statistics(self):
        return json.loads(self.told("stats"))

    def wait_until_none_listens(self, server):
        wait_until(lambda: not listens(server.pid, server.port), "no worker listens")
        self.assertEqual(self.statistics()["connections"], CLIENTS)

    def assert_fails(self, result, status, *words):
        self.assertEqual((result.returncode, result.stdout), (status, ""), result)
        self.assertRegex(result.stderr, r"\Aonloop-echo: [^\n]+\n\Z")
        for word in words:
            self.assertIn(word, result.stderr)

    def workers(self, server):
        """The threads of the workers. The first worker has the main thread. The other threads have the names of their
        workers."""
        names = {thread: pathlib.Path(f"/proc/{server.pid}/task/{thread}/comm").read_text()
                 for thread in server.threads()}
        return [server.pid] + [thread for thread, name in names.items() if name.startswith("worker ")]

    def waits(self, server):
        """The system calls in which the workers wait: epoll_wait(2) on the native loop, poll(2) on native-poll."""
        server.wait_until_asleep()
        return {pathlib.Path(f"/proc/{server.pid}/task/{thread}/syscall").read_text().split()[0]
                for thread in self.workers(server)}


class Serving(WorkersTest):
    def test_each_worker_is_a_thread_and_one_is_none(self):
        for workers in (1, 2, WORKERS):
            with self.subTest(workers=workers), self.server(workers=workers) as server:
                self.assertEqual(len(self.workers(server)), workers)
                self.assertEqual(len(server.threads()), workers + SANITIZED * (workers > 1))
                self.assertEqual(self.statistics()["workers"], workers)

    def test_several_of_them_serve_and_the_statistics_are_of_all(self):
        with self.server() as server:
            server.wait_until_asleep()
            before = {thread: server.wakeups_of(thread) for thread in self.workers(server)}
            clients = self.clients(server)
            serving = [thread for thread in before if server.wakeups_of(thread) > before[thread]]
            self.assertGreater(len(serving), 1)
            for index, client in enumerate(clients):
                echoes(client, b"x" * (1000 + index))
            for client in clients[:10]:
                client.shutdown(socket.SHUT_WR)
                self.assertTrue(ended(client))
            moved = CLIENTS + sum(1000 + index for index in range(CLIENTS))
            expected = {"loop": LOOP, "connections": CLIENTS - 10, "accepted": CLIENTS, "closed": 10, "turned_away": 0,
                        "bytes_received": moved, "bytes_sent": moved, "cutovers": 0, "last_stall_us": 0}

            def counted():  # the server counts a connection as closed a moment after its client has seen the end
                statistics = self.statistics()
                return statistics["closed"] == 10 and statistics

            statistics = wait_until(counted, "the statistics of ten that are over")
            self.assertEqual({name: statistics[name] for name in expected}, expected)
            before = server.stderr()
            server.signal(signal.SIGUSR1)
            by_signal = json.loads(wait_until(lambda: server.stderr()[len(before):], "statistics on standard error"))
            self.assertEqual({**by_signal, "uptime_seconds": 0}, {**statistics, "uptime_seconds": 0})

    def test_the_last_statistics_are_of_all(self):
        with self.server("--stats", "1000", "--quiet") as server:
            for client in self.clients(server):
                client.shutdown(socket.SHUT_WR)
                self.assertTrue(ended(client))
            self.assertEqual(server.stop(), 0)
            statistics = json.loads(server.stderr())
            self.assertEqual([statistics[name] for name in ("accepted", "closed", "bytes_sent")], [CLIENTS] * 3)

    def test_each_address_is_told_once_and_port_0_is_one_port(self):
        with self.server(listen=["localhost:0", "127.0.0.1:0"]) as server:
            addresses = [*server.addresses, server.next_ready_line()]
            ports = [int(address.rpartition(":")[2]) for address in addresses]
            self.assertEqual(ports[0], ports[1])
            self.assertNotEqual(ports[1], ports[2])
            self.assertEqual(len(self.workers(server)), WORKERS)
            for host, port in (("::1", ports[0]), ("127.0.0.1", ports[0]), ("127.0.0.1", ports[2])):
                for _ in range(16):
                    echoes(self.enterContext(socket.create_connection((host, port), DEADLINE)))
            self.assertEqual(self.statistics()["connections"], 48)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.process.stdout.read(), b"", "no further line")

    def test_the_limit_on_connections_is_of_all_together(self):
        with self.server("--max-connections", "10") as server:
            served, rejected = decide([self.enterContext(server.connect()) for _ in range(CLIENTS)])
            self.assertEqual((len(served), len(rejected)), (10, CLIENTS - 10))
            for client in served:
                client.shutdown(socket.SHUT_WR)
                self.assertTrue(ended(client))
            newcomers = []

            def ten_came():
                newcomers.extend(decide([self.enterContext(server.connect())])[0])
                return len(newcomers) == 10

            wait_until(ten_came, "as many may come as have left")

    def test_each_worker_closes_its_idle_clients(self):
        with self.server("--idle-timeout", "1") as server:
            for client in self.clients(server):
                self.assertTrue(ended(client))

    @unittest.skipIf(SANITIZED, "ThreadSanitizer's own thread does")
    def test_idle_workers_use_no_cpu(self):
        with self.server() as server:
            self.clients(server)
            self.quiet_for(server, 2.0)

    def test_the_log_numbers_connections_once(self):
        with self.server("--verbose") as server:
            self.clients(server)
            opened = [line.split()[2] for line in server.stderr().splitlines() if ": opened #" in line]
            self.assertEqual(sorted(opened), sorted(f"#{number}" for number in range(1, CLIENTS + 1)))


class Moving(WorkersTest):
    def test_a_cutover_moves_all_of_them(self):
        with self.server() as server:
            clients = self.clients(server)
            waits = []
            for loop in ("native-poll", "native"):
                self.assertEqual(self.told("cutover", loop, "direct"), f"{loop} direct")
                for client in clients:
                    echoes(client, b"on the next loop")
                waits.append(self.waits(server))
            self.assertEqual([len(calls) for calls in waits], [1, 1], waits)
            self.assertNotEqual(waits[0], waits[1])
            self.assertEqual(self.told("cutover", LOOP), self.told("cutover", LOOP))
            moves = self.statistics()["cutovers"]
            wait_until(lambda: server.stderr().count("moved to") == moves, "one line for each move of all")

    def test_sigusr2_and_the_socket_move_it_under_load(self):
        with self.server() as server:
            load = subprocess.Popen([LOAD, server.addresses[0], "--connections", "50", "--duration", "3"],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                    env=clean_environment())
            with load:
                moves = 0
                while load.poll() is None:
                    server.signal(signal.SIGUSR2)
                    moves += 1
                    wait_until(lambda: server.stderr().count("moved to") == moves, "the move")
                self.assertEqual(load.returncode, 0, load.stderr.read())
            self.assertGreater(moves, 0)
            self.assertEqual(self.statistics()["cutovers"], moves)

    def test_moves_that_two_ask_for_come_one_after_the_other(self):
        with self.server() as server, Control(self.path) as one, Control(self.path) as other:
            clients = self.clients(server)
            one.send(b"cutover native direct\ncutover native-poll direct\n" * 50)
            other.send(b"cutover native-poll direct\ncutover native aggregate\n" * 50)
            for _ in range(50):
                self.assertEqual([one.line(), one.line()], ["ok native direct", "ok native-poll direct"])
                self.assertEqual([other.line(), other.line()], ["ok native-poll direct", "ok native aggregate"])
            self.assertEqual(len(self.waits(server)), 1, "all of them are on one loop")
            for client in clients:
                echoes(client)

    def test_if_one_worker_can_not_move_no_worker_moves(self):
        with self.server() as server, Control(self.path) as control:
            clients = self.clients(server)
            self.told("cutover", "native-poll", "direct")
            control.ask("stats")
            before = self.waits(server)
            soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)

            def no_number_is_free():
                echoes(self.enterContext(server.connect()))  # takes the lowest free number
                numbers = sorted(map(int, os.listdir(f"/proc/{server.pid}/fd")))
                return numbers == list(range(len(numbers)))

            # A move to poll needs no descriptor. A move to epoll needs one for each worker, but only one is free for
            # all of them.
            wait_until(no_number_is_free, "the descriptors have all numbers up to some")
            limit = server.open_descriptors() + 1
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, hard))
            for _ in range(20):
                self.assertRegex(control.ask("cutover native direct"), r"\Aerror [^\n]*Too many open files\Z")
                self.assertEqual(self.waits(server), before, "all of them are where they were")
            server.signal(signal.SIGUSR2)
            wait_until(lambda: "SIGUSR2: still on native-poll: " in server.stderr(), "the error")
            for client in clients:
                echoes(client, b"goes on")
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
            self.assertEqual(control.ask("cutover native direct"), "ok native direct")
            for client in clients:
                echoes(client, b"moves again")

    def test_a_loop_that_there_is_not_is_an_error(self):
        with self.server():
            result = ctl(self.path, "cutover", "no-such")
            self.assert_fails(result, 1, "no-such", "there are: ")
            self.assertEqual(self.statistics()["cutovers"], 0)


class Ending(WorkersTest):
    def test_a_signal_drains_all_of_them(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name), self.server("--drain-timeout", "600") as server:
                clients = self.clients(server)
                server.signal(number)
                wait_until(lambda: f"{number.name}: draining {CLIENTS} connections" in server.stderr(), "it drains")
                wait_until(lambda: not listens(server.pid, server.port), "no worker listens")
                for client in clients:
                    echoes(client, b"served to its end")
                for client in clients[1:]:
                    client.shutdown(socket.SHUT_WR)
                    self.assertTrue(ended(client))
                echoes(clients[0], b"it waits for the last one, whichever worker's that is")
                clients[0].shutdown(socket.SHUT_WR)
                self.assertEqual(server.wait(), 0, server.stderr())

    def test_without_clients_it_ends_at_once(self):
        with self.server("--drain-timeout", "600") as server:
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(), 0, server.stderr())

    def test_the_limit_of_a_drain_cuts_all_off(self):
        with self.server("--drain-timeout", "0.5") as server:
            clients = self.clients(server)
            server.signal(signal.SIGTERM)
            for client in clients:
                self.assertTrue(ended(client))
            self.assertEqual(server.wait(), 0, server.stderr())
            self.assertIn(f"stopped; {CLIENTS} connections timed out", server.stderr())

    def test_a_second_signal_stops_all_now(self):
        with self.server("--drain-timeout", "600") as server:
            clients = self.clients(server)
            server.signal(signal.SIGTERM)
            self.wait_until_none_listens(server)
            server.signal(signal.SIGINT)
            for client in clients:
                self.assertTrue(ended(client))
            self.assertEqual(server.wait(), 0, server.stderr())
            self.assertIn(f"SIGINT: stopped now, with {CLIENTS} connections open", server.stderr())

    def test_drain_and_shutdown_by_the_control_socket(self):
        with self.server("--drain-timeout", "600") as server:
            clients = self.clients(server)
            self.assertEqual(self.told("drain"), f"draining {CLIENTS} connections")
            self.wait_until_none_listens(server)
            echoes(clients[0])
            self.assertEqual(self.told("shutdown"), f"stopping now, with {CLIENTS} connections open")
            for client in clients:
                self.assertTrue(ended(client))
            self.assertEqual(server.wait(), 0, server.stderr())
        self.assertFalse(os.path.exists(self.path))

    def test_it_ends_in_the_middle_of_what_it_is_asked(self):
        for _ in range(10):
            with self.server("--quiet") as server, Control(self.path) as control:
                self.clients(server, 8)
                control.send(b"stats\ncutover native-poll\ncutover native\n" * 50)
                control.line()
                for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
                    server.signal(number)
                self.assertEqual(server.wait(), 0, server.stderr())

    def test_the_service_manager_is_told_once(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(DEADLINE)
            manager.bind(f"{self.directory}/notify")
            with self.server(env={"NOTIFY_SOCKET": f"{self.directory}/notify"}) as server:
                self.assertEqual(server.stop(), 0)
            told = [manager.recv(4096), manager.recv(4096)]
            self.assertEqual(told, [b"READY=1", b"STOPPING=1"])
            manager.setblocking(False)
            self.assertRaises(BlockingIOError, manager.recv, 4096)

    @unittest.skipUnless(LOOP == "native", "it breaks the wait of the native loop")
    def test_a_worker_that_dies_ends_the_service(self):
        with contextlib.ExitStack() as stack:
            server = self.server()
            stack.callback(server.kill)
            client = self.clients(server)[0]
            worker = self.workers(server)[-1]
            tracer = subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(worker), "-e", "trace=epoll_wait",
                                       "-e", "inject=epoll_wait:error=EBADF"], stderr=subprocess.PIPE)
            stack.enter_context(tracer)
            stack.callback(tracer.kill)

            def ended_by_it():
                # Any worker may get this client. If it is not the traced worker, the next client may go to it.
                if server.process.poll() is None:
                    with contextlib.suppress(OSError):
                        socket.create_connection(("127.0.0.1", server.port), 1).close()
                return server.process.poll() is not None

            wait_until(ended_by_it, "the service ends")
            self.assertEqual(server.wait(), 1, server.stderr())
            self.assertRegex(server.stderr(), r"\Aonloop-echo: worker \d: [^\n]*Bad file descriptor\n\Z")
            self.assertTrue(ended(client))


class Refusals(WorkersTest):
    def test_malformed_numbers(self):
        for number in ("0", "257", "-1", "x", "1.5", ""):
            with self.subTest(number=number):
                self.assert_fails(run("--listen", "127.0.0.1:0", "--workers", number), 2, "--workers")

    def test_addresses_that_can_not_be_shared(self):
        for address in (f"unix:{self.directory}/echo", "unix:@onloop-test-workers", "fd:3", "fd:name"):
            with self.subTest(address=address):
                self.assert_fails(run("--listen", "127.0.0.1:0", "--listen", address, "--workers", "2"), 2,
                                  f"--listen {address} needs --workers 1")
        self.assertFalse(os.path.exists(f"{self.directory}/echo"))

    def test_takeovers_need_one_worker(self):
        with self.server() as server:
            clients = self.clients(server)
            self.assert_fails(run("--takeover", self.path), 1, "takeover needs --workers 1")
            self.assert_fails(run("--takeover", self.path, "--workers", "2"), 2, "--takeover needs --workers 1")
            for client in clients:
                echoes(client, b"served on")

    def test_a_port_is_not_shared_with_another_server(self):
        with self.server() as server:
            for workers in ("1", "2"):
                with self.subTest(workers=workers):
                    self.assert_fails(run("--listen", f"127.0.0.1:{server.port}", "--workers", workers), 1,
                                      "Address already in use", "ss -ltnp")

    def test_more_threads_than_there_can_be(self):
        result = run("--listen", "127.0.0.1:0", "--workers", "8", prefix=[
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3",
            "-e", "inject=clone,clone3:error=EAGAIN:when=2+"])
        self.assert_fails(result, 1, "start worker ", " of 8: Resource temporarily unavailable")


if __name__ == "__main__":
    unittest.main()
