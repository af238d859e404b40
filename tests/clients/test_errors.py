"""Bad input. The commands print one line that says what is wrong. The exit status is 2 after a usage error and 1 after
an error at run time."""

import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import unittest

from server import ECHO, ROOT, ClientTest, EchoServer, run

NOBODY = 65534


class Errors(ClientTest):
    def assert_fails(self, result, status, *words):
        self.assertEqual(result.returncode, status, result)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"\Aonloop-echo: [^\n]+\n\Z", "one line")
        for word in words:
            self.assertIn(word, result.stderr)

    def run_as_nobody(self, *arguments):
        """Runs a copy of the program as a user without rights. It must be a copy, because this user may not read a home
        directory."""
        directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        directory.chmod(0o755)
        program = shutil.copy(ECHO, directory / "onloop-echo")
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        return run(*arguments, program=program, cwd="/", **identity)

    def test_an_address_in_use(self):
        with EchoServer() as server:
            address = server.addresses[0]
            self.assert_fails(run("--listen", address), 1, address, "Address already in use")

    def test_a_unix_socket_in_use(self):
        with tempfile.TemporaryDirectory() as directory, EchoServer(listen=[f"unix:{directory}/echo"]):
            self.assert_fails(run("--listen", f"unix:{directory}/echo"), 1, directory, "Address already in use")

    def test_one_bad_address_among_good_ones_stops_all(self):
        with EchoServer() as server:
            address = server.addresses[0]
            self.assert_fails(run("--listen", "127.0.0.1:0", "--listen", address), 1, address)

    def test_a_port_without_permission(self):
        first_free = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if first_free <= 80:
            self.skipTest(f"on this system everybody may listen on port 80 (from {first_free})")
        self.assert_fails(self.run_as_nobody("--listen", "127.0.0.1:80"), 1, "127.0.0.1:80", "Permission denied")

    def test_a_directory_without_permission(self):
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o555)
            self.assert_fails(self.run_as_nobody("--listen", f"unix:{directory}/echo"), 1, directory,
                              "Permission denied")

    def test_a_missing_directory(self):
        self.assert_fails(run("--listen", "unix:/nonexistent/echo"), 1, "/nonexistent/echo",
                          "No such file or directory")

    def test_an_address_of_another_machine(self):
        self.assert_fails(run("--listen", "192.0.2.1:0"), 1, "192.0.2.1:0", "Cannot assign requested address")

    def test_malformed_addresses(self):
        for address in ("nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8o80",
                        "1.2.3:80", "::1:80", "[::1]", "[::1:80", "example.org:80", "unix:", "unix:@", "fd:", "",
                        "unix:/" + "x" * 200):
            with self.subTest(address=address):
                self.assert_fails(run("--listen", address), 2, address)

    def test_an_unknown_loop(self):
        self.assert_fails(run("--loop", "no-such-loop"), 2, "no-such-loop", "native", "native-poll")

    def test_an_unknown_hosting(self):
        self.assert_fails(run("--hosting", "both"), 2, "direct", "aggregate", "both")

    def test_a_loop_is_a_name_and_no_path(self):
        for name in ("../glib", "/lib/glib", "glib/../glib", "GLIB", "", "x" * 5000):
            self.assert_fails(run("--loop", name), 2, "unknown loop")

    def install(self, directory, source=None):
        """Makes an installation with only the program and one shim. The shim is compiled from `source`."""
        root = pathlib.Path(directory)
        for name in ("bin", "lib"):
            (root / name).mkdir()
        if source is not None:
            subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", root / "lib/libonloop-odd.so",
                            "-I", ROOT / "include"], input=source, text=True, check=True)
        return shutil.copy(ECHO, root / "bin/onloop-echo")

    def test_a_shim_that_is_not_installed(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory)
            # A shim in the current directory must not be used.
            (pathlib.Path(directory) / "libonloop-glib.so").write_bytes(b"")
            self.assert_fails(run("--loop", "glib", program=program, cwd=directory), 2,
                              f"{directory}/lib/libonloop-glib.so", "not there", "install")

    def test_a_file_that_is_no_library(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory)
            (pathlib.Path(directory) / "lib/libonloop-odd.so").write_text("odd")
            self.assert_fails(run("--loop", "odd", program=program), 2, f"{directory}/lib/libonloop-odd.so",
                              "file too short")

    def test_a_library_that_is_no_shim(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory, "int nothing;")
            self.assert_fails(run("--loop", "odd", program=program), 2, f"{directory}/lib/libonloop-odd.so",
                              "onloop_shim_odd")

    def test_a_shim_of_another_version(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory, """
                #include <onloop/loop_ops.h>
                const onloop_ops onloop_shim_odd = {7u << 16, sizeof(onloop_ops), "odd"};""")
            self.assert_fails(run("--loop", "odd", program=program), 2, f"{directory}/lib/libonloop-odd.so",
                              "version 7")
            listed = run("--list-loops", program=program).stdout
            self.assertRegex(listed, r"(?m)^odd +not available: .*version 7")

    def test_a_shim_that_is_too_short(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory, """
                #include <onloop/loop_ops.h>
                const onloop_ops onloop_shim_odd = {ONLOOP_OPS_VERSION, 16, "odd"};""")
            self.assert_fails(run("--loop", "odd", program=program), 2, f"{directory}/lib/libonloop-odd.so",
                              "too short")

    def trap(self):
        """Makes an installation with one shim. When code of the shim runs, it creates the file `mark`."""
        root = pathlib.Path(os.path.realpath(self.enterContext(tempfile.TemporaryDirectory())))
        mark = root / "code-has-run"
        program = self.install(root, f"""
            #include <fcntl.h>
            #include <onloop/loop_ops.h>
            __attribute__((constructor)) static void run(void) {{ open("{mark}", O_CREAT | O_WRONLY, 0600); }}
            const onloop_ops onloop_shim_odd = {{7u << 16, sizeof(onloop_ops), "odd"}};""")
        return root, mark, program

    def assert_refused(self, mark, program, *words):
        """Asserts that the shim is neither loaded nor run, by its name or for the list. The message must say which
        component of the path is refused and why."""
        self.assert_fails(run("--loop", "odd", program=program), 2, *words)
        listed = run("--list-loops", program=program)
        self.assertEqual((listed.returncode, listed.stderr), (0, ""))
        line, = re.findall(r"(?m)^odd +(not available: .*)$", listed.stdout)
        for word in words:
            self.assertIn(word, line)
        self.assertFalse(mark.exists(), "code of a refused shim has run")

    def test_a_shim_that_is_trusted_runs(self):
        """The shim of trap() runs if nothing is wrong with it, also through symbolic links. The tests below depend on
        this."""
        root, mark, program = self.trap()
        (root / "lib").rename(root / "real")
        (root / "lib").symlink_to("bin/../real")
        (root / "real/libonloop-odd.so").rename(root / "real/libonloop-odd.so.0")
        (root / "real/libonloop-odd.so").symlink_to(root / "real/libonloop-odd.so.0")
        self.assert_fails(run("--loop", "odd", program=program), 2, f"{root}/lib/libonloop-odd.so", "version 7")
        self.assertTrue(mark.exists())

    def test_a_shim_that_a_group_or_all_can_write_to(self):
        root, mark, program = self.trap()
        for component in ("lib/libonloop-odd.so", "lib", "."):
            path = root / component
            mode = stat.S_IMODE(path.stat().st_mode)
            for bit, who in ((stat.S_IWGRP, "by group"), (stat.S_IWOTH, "by everybody")):
                with self.subTest(component=component, who=who):
                    path.chmod(mode | bit)
                    self.assert_refused(mark, program, f"{path} is writable {who}")
            path.chmod(mode)

    def test_a_shim_in_a_shared_directory(self):
        """A shared directory has a mode like that of /tmp. The directory of the shim must not be shared. A directory
        higher up may be shared, because the directory below it belongs to nobody else."""
        root, mark, program = self.trap()
        (root / "lib").chmod(0o1777)
        self.assert_refused(mark, program, f"{root}/lib is writable by everybody")
        (root / "lib").chmod(0o755)
        root.chmod(0o1777)
        self.assert_fails(run("--loop", "odd", program=program), 2, "version 7")

    def test_a_shim_behind_a_link_to_where_others_can_write(self):
        root, mark, program = self.trap()
        shim = root / "lib/libonloop-odd.so"
        for step in (root / "open", root / "open/deeper"):
            step.mkdir()
        shim.rename(root / "open/deeper/file")
        shim.symlink_to("../open/deeper/file")
        (root / "open").chmod(0o777)
        self.assert_refused(mark, program, f"{root}/open is writable by everybody")
        # A link to a link. The second link is in a directory where others can write.
        (root / "open/deeper/file").rename(root / "lib/file")
        (root / "open/deeper/file").symlink_to(root / "lib/file")
        self.assert_refused(mark, program, f"{root}/open is writable by everybody")

    def test_a_shim_that_is_no_regular_file(self):
        root, mark, program = self.trap()
        shim = root / "lib/libonloop-odd.so"
        shim.unlink()
        os.mkfifo(shim)
        self.assert_refused(mark, program, f"{shim} is no regular file")
        shim.unlink()
        shim.mkdir()
        self.assert_refused(mark, program, f"{shim} is no regular file")

    @unittest.skipUnless(os.getuid() == 0, "only root can give files away")
    def test_a_shim_of_somebody_else(self):
        root, mark, program = self.trap()
        for component in ("lib/libonloop-odd.so", "lib", "."):
            with self.subTest(component=component):
                path = root / component
                os.chown(path, NOBODY, NOBODY)
                self.assert_refused(mark, program, f"{path} belongs to user")
                os.chown(path, 0, 0)
        with self.subTest(component="a link"):
            (root / "lib/libonloop-odd.so").rename(root / "lib/file")
            (root / "lib/libonloop-odd.so").symlink_to("file")
            os.chown(root / "lib/libonloop-odd.so", NOBODY, NOBODY, follow_symlinks=False)
            self.assert_refused(mark, program, f"{root}/lib/libonloop-odd.so belongs to user")

    def test_unknown_and_malformed_options(self):
        for arguments in (["--no-such-option"], ["extra"], ["--listen"], ["--quiet", "--verbose"],
                          ["--max-connections", "many"], ["--max-connections", "-1"], ["--max-connections", "0"],
                          ["--idle-timeout", "soon"], ["--idle-timeout", "-1"], ["--drain-timeout", "x"],
                          ["--stats", "-3"]):
            with self.subTest(arguments=arguments):
                self.assert_fails(run(*arguments), 2)

    def test_a_descriptor_that_is_not_open(self):
        self.assert_fails(run("--listen", "fd:99"), 1, "fd:99", "Bad file descriptor")

    def test_a_descriptor_that_is_no_socket(self):
        self.assert_fails(run("--listen", "fd:0"), 1, "fd:0")

    def test_a_descriptor_that_does_not_listen(self):
        with socket.socket() as plain:
            self.assert_fails(run("--listen", "fd:0", stdin=plain), 1, "fd:0")

    def test_a_descriptor_of_a_datagram_socket(self):
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            self.assert_fails(run("--listen", "fd:0", stdin=datagrams), 1, "fd:0")

    def test_a_name_that_nobody_passed(self):
        self.assert_fails(run("--listen", "fd:web"), 1, "fd:web")


class Information(ClientTest):
    def test_help_names_every_option(self):
        result = run("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for option in ("--listen", "--loop", "--hosting", "--max-connections", "--idle-timeout", "--drain-timeout",
                       "--stats", "--control", "--quiet", "--verbose", "--list-loops", "--version",
                       "SIGUSR1", "SIGUSR2",
                       "onloop-echo ctl"):
            self.assertIn(option, result.stdout)

    def test_version(self):
        result = run("--version")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, r"\Aonloop-echo \d+\.\d+\.\d+\n\Z")

    def test_list_of_loops_says_of_each_whether_it_can_be_had(self):
        result = run("--list-loops")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        loops = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
        self.assertLessEqual({"native", "native-poll", "libevent", "libuv", "glib", "sdevent"}, loops.keys())
        for name in ("libevent", "libuv", "glib", "sdevent"):
            self.assertRegex(loops[name], f"; (loaded from|not available: no) /.*/libonloop-{name}.so$")


if __name__ == "__main__":
    unittest.main()
