// usage: node crowd.js PORT CLIENTS BYTES Opens all connections. Then sends random bytes on each connection and ends
// it. Compares the hash of the bytes that come back with the hash of the bytes that were sent.
'use strict';
const crypto = require('crypto');
const net = require('net');

const [port, clients, bytes] = process.argv.slice(2).map(Number);
const result = { equal: 0, different: 0, errors: [] };
let connected = 0;

function exchange(socket) {
  const data = crypto.randomBytes(bytes);
  const received = crypto.createHash('sha256');
  socket.on('data', (chunk) => received.update(chunk));
  socket.on('end', () => {
    const sent = crypto.createHash('sha256').update(data).digest('hex');
    result[received.digest('hex') === sent ? 'equal' : 'different'] += 1;
  });
  socket.end(data);
}

const sockets = [];
for (let i = 0; i < clients; ++i) {
  const socket = net.connect(port, '127.0.0.1');
  sockets.push(socket);
  socket.on('error', (error) => result.errors.push(error.code));
  socket.on('connect', () => {
    connected += 1;
    if (connected === clients) sockets.forEach(exchange);
  });
}

process.on('exit', (code) => {
  process.stdout.write(JSON.stringify(result) + '\n');
  if (code === 0 && result.equal !== clients) process.exitCode = 1;
});
