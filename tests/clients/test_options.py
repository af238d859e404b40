"""Addresses, limits, socket activation and readiness notification."""

import contextlib
import os
import socket
import stat
import tempfile
import time
import unittest

from server import DEADLINE, ClientTest, EchoServer, echoes, ended, run, wait_until


def connect_unix(name):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE)
    client.connect(name)
    return client


class Addresses(ClientTest):
    def test_a_unix_socket_is_private_and_goes_with_the_server(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/echo"
            with EchoServer(listen=[f"unix:{path}"]) as server:
                self.assertEqual(server.addresses, [f"unix:{path}"])
                self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
                with connect_unix(path) as client:
                    echoes(client, b"hello")
            self.assertFalse(os.path.exists(path))

    def test_the_socket_of_a_dead_server_is_replaced_only_on_request(self):
        with tempfile.TemporaryDirectory() as directory:
            address = f"unix:{directory}/echo"
            dead = EchoServer(listen=[address])
            dead.kill()
            result = run("--listen", address)
            self.assertEqual(result.returncode, 1, result)
            self.assertIn("--replace-stale", result.stderr)
            with EchoServer("--replace-stale", listen=[address]), connect_unix(f"{directory}/echo") as client:
                echoes(client, b"hello")
                living = run("--listen", address, "--replace-stale")
                self.assertEqual(living.returncode, 1, living)
                self.assertIn("Address already in use", living.stderr)
                echoes(client, b"undisturbed")

    def test_an_abstract_name(self):
        name = f"onloop-test-{os.getpid()}"
        with EchoServer(listen=[f"unix:@{name}"]) as server, connect_unix("\0" + name) as client:
            self.assertEqual(server.addresses, [f"unix:@{name}"])
            self.assertIn(f"every user of this machine may connect to unix:@{name}", server.stderr())
            echoes(client, b"hello")

    def test_localhost_is_both_families(self):
        with EchoServer(listen=["localhost:0"]) as server:
            both = {server.addresses[0], server.next_ready_line()}
            port = server.port
            self.assertEqual(both, {f"127.0.0.1:{port}", f"[::1]:{port}"})
            for host in ("127.0.0.1", "::1"):
                with socket.create_connection((host, port), DEADLINE) as client:
                    echoes(client, b"hello")

    def test_several_addresses(self):
        with tempfile.TemporaryDirectory() as directory:
            with EchoServer(listen=["127.0.0.1:0", "[::1]:0", f"unix:{directory}/echo"]) as server:
                with server.connect() as one, connect_unix(f"{directory}/echo") as other:
                    echoes(one, b"one")
                    echoes(other, b"other")


class Log(ClientTest):
    def test_a_client_without_a_name_looks_like_no_family(self):
        with tempfile.TemporaryDirectory() as directory:
            with EchoServer("--verbose", listen=[f"unix:{directory}/echo"]) as server:
                with connect_unix(f"{directory}/echo") as client:
                    echoes(client, b"hello")
                self.assertEqual(server.stop(), 0)
                self.assertIn(f"opened #1 unknown on unix:{directory}/echo\n", server.stderr())
                self.assertIn("closed #1 unknown after 5 bytes: ", server.stderr())

    def test_verbose_tells_of_each_connection_and_quiet_of_nothing(self):
        for option, told in (("--verbose", True), ("--quiet", False)):
            with self.subTest(option=option), EchoServer(option) as server:
                with server.connect() as client:
                    port = client.getsockname()[1]
                    echoes(client, b"hello")
                    client.shutdown(socket.SHUT_WR)
                    self.assertTrue(ended(client))
                self.assertEqual(server.stop(), 0)
                log = server.stderr()
                self.assertEqual(f"127.0.0.1:{port}" in log, told, log)
                self.assertEqual(" 5 bytes" in log, told, log)
                self.assertTrue(told or not log, log)


class Limits(ClientTest):
    def test_more_than_max_connections_are_turned_away(self):
        with EchoServer("--max-connections", "2") as server:
            with server.connect() as one, server.connect() as two, server.connect() as three:
                echoes(one)
                echoes(two)
                self.assertTrue(ended(three))
                one.shutdown(socket.SHUT_WR)
                self.assertTrue(ended(one))

                def another_is_served():
                    with server.connect() as client, contextlib.suppress(ConnectionError):
                        client.sendall(b"x")
                        return client.recv(1) == b"x"

                wait_until(another_is_served, "one may come when one has left")
                echoes(two)

    def test_an_idle_client_is_closed_and_a_busy_one_is_not(self):
        with EchoServer("--idle-timeout", "2") as server, server.connect() as idle, server.connect() as busy:
            echoes(idle)
            start = time.monotonic()
            idle.settimeout(0.2)
            while True:
                echoes(busy)
                try:
                    self.assertTrue(ended(idle))
                    break
                except TimeoutError:
                    self.assertLess(time.monotonic() - start, DEADLINE, "the idle client is closed")
            # The server's last byte to it was sent a moment before `start`.
            self.assertGreaterEqual(time.monotonic() - start, 1.9)
            echoes(busy)


def activated(sockets, names=None, count=None, pid="$$"):
    """A prefix that starts a program as systemd does, with the sockets from descriptor 3 on."""
    redirections = " ".join(f"{3 + index}<&{100 + index}" for index in range(len(sockets)))
    named = f"LISTEN_FDNAMES={names}" if names else ""
    script = f'LISTEN_FDS={len(sockets) if count is None else count} LISTEN_PID={pid} {named} exec "$@" {redirections}'
    return ["bash", "-c", script, "activation"]


class Activation(ClientTest):
    """The sockets are put on descriptor 100 and up, from where the prefix moves them to 3 and up."""

    def sockets(self, count):
        opened = []
        for index in range(count):
            listener = self.enterContext(socket.create_server(("127.0.0.1", 0)))
            os.dup2(listener.fileno(), 100 + index, inheritable=True)
            self.addCleanup(os.close, 100 + index)
            opened.append(listener)
        return opened

    @staticmethod
    def passed(sockets):
        return tuple(100 + index for index in range(len(sockets)))

    @staticmethod
    def address(listener):
        return "127.0.0.1:%d" % listener.getsockname()[1]

    def test_a_socket_by_number(self):
        sockets = self.sockets(1)
        with EchoServer(listen=["fd:3"], prefix=activated(sockets), pass_fds=self.passed(sockets)) as server:
            self.assertEqual(server.addresses, [self.address(sockets[0])])
            with server.connect() as client:
                echoes(client, b"hello")

    def test_sockets_by_name(self):
        sockets = self.sockets(3)
        with EchoServer(listen=["fd:echo"], prefix=activated(sockets, "echo:other:echo"),
                        pass_fds=self.passed(sockets)) as server:
            self.assertEqual([server.addresses[0], server.next_ready_line()],
                             [self.address(sockets[0]), self.address(sockets[2])])
            with server.connect() as client:
                echoes(client, b"hello")

    def test_a_socket_for_another_process_is_refused(self):
        sockets = self.sockets(1)
        result = run("--listen", "fd:3", prefix=activated(sockets, pid="1"), pass_fds=self.passed(sockets))
        self.assertEqual(result.returncode, 1, result)
        self.assertRegex(result.stderr, r"\Aonloop-echo: [^\n]*LISTEN_PID[^\n]*\n\Z")


class Notification(ClientTest):
    def exchange(self, name, shown):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(DEADLINE)
            manager.bind(name)
            with EchoServer(env={"NOTIFY_SOCKET": shown}) as server:
                self.assertIn(b"READY=1", manager.recv(4096).split(b"\n"))
                self.assertEqual(server.stop(), 0)
                self.assertIn(b"STOPPING=1", manager.recv(4096).split(b"\n"))

    def test_the_manager_is_told_through_a_path(self):
        with tempfile.TemporaryDirectory() as directory:
            self.exchange(f"{directory}/notify", f"{directory}/notify")

    def test_the_manager_is_told_through_an_abstract_name(self):
        name = f"onloop-notify-{os.getpid()}"
        self.exchange("\0" + name, "@" + name)

    def test_a_manager_that_is_gone_does_no_harm(self):
        with EchoServer(env={"NOTIFY_SOCKET": "/nonexistent/notify"}) as server, server.connect() as client:
            echoes(client)


if __name__ == "__main__":
    unittest.main()
