"""A stand-in for one side of a takeover. It is core/takeover/ in Python, and may break the protocol in every way."""

import array
import contextlib
import os
import socket
import struct
import threading

from server import DEADLINE

HELLO, LISTENER, CONNECTION, DATA, END, ACKNOWLEDGE, GO, GIVE_UP = range(1, 9)
MAGIC, VERSION = 0x6F6E6C6F6F703E3E, 2
NO_LISTENER = 0xFFFFFFFF
LONGEST = 64 * 1024  # bytes of a frame
HEAD = struct.Struct("=II")
LIMITS = struct.Struct("=QQQ?qq")  # high water, low water, most, pause when full, idle time-out, linger


def head_and(kind, payload):
    return HEAD.pack(kind, len(payload)) + payload


def block(data):
    return struct.pack("=I", len(data)) + data


def hello(magic=MAGIC, version=VERSION, frozen_at=1):
    return struct.pack("=QIQ", magic, version, frozen_at)


def limits(high=65536, low=16384, most=1 << 40, pause=1, idle=0, linger=5_000_000_000):
    return struct.pack("=QQQBqq", high, low, most, pause, idle, linger)


def listener(name=b"echo", bounds=None, most=(1 << 64) - 1, paused=0, sockets=1, path=b"", device=0, inode=0):
    return (block(name) + (bounds or limits()) + struct.pack("=QBI", most, paused, sockets) + block(path) +
            struct.pack("=QQ", device, inode))


def connection(name=b"echo", of=NO_LISTENER, flags=bytes(8), bounds=None, idle=0, clock=0, queued=0, state=b""):
    return (block(name) + struct.pack("=I", of) + flags + (bounds or limits()) +
            struct.pack("=QQQ", idle, clock, queued) + block(state))


def end(listeners=0, connections=0, nonce=1):
    return struct.pack("=IIQ", listeners, connections, nonce)


def sockets_of(kind, payload):
    """The number of descriptors that come with a record."""
    if kind == CONNECTION:
        return 1
    if kind != LISTENER:
        return 0
    name = struct.unpack_from("=I", payload)[0]
    return struct.unpack_from("=I", payload, 4 + name + LIMITS.size + 9)[0]


class RawTakeoverChannel:
    """A connected UNIX socket. It sends and receives frames with descriptors."""

    def __init__(self, joined):
        self.socket = joined
        joined.settimeout(DEADLINE)
        self.input = bytearray()
        self.descriptors = []

    def send(self, data, descriptors=()):
        sent = socket.send_fds(self.socket, [data], descriptors) if descriptors else self.socket.send(data)
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def receive(self):
        """Receives more bytes and descriptors. False at the end of the stream."""
        data, ancillary, _, _ = self.socket.recvmsg(LONGEST, socket.CMSG_SPACE(253 * 4))
        for level, kind, content in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            numbers = array.array("i")
            numbers.frombytes(content[:len(content) - len(content) % numbers.itemsize])
            self.descriptors += numbers
        self.input += data
        return bool(data)

    def line(self):
        while b"\n" not in self.input:
            assert self.receive(), f"no whole line: {bytes(self.input)!r}"
        line, _, self.input = self.input.partition(b"\n")
        return line.decode()

    def frame(self):
        """The next frame as (kind, payload, descriptors), or None at the end of the stream."""
        while len(self.input) < HEAD.size or len(self.input) < HEAD.size + HEAD.unpack_from(self.input)[1]:
            if not self.receive():
                assert not self.input, f"half a frame: {bytes(self.input[:64])!r}"
                return None
        kind, length = HEAD.unpack_from(self.input)
        payload = bytes(self.input[HEAD.size:HEAD.size + length])
        del self.input[:HEAD.size + length]
        count = sockets_of(kind, payload)
        mine, self.descriptors = self.descriptors[:count], self.descriptors[count:]
        return kind, payload, mine

    def close(self):
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def close_all(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


class Successor(RawTakeoverChannel):
    """Stands in for the process that takes over. The constructor sends the command and reads the answer."""

    def __init__(self, path):
        super().__init__(socket.socket(socket.AF_UNIX))
        self.end = b""
        self.socket.connect(path)
        self.socket.sendall(b"takeover\n")
        self.answer = self.line()

    def frame(self):
        frame = super().frame()
        if frame and frame[0] == END:
            self.end = frame[1]
        return frame

    def take_all(self):
        """Receives all frames up to the end record, and returns their kinds. Closes the descriptors."""
        kinds = []
        while not kinds or kinds[-1] != END:
            frame = self.frame()
            assert frame, f"the server went away after {kinds}"
            kinds.append(frame[0])
            close_all(frame[2])
        return kinds

    def acknowledgement(self):
        """The acknowledgement, with the content of the end record. It is valid only after the end record has come."""
        return head_and(ACKNOWLEDGE, self.end)

    def acknowledge(self):
        self.send(self.acknowledgement())


class OldServer:
    """Stands in for the process that hands over. After its answer, which is "ok takeover" by default, `play` gets the
    RawTakeoverChannel to the successor."""

    def __init__(self, path, play, answer=b"ok takeover\n"):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.settimeout(DEADLINE)
        self.play = play
        self.answer = answer
        self.error = None
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        try:
            joined, _ = self.listener.accept()
            with RawTakeoverChannel(joined) as channel:
                assert channel.line() == "takeover"
                channel.send(self.answer)
                self.play(channel)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the successor has closed the connection
        except BaseException as error:  # raised again by the thread that waits for this one
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)
        if self.error:
            raise self.error


class Relay(OldServer):
    """Stands between a real server and a real successor. It calls `hook(relay, frame)` for each frame on its way to the
    successor. The hook returns the bytes to send instead, or None to end both conversations."""

    def __init__(self, path, server, hook):
        super().__init__(path, self.relay)
        self.server = server
        self.hook = hook
        self.kinds = []  # of the frames so far, including the frame that the hook gets
        self.successor = None  # its process id

    def relay(self, successor):
        credentials = successor.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.successor = struct.unpack("3i", credentials)[0]
        with Successor(self.server) as channel:
            while frame := channel.frame():
                kind, payload, descriptors = frame
                self.kinds.append(kind)
                try:
                    data = self.hook(self, head_and(kind, payload))
                    if data is None:
                        return
                    successor.send(data, descriptors)
                finally:
                    close_all(descriptors)
                if kind == END:
                    answer = successor.socket.recv(LONGEST)
                    if not answer:
                        return
                    with contextlib.suppress(BrokenPipeError):  # the messages of the server can still be read
                        channel.send(answer)
