"""Neovim: an onloop guest on the libuv loop that it waits for its user and its RPC clients with."""

import os
import shutil
import signal
import socket
import subprocess
import unittest

from host import DEADLINE, GRAFT, LOOPBACK, GraftTest, Host, connect, run


@unittest.skipUnless(shutil.which("nvim"), "neovim is not installed")
class Neovim(GraftTest):
    def neovim(self, listen=LOOPBACK, env=None):
        self.own = self.path("nvim.sock")
        home = {name: self.directory for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        return Host("nvim", "--headless", "--clean", "-n", "--listen", self.own, listen=listen,
                    env={"LD_PRELOAD": GRAFT, **home, **(env or {})})

    def ask(self, expression):
        """What the editor answers by RPC to another process of itself, without a guest."""
        return run("nvim", "--clean", "--server", self.own, "--remote-expr", expression,
                   env={**os.environ, "HOME": self.directory}).strip()

    def quit(self, command="qa!"):
        """Typed into it. Its end may come before the answer to whoever typed."""
        subprocess.run(["nvim", "--clean", "--server", self.own, "--remote-send", f":{command}<CR>"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DEADLINE,
                       env={**os.environ, "HOME": self.directory}, check=False)

    def assert_host_and_guest_are_served(self, env):
        with self.neovim(env=env) as host:
            address = host.address("libuv")
            count = 0

            def evaluate():
                nonlocal count
                count += 1
                self.assertEqual(self.ask(f"{count} + 1"), str(count + 1))

            self.assert_echoes(address, evaluate)
            self.quit()
            self.assertEqual(host.wait(), 0)

    def test_host_and_guest_are_served_at_a_time(self):
        self.assert_host_and_guest_are_served({})

    def test_likewise_if_the_loop_watches_each_descriptor(self):
        self.assert_host_and_guest_are_served({"ONLOOP_GRAFT_DIRECT": "1"})

    def test_one_libuv_is_in_the_process(self):
        with self.neovim() as host:
            host.address("libuv")
            self.assertEqual(len(host.mapped("libuv.so")), 1, host.mapped("libuv"))

    def test_its_own_timers_and_children_go_on(self):
        with self.neovim() as host:
            with connect(host.address("libuv")) as client:
                self.ask("timer_start(1, {-> execute('let g:ticks = get(g:, ''ticks'', 0) + 1')}, {'repeat': -1})")
                ticks = 0
                for _ in range(10):
                    client.sendall(b"hello")
                    self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")
                    host.wait_until(lambda: int(self.ask("get(g:, 'ticks', 0)")) > ticks, "a tick")
                    ticks = int(self.ask("g:ticks"))
                self.assertEqual(self.ask("trim(system('echo child'))"), "child")

    def test_it_ends_by_itself_under_an_open_connection(self):
        for command, status in (("qa!", 0), ("cquit! 3", 3)):
            with self.subTest(command=command), self.neovim() as host:
                with connect(host.address("libuv")) as client:
                    client.sendall(b"hello")
                    self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")
                    self.quit(command)
                    self.assertEqual(client.recv(1), b"", "the guest goes with its loop")
                self.assertEqual(host.wait(), status)

    def test_sigterm_ends_it_as_without_a_guest(self):
        with self.neovim() as host:
            host.address("libuv")
            self.ask("1")  # it is past its start
            host.signal(signal.SIGTERM)
            self.assertEqual(host.wait(), 1)
            self.assertIn("Caught deadly signal 'SIGTERM'", host.stderr())


if __name__ == "__main__":
    unittest.main()
