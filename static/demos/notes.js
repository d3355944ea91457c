/**
 * Sticky notes: the page's side of the conversation. The WebSocket itself changes them.
 *
 * The server's side is handlers/demos/notes.py. What is known and what is wanted is in
 * notes-sync.js, drawing in notes-board.js, and the sign of the connection in status.js.
 */
(() => {
    'use strict';

    const NAMESPACE = '/api/1/ws/hello-notes';
    const MAX_NOTES = 200;
    /** Typing is sent when it rests, and now and then when it doesn't. */
    const TYPING_MS = 200;
    const MAX_TYPING_MS = 1000;
    const UNDO_MS = 15_000;
    const TOAST_MS = 10_000;
    /** Later than any date: what the server has not dated yet comes last. */
    const LAST = '~';

    const editing = (name) => `${name} ${name === 'You' ? 'are' : 'is'} editing`;

    const explanations = {
        connecting: '',
        connected: '',
        reconnecting: 'Go on: what you change is kept on this page and sent when the connection is back.',
        disconnected: 'What you change is kept on this page and sent when you press “Connect”.',
    };

    const EMPTY = 'Nothing here yet. Double-click anywhere, or press “New note”.';

    const deeds = {'note-create': 'added', 'note-update': 'changed', 'note-delete': 'deleted'};

    const element = (name) => document.getElementById(`notes-${name}`);
    const board = new NoteBoard(element('board'), element('note'));
    let connection = null;
    let isLoaded = false;

    const shared = new SharedNotes((message) => connection.send(message), {
        change: draw,
        refuse: complain,
        lose: rescue,
        restart: () => connection.disconnect().connect(),
    });

    /** Show the present state of one note. */
    function draw(key) {
        const view = shared.view(key);
        if (view) board.put(key, {createdAt: LAST, ...view, author: authorOf(view)});
        else board.remove(key);
        showState();
    }

    function authorOf({createdBy}) {
        return createdBy ? `by ${createdBy === shared.me ? 'you' : createdBy}` : 'by a guest';
    }

    // What the user wants is shown at once, and sent.

    board.onWish({
        create: add,
        move: (key, position) => change(key, position),
        recolour: (key, color) => change(key, {color}),
        type,
        leave,
        remove,
    });

    function add(position) {
        const key = shared.create({...position, text: '', color: chosenColor()});
        board.edit(key);
    }

    function change(key, fields) {
        shared.change(key, fields);
        shared.flush(key);
    }

    const typing = new Map();

    /** Keep what is typed at once, and send it a little later. */
    function type(key, text) {
        const {since = performance.now(), timer} = typing.get(key) ?? {};
        const wait = Math.min(TYPING_MS, since + MAX_TYPING_MS - performance.now());
        clearTimeout(timer);
        typing.set(key, {since, timer: setTimeout(() => sendTyped(key), wait)});
        shared.change(key, {text});
    }

    function sendTyped(key) {
        if (!typing.has(key)) return;
        clearTimeout(typing.get(key).timer);
        typing.delete(key);
        shared.flush(key);
    }

    /** Send what was typed when the text loses the focus, and show what others wrote meanwhile. */
    function leave(key) {
        sendTyped(key);
        draw(key);
    }

    let removed = null;
    let undoTimer = 0;

    function remove(key) {
        removed = shared.view(key);
        shared.remove(key);
        say(`You deleted ${quoted(removed)}`);
        element('undo').hidden = false;
        clearTimeout(undoTimer);
        undoTimer = setTimeout(forgetRemoved, UNDO_MS);
    }

    function forgetRemoved() {
        const hadFocus = element('undo') === document.activeElement;
        removed = null;
        element('undo').hidden = true;
        if (hadFocus) element('board').focus();
    }

    /** Put a deleted note back, as a new one: an id that is gone does not come back. */
    function undo() {
        const {x, y, text, color} = removed;
        forgetRemoved();
        board.edit(shared.create({x, y, text, color}));
    }

    /** New notes lie beside each other, not one over the other. */
    function freePlace() {
        const number = shared.count;
        return {x: (6 + 23 * number) % 100, y: (6 + 17 * number) % 100};
    }

    function chosenColor() {
        return element('colors').querySelector('input:checked').value;
    }

    // What the server tells, by us or by others.

    /** One function per message type; types that a newer server may add are passed over. */
    const receive = {
        'connected': ({username}) => shared.connected(username),
        'welcome': () => shared.greeted(),
        'notes-init': ({notes}) => {
            isLoaded = true;
            shared.takeOver(notes);
            showState();
        },
        'note-created': ({note, username}) => {
            if (!shared.created(note, username)) say(`${who(username)} added a note`);
        },
        'note-updated': ({note, username}) => {
            if (!shared.updated(note, username)) tellOfEditor(shared.keyOf(note.id), username);
        },
        'note-deleted': ({noteId, username}) => {
            const view = shared.view(shared.keyOf(noteId));
            const isFull = shared.count > MAX_NOTES;
            if (shared.deleted(noteId, username) || !view) return;
            say(isFull ? `Gone, to make room: ${quoted(view)}` : `${who(username)} deleted ${quoted(view)}`);
        },
    };

    function tellOfEditor(key, username) {
        const text = editing(who(username));
        const view = shared.view(key);
        if (board.showEditor(key, text) && view) say(`${text} ${quoted(view)}`);
    }

    function hear({success, data, code, error}) {
        if (success) receive[data.type]?.(data);
        else shared.refused(code, error);
    }

    /** Keep what somebody has written on a note that others deleted meanwhile. */
    function rescue(key, {x, y, text, color}, {text: written}) {
        if (!written?.trim()) return;
        const isEditing = board.isEditing(key);
        const fresh = shared.create({x, y, text, color});
        if (isEditing) board.edit(fresh);
        jPulse.UI.toast.show(`${quoted({text})} was deleted while you wrote it. It is kept as a new note.`, 'info');
    }

    /** Say what could not be done. Errors would stay until they are closed, and lie over the board. */
    function complain(note, kind, error, isForNow) {
        if (kind === 'note-delete') forgetRemoved();
        const what = `The note ${quoted(note ?? {text: ''})} could not be ${deeds[kind]}.`;
        const rest = isForNow ? `${error}. Trying again…` : error;
        jPulse.UI.toast.show(`${what} ${rest}`, isForNow ? 'warning' : 'error', {duration: TOAST_MS});
    }

    function say(text) {
        element('news').textContent = text;
    }

    /** The beginning of a note's text, to find it by. */
    function quoted({text}) {
        return `“${titleOf(text) || '…'}”`;
    }

    /** Guests have no name, so one is not told from another, nor from ourselves. */
    function who(username) {
        if (!username) return 'A guest';
        return username === shared.me ? 'You' : username;
    }

    /** Show the count, and in place of the notes what there is to say when there are none. */
    function showState() {
        const {count} = shared;
        write('count', isLoaded ? `${count} of ${MAX_NOTES} notes` : '');
        write('state', isLoaded ? EMPTY : 'Loading the notes…');
        element('state').hidden = count > 0;
        element('full').hidden = count < MAX_NOTES;
    }

    /** What is written anew is read out again, so write only what differs. */
    function write(name, text) {
        if (element(name).textContent !== text) element(name).textContent = text;
    }

    function showStatus(status, oldStatus, reason) {
        if (status !== 'connected') shared.disconnected();
        element('link').textContent = reason ? `${reason.message}. ${explanations[status]}` : explanations[status];
    }

    /** Connect when the panel is first shown: who never looks at it costs the server nothing. */
    function open() {
        connection = jPulse.ws.connect(NAMESPACE, StatusBar.OPTIONS).onMessage(hear).onStatusChange(showStatus);
        new StatusBar('notes', connection);
    }

    element('add').addEventListener('click', () => add(freePlace()));
    element('undo').addEventListener('click', undo);
    for (const input of element('colors').querySelectorAll('input')) {
        input.parentElement.style.setProperty('--swatch', input.value);
    }
    // A page that is left may never come back.
    document.addEventListener('visibilitychange', () => {
        if (document.hidden) for (const key of [...typing.keys()]) sendTyped(key);
    });
    // The tabs may have shown the panel before this script ran.
    const panel = element('board').closest('.panel');
    if (panel.hidden) panel.addEventListener('tab-shown', open, {once: true});
    else open();
})();
