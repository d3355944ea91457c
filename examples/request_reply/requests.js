'use strict';

/** Why a request has no result: `code` is the server's number, or 'TIMEOUT', 'CONNECTION_LOST', 'NOT_SENT'. */
class RequestError extends Error {
    constructor(code, message) {
        super(message);
        this.code = code;
    }
}

/**
 * Requests and their replies over a connection.
 *
 *     const requests = new Requests(jPulse.ws.connect('/api/1/ws/request-reply'));
 *     const factors = await requests.ask('factors', {number: 91}, {timeoutMs: 3000});
 */
class Requests {
    constructor(connection) {
        this.connection = connection;
        this.number = 0;
        /** What waits for its reply, by requestId. */
        this.pending = new Map();
        connection.onMessage(({success, data}) => {
            if (success && data.type === 'reply') this.settle(data);
        });
        connection.onStatusChange((status) => {
            if (status !== 'connected') this.rejectAll();
        });
    }

    /**
     * Ask, and resolve to the result.
     *
     * Rejects with a RequestError. After 'TIMEOUT' and 'CONNECTION_LOST' nobody knows whether the server has
     * done what it was asked: ask again only for what may be done twice.
     */
    ask(type, fields = {}, {timeoutMs = 5000} = {}) {
        const requestId = String(++this.number);
        return new Promise((resolve, reject) => {
            if (!this.connection.send({...fields, type, requestId})) {
                reject(new RequestError('NOT_SENT', 'There is no connection right now'));
                return;
            }
            const timer = setTimeout(() => {
                this.pending.delete(requestId);
                reject(new RequestError('TIMEOUT', `No answer within ${timeoutMs / 1000} s`));
            }, timeoutMs);
            this.pending.set(requestId, {resolve, reject, timer});
        });
    }

    /** A reply for which nobody waits any more is late, and dropped. */
    settle({requestId, result, error, code}) {
        const request = this.pending.get(requestId);
        if (!request) return;
        this.pending.delete(requestId);
        clearTimeout(request.timer);
        if (code === undefined) request.resolve(result);
        else request.reject(new RequestError(code, error));
    }

    rejectAll() {
        for (const {reject, timer} of this.pending.values()) {
            clearTimeout(timer);
            reject(new RequestError('CONNECTION_LOST', 'The connection was lost before the answer came'));
        }
        this.pending.clear();
    }
}
