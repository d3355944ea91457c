'use strict';
// Socket.IO on node, with WebSocket as the only transport.

const {Server} = require('socket.io');
const {answerTo} = require('./envelope.js');

const http = require('node:http').createServer();
const server = new Server(http, {transports: ['websocket'], serveClient: false});

server.on('connection', (client) => {
  client.on('echo', (message) => client.emit('answer', answerTo(message)));
  client.on('broadcast', (message) => server.emit('answer', answerTo(message)));
});

http.listen({host: '127.0.0.1', port: Number(process.argv[2]), backlog: 1024});
