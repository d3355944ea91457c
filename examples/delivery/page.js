'use strict';

/** Look this often for what may have been missed in spite of everything. */
const LOOK_MS = 30_000;
const MAX_SHOWN = 500;
const element = (id) => document.getElementById(id);
/** The number of the last entry that is shown; null before the first page of entries. */
let last = null;

const connection = jPulse.ws.connect('/api/1/ws/delivery')
    .onMessage(({success, data, error}) => {
        if (success) receive[data.type]?.(data);
        else jPulse.UI.toast.show(error, 'error');
    })
    .onStatusChange((status) => { element('leave').hidden = status === 'disconnected'; });
showStatus(connection);

const look = () => connection.send({type: 'read', after: last});
setInterval(look, LOOK_MS);

/** One function per type of message; acknowledgements are the outbox's. */
const receive = {
    connected: look,
    look,
    /** The answer to `look`: what follows the last entry that is shown, without a hole. */
    page({entries, newest}) {
        if (newest < last) return beginAnew();
        if (last !== null && entries.length && entries[0].seq > last + 1) {
            show({text: `${entries[0].seq - last - 1} older entries are not kept any more.`, className: 'small'});
        }
        last ??= 0;
        entries.forEach(append);
        element('empty').hidden = last > 0;
        if (last < newest) look();
    },
    /** New entries: they are shown if none is missing before them. */
    entries({entries}) {
        if (last === null) return;
        if (entries[0].seq > last + 1) look();
        else entries.forEach(append);
        element('empty').hidden = last > 0;
    },
};

/** The server has lost its disk and began another journal. */
function beginAnew() {
    last = null;
    element('entries').replaceChildren();
    look();
}

function append({seq, name, text, at}) {
    if (seq <= last) return;
    last = seq;
    show({text, from: `${seq}, ${name || 'a guest'}, ${new Date(at * 1000).toLocaleTimeString()}`});
}

function show({text, from = '', className = ''}) {
    const row = Object.assign(document.createElement('li'), {className});
    row.append(Object.assign(document.createElement('span'), {className: 'grows', textContent: text}));
    row.append(Object.assign(document.createElement('span'), {className: 'small', textContent: from}));
    element('entries').append(row);
    while (element('entries').children.length > MAX_SHOWN) element('entries').firstElementChild.remove();
    element('entries').scrollTop = element('entries').scrollHeight;
}

// What goes out.

const outbox = new Outbox(connection, 'delivery');
outbox.onChange(drawWaiting);
drawWaiting();

function drawWaiting() {
    const {texts} = outbox;
    const row = (text) => Object.assign(document.createElement('li'), {textContent: text});
    element('waiting').replaceChildren(...texts.map(row));
    element('waiting-count').textContent = texts.length ? `${texts.length} not delivered yet` : '';
}

element('write').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = element('text').value.trim();
    if (!text) return;
    try {
        outbox.add(text);
        element('text').value = '';
    } catch (error) {
        // No room, or not allowed: then it is not promised either.
        jPulse.UI.toast.show(`The browser cannot keep this: ${error.message}`, 'error');
    }
});
element('leave').addEventListener('click', () => connection.disconnect());
