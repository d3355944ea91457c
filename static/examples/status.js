'use strict';

/**
 * Show in #connection what a connection is doing and why, with a button or a way to sign in where it has
 * come to rest.
 *
 * @param {Handle} connection what jPulse.ws.connect returned
 */
function showStatus(connection) {
    const words = {
        connecting: 'Connecting', connected: 'Connected', reconnecting: 'Reconnecting', disconnected: 'Not connected',
    };
    const box = document.getElementById('connection');
    const make = (tag, className, textContent) => Object.assign(document.createElement(tag), {className, textContent});
    const line = make('p', 'connection-line', '');
    const button = make('button', 'button is-small', 'Connect');
    const signIn = make('a', 'button is-small', 'Sign in');
    line.setAttribute('role', 'status');
    signIn.href = `/auth/login?next=${encodeURIComponent(location.pathname)}`;
    button.addEventListener('click', () => connection.connect());
    box.append(line, button, signIn);

    function show(status, oldStatus, reason) {
        const isGuest = [401, 4401].includes(reason?.code);
        box.dataset.status = status;
        line.textContent = reason ? `${words[status]}. ${reason.message}.` : words[status];
        button.hidden = status !== 'disconnected' || isGuest;
        signIn.hidden = status !== 'disconnected' || !isGuest;
    }
    connection.onStatusChange(show);
    show(connection.getStatus(), '', null);
}
