/**
 * Emoji cursors: the page's side of the conversation.
 *
 * The server's side is handlers/demos/cursors.py. Drawing is in cursor-stage.js, the
 * sign of the connection in status.js, and throttle() in throttle.js.
 */
(() => {
    'use strict';

    const NAMESPACE = '/api/1/ws/hello-emoji';
    const SEND_INTERVAL_MS = 50;
    const LIFETIME_MS = 60_000;
    const OWN_WINDOW_LIFETIME_MS = 10_000;
    const TOAST_INTERVAL_MS = 5_000;
    const GREETING_DELAY_MS = 500;
    const GREETING_CROWD = 25;
    const SENT_LIMIT = 100;
    const STORAGE_KEY = 'jPulse.demos.emoji';

    const explanations = {
        connecting: 'Connecting…',
        connected: '',
        reconnecting: 'Trying again by itself…',
        disconnected: 'You see nobody, and nobody sees you. Press “Connect” to come back.',
    };

    const element = (name) => document.getElementById(`emoji-${name}`);
    const stage = new CursorStage(element('stage'));
    let emoji = '';
    let people = 0;
    let hasOtherWindow = false;

    const connection = jPulse.ws.connect(NAMESPACE, StatusBar.OPTIONS)
        .onMessage((envelope) => {
            if (envelope.success) receive[envelope.data.type]?.(envelope.data);
            else complain(envelope.error);
        })
        .onStatusChange(showStatus);

    /** One function per message type; types that a newer server may add are passed over. */
    const receive = {
        'welcome': ({userCount}) => showPeople(userCount),
        'user-joined': ({userCount}) => {
            showPeople(userCount);
            greet();
        },
        'user-left': ({clientId, userCount}) => {
            showPeople(userCount);
            stage.remove(clientId);
        },
        'user-emoji': (message) => {
            if (!isEcho(message)) stage.setEmoji(message.clientId, message.emoji);
        },
        'cursor': (message) => {
            if (!isEcho(message)) showCursor(message);
        },
    };

    function showCursor({clientId, username, emoji, x, y}) {
        const mine = clientId === connection.clientId;
        if (mine && !hasOtherWindow) {
            hasOtherWindow = true;
            showPeople(people);
        }
        stage.show(clientId, {
            emoji, x, y,
            label: mine ? 'You (other window)' : username || guestName(clientId),
            lifetimeMs: mine ? OWN_WINDOW_LIFETIME_MS : LIFETIME_MS,
        });
    }

    const sendPosition = throttle(SEND_INTERVAL_MS, () => {
        if (stage.position) say({type: 'cursor-move', emoji, ...stage.position});
    });

    /** Send a message, and remember it until its echo comes. */
    function say(message) {
        if (connection.isConnected() && connection.send(message)) remember(message);
    }

    /** Show a newcomer where we are; else they'd see an empty stage until somebody moves. */
    function greet() {
        // In a crowd enough people move anyway. The delay spreads the others' answers.
        if (people <= GREETING_CROWD) setTimeout(sendPosition, Math.random() * GREETING_DELAY_MS);
    }

    // A broadcast comes back to its sender, and two windows of one browser have
    // the same client id. So what this window sent is told from what the other one sent by
    // its content: both lists are in the order of sending.

    let sent = [];

    const contentOf = ({emoji, x, y}) => `${emoji} ${x} ${y}`;

    function remember(message) {
        sent.push(contentOf(message));
        if (sent.length > SENT_LIMIT) sent.shift();
    }

    /** Whether this window sent the message itself. Older ones without an echo were refused: forget them. */
    function isEcho(message) {
        if (message.clientId !== connection.clientId) return false;
        const index = sent.indexOf(contentOf(message));
        if (index >= 0) sent = sent.slice(index + 1);
        return index >= 0;
    }

    function showStatus(status, oldStatus, reason) {
        const connected = status === 'connected';
        const explanation = explanations[status];
        element('overlay').textContent = reason ? `${reason.message}. ${explanation}` : explanation;
        element('overlay').hidden = connected;
        if (connected) introduce();
        else forgetOthers();
    }

    /** Say who we are: after a reconnect the server knows nothing of us. */
    function introduce() {
        say({type: 'emoji-select', emoji});
        sendPosition();
    }

    function forgetOthers() {
        sent = [];
        stage.clear();
        showPeople(0);
    }

    /** @param {number} count people here, ourselves included; 0 when we can't know */
    function showPeople(count) {
        people = count;
        element('people').textContent = ['', 'Only you are here'][count] ?? `${count} people here`;
        // Both windows of one browser count as one, but who sees the other's cursor needs no hint.
        element('stage').classList.toggle('is-alone', count === 1 && !hasOtherWindow);
    }

    let quietUntil = 0;

    /** Show an error, but not each one of a flood. */
    function complain(error) {
        if (Date.now() < quietUntil) return;
        quietUntil = Date.now() + TOAST_INTERVAL_MS;
        jPulse.UI.toast.show(error, 'warning');
    }

    /** A name for somebody who isn't signed in, the same in every window. */
    function guestName(clientId) {
        const moods = ['Bright', 'Calm', 'Curious', 'Gentle', 'Happy', 'Lucky', 'Merry', 'Quick', 'Quiet', 'Sunny', 'Swift', 'Witty'];
        const number = parseInt(clientId.replaceAll('-', '').slice(-6), 16) || 0;
        return `${moods[number % moods.length]} guest ${Math.floor(number / moods.length) % 100}`;
    }

    /** Choose an emoji: the last one if the browser kept it, else any. */
    function preselect() {
        const choices = [...element('picker').querySelectorAll('input')];
        const kept = choices.find(({value}) => value === recall());
        const choice = kept ?? choices[Math.floor(Math.random() * choices.length)];
        choice.checked = true;
        wear(choice.value);
    }

    function wear(chosen) {
        emoji = chosen;
        stage.setOwnEmoji(chosen);
    }

    function pick(chosen) {
        wear(chosen);
        keep(chosen);
        say({type: 'emoji-select', emoji});
    }

    // Storage may be forbidden, in private windows for instance: then nothing is kept.
    function recall() {
        try {
            return localStorage.getItem(STORAGE_KEY);
        } catch {
            return null;
        }
    }

    function keep(chosen) {
        try {
            localStorage.setItem(STORAGE_KEY, chosen);
        } catch {
            return;
        }
    }

    element('picker').addEventListener('change', (event) => pick(event.target.value));
    stage.onMove(sendPosition);
    preselect();
    showStatus(connection.getStatus());
    new StatusBar('emoji', connection);
})();
