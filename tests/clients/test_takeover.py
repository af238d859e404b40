"""A successor takes over: what comes along, and what the options of the successor do."""

import json
import os
import re
import select
import signal
import socket
import time
import unittest

from server import DEADLINE, ctl, echoes, ended, read_exactly, wait_until
from takeover_case import TakeoverTest

STUCK = 0.1  # seconds without room in the socket


def send_until_stuck(client, size):
    """Sends until the server reads no more of this client. Returns the bytes sent. Nothing is read back."""
    data = os.urandom(size)
    sent = 0
    client.setblocking(False)
    while sent < size and select.select([], [client], [], STUCK)[1]:
        sent += client.send(data[sent:sent + (1 << 18)])
    client.settimeout(DEADLINE)
    return data[:sent]


class Along(TakeoverTest):
    """What comes along."""

    def test_listeners_of_every_kind_and_their_connections(self):
        name = f"@takeover-{os.getpid()}"
        old = self.serve(listen=("127.0.0.1:0", f"unix:{self.directory}/echo", f"unix:{name}"))
        clients = self.connect(old)
        for address in (f"{self.directory}/echo", "\0" + name[1:]):
            clients.append(self.enterContext(socket.socket(socket.AF_UNIX)))
            clients[-1].settimeout(DEADLINE)
            clients[-1].connect(address)
        self.assert_served(clients)
        new = self.successor(old)
        self.assert_ended(old)
        self.assertEqual(new.addresses, old.addresses)
        self.assertEqual(new.taken, 3)
        self.assert_served(clients)
        for address in (f"{self.directory}/echo", "\0" + name[1:]):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
                echoes(client, b"new")
        self.connect(new)
        self.assertEqual(new.stop(), 0, new.stderr())

    def test_a_listener_on_localhost_with_both_its_sockets(self):
        old = self.serve(listen=("localhost:0",))
        if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") and os.path.getsize("/proc/net/if_inet6"):
            old.addresses.append(old.next_ready_line())
        port = old.port
        # The successor already has this address, so its own --listen adds nothing.
        new = self.successor(old, "--listen", f"localhost:{port}")
        self.assert_ended(old)
        self.assertEqual(sorted(new.addresses), sorted(old.addresses))
        self.assertEqual(new.lines("onloop-echo: listen on .*"), [])
        for host in {address.rpartition(":")[0].strip("[]") for address in old.addresses}:
            with socket.create_connection((host, port), DEADLINE) as client:
                echoes(client)

    def test_the_file_of_a_unix_socket_goes_with_its_last_owner(self):
        path = f"{self.directory}/echo"
        server = self.serve(listen=(f"unix:{path}",))
        before = os.stat(path).st_ino, os.stat(self.control).st_ino
        for _ in range(3):
            old, server = server, self.successor(server)
            self.assert_ended(old)
            self.assertEqual((os.stat(path).st_ino, os.stat(self.control).st_ino), before)
        self.assertEqual(server.stop(), 0, server.stderr())
        self.assertFalse(os.path.exists(path))
        self.assertFalse(os.path.exists(self.control))

    def test_what_is_queued_for_slow_readers(self):
        old = self.serve()
        clients = self.connect(old, 8)
        sent = [send_until_stuck(client, 8 << 20) for client in clients]
        self.assertGreater(sum(map(len, sent)), 4 << 20)
        new = self.successor(old)
        self.assert_ended(old)
        for client, data in zip(clients, sent, strict=True):
            self.assertTrue(read_exactly(client, len(data)) == data, "every byte, in order")
        self.assert_served(clients)
        self.assertEqual(new.taken, 8)

    def test_clients_that_have_ended_their_half_get_the_rest_and_an_end(self):
        old = self.serve()
        clients = self.connect(old, 4)
        sent = [send_until_stuck(client, 8 << 20) for client in clients]
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        new = self.successor(old)
        self.assert_ended(old)
        self.assertEqual(new.taken, 4)
        for client, data in zip(clients, sent, strict=True):
            self.assertTrue(read_exactly(client, len(data)) == data, "every byte, in order")
            self.assertTrue(ended(client))
        wait_until(lambda: json.loads(new.ctl("stats"))["connections"] == 0, "they are closed")

    def test_idle_time_outs_are_neither_cut_short_nor_begun_anew(self):
        server = self.serve("--idle-timeout", "2")
        start = time.monotonic()
        [client] = self.connect(server)
        # If each takeover started the time-out anew, it would never expire.
        while not select.select([client], [], [], 0)[0]:
            self.assertLess(time.monotonic(), start + DEADLINE)
            old, server = server, self.successor(server)
            self.assert_ended(old)
        self.assertTrue(ended(client))
        self.assertGreaterEqual(time.monotonic() - start, 2)

    def test_statistics_and_commands_at_the_same_path_through_takeovers_and_cutovers(self):
        server = self.serve()
        clients = self.connect(server, 3)
        other = "native-poll" if server.command[2] == "native" else "native"
        for loop in ([], [other], [], ["native"], []):
            if loop:
                self.assertIn(loop[0], server.ctl("cutover", *loop))
            else:
                old, server = server, self.successor(server)
                self.assert_ended(old)
            self.assert_served(clients)
            statistics = json.loads(server.ctl("stats"))
            self.assertEqual(statistics["connections"], 3)
            before = server.stderr()
            server.signal(signal.SIGUSR1)
            line = wait_until(lambda: re.search(r"^\{.*\}\n", server.stderr()[len(before):], re.MULTILINE), "SIGUSR1")
            self.assertEqual(json.loads(line[0])["connections"], 3)
        self.assertIn("with 3 connections open", server.ctl("shutdown"))
        self.assert_ended(server)

    def test_a_client_of_the_control_socket_is_served_by_its_own_server_to_the_end(self):
        old = self.serve()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(self.control)
            echo = self.connect(old)
            self.successor(old)
            self.assert_ended(old)
            self.assertTrue(ended(client))
            self.assert_served(echo)


    def test_the_service_manager_is_told_of_the_new_process_and_of_no_end(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{self.directory}/notify")
            manager.settimeout(DEADLINE)
            environment = {"NOTIFY_SOCKET": f"{self.directory}/notify"}
            old = self.serve(env=environment)
            self.assertEqual(manager.recv(4096), b"READY=1")
            new = self.successor(old, env=environment)
            self.assert_ended(old)
            self.assertEqual(manager.recv(4096), b"READY=1\nMAINPID=%d" % new.pid)
            self.assertEqual(new.stop(), 0, new.stderr())
            self.assertEqual(manager.recv(4096), b"STOPPING=1")


class Options(TakeoverTest):
    """What the successor's own options do."""

    def test_max_connections_counts_those_that_came_along(self):
        old = self.serve()
        clients = self.connect(old, 3)
        new = self.successor(old, "--max-connections", "3")
        with new.connect() as fourth:
            self.assertTrue(ended(fourth))
        self.assert_served(clients)
        clients[0].close()
        wait_until(lambda: json.loads(new.ctl("stats"))["connections"] == 2, "one has left")
        self.connect(new)

    def test_verbose_says_who_came_and_goes_on_counting_their_bytes(self):
        old = self.serve("--verbose")
        [client] = self.connect(old)  # "client 0"
        new = self.successor(old, "--verbose")
        self.assertEqual(len(new.lines(r"onloop-echo: took over #1 127\.0\.0\.1:\d+ on 127\.0\.0\.1:\d+")), 1)
        echoes(client, b"22 bytes, so 30 in all")
        client.close()
        new.wait_for_line(r"onloop-echo: closed #1 127\.0\.0\.1:\d+ after 30 bytes: .+")

    def test_verbose_after_a_quiet_server_counts_from_the_takeover(self):
        old = self.serve()
        [client] = self.connect(old)
        new = self.successor(old, "--verbose")
        echoes(client, b"six..6")
        client.close()
        new.wait_for_line(r"onloop-echo: closed #1 127\.0\.0\.1:\d+ after 6 bytes: .+")
        third = self.successor(new, "--quiet")
        self.connect(third)
        self.assertEqual(third.stderr(), "")

    def test_listen_adds_to_the_addresses_that_came_along(self):
        old = self.serve()
        further = f"unix:{self.directory}/further"
        new = self.successor(old, "--listen", old.addresses[0], "--listen", further, addresses=2)
        self.assertEqual(new.addresses, [old.addresses[0], further])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.directory}/further")
            echoes(client)
        self.connect(new)
        self.assertEqual(new.stop(), 0, new.stderr())
        self.assertFalse(os.path.exists(f"{self.directory}/further"))

    def test_an_address_that_cannot_be_had_costs_nothing_that_came_along(self):
        old = self.serve()
        clients = self.connect(old)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            new = self.successor(old, "--listen", address)
        self.assert_ended(old)
        new.wait_for_line(rf"onloop-echo: listen on {address}: Address already in use.*")
        self.assert_served(clients)
        self.connect(new)

    def test_control_at_the_same_path_is_the_one_that_came_along(self):
        old = self.serve()
        new = self.successor(old, "--control", self.control)
        self.assert_ended(old)
        self.assertEqual(new.lines("onloop-echo: listen on .*"), [])
        self.assertEqual(json.loads(new.ctl("stats"))["connections"], 0)

    def test_control_at_another_path_adds_to_it(self):
        old = self.serve()
        other = f"{self.directory}/other"
        clients = self.connect(old)
        new = self.successor(old, "--control", other)
        self.assert_ended(old)
        for path in (self.control, other):
            self.assertEqual(json.loads(ctl(path, "stats").stdout)["connections"], 1)
        new.control = other
        third = self.successor(new)
        self.assert_ended(new)
        for path in (self.control, other):
            self.assertEqual(json.loads(ctl(path, "stats").stdout)["connections"], 1)
        self.assert_served(clients)
        self.assertEqual(third.stop(), 0, third.stderr())
        self.assertFalse(os.path.exists(self.control) or os.path.exists(other))


if __name__ == "__main__":
    unittest.main()
