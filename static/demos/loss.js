/**
 * Best practices: a form that outlives its connection.
 *
 * What is typed stays in the field until the server has confirmed it. What was under way when the
 * connection ended is sent again after it, with the same number, so that it counts once.
 */
(() => {
    'use strict';

    const NAMESPACE = '/api/1/ws/hello-practice';

    const news = {
        connecting: '',
        connected: '',
        reconnecting: 'The connection is lost and comes back by itself. Go on writing.',
        disconnected: 'The connection has ended. What you wrote is kept here.',
    };

    const element = (name) => document.getElementById(`loss-${name}`);
    let connection = null;
    let number = 0;
    /** What the server has not confirmed yet: {number, text}, or null. */
    let pending = null;

    const receive = {
        // First after each connecting, also after those that the client made by itself.
        connected: () => sendPending(),
        taken: ({number, text}) => {
            if (number !== pending?.number) return;     // Confirmed a second time.
            pending = null;
            if (element('text').value === text) element('text').value = '';
            const item = document.createElement('li');
            item.textContent = text;
            element('taken').append(item);
            showStatus(connection.getStatus());
        },
    };

    function hear({success, data, error}) {
        if (success) {
            receive[data.type]?.(data);
            return;
        }
        pending = null;
        jPulse.UI.toast.show(error, 'warning');
        showStatus(connection.getStatus());
    }

    function sendPending() {
        if (pending) connection.send({type: 'note', ...pending});
    }

    function showStatus(status) {
        const waits = pending && status !== 'connected' ? ' Your text is sent when it is back.' : '';
        element('news').textContent = news[status] + waits;
        element('news').hidden = !news[status];
        // Only here the client does nothing by itself.
        element('connect').hidden = status !== 'disconnected';
        element('send').disabled = pending !== null;
        element('status').dataset.status = status;
        element('status-word').textContent = StatusBar.WORDS[status];
    }

    function open() {
        connection = jPulse.ws.connect(NAMESPACE, {reconnectBaseInterval: 2000})
            .onMessage(hear)
            .onStatusChange(showStatus);
        element('form').addEventListener('submit', (event) => {
            event.preventDefault();
            number += 1;
            pending = {number, text: element('text').value};
            sendPending();
            showStatus(connection.getStatus());
        });
        element('connect').addEventListener('click', () => connection.connect());
        for (const button of document.querySelectorAll('[data-end]')) {
            button.addEventListener('click', () => connection.send({type: 'end', how: button.dataset.end}));
        }
        showStatus(connection.getStatus());
    }

    // The tabs may have shown the panel before this script ran.
    const panel = element('form').closest('.panel');
    if (panel.hidden) panel.addEventListener('tab-shown', open, {once: true});
    else open();
})();
