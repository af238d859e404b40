"""memcached: an onloop guest on the event_base of its main thread, which accepts memcached's own clients meanwhile."""

import os
import shutil
import signal
import socket
import unittest

from host import DEADLINE, GRAFT, LOOPBACK, GraftTest, Host, connect, echo


class Memcache:
    """A client of memcached, new connection and all: that is what the main thread is for."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rwb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def ask(self, command, lines=1):
        self.stream.write(command + b"\r\n")
        self.stream.flush()
        return [self.stream.readline().rstrip(b"\r\n") for _ in range(lines)]


@unittest.skipUnless(shutil.which("memcached"), "memcached is not installed")
class Memcached(GraftTest):
    def memcached(self, listen=LOOPBACK, env=None):
        own = self.path("memcached.sock")
        command = ["memcached", "-s", own, "-t", "2", "-u", "root"]  # -u is for root only, and then required
        return own, Host(*command, env={"LD_PRELOAD": GRAFT, **(env or {})}, listen=listen)

    def assert_host_and_guest_are_served(self, env):
        own, host = self.memcached(env=env)
        with host:
            address = host.address("libevent")
            count = 0

            def set_and_get():
                nonlocal count
                count += 1
                with Memcache(own) as client:
                    value = b"value-%d" % count
                    self.assertEqual(client.ask(b"set key 0 0 %d\r\n%s" % (len(value), value)), [b"STORED"])
                    self.assertEqual(client.ask(b"get key", 3)[1:], [value, b"END"])

            self.assert_echoes(address, set_and_get)
            host.signal(signal.SIGTERM)
            self.assertEqual(host.wait(), 0)

    def test_host_and_guest_are_served_at_a_time(self):
        self.assert_host_and_guest_are_served({})

    def test_likewise_if_the_loop_watches_each_descriptor(self):
        self.assert_host_and_guest_are_served({"ONLOOP_GRAFT_DIRECT": "1"})

    def test_one_libevent_is_in_the_process(self):
        _, host = self.memcached()
        with host:
            host.address("libevent")
            self.assertEqual(len(host.mapped("libevent")), 1, host.mapped("libevent"))

    def test_sigterm_ends_it_under_an_open_connection(self):
        guest = self.path("guest.sock")
        _, host = self.memcached("unix:" + guest)
        with host:
            with connect(host.address("libevent")) as client:
                client.sendall(b"hello")
                self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")
                host.signal(signal.SIGTERM)
                self.assertEqual(client.recv(1), b"")
            self.assertEqual(host.wait(), 0)
            self.assertFalse(os.path.exists(guest), "the guest has gone before its loop")

    def test_it_goes_on_if_there_can_be_no_guest(self):
        own, host = self.memcached("unix:/nonexistent/socket")
        with host:
            host.wait_until(lambda: "onloop: listen on unix:/nonexistent/socket: " in host.stderr(), "the reason")
            with Memcache(own) as client:
                self.assertTrue(client.ask(b"version")[0].startswith(b"VERSION "))
            host.signal(signal.SIGTERM)
            self.assertEqual(host.wait(), 0)


if __name__ == "__main__":
    unittest.main()
