/*
 * Many browsers in one process of node: the real client script, with a handle for each.
 *
 *     node crowd.js jpulse.js PORT PATH COUNT RECONNECT_BASE_MS
 *
 * Writes a line for each thing that happens: seconds since 1970, and `connected`, `lost CODE`, or, for a
 * dial that failed, `failed STATUS` as the server told it to the client's question.
 */
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const vm = require('node:vm');

const [script, port, path, count, baseMs] = process.argv.slice(2);
const AT_ONCE = 25;
const EVERY_MS = 20;
const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

function tell(what) {
    process.stdout.write(`${(Date.now() / 1000).toFixed(3)} ${what}\n`);
}

/**
 * As much of a browser's WebSocket as the client script uses. Node's own tells nobody of a dial
 * that was refused, before version 22.
 */
class WebSocket {
    static OPEN = OPEN;
    readyState = CONNECTING;
    bufferedAmount = 0;
    #received = Buffer.alloc(0);
    #code = 1006;

    constructor(address) {
        const { port: number, host, pathname, search } = new URL(address);
        this.socket = net.connect({ port: Number(number), host: '127.0.0.1', noDelay: true });
        this.socket.write([`GET ${pathname}${search} HTTP/1.1`, `Host: ${host}`, 'Upgrade: websocket',
            'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
            `Sec-WebSocket-Key: ${crypto.randomBytes(16).toString('base64')}`, '', ''].join('\r\n'));
        this.socket.on('data', (data) => this.#read(data));
        this.socket.on('error', () => {});
        this.socket.on('close', () => this.#ended());
    }

    send(text) {
        this.#write(TEXT, Buffer.from(text));
    }

    close() {
        if (this.readyState === OPEN) {
            this.#write(CLOSE, Buffer.from([3, 232]));
        }
        this.socket.end();
    }

    /** A mask of zeros masks too. */
    #write(opcode, payload) {
        const head = payload.length < 126 ? [0x80 | opcode, 0x80 | payload.length]
            : [0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255];
        this.socket.write(Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]));
    }

    #read(data) {
        this.#received = Buffer.concat([this.#received, data]);
        if (this.readyState === CONNECTING) {
            this.#readHead();
        }
        while (this.readyState === OPEN && this.#readFrame()) {
            // All that has come.
        }
    }

    #readHead() {
        const end = this.#received.indexOf('\r\n\r\n');
        if (end < 0) {
            return;
        }
        if (!this.#received.toString('latin1', 0, end).startsWith('HTTP/1.1 101')) {
            this.socket.destroy();
            return;
        }
        this.#received = this.#received.subarray(end + 4);
        this.readyState = OPEN;
        this.onopen?.();
    }

    /** Take one frame; false if it is not complete. None of ours is longer than 65535 bytes. */
    #readFrame() {
        const data = this.#received;
        const isLong = data.length > 1 && data[1] === 126;
        const head = isLong ? 4 : 2;
        if (data.length < head) {
            return false;
        }
        const end = head + (isLong ? data.readUInt16BE(2) : data[1]);
        if (data.length < end) {
            return false;
        }
        this.#received = data.subarray(end);
        this.#onFrame(data[0] & 15, data.subarray(head, end));
        return true;
    }

    #onFrame(opcode, payload) {
        if (opcode === TEXT) {
            this.onmessage?.({ data: payload.toString() });
        } else if (opcode === PING) {
            this.#write(PONG, payload);
        } else if (opcode === CLOSE) {
            this.#code = payload.length > 1 ? payload.readUInt16BE(0) : 1005;
            this.#write(CLOSE, payload.subarray(0, 2));
            this.socket.end();
        }
    }

    #ended() {
        this.readyState = CLOSED;
        this.onclose?.({ code: this.#code, reason: '' });
    }
}

/** Ask as fetch() does; thousands of those would keep node busy for seconds. */
function fetch(address, { headers }) {
    return new Promise((resolve, reject) => {
        http.get(address, { headers, agent: false }, (answer) => {
            tell(`failed ${answer.statusCode}`);
            let text = '';
            answer.on('data', (data) => { text += data; }).on('end', () => resolve({
                status: answer.statusCode,
                headers: { get: (name) => answer.headers[name.toLowerCase()] ?? null },
                text: async () => text,
            }));
        }).on('error', (error) => {
            tell(`failed ${error.code}`);
            reject(error);
        });
    });
}

/** What the script takes from a page; each handshake is that of another browser. */
function makePage() {
    const nothing = () => {};
    Object.assign(globalThis, {
        window: globalThis,
        WebSocket,
        fetch,
        addEventListener: nothing,
        document: { addEventListener: nothing, visibilityState: 'visible' },
        location: new URL(`http://127.0.0.1:${port}/`),
        localStorage: { getItem: () => crypto.randomUUID(), setItem: nothing },
    });
}

function connect() {
    const options = { reconnectBaseInterval: Number(baseMs) };
    globalThis.jPulse.ws.connect(path, options).onStatusChange((status, before, reason) => {
        if (status === 'connected') {
            tell('connected');
        } else if (before === 'connected') {
            tell(`lost ${reason?.code}`);
        } else if (status === 'disconnected') {
            tell('gave up');
        }
    });
}

makePage();
vm.runInThisContext(fs.readFileSync(script, 'utf8'));
let made = 0;
const timer = setInterval(() => {
    for (let n = 0; n < AT_ONCE && made < Number(count); n += 1) {
        connect();
        made += 1;
    }
    if (made >= Number(count)) {
        clearInterval(timer);
    }
}, EVERY_MS);
process.stdin.on('end', () => process.exit(0)).resume();
