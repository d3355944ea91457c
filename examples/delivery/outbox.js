'use strict';

/**
 * Texts on their way to the server, each kept in the browser until the server has acknowledged it.
 *
 *     const outbox = new Outbox(connection, 'delivery');
 *     outbox.onChange(draw);
 *     outbox.add('text');         // throws if the browser cannot keep it
 *
 * Each text has a key of its own, `NAME/SENDER/NUMBER`, so that tabs don't overwrite each other's. A sender
 * is one opening of the page. What a closed tab has left is sent by whichever is open: the number says what
 * has come already, so it does no harm when several do.
 */
class Outbox {
    constructor(connection, name) {
        this.connection = connection;
        this.prefix = `${name}/`;
        this.sender = Outbox.randomId();
        this.number = 0;
        this.change = () => {};
        connection.onMessage(({success, data}) => {
            if (success && data.type === 'connected') this.flush();
            if (success && data.type === 'ack') this.acknowledge(data);
        });
        // What other tabs add or get acknowledged.
        addEventListener('storage', () => this.change());
        setInterval(() => this.flush(), Outbox.RESEND_MS);
    }

    onChange(change) {
        this.change = change;
    }

    /** Keep a text and send it; from here on it is delivered. Throws if the browser or the server cannot keep it. */
    add(text) {
        // The server would refuse these, and with them all that wait behind.
        if (!text || text.length > Outbox.MAX_LENGTH) {
            throw new RangeError(`1 to ${Outbox.MAX_LENGTH} characters are needed`);
        }
        const wellFormed = new TextDecoder().decode(new TextEncoder().encode(text));
        localStorage.setItem(`${this.prefix}${this.sender}/${this.number + 1}`, wellFormed);
        this.number += 1;
        this.change();
        // Behind what waits for its acknowledgement already; with that, its turn comes.
        if (this.waiting(this.sender).length === 1) this.sendFirst(this.sender);
    }

    /** Send of each sender what waits, oldest first. */
    flush() {
        this.senders().forEach((sender) => this.sendFirst(sender));
    }

    /** A sender's next texts go when the ones before are acknowledged: so their order is kept. */
    sendFirst(sender) {
        const waiting = this.waiting(sender).slice(0, Outbox.MAX_TEXTS);
        if (!waiting.length) return;
        // False without a connection: the next greeting flushes.
        const texts = waiting.map(({text}) => text);
        this.connection.send({type: 'deliver', sender, first: waiting[0].number, texts});
    }

    acknowledge({sender, last}) {
        for (const {key, number} of this.waiting(sender)) {
            if (number <= last) localStorage.removeItem(key);
        }
        this.change();
        this.sendFirst(sender);
    }

    /** A sender's texts that are not acknowledged, in order. */
    waiting(sender) {
        return this.keys().filter((key) => key.startsWith(`${this.prefix}${sender}/`))
            .map((key) => ({key, number: Number(key.split('/')[2]), text: localStorage.getItem(key)}))
            .sort((a, b) => a.number - b.number);
    }

    /** All texts that wait, of this tab and of others. */
    get texts() {
        return this.senders().flatMap((sender) => this.waiting(sender).map(({text}) => text));
    }

    senders() {
        return [...new Set(this.keys().map((key) => key.split('/')[1]))];
    }

    keys() {
        return Object.keys(localStorage).filter((key) => key.startsWith(this.prefix));
    }

    /** Nobody can guess it. */
    static randomId() {
        const parts = crypto.getRandomValues(new Uint32Array(4));
        return Array.from(parts, (part) => part.toString(36).padStart(7, '0')).join('');
    }
}

Outbox.RESEND_MS = 5000;
/** As many and as long as the server takes them. */
Outbox.MAX_TEXTS = 20;
Outbox.MAX_LENGTH = 500;
