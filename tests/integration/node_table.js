// The programs of node_table_test.cpp, in JavaScript: the same names, and the same lines on standard output. The order
// between the two sides is no one's to promise, so lines are compared by their first word.
//     node node_table.js NAME
'use strict';
const net = require('net');

const say = (text) => console.log(text);
const pieces = 'x'.repeat(3000000);

// A server for one client, and that client; `begin(socket, client)` as soon as both are there.
function pair(serve, connect) {
  const server = net.createServer((socket) => {
    server.close();
    serve(socket);
  });
  server.listen(0, '127.0.0.1', () => connect(server.address().port));
}
function told(name, socket) {
  socket.on('end', () => say(name + ' end'));
  socket.on('error', (error) => say(name + ' error ' + error.code));
  socket.on('close', () => say(name + ' close'));
}

const programs = {
  destroy_soon_while_connecting() {
    pair((socket) => {
      told('server', socket);
      let got = '';
      socket.on('data', (data) => got += data);
      socket.on('end', () => say('got ' + got));
    }, (port) => {
      const client = net.connect(port, '127.0.0.1');
      client.write('last words');
      client.destroySoon();
      say('writable ' + client.writable);
    });
  },
  end_while_connecting() {
    pair((socket) => {
      told('server', socket);
      let got = '';
      socket.on('data', (data) => got += data);
      socket.on('end', () => say('got ' + got));
    }, (port) => {
      const client = net.connect(port, '127.0.0.1');
      client.end('last words');
    });
  },
  destroy_while_connecting() {
    const server = net.createServer(() => say('a client'));
    server.listen(0, '127.0.0.1', () => {
      const client = net.connect(server.address().port, '127.0.0.1', () => say('connect'));
      told('client', client);
      client.write('lost');
      client.destroy();
      say('destroyed ' + client.destroyed);
      server.close();
    });
  },
  reset_and_destroy() {
    pair((socket) => {
      told('server', socket);
      socket.on('data', (data) => {
        say('server got ' + data);
        socket.resetAndDestroy();
      });
    }, (port) => {
      const client = net.connect(port, '127.0.0.1', () => client.write('hello'));
      client.on('error', (error) => say('client error ' + error.code));
      client.on('end', () => say('client end'));
    });
  },
  reset_and_destroy_while_connecting() {
    pair((socket) => {
      socket.resume();
      told('server', socket);
    }, (port) => {
      const client = net.connect(port, '127.0.0.1');
      client.resetAndDestroy();
    });
  },
  destroy_with_an_error() {
    pair((socket) => {
      socket.resume();
      socket.on('close', () => {});
    }, (port) => {
      const client = net.connect(port, '127.0.0.1', () => client.destroy(Object.assign(new Error(), {code: 'EPROTO'})));
      told('client', client);
    });
  },
  half_open() {
    const server = net.createServer({allowHalfOpen: true}, (socket) => {
      server.close();
      told('server', socket);
      socket.on('data', (data) => say('server got ' + data));
      socket.on('end', () => socket.end('answer'));
    });
    server.listen(0, '127.0.0.1', () => {
      const client = net.connect(server.address().port, '127.0.0.1', () => client.end('question'));
      client.on('data', (data) => say('client got ' + data));
    });
  },
  write_after_destroy() {
    pair((socket) => {
      socket.resume();
      socket.on('close', () => say('server close'));
    }, (port) => {
      const client = net.connect(port, '127.0.0.1', () => {
        client.on('error', () => {});
        client.destroy();
        say('write ' + client.write('x'));
        say('writable ' + client.writable);
      });
    });
  },
  two_that_write_much() {
    let ends = 0;
    const stream = (socket) => {
      let got = 0;
      socket.write(pieces);
      socket.write(pieces);
      socket.on('data', (data) => {
        got += data.length;
        if (got !== 2 * pieces.length) return;
        if (++ends === 2) say('both have all');
        socket.end();
      });
    };
    pair(stream, (port) => {
      const client = net.connect(port, '127.0.0.1', () => stream(client));
    });
  },
  timeout_of_a_silent_one() {
    pair((socket) => {
      socket.resume();
      told('server', socket);
    }, (port) => {
      const client = net.connect(port, '127.0.0.1');
      client.setTimeout(30, () => {
        say('timeout');
        client.end();
      });
    });
  },
  paused() {
    pair((socket) => {
      told('server', socket);
      socket.pause();
      socket.on('data', (data) => say('server got ' + data));
      setTimeout(() => {
        say('resume');
        socket.resume();
      }, 30);
    }, (port) => {
      const client = net.connect(port, '127.0.0.1', () => client.end('hello'));
    });
  },
};

if (process.argv[2]) programs[process.argv[2]]();
else say(Object.keys(programs).join('\n'));
