'use strict';

/**
 * Show in #connection what a connection is doing and why, with a button or a way to sign in where it has
 * come to rest.
 *
 * @param {Handle} connection what jPulse.ws.connect returned
 */
function showStatus(connection) {
    const words = {connecting: 'Connecting', connected: 'Connected', reconnecting: 'Reconnecting', disconnected: 'Not connected'};
    const box = document.getElementById('connection');
    const line = Object.assign(document.createElement('p'), {className: 'connection-line'});
    const button = Object.assign(document.createElement('button'), {className: 'button is-small', textContent: 'Connect'});
    const signIn = Object.assign(document.createElement('a'), {className: 'button is-small', textContent: 'Sign in'});
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
