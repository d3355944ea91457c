/**
 * jPulse browser client: WebSocket connections that look after themselves, REST
 * calls that never throw, and toasts.
 *
 *     const chat = jPulse.ws.connect('/api/1/ws/chat')
 *         .onStatusChange((status) => show(status))
 *         .onMessage((message) => { if (message.success) render(message.data); });
 *     chat.send({ type: 'say', text: 'hello' });
 *
 * One classic script without dependencies; its only global is window.jPulse. It runs
 * under `script-src 'self'; style-src 'self'; connect-src 'self'`.
 */
(() => {
'use strict';

/**
 * @typedef {'connecting'|'connected'|'reconnecting'|'disconnected'} Status
 */

/**
 * What the server sends, and what every jPulse.api call resolves to.
 *
 * @typedef {object} Envelope
 * @property {boolean} success
 * @property {any} [data] with success true; `data.type` names a WebSocket message
 * @property {string} [error] with success false: what is wrong, for a person to read
 * @property {number|string} [code] with success false
 * @property {number} [status] the HTTP status, with code 'HTTP_ERROR' only
 */

/**
 * Why a connection is down.
 *
 * @typedef {object} LinkError
 * @property {number|string} code a close code (1000-4999), an HTTP status (below 600), or
 *     'PONG_TIMEOUT' (open but silent) or 'NETWORK_ERROR' (the server cannot be reached)
 * @property {string} message for a person to read
 */

/**
 * All times in milliseconds.
 *
 * @typedef {object} ConnectOptions
 * @property {number} [reconnectBaseInterval] 5000; attempt n waits n times this, ±25 %
 * @property {number} [reconnectMaxInterval] 30000; the longest wait, before the ±25 %
 * @property {number} [maxReconnectAttempts] 10; 0 never reconnects, Infinity never gives up
 * @property {number} [pingInterval] 30000; 0 sends no pings
 */

/**
 * @callback MessageListener
 * @param {Envelope} message
 * @returns {void}
 */

/**
 * @callback StatusListener
 * @param {Status} newStatus
 * @param {Status} oldStatus
 * @param {LinkError|null} reason the same as handle.lastError at that moment
 * @returns {void}
 */

/**
 * One connection to a namespace, as the page sees it. See jPulse.ws.connect.
 *
 * @typedef {object} Handle
 * @property {string} path the path given to connect()
 * @property {string|null} clientId our id as the server told it; null before the first
 *     `connected` message. It can differ from the stored one: the server gives out another
 *     when that id is in use by a different session.
 * @property {number|null} latency the last ping's round trip in ms; null until measured
 * @property {LinkError|null} lastError why the connection is down; null while connected and
 *     after disconnect()
 * @property {(data: any) => boolean} send
 * @property {(listener: MessageListener) => Handle} onMessage
 * @property {(listener: StatusListener) => Handle} onStatusChange
 * @property {() => Status} getStatus
 * @property {() => boolean} isConnected
 * @property {() => Handle} connect
 * @property {() => Handle} disconnect
 */

if (window.jPulse && window.jPulse.ws) {
    return; // Loaded twice: a second copy would orphan the first one's connections.
}

const CONNECTING = 'connecting';
const CONNECTED = 'connected';
const RECONNECTING = 'reconnecting';
const DISCONNECTED = 'disconnected';

/** @type {Required<ConnectOptions>} */
const DEFAULT_OPTIONS = {
    reconnectBaseInterval: 5000,
    reconnectMaxInterval: 30000,
    maxReconnectAttempts: 10,
    pingInterval: 30000,
};

const JITTER = 0.25;
const PONG_TIMEOUT_MS = 5000;
// A server that is no jPulse server may say nothing at first; then this long counts as a greeting.
const GREETING_TIMEOUT_MS = 2000;
// Browsers let a handshake hang for minutes. Generous, because Chromium dials one host one by one.
const DIAL_TIMEOUT_MS = 20000;
const PROBE_TIMEOUT_MS = 10000;
const MAX_RETRY_AFTER_MS = 60000;
// A connection that lasted this long was a good one. The range keeps a very short or very long
// reconnectBaseInterval from making the rule meaningless.
const MIN_STABLE_MS = 1000;
const MAX_STABLE_MS = 5000;
const LATE_TIMER_MS = 1000;
const MAX_BUFFERED_BYTES = 1024 * 1024;
// setTimeout overflows beyond 31 bits and fires at once.
const MAX_TIMER_MS = 2 ** 31 - 1;

const NORMAL_CLOSE = 1000;
const STAY_AWAY_CODES = new Set([NORMAL_CLOSE, 4401, 4403]);
const REFUSED_STATUSES = new Set([401, 403, 404]);
/** @type {Record<number, string>} */
const CLOSE_MEANINGS = {
    1000: 'The server closed the connection',
    1006: 'The connection was lost',
    1009: 'A message was larger than the server accepts',
    1012: 'The server restarts',
    1013: 'The connection is too slow, or the server is overloaded',
    4401: 'The session has ended',
    4403: 'The role that this needs was taken away',
    4408: 'The server saw no sign of life',
    4429: 'Too many messages',
};

const UUID_KEY = 'jPulse.ws.clientUUID';
const UUID_PATTERN = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

// ---- Shared helpers

/**
 * Report an error that must not stop the others: window.onerror sees it, the console shows it.
 *
 * @param {unknown} error
 */
function report(error) {
    if (typeof reportError === 'function') {
        reportError(error);
    } else {
        console.error(error);
    }
}

/**
 * Read text as an envelope; null when it is anything else.
 *
 * @param {unknown} text
 * @returns {Envelope|null}
 */
function parseEnvelope(text) {
    if (typeof text !== 'string') {
        return null;
    }
    try {
        const value = JSON.parse(text);
        return value !== null && typeof value === 'object' && typeof value.success === 'boolean'
            ? value : null;
    } catch {
        return null; // The callers say so in their own words: a warning, an HTTP_ERROR.
    }
}

/**
 * @param {Envelope|null} envelope
 * @param {string} type
 * @returns {boolean}
 */
function isOfType(envelope, type) {
    return envelope !== null && envelope.success && envelope.data?.type === type;
}

/**
 * JSON.stringify that refuses instead of losing: without it NaN becomes null and a
 * Map or an ArrayBuffer becomes {}.
 *
 * @param {any} value
 * @returns {string}
 * @throws {TypeError} for a cycle, BigInt, undefined, a function, NaN, an infinity, binary data
 */
function toJson(value) {
    const text = JSON.stringify(value, (key, item) => {
        if (typeof item === 'number' && !Number.isFinite(item)) {
            throw new TypeError(`jPulse: JSON cannot carry ${item} (at "${key}")`);
        }
        if (isOpaque(item)) {
            throw new TypeError(`jPulse: JSON cannot carry a ${item.constructor.name} (at "${key}")`);
        }
        return item;
    });
    if (text === undefined) {
        throw new TypeError(`jPulse: JSON cannot carry ${typeof value}`);
    }
    return text;
}

/** @param {unknown} item */
function isOpaque(item) {
    return item instanceof ArrayBuffer || ArrayBuffer.isView(item) || item instanceof Blob
        || item instanceof Map || item instanceof Set;
}

/**
 * Fetch and read the whole body; both together may take timeoutMs (0: any time).
 *
 * @param {URL|string} url
 * @param {RequestInit} init
 * @param {number} timeoutMs
 * @param {AbortController} controller aborted on timeout; abort it to cancel
 * @returns {Promise<{response: Response, text: string}>}
 */
async function fetchText(url, init, timeoutMs, controller) {
    const timer = timeoutMs > 0
        ? setTimeout(() => controller.abort(), Math.min(timeoutMs, MAX_TIMER_MS)) : undefined;
    try {
        const response = await fetch(url, { ...init, signal: controller.signal });
        return { response, text: await response.text() };
    } finally {
        clearTimeout(timer);
    }
}

// ---- Who we are

/** The id of this page where localStorage is blocked, and until it has been written. */
let ownUuid = '';

/**
 * The UUID that names this browser, shared by its tabs. Asked anew for every handshake,
 * because the user may clear the storage, or another tab may have filled it first.
 *
 * @returns {string}
 */
function clientUuid() {
    const stored = readUuid();
    if (stored) {
        return stored;
    }
    ownUuid = ownUuid || makeUuid();
    writeUuid(ownUuid);
    return readUuid() || ownUuid;
}

/** @returns {string} '' when there is none, or it is damaged, or storage is blocked */
function readUuid() {
    try {
        const value = localStorage.getItem(UUID_KEY) || '';
        return UUID_PATTERN.test(value) ? value : '';
    } catch {
        return ''; // Blocked by the user's settings: the id then lives as long as the page.
    }
}

/** @param {string} uuid */
function writeUuid(uuid) {
    try {
        localStorage.setItem(UUID_KEY, uuid);
    } catch {
        // Blocked or full: the id then lives as long as the page.
    }
}

/** @returns {string} a random UUID, version 4 (RFC 9562, section 5.4) */
function makeUuid() {
    if (typeof crypto.randomUUID === 'function') {
        return crypto.randomUUID();
    }
    // Plain http on another host than localhost is no secure context and has no randomUUID.
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

// ---- Parts of a connection

/**
 * Calls listeners in the order in which things happened.
 *
 * What a listener causes (a disconnect() inside a status listener) is told after every
 * listener has heard the present event, so that all of them see one and the same history.
 */
class Announcer {
    /** @type {Array<[Function[], any[]]>} */
    #queue = [];
    #busy = false;
    #held = false;

    /**
     * Call every listener with args; now, unless the announcer is busy or held.
     *
     * @param {Function[]} listeners
     * @param {any[]} args
     */
    announce(listeners, args) {
        this.#queue.push([listeners, args]);
        this.#flush();
    }

    /** Keep everything back until release(). */
    hold() {
        this.#held = true;
    }

    release() {
        this.#held = false;
        this.#flush();
    }

    #flush() {
        if (this.#busy) {
            return;
        }
        this.#busy = true;
        while (this.#queue.length > 0 && !this.#held) {
            const [[listeners, args]] = this.#queue.splice(0, 1);
            listeners.slice().forEach((listener) => Announcer.#call(listener, args));
        }
        this.#busy = false;
    }

    /**
     * @param {Function} listener
     * @param {any[]} args
     */
    static #call(listener, args) {
        try {
            listener(...args);
        } catch (error) {
            report(error);
        }
    }
}

/**
 * Pings an open connection and tells when it is dead.
 *
 * Any frame that arrives after a ping is a sign of life, not just its pong: on a slow
 * line the pong may queue behind other messages.
 */
class Heartbeat {
    #intervalMs;
    #sendPing;
    #onDead;
    /** @type {ReturnType<typeof setTimeout>|undefined} the next ping, or the pong's deadline */
    #timer;
    #pingedAt = 0;
    #waiting = false;
    #measuring = false;
    /** Whether somebody has come back to the page and waits for what it finds. */
    #urgent = false;
    #heardAt = 0;

    /**
     * @param {number} intervalMs
     * @param {() => void} sendPing
     * @param {(urgent: boolean) => void} onDead
     */
    constructor(intervalMs, sendPing, onDead) {
        this.#intervalMs = intervalMs;
        this.#sendPing = sendPing;
        this.#onDead = onDead;
    }

    start() {
        this.#heardAt = performance.now();
        this.#pingedAt = this.#heardAt;
        this.#pingLater();
    }

    stop() {
        clearTimeout(this.#timer);
        this.#waiting = false;
        this.#intervalMs = 0;
    }

    /** Note a frame; call it for each one received. */
    heard() {
        this.#heardAt = performance.now();
        if (this.#waiting) {
            this.#waiting = this.#urgent = false;
            this.#pingLater();
        }
    }

    /** @returns {number|null} the round trip in ms; null for a pong that we cannot date */
    pong() {
        const measured = this.#measuring ? performance.now() - this.#pingedAt : null;
        this.#measuring = false;
        return measured;
    }

    /** Somebody is back: ping at once, unless one is under way or something was heard a moment ago. */
    check() {
        const silentFor = performance.now() - this.#heardAt;
        if (this.#intervalMs > 0 && !this.#waiting && silentFor > PONG_TIMEOUT_MS) {
            this.#ping(true);
        }
        this.#urgent = this.#waiting;
    }

    #pingLater() {
        clearTimeout(this.#timer);
        if (this.#intervalMs > 0) {
            const dueIn = this.#pingedAt + this.#intervalMs - performance.now();
            this.#timer = setTimeout(() => this.#ping(true), Math.max(0, dueIn));
        }
    }

    /** @param {boolean} mayRepeat whether a late deadline earns a second ping */
    #ping(mayRepeat) {
        clearTimeout(this.#timer);
        this.#pingedAt = performance.now();
        this.#waiting = true;
        // A pong after a repeated ping could belong to either of the two.
        this.#measuring = mayRepeat;
        this.#timer = setTimeout(() => this.#deadline(mayRepeat), PONG_TIMEOUT_MS);
        this.#sendPing();
    }

    /**
     * A deadline that fires late tells of a sleeping or busy page, not of the connection:
     * the pong may be queued behind this very timer. Ask once more then. Only once, because in
     * a hidden tab timers are always late.
     *
     * @param {boolean} mayRepeat
     */
    #deadline(mayRepeat) {
        const late = performance.now() - this.#pingedAt - PONG_TIMEOUT_MS > LATE_TIMER_MS;
        if (late && mayRepeat) {
            this.#ping(false);
        } else {
            // One more turn of the event loop for frames that have already arrived.
            this.#timer = setTimeout(() => this.#onDead(this.#urgent), 0);
        }
    }
}

/**
 * The wait in ms before reconnect attempt n (1, 2, …): min(n × base, max), ±25 %, so that
 * the clients of a restarted server don't come back in one wave.
 *
 * @param {number} attempt
 * @param {Required<ConnectOptions>} options
 * @returns {number}
 */
function backoff(attempt, options) {
    const full = Math.min(attempt * options.reconnectBaseInterval, options.reconnectMaxInterval);
    return full * (1 - JITTER + 2 * JITTER * Math.random());
}

/**
 * Ask by a plain GET why a handshake failed; a browser does not tell.
 *
 * @param {URL} url
 * @param {AbortController} controller
 * @returns {Promise<{code: number|string, message: string, waitMs: number}>}
 */
async function askWhy(url, controller) {
    try {
        const { response, text } = await fetchText(url, {
            credentials: 'same-origin', cache: 'no-store', headers: { Accept: 'application/json' },
        }, PROBE_TIMEOUT_MS, controller);
        return {
            code: response.status,
            message: parseEnvelope(text)?.error || `The server answered ${response.status}`,
            waitMs: retryAfterMs(response),
        };
    } catch {
        return { code: 'NETWORK_ERROR', message: 'The server cannot be reached', waitMs: 0 };
    }
}

/**
 * How long the server asks us to stay away: Retry-After in seconds, at most 60, plus up to
 * 25 % at random, because everybody else was told the same.
 *
 * @param {Response} response
 * @returns {number}
 */
function retryAfterMs(response) {
    const seconds = Number(response.headers.get('Retry-After'));
    if (!(seconds > 0) || (response.status !== 429 && response.status !== 503)) {
        return 0;
    }
    return Math.min(seconds * 1000, MAX_RETRY_AFTER_MS) * (1 + JITTER * Math.random());
}

// ---- A connection

/** Why a connection is at rest; only one that gave up is revived by the page's events. */
const REST = { none: '', user: 'user', refused: 'refused', gaveUp: 'gaveUp' };

/** Connections that are open or may become so by themselves. @type {Set<Connection>} */
const connections = new Set();

/**
 * The state machine behind a handle.
 *
 *     connecting ──first frame──► connected ──lost──► reconnecting ──first frame──► connected
 *         └──────────────── failed ──────────────────────►┘ └── refused, gave up ──► disconnected
 *
 * At any time at most one of these is under way: a socket, a question (why did the handshake
 * fail?), a timer before the next dial. #drop() ends whichever it is.
 */
class Connection {
    /** @type {MessageListener[]} */
    #messageListeners = [];
    /** @type {StatusListener[]} */
    #statusListeners = [];
    #announcer = new Announcer();
    /** @type {Required<ConnectOptions>} */
    #options;
    #url;
    path;
    /** @type {Status} */
    #status = DISCONNECTED;
    #rest = REST.none;
    /** Reconnect attempts since the last good connection. */
    #attempts = 0;
    /** @type {WebSocket|null} */
    #socket = null;
    /** When the present socket opened; null until it has. @type {number|null} */
    #openedAt = null;
    /** @type {AbortController|null} */
    #question = null;
    /**
     * A dial's or a greeting's deadline, or the wait before a dial.
     * @type {ReturnType<typeof setTimeout>|undefined}
     */
    #timer;
    /** @type {Heartbeat|null} */
    #heartbeat = null;
    /** Retry-After: not even an `online` event dials before. */
    #notBefore = 0;
    /** Between pagehide and pageshow, freeze and resume. */
    #suspended = false;

    /** @type {string|null} */
    clientId = null;
    /** @type {number|null} */
    latency = null;
    /** @type {LinkError|null} */
    lastError = null;

    /**
     * @param {string} path
     * @param {Required<ConnectOptions>} options
     */
    constructor(path, options) {
        this.path = path;
        this.#url = namespaceUrl(path);
        this.#options = options;
        this.handle = makeHandle(this);
    }

    get status() {
        return this.#status;
    }

    /** @param {MessageListener} listener */
    onMessage(listener) {
        this.#messageListeners.push(asFunction(listener, 'onMessage'));
    }

    /** @param {StatusListener} listener */
    onStatusChange(listener) {
        this.#statusListeners.push(asFunction(listener, 'onStatusChange'));
    }

    /** Start, without telling anybody yet: the caller has had no chance to add listeners. */
    begin() {
        connections.add(this);
        this.#status = CONNECTING;
        this.#dial();
    }

    /** @param {any} data */
    send(data) {
        const text = typeof data === 'string' ? data : toJson(data);
        if (this.#status !== CONNECTED || this.#socket?.readyState !== WebSocket.OPEN
            || this.#socket.bufferedAmount > MAX_BUFFERED_BYTES) {
            return false;
        }
        this.#socket.send(text);
        return true;
    }

    /** The user's wish to be connected: nothing to do while connected, else a fresh start. */
    connect() {
        if (this.#status === DISCONNECTED) {
            connections.add(this);
            this.#announceSoon();
            this.#restart(CONNECTING);
        } else if (this.#isWaiting()) {
            this.#restart(this.#status);
        }
    }

    /** The user's wish not to be. */
    disconnect() {
        this.#settle(REST.user, null);
    }

    /** The network or the tab came back: don't wait any longer, and see whether all is well. */
    wake() {
        if (this.#status === RECONNECTING && this.#isWaiting()) {
            this.#redial();
        }
        this.#heartbeat?.check();
        this.revive();
    }

    /** Try again after giving up. */
    revive() {
        if (this.#rest === REST.gaveUp) {
            this.#redial();
        }
    }

    /** Dial as soon as the server's Retry-After allows. */
    #redial() {
        this.#restart(RECONNECTING, Math.max(0, this.#notBefore - performance.now()));
    }

    /**
     * The page goes away, perhaps into the back/forward cache, which an open socket would keep
     * it out of. Listeners are told when it comes back: nobody wants to see "reconnecting"
     * flash up while a page is being left.
     */
    suspend() {
        if (this.#suspended || this.#rest !== REST.none) {
            return;
        }
        this.#suspended = true;
        this.#announcer.hold();
        this.#drop();
        this.#setStatus(this.#status === CONNECTED ? RECONNECTING : this.#status, null);
    }

    resume() {
        if (this.#suspended) {
            this.#suspended = false;
            this.#restart(this.#status);
            this.#announcer.release();
        }
    }

    /**
     * Dial with a fresh count of attempts.
     *
     * @param {Status} status
     * @param {number} [waitMs]
     */
    #restart(status, waitMs = 0) {
        this.#rest = REST.none;
        this.#attempts = 0;
        this.#dialIn(waitMs);
        this.#setStatus(status, this.lastError);
    }

    /** @param {number} waitMs */
    #dialIn(waitMs) {
        this.#drop();
        if (waitMs > 0) {
            this.#timer = setTimeout(() => this.#dial(), Math.min(waitMs, MAX_TIMER_MS));
        } else {
            this.#dial();
        }
    }

    #dial() {
        this.#drop();
        const socket = new WebSocket(socketAddress(this.#url));
        socket.onopen = () => this.#onOpen();
        socket.onmessage = (event) => this.#onFrame(event.data);
        socket.onclose = (event) => this.#onClose(event);
        this.#socket = socket;
        this.#timer = setTimeout(() => this.#onDialFailed(), DIAL_TIMEOUT_MS);
    }

    /** End whatever is under way, without waiting for it: a dead socket's close event takes minutes. */
    #drop() {
        clearTimeout(this.#timer);
        this.#heartbeat?.stop();
        this.#heartbeat = null;
        const question = this.#question;
        this.#question = null;
        question?.abort();
        if (this.#socket) {
            this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
            this.#socket.close(NORMAL_CLOSE);
        }
        this.#socket = null;
        this.#openedAt = null;
    }

    /** Open is not yet connected: the first frame tells who we are. */
    #onOpen() {
        clearTimeout(this.#timer);
        this.#openedAt = performance.now();
        this.#timer = setTimeout(() => this.#establish(), GREETING_TIMEOUT_MS);
    }

    #establish() {
        clearTimeout(this.#timer);
        this.#notBefore = 0;
        this.#heartbeat = new Heartbeat(this.#options.pingInterval,
            () => this.send({ type: 'ping' }), (urgent) => this.#onDead(urgent));
        this.#heartbeat.start();
        this.#setStatus(CONNECTED, null);
    }

    /** @param {unknown} text */
    #onFrame(text) {
        const envelope = parseEnvelope(text);
        this.#heartbeat?.heard();
        if (isOfType(envelope, 'pong')) {
            this.latency = this.#heartbeat?.pong() ?? this.latency;
            return;
        }
        if (isOfType(envelope, 'connected')) {
            this.clientId = envelope?.data.clientId ?? this.clientId;
        }
        if (this.#status !== CONNECTED) {
            this.#establish();
        }
        this.#tell(envelope);
    }

    /** @param {Envelope|null} envelope */
    #tell(envelope) {
        if (this.#status !== CONNECTED) {
            return; // A status listener has just called disconnect().
        }
        if (envelope) {
            this.#announcer.announce(this.#messageListeners, [envelope]);
        } else {
            console.warn(`jPulse: ${this.path} sent a frame that is no jPulse message; ignored`);
        }
    }

    /** @param {CloseEvent} event */
    #onClose({ code, reason }) {
        if (this.#openedAt === null) {
            this.#onDialFailed();
            return;
        }
        const message = reason || CLOSE_MEANINGS[code] || `The connection was closed (${code})`;
        if (STAY_AWAY_CODES.has(code)) {
            this.#settle(REST.refused, { code, message });
        } else {
            this.#retry({ code, message }, false);
        }
    }

    /**
     * A server that stood still for a while loses all its clients within seconds: they wait, like
     * after any other loss. Who comes back to a page with a dead connection doesn't.
     *
     * @param {boolean} urgent
     */
    #onDead(urgent) {
        const seconds = PONG_TIMEOUT_MS / 1000;
        this.#retry({ code: 'PONG_TIMEOUT', message: `The server was silent for ${seconds} s` }, urgent);
    }

    async #onDialFailed() {
        this.#drop();
        const question = new AbortController();
        this.#question = question;
        const { code, message, waitMs } = await askWhy(this.#url, question);
        if (this.#question !== question) {
            return; // Dropped meanwhile: something newer is under way.
        }
        if (REFUSED_STATUSES.has(Number(code))) {
            this.#settle(REST.refused, { code, message });
            return;
        }
        this.#notBefore = performance.now() + waitMs;
        this.#retry({ code, message }, false, waitMs);
    }

    /**
     * Dial again after the wait of the next attempt, or give up.
     *
     * @param {LinkError} error
     * @param {boolean} atOnce without the wait; the attempt counts all the same
     * @param {number} [minWaitMs]
     */
    #retry(error, atOnce, minWaitMs = 0) {
        if (this.#wasStable()) {
            this.#attempts = 0;
        }
        if (this.#attempts >= this.#options.maxReconnectAttempts) {
            this.#settle(REST.gaveUp, error);
            return;
        }
        this.#attempts += 1;
        this.#dialIn(atOnce ? 0 : Math.max(minWaitMs, backoff(this.#attempts, this.#options)));
        this.#setStatus(RECONNECTING, error);
    }

    /** Opening is not enough: a server that accepts and closes at once would be dialed for ever. */
    #wasStable() {
        const base = this.#options.reconnectBaseInterval;
        const enough = Math.min(Math.max(base, MIN_STABLE_MS), MAX_STABLE_MS);
        return this.#openedAt !== null && performance.now() - this.#openedAt >= enough;
    }

    /**
     * Come to rest in status `disconnected`.
     *
     * @param {string} rest
     * @param {LinkError|null} error
     */
    #settle(rest, error) {
        this.#drop();
        this.#rest = rest;
        this.#suspended = false;
        if (rest !== REST.gaveUp) {
            connections.delete(this);
        }
        this.#setStatus(DISCONNECTED, error);
        this.#announcer.release();
    }

    /**
     * @param {Status} status
     * @param {LinkError|null} error
     */
    #setStatus(status, error) {
        const old = this.#status;
        this.#status = status;
        this.lastError = error;
        if (status !== old) {
            this.#announcer.announce(this.#statusListeners, [status, old, error]);
        }
    }

    /** Whether nothing but a timer or a question stands between us and the next dial. */
    #isWaiting() {
        return this.#socket === null && !this.#suspended;
    }

    /** Listeners hear of connect() after it returned, as they do the first time. */
    #announceSoon() {
        this.#announcer.hold();
        queueMicrotask(() => {
            if (!this.#suspended) {
                this.#announcer.release();
            }
        });
    }
}

/**
 * The public face of a connection. Frozen closures instead of the class instance, so that
 * methods can be passed around, and Vue and the like leave it alone: their proxies cannot
 * reach private fields.
 *
 * @param {Connection} connection
 * @returns {Handle}
 */
function makeHandle(connection) {
    /** @type {Handle} */
    const handle = Object.freeze({
        get path() { return connection.path; },
        get clientId() { return connection.clientId; },
        get latency() { return connection.latency; },
        get lastError() { return connection.lastError; },

        /**
         * Send an object as JSON (a string goes as it is). False, and nothing is sent, while not
         * connected or with more than 1 MiB still unsent; nothing is queued for later.
         *
         * @throws {TypeError} connected or not, for what JSON cannot carry: a cycle, BigInt,
         *     undefined, NaN, binary data. That is a mistake in the page, not a state of the line.
         */
        send: (data) => connection.send(data),

        /** Call listener with every envelope, `connected` and errors too, but not with pongs. */
        onMessage(listener) { connection.onMessage(listener); return handle; },

        /** Call listener with (newStatus, oldStatus, reason) after each change. */
        onStatusChange(listener) { connection.onStatusChange(listener); return handle; },

        /** @returns {Status} */
        getStatus: () => connection.status,

        /** @returns {boolean} true while send() can work */
        isConnected: () => connection.status === CONNECTED,

        /** Connect again after disconnect(), a refusal or giving up; while waiting, try now. */
        connect() { connection.connect(); return handle; },

        /** Close with code 1000 and stay away until connect(). */
        disconnect() { connection.disconnect(); return handle; },
    });
    return handle;
}

/**
 * @template {Function} F
 * @param {F} listener
 * @param {string} method
 * @returns {F}
 */
function asFunction(listener, method) {
    if (typeof listener !== 'function') {
        throw new TypeError(`jPulse: ${method}() needs a function`);
    }
    return listener;
}

/**
 * @param {URL} url
 * @returns {string} the ws: or wss: address, with our uuid added to the query
 */
function socketAddress(url) {
    const address = new URL(url);
    address.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    address.searchParams.set('uuid', clientUuid());
    return address.href;
}

/**
 * @param {string} path
 * @returns {URL}
 */
function namespaceUrl(path) {
    if (typeof path !== 'string' || !path.startsWith('/') || path.startsWith('//')) {
        throw new TypeError(`jPulse.ws.connect: the path must start with one "/", got ${path}`);
    }
    const url = new URL(path, location.origin);
    url.hash = '';
    return url;
}

/**
 * @param {ConnectOptions} options
 * @returns {Required<ConnectOptions>}
 */
function readOptions(options) {
    const result = { ...DEFAULT_OPTIONS };
    for (const name of /** @type {Array<keyof ConnectOptions>} */ (Object.keys(result))) {
        const value = options[name] ?? result[name];
        if (typeof value !== 'number' || !(value >= 0)) {
            throw new TypeError(`jPulse.ws.connect: ${name} must be a number >= 0, got ${value}`);
        }
        result[name] = name === 'maxReconnectAttempts' ? value : Math.min(value, MAX_TIMER_MS);
    }
    return result;
}

// ---- The page's own life

let watching = false;

/** Listen to the page's events; once, when the first connection is made. */
function watchPage() {
    if (watching) {
        return;
    }
    watching = true;
    const each = (act) => () => Array.from(connections).forEach(act);
    const wakeAll = each((connection) => connection.wake());
    const suspendAll = each((connection) => connection.suspend());
    const resumeAll = each((connection) => connection.resume());
    const reviveAll = each((connection) => connection.revive());

    window.addEventListener('online', wakeAll);
    document.addEventListener('visibilitychange', () => {
        if (document.visibilityState === 'visible') {
            wakeAll();
        }
    });
    window.addEventListener('pagehide', suspendAll);
    window.addEventListener('pageshow', () => { resumeAll(); reviveAll(); });
    // A frozen tab reads nothing: the server would fill its outbox and end it as too slow.
    document.addEventListener('freeze', suspendAll);
    document.addEventListener('resume', resumeAll);
}

/**
 * Connect to a namespace of this page's server and keep the connection alive.
 *
 * Each call makes a new connection, also for a path that has one already: the server counts
 * both, and each gets every broadcast. Share the handle where one is enough.
 *
 * - Status `connected` comes with the server's first frame, which tells handle.clientId, or
 *   2 s after the socket opened if the server says nothing. No listener is called before
 *   connect() has returned.
 * - A lost connection is dialed again: attempt n after min(n × base, max) ±25 %. The count starts
 *   anew after a connection that lasted reconnectBaseInterval (at least 1 s, at most 5 s).
 *   After maxReconnectAttempts in a row the status is `disconnected`; then, as while waiting,
 *   the events `online`, `visibilitychange` (to visible) and `pageshow` make it try at once.
 * - It stays away (status `disconnected`) after disconnect(), after close codes 1000, 4401 and
 *   4403, and when the handshake is refused with 401, 403 or 404. handle.lastError says why.
 *   A Retry-After of up to 60 s that comes with 429 or 503 is obeyed.
 * - Every pingInterval it sends a ping; if no frame at all arrives within 5 s, the connection is
 *   lost, and dialed again at once if the network or the tab has just come back.
 * - While the page is in the back/forward cache, or frozen, the connection is closed.
 *
 * @param {string} path such as '/api/1/ws/chat'; may have a query
 * @param {ConnectOptions} [options]
 * @returns {Handle}
 * @throws {TypeError} for a path or an option that makes no sense
 */
function connect(path, options = {}) {
    const connection = new Connection(path, readOptions(options));
    watchPage();
    connection.begin();
    return connection.handle;
}

/**
 * The handles that are connected or may become so by themselves, oldest first; not those at
 * rest after disconnect() or a refusal.
 *
 * @returns {Handle[]}
 */
function getConnections() {
    return Array.from(connections, (connection) => connection.handle);
}

// ---- REST

const API_TIMEOUT_MS = 30000;

/**
 * @typedef {object} ApiOptions
 * @property {number} [timeout] ms to wait for the whole answer; 30000; 0: no limit
 */

/**
 * Resolve to the server's envelope, whatever happens. Codes of our own: 'NETWORK_ERROR' (no
 * answer, or not in time), 'HTTP_ERROR' (an answer that is no envelope, see `status`),
 * 'INVALID_REQUEST' (a body that JSON cannot carry, or an impossible path).
 *
 * @param {string} method
 * @param {string} path
 * @param {any} body
 * @param {ApiOptions} [options]
 * @returns {Promise<Envelope>}
 */
async function request(method, path, body, options) {
    const timeoutMs = options?.timeout ?? API_TIMEOUT_MS;
    const controller = new AbortController();
    let url, init;
    try {
        url = requestUrl(method, path, body);
        init = requestInit(method, url, body);
    } catch (error) {
        return failure('INVALID_REQUEST', String(error.message));
    }
    try {
        const { response, text } = await fetchText(url, init, timeoutMs, controller);
        return parseEnvelope(text) || notAnEnvelope(response);
    } catch (error) {
        return failure('NETWORK_ERROR', controller.signal.aborted
            ? `No answer within ${timeoutMs / 1000} s` : `No answer: ${error.message}`);
    }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {any} params for GET: what to add to the query; undefined and null are left out
 * @returns {URL}
 */
function requestUrl(method, path, params) {
    const url = new URL(path, location.href);
    if (method === 'GET') {
        if (typeof (params ?? {}) !== 'object') {
            throw new TypeError('jPulse.api.get: the parameters must be an object');
        }
        Object.entries(params ?? {})
            .filter(([, value]) => value !== undefined && value !== null)
            .forEach(([name, value]) => url.searchParams.set(name, String(value)));
    }
    return url;
}

/**
 * @param {string} method
 * @param {URL} url
 * @param {any} body
 * @returns {RequestInit}
 */
function requestInit(method, url, body) {
    /** @type {Record<string, string>} */
    const headers = { Accept: 'application/json' };
    /** @type {RequestInit} */
    const init = { method, headers, credentials: 'same-origin' };
    if (method === 'GET') {
        return init;
    }
    if (body !== undefined) {
        headers['Content-Type'] = 'application/json';
        init.body = toJson(body);
    }
    const token = cookie('_xsrf');
    // Another site must not learn the token.
    if (token && url.origin === location.origin) {
        headers['X-XSRFToken'] = token;
    }
    return init;
}

/**
 * @param {string} name
 * @returns {string} '' when there is none
 */
function cookie(name) {
    const entry = document.cookie.split('; ').find((pair) => pair.startsWith(`${name}=`));
    return entry ? entry.slice(name.length + 1) : '';
}

/**
 * @param {Response} response
 * @returns {Envelope}
 */
function notAnEnvelope(response) {
    const error = `The server answered ${response.status} ${response.statusText}`.trim();
    return { ...failure('HTTP_ERROR', error), status: response.status };
}

/**
 * @param {string} code
 * @param {string} error
 * @returns {Envelope}
 */
function failure(code, error) {
    return { success: false, error, code };
}

const api = Object.freeze({
    /** @type {(path: string, params?: object, options?: ApiOptions) => Promise<Envelope>} */
    get: (path, params, options) => request('GET', path, params, options),
    /** @type {(path: string, body?: any, options?: ApiOptions) => Promise<Envelope>} */
    post: (path, body, options) => request('POST', path, body, options),
    /** @type {(path: string, body?: any, options?: ApiOptions) => Promise<Envelope>} */
    put: (path, body, options) => request('PUT', path, body, options),
    /** @type {(path: string, body?: any, options?: ApiOptions) => Promise<Envelope>} */
    delete: (path, body, options) => request('DELETE', path, body, options),
});

// ---- Toasts

const TOAST_MS = 6000;
const MAX_TOASTS = 5;
/** A sign for each level, so that colour is not the only difference. @type {Record<string, string>} */
const TOAST_SIGNS = { info: 'i', success: '✓', warning: '!', error: '✕' };

const TOAST_RULES = [
    `.jpulse-toasts {
        --jpulse-surface: #fff; --jpulse-text: #1c2330; --jpulse-edge: #c9d0da;
        --jpulse-info: #1d5fc4; --jpulse-success: #1a7a3c;
        --jpulse-warning: #8f5b00; --jpulse-error: #b3261e;
        position: fixed; z-index: 2147483000; right: 1rem; bottom: 1rem;
        width: min(24rem, calc(100vw - 2rem)); max-height: calc(100vh - 2rem); overflow-y: auto;
        display: flex; flex-direction: column-reverse;
        pointer-events: none; font: 1rem/1.4 system-ui, sans-serif; }`,
    `@media (prefers-color-scheme: dark) { .jpulse-toasts {
        --jpulse-surface: #232a35; --jpulse-text: #edf1f7; --jpulse-edge: #465162;
        --jpulse-info: #8ab8ff; --jpulse-success: #7fd69a;
        --jpulse-warning: #f2c063; --jpulse-error: #ff9d95; } }`,
    `.jpulse-toast {
        display: flex; align-items: flex-start; gap: .6rem; box-sizing: border-box;
        margin-top: .5rem; padding: .6rem .5rem .6rem .8rem; pointer-events: auto;
        color: var(--jpulse-text); background: var(--jpulse-surface);
        border: 1px solid var(--jpulse-edge); border-left: .3rem solid var(--jpulse-level);
        border-radius: .4rem; box-shadow: 0 .2rem .8rem rgb(0 0 0 / 25%);
        animation: jpulse-toast-in .2s ease-out; }`,
    ...Object.keys(TOAST_SIGNS).map(
        (level) => `.jpulse-toast-${level} { --jpulse-level: var(--jpulse-${level}); }`),
    '.jpulse-toast-sign { color: var(--jpulse-level); font-weight: 700; }',
    '.jpulse-toast-text { flex: 1; min-width: 0; overflow-wrap: anywhere; white-space: pre-line; }',
    `.jpulse-toast-level { position: absolute; width: 1px; height: 1px; overflow: hidden;
        clip-path: inset(50%); white-space: nowrap; }`,
    `.jpulse-toast-close { flex: none; min-width: 1.75rem; min-height: 1.75rem; padding: 0; border: 0;
        border-radius: .3rem; background: none; color: inherit; font: inherit; cursor: pointer; }`,
    '.jpulse-toast-close:hover { background: var(--jpulse-edge); }',
    '.jpulse-toast-close:focus-visible { outline: 2px solid var(--jpulse-level); outline-offset: 1px; }',
    '@keyframes jpulse-toast-in { from { opacity: 0; transform: translateY(.5rem); } }',
    '@media (prefers-reduced-motion: reduce) { .jpulse-toast { animation: none; } }',
];

/** The toasts on show, oldest first. @type {Toast[]} */
const toasts = [];

/** @type {{box: HTMLElement, polite: HTMLElement, assertive: HTMLElement}|null} */
let toastArea = null;

/**
 * Style without an inline <style>, which a strict Content-Security-Policy forbids. Browsers
 * without constructable stylesheets get the rules added to a sheet of the page.
 */
function addToastStyles() {
    if ('adoptedStyleSheets' in document && 'replaceSync' in CSSStyleSheet.prototype) {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(TOAST_RULES.join('\n'));
        document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
        return;
    }
    const sheet = Array.from(document.styleSheets).find(isWritable);
    TOAST_RULES.forEach((rule) => sheet?.insertRule(rule, sheet.cssRules.length));
}

/** @param {CSSStyleSheet} sheet */
function isWritable(sheet) {
    try {
        return sheet.cssRules !== null;
    } catch {
        return false; // A sheet from another site may not be read.
    }
}

/** Make the live regions; screen readers announce only what enters a region they know already. */
function makeToastArea() {
    if (!toastArea) {
        addToastStyles();
        const box = element('section', 'jpulse-toasts', { 'aria-label': 'Notifications' });
        const polite = liveRegion('status', 'polite');
        const assertive = liveRegion('alert', 'assertive');
        // Reversed by the styles: where not all fit, the box is scrolled to its end, to the errors.
        box.append(assertive, polite);
        toastArea = { box, polite, assertive };
    }
    if (!toastArea.box.isConnected) {
        document.body.append(toastArea.box);
    }
    return toastArea;
}

/**
 * @param {string} role
 * @param {string} urgency
 * @returns {HTMLElement} a region whose additions are read out one by one, not all again
 */
function liveRegion(role, urgency) {
    return element('div', '', { role, 'aria-live': urgency, 'aria-atomic': 'false' });
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {Record<string, string>} [attributes]
 * @param {string} [text]
 * @returns {HTMLElement}
 */
function element(tag, className, attributes = {}, text = '') {
    const made = document.createElement(tag);
    made.className = className;
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    made.textContent = text;
    return made;
}

/** One toast on show. */
class Toast {
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    #timer;
    #lifeMs;
    /** What keeps it from hiding: 'pointer', 'focus'. @type {Set<string>} */
    #holds = new Set();
    /** Where the focus goes when this toast, having it, closes. @type {any} */
    #focusBefore = null;

    /**
     * @param {string} message
     * @param {string} level
     * @param {number} lifeMs 0: until closed
     */
    constructor(message, level, lifeMs) {
        this.level = level;
        this.#lifeMs = lifeMs;
        this.box = element('div', `jpulse-toast jpulse-toast-${level}`);
        const button = element(
            'button', 'jpulse-toast-close', { type: 'button', 'aria-label': 'Close' }, '✕');
        this.box.append(
            element('span', 'jpulse-toast-sign', { 'aria-hidden': 'true' }, TOAST_SIGNS[level]),
            element('span', 'jpulse-toast-level', {}, `${level}: `),
            element('span', 'jpulse-toast-text', {}, message),
            button);
        button.addEventListener('click', () => this.close());
        this.#listen();
    }

    show() {
        const area = makeToastArea();
        (this.level === 'error' ? area.assertive : area.polite).append(this.box);
        this.#hideLater();
    }

    close() {
        const index = toasts.indexOf(this);
        if (index < 0) {
            return;
        }
        toasts.splice(index, 1);
        clearTimeout(this.#timer);
        const hadFocus = this.box.contains(document.activeElement);
        this.box.remove();
        if (hadFocus && this.#focusBefore?.isConnected) {
            this.#focusBefore.focus();
        }
    }

    #listen() {
        this.box.addEventListener('pointerenter', () => this.#hold('pointer'));
        this.box.addEventListener('pointerleave', () => this.#unhold('pointer'));
        this.box.addEventListener('focusout', () => this.#unhold('focus'));
        this.box.addEventListener('focusin', (event) => {
            this.#focusBefore = event.relatedTarget;
            this.#hold('focus');
        });
        this.box.addEventListener('keydown', (event) => {
            if (event.key === 'Escape') {
                event.stopPropagation(); // A dialog behind it stays.
                this.close();
            }
        });
    }

    /** @param {string} reason */
    #hold(reason) {
        this.#holds.add(reason);
        clearTimeout(this.#timer);
    }

    /** @param {string} reason */
    #unhold(reason) {
        this.#holds.delete(reason);
        this.#hideLater();
    }

    #hideLater() {
        clearTimeout(this.#timer);
        if (this.#lifeMs > 0 && this.#holds.size === 0 && toasts.includes(this)) {
            this.#timer = setTimeout(() => this.close(), Math.min(this.#lifeMs, MAX_TIMER_MS));
        }
    }
}

/** @param {() => void} act run now, or once there is a body */
function whenBody(act) {
    if (document.body) {
        act();
    } else {
        document.addEventListener('DOMContentLoaded', act, { once: true });
    }
}

/**
 * Show a message in the corner and have it read out; errors interrupt, others wait their turn.
 *
 * At most 5 show at a time: a further one closes the oldest that is no error, else the oldest.
 *
 * @param {any} message shown as text, never as HTML
 * @param {'info'|'success'|'warning'|'error'} [level] anything else is 'info'
 * @param {{duration?: number}} [options] ms on show; 6000, errors 0 (until closed)
 * @returns {() => void} closes it
 */
function showToast(message, level = 'info', options = {}) {
    const known = Object.hasOwn(TOAST_SIGNS, level) ? level : 'info';
    // Errors stay until they are closed: who looks away must not miss them.
    const lifeMs = options?.duration ?? (known === 'error' ? 0 : TOAST_MS);
    const toast = new Toast(String(message), known, lifeMs);
    if (toasts.length >= MAX_TOASTS) {
        (toasts.find((other) => other.level !== 'error') || toasts[0]).close();
    }
    toasts.push(toast);
    whenBody(() => {
        if (toasts.includes(toast)) {
            toast.show();
        }
    });
    return () => toast.close();
}

whenBody(makeToastArea);

const toast = Object.freeze({
    show: showToast,
    /** @type {(message: any, options?: {duration?: number}) => (() => void)} */
    info: (message, options) => showToast(message, 'info', options),
    /** @type {(message: any, options?: {duration?: number}) => (() => void)} */
    success: (message, options) => showToast(message, 'success', options),
    /** @type {(message: any, options?: {duration?: number}) => (() => void)} */
    warning: (message, options) => showToast(message, 'warning', options),
    /** @type {(message: any, options?: {duration?: number}) => (() => void)} */
    error: (message, options) => showToast(message, 'error', options),
});

// ---- What the page gets

window.jPulse = Object.assign(window.jPulse || {}, {
    ws: Object.freeze({ connect, getConnections }),
    api,
    UI: Object.freeze({ toast }),
});
})();
