'use strict';

const TITLE = document.title;
const element = (id) => document.getElementById(id);
/** What is for this user, by id; the ids grow. */
const notes = new Map();
/** Up to this id the user has seen them. */
let upTo = 0;

const connection = jPulse.ws.connect('/api/1/ws/notifications')
    .onMessage(({success, data, error}) => {
        if (success) receive[data.type]?.(data);
        else jPulse.UI.toast.show(error, 'error');
    })
    .onStatusChange((status, old, reason) => {
        // Signed out, here or elsewhere: what was private goes from the screen.
        if ([401, 4401].includes(reason?.code)) forget();
    });
showStatus(connection);

/** One function per type of message. */
const receive = {
    connected({username}) {
        // Somebody else may have signed in while the connection was away.
        if (username !== element('user').textContent) forget();
        element('user').textContent = username;
        element('signed-in').hidden = false;
        connection.send({type: 'list'});
    },
    reload() {
        connection.send({type: 'list'});
    },
    list(told) {
        upTo = Math.max(upTo, told.upTo);
        for (const note of told.notes) notes.set(note.id, note);
        draw();
    },
    note({note}) {
        notes.set(note.id, note);
        draw();
        jPulse.UI.toast.show(`${note.sender}: ${note.text}`);
    },
    seen(told) {
        upTo = Math.max(upTo, told.upTo);
        draw();
    },
};

function forget() {
    notes.clear();
    upTo = 0;
    element('signed-in').hidden = true;
    draw();
}

function draw() {
    const newestFirst = [...notes.values()].sort((a, b) => b.id - a.id);
    const unread = newestFirst.filter(({id}) => id > upTo).length;
    element('badge').textContent = unread ? `${unread} unread` : 'All read';
    element('badge').classList.toggle('has-unread', unread > 0);
    element('seen').disabled = unread === 0;
    element('empty').hidden = notes.size > 0;
    element('notes').replaceChildren(...newestFirst.map(row));
    document.title = unread ? `(${unread}) ${TITLE}` : TITLE;
}

function row({id, sender, text, sentAt}) {
    const item = document.createElement('li');
    const words = Object.assign(document.createElement('span'), {className: 'grows', textContent: text});
    const source = Object.assign(document.createElement('span'), {className: 'small'});
    const time = new Date(sentAt * 1000).toLocaleString();
    source.textContent = `${id > upTo ? 'New, from' : 'From'} ${sender || 'the server'}, ${time}`;
    item.classList.toggle('is-unread', id > upTo);
    words.append(document.createElement('br'), source);
    item.append(words);
    return item;
}

element('seen').addEventListener('click', () => connection.send({type: 'seen', upTo: Math.max(...notes.keys())}));

element('send').addEventListener('submit', async (event) => {
    event.preventDefault();
    const message = {to: element('to').value.trim(), text: element('text').value.trim()};
    const answer = await jPulse.api.post('/api/1/notifications', message);
    element('problem').textContent = answer.success ? '' : answer.error;
    if (!answer.success) return;
    element('text').value = '';
    element('text').focus();
    jPulse.UI.toast.show(`Sent to ${answer.data.to}`, 'success');
});
