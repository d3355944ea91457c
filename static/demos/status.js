'use strict';

/**
 * What a demo's connection is doing, as a sign and a word, and the button that ends or begins it.
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
        this.button = document.getElementById(`${demo}-connect`);
        this.button.addEventListener('click', () => StatusBar.turn(connection));
        connection.onStatusChange((status) => this.show(status));
        this.show(connection.getStatus());
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

StatusBar.WORDS = {
    connecting: 'Connecting',
    connected: 'Connected',
    reconnecting: 'Reconnecting',
    disconnected: 'Disconnected',
};
