'use strict';

/**
 * What a demo's connection is doing, as a sign and a word, with its round trip, and the button that ends
 * or begins it.
 *
 * The markup is templates/demos/panels/status.html and a button with the id DEMO-connect.
 */
class StatusBar {
    /**
     * @param {string} demo what the ids begin with
     * @param {Handle} connection what jPulse.ws.connect returned
     */
    constructor(demo, connection) {
        this.sign = document.getElementById(`${demo}-status`);
        this.word = document.getElementById(`${demo}-status-word`);
        this.latency = document.getElementById(`${demo}-latency`);
        this.button = document.getElementById(`${demo}-connect`);
        this.button.addEventListener('click', () => StatusBar.turn(connection));
        connection.onStatusChange((status) => this.show(status));
        this.show(connection.getStatus());
        setInterval(() => this.measure(connection), StatusBar.OPTIONS.pingInterval / 2);
    }

    /** Show the round trip of the last ping; a connection that is not there has none. */
    measure(connection) {
        const known = connection.isConnected() && connection.latency !== null;
        const text = known ? `${Math.max(1, Math.round(connection.latency))} ms` : '';
        if (this.latency.textContent !== text) this.latency.textContent = text;
    }

    /** Show a status. */
    show(status) {
        this.sign.dataset.status = status;
        this.word.textContent = StatusBar.WORDS[status];
        this.button.textContent = status === 'disconnected' ? 'Connect' : 'Disconnect';
    }

    /** End a connection that there is or may come; begin one that rests. */
    static turn(connection) {
        if (connection.getStatus() === 'disconnected') connection.connect();
        else connection.disconnect();
    }
}

/** What demos connect with: their pings are there to be seen, and so more often than they need to be. */
StatusBar.OPTIONS = {pingInterval: 2000};

StatusBar.WORDS = {
    connecting: 'Connecting',
    connected: 'Connected',
    reconnecting: 'Reconnecting',
    disconnected: 'Disconnected',
};
