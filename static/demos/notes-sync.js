'use strict';

/**
 * Notes that many people change at once: what the server said of them last, and on top of it what
 * the user wants that the server has not told back yet. It knows nothing of how notes look.
 *
 * Every message of ours is answered, in order: a change by its broadcast, which everybody gets, a
 * refusal by an error, which we get alone. So the oldest message without an answer is the one
 * that an error is about, and a broadcast that says just that is our own echo.
 *
 * A note has a `key` that stays, also for one that the server has given no `id` yet.
 */
class SharedNotes {
    /**
     * @param {(message: object) => boolean} send tells whether the message could leave
     * @param {object} report `change(key)` after every change; `refuse(note, deed, error, isForNow)`;
     *     `lose(key, note, fields)` before a note is gone that others deleted, with what was wanted of it;
     *     `restart()` to connect anew
     */
    constructor(send, report) {
        this.send = send;
        this.report = report;
        /** What the server said last, by key. */
        this.known = new Map();
        /** What the user wants, by key: `{fields, unsent, isDeleted, isNew}`. */
        this.wishes = new Map();
        this.keys = new Map();
        /** Ids that are gone for good, since a late message must not bring one back. */
        this.gone = new Set();
        /** Notes that were made since the greeting: of those, the list may know nothing yet. */
        this.createdSince = new Set();
        /** Changes of notes that we have not heard of: they are new, or gone. */
        this.early = new Map();
        /** Messages without an answer, oldest first: `{kind, key, fields}`. */
        this.sent = [];
        /** Keys of notes that have something to send. */
        this.queue = new Set();
        this.timer = 0;
        this.me = '';
        /** True from the list on: before, nobody knows what there is to change. */
        this.isReady = false;
        this.drafts = 0;
    }

    /** A note as the user sees it, or null: `{x, y, text, color, createdBy, updatedAt, isPending}`. */
    view(key) {
        const known = this.known.get(key);
        const wish = this.wishes.get(key);
        if (wish?.isDeleted || !(known || wish?.isNew)) return null;
        return {createdBy: this.me, updatedAt: '', ...known, ...wish?.fields, isPending: Boolean(wish)};
    }

    /** How many the user sees. */
    get count() {
        const wishes = [...this.wishes.values()];
        const isNew = (wish) => wish.isNew;
        const isDeleted = (wish) => wish.isDeleted;
        return this.known.size + wishes.filter(isNew).length - wishes.filter(isDeleted).length;
    }

    // What the user wants

    /** Make a note and return its key. */
    create(fields) {
        const key = `draft-${++this.drafts}`;
        this.wishes.set(key, {fields, unsent: new Set(Object.keys(fields)), isNew: true});
        this.flush(key);
        this.report.change(key);
        return key;
    }

    /** Change fields of a note; they are sent when `flush` is called. */
    change(key, fields) {
        const wish = this.wishFor(key);
        Object.assign(wish.fields, fields);
        for (const name of Object.keys(fields)) wish.unsent.add(name);
        this.report.change(key);
    }

    remove(key) {
        this.wishFor(key).isDeleted = true;
        this.flush(key);
        this.report.change(key);
    }

    /** Send what is wanted of a note, as soon as the pace allows. */
    flush(key) {
        this.queue.add(key);
        this.pump();
    }

    wishFor(key) {
        if (!this.wishes.has(key)) this.wishes.set(key, {fields: {}, unsent: new Set()});
        return this.wishes.get(key);
    }

    // Sending. Of what changes faster than it may be sent, the last state counts.

    pump() {
        if (this.timer || !this.isReady) return;
        let room = Math.min(SharedNotes.BATCH, SharedNotes.MAX_UNANSWERED - this.sent.length);
        let hasSent = false;
        for (const key of this.queue) {
            if (room <= 0) break;
            const message = this.messageFor(key);
            if (message && !this.send(message)) break;
            this.queue.delete(key);
            if (!message) continue;
            this.note(key, message);
            hasSent = true;
            room--;
        }
        if (hasSent) this.pauseFor(SharedNotes.INTERVAL_MS);
    }

    pauseFor(milliseconds) {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => {
            this.timer = 0;
            this.pump();
        }, milliseconds);
    }

    /** What to send of a note now; null for nothing. */
    messageFor(key) {
        const wish = this.wishes.get(key);
        const id = this.known.get(key)?.id;
        if (wish?.isNew) return this.creationOf(key, wish);
        if (!wish || !id) return null;
        if (wish.isDeleted) return wish.isSent ? null : {type: 'note-delete', id};
        const fields = Object.fromEntries([...wish.unsent].map((name) => [name, wish.fields[name]]));
        return wish.unsent.size ? {type: 'note-update', id, ...fields} : null;
    }

    creationOf(key, wish) {
        // Its answer brings the id, without which nothing more can be said of it.
        if (wish.isSent) return null;
        if (wish.isDeleted) {
            this.wishes.delete(key);
            return null;
        }
        return {type: 'note-create', ...wish.fields};
    }

    /** Remember what was sent. */
    note(key, {type, id, ...fields}) {
        const wish = this.wishes.get(key);
        wish.unsent.clear();
        wish.isSent = type !== 'note-update';
        this.sent.push({type, key, id, fields});
    }

    // What the server says

    /** The connection is up, as this user. */
    connected(username) {
        this.me = username;
    }

    /** From here on changes are told; the list that comes next was read after that. */
    greeted() {
        this.createdSince = new Set();
        this.early.clear();
    }

    /** The connection is down: what had no answer may have been done or not, and is wanted still. */
    disconnected() {
        this.isReady = false;
        const unanswered = this.sent;
        this.sent = [];
        for (const {key, type, fields} of unanswered) {
            this.wantAgain(key, fields);
            if (type === 'note-create' && this.wishes.has(key)) this.wishes.get(key).mayExist = fields;
        }
    }

    /** Want again what was sent, where nothing newer is wanted. */
    wantAgain(key, fields) {
        const wish = this.wishes.get(key);
        if (!wish) return;
        wish.isSent = false;
        for (const name of Object.keys(fields)) {
            if (name in wish.fields) wish.unsent.add(name);
        }
        this.queue.add(key);
    }

    /** Take over the server's list, but keep what is newer. */
    takeOver(notes) {
        const listed = new Set(notes.map(({id}) => id));
        for (const {id} of [...this.known.values()]) {
            if (!listed.has(id) && !this.createdSince.has(id)) this.forget(id);
        }
        for (const note of notes) this.recognise(note);
        for (const note of [...notes].sort(byUpdate)) this.learn(note);
        this.isReady = true;
        for (const key of this.wishes.keys()) this.settle(key);
        this.pump();
    }

    /** Find a note in the list that was made by a message whose answer was lost. */
    recognise(note) {
        if (this.known.has(this.keyOf(note.id)) || this.gone.has(note.id) || note.createdBy !== this.me) return;
        const [key] = [...this.wishes].find(([, {mayExist}]) => mayExist && agrees(note, mayExist)) ?? [];
        if (key) this.adopt(key, note);
    }

    /** Drop wishes that have come true while we were away. */
    settle(key) {
        const wish = this.wishes.get(key);
        const known = this.known.get(key);
        delete wish.mayExist;
        if (known && !wish.isDeleted) {
            for (const name of [...wish.unsent]) {
                if (known[name] === wish.fields[name]) this.dropField(key, name);
            }
        }
        this.report.change(key);
    }

    /** Somebody made a note. @returns {boolean} whether it was us, in this window */
    created(note, username) {
        const mine = !this.keys.has(note.id)
            && this.answers(username, ({type, fields}) => type === 'note-create' && agrees(note, fields));
        if (mine) this.adopt(mine.key, note);
        this.createdSince.add(note.id);
        this.learn(note);
        // Only now, since what is to be sent next needs the id.
        if (mine) this.keep(mine);
        return Boolean(mine);
    }

    /** Somebody changed a note. @returns {boolean} whether it was us, in this window */
    updated(note, username) {
        const mine = this.answers(username, ({type, id, fields}) =>
            type === 'note-update' && id === note.id && agrees(note, fields));
        if (this.known.has(this.keyOf(note.id))) this.learn(note);
        else if (isNewer(note, this.early.get(note.id))) this.early.set(note.id, note);
        if (mine) this.keep(mine);
        return Boolean(mine);
    }

    /** A note is gone. @returns {boolean} whether we deleted it, in this window */
    deleted(id, username) {
        const mine = this.answers(username, (sent) => sent.type === 'note-delete' && sent.id === id);
        this.forget(id);
        this.pump();
        return Boolean(mine);
    }

    /** Something could not be done. */
    refused(code, error) {
        // A refusal at the door, before any message had its turn, can't be told from that of a message.
        const sent = code === 429 ? null : this.sent.shift();
        if (code === 429) this.report.restart();
        else if (sent && code === 404) this.missed(sent);
        else if (sent) this.unfulfilled(sent, code, error);
    }

    unfulfilled(sent, code, error) {
        const note = this.view(sent.key) ?? this.known.get(sent.key);
        const isForNow = code === 503;
        if (isForNow) this.wantLater(sent);
        else this.giveUp(sent);
        this.report.refuse(note, sent.type, error, isForNow);
        this.report.change(sent.key);
    }

    /** We know of a note that is not there. If we heard of its end, fine; else we have missed something. */
    missed({id, key, fields}) {
        if (this.gone.has(id)) {
            this.pump();
        } else {
            this.wantAgain(key, fields);
            this.report.restart();
        }
    }

    wantLater({key, fields}) {
        this.wantAgain(key, fields);
        this.pauseFor(SharedNotes.PAUSE_MS);
    }

    giveUp(sent) {
        const wish = this.wishes.get(sent.key);
        if (wish && sent.type === 'note-update') this.keep(sent);
        else this.wishes.delete(sent.key);
        this.pump();
    }

    /** The oldest message without an answer, if this is its answer. */
    answers(username, matches) {
        const [oldest] = this.sent;
        if (!oldest || username !== this.me || !matches(oldest)) return null;
        return this.sent.shift();
    }

    /** Let go of wishes that were answered, unless something newer is wanted or on its way. */
    keep({key, fields}) {
        const wish = this.wishes.get(key);
        for (const name of Object.keys(fields)) {
            const isOnItsWay = this.sent.some((sent) => sent.key === key && name in sent.fields);
            if (wish && !wish.unsent.has(name) && !isOnItsWay) this.dropField(key, name);
        }
        if (wish?.unsent.size || wish?.isDeleted) this.queue.add(key);
        this.report.change(key);
        this.pump();
    }

    dropField(key, name) {
        const wish = this.wishes.get(key);
        delete wish.fields[name];
        wish.unsent.delete(name);
        if (!Object.keys(wish.fields).length && !wish.isDeleted) this.wishes.delete(key);
    }

    /** A draft has become a note of the server's, which a list may have told us of before. */
    adopt(key, note) {
        const wish = this.wishes.get(key);
        const listed = this.known.get(note.id);
        this.keys.set(note.id, key);
        if (listed) {
            this.known.set(key, listed);
            for (const each of [this.known, this.wishes]) each.delete(note.id);
            this.report.change(note.id);
        }
        if (!wish) return;
        wish.isNew = wish.isSent = false;
        delete wish.mayExist;
        this.queue.add(key);
    }

    /** Take over what the server says of a note that there is, unless we know something newer. */
    learn(note) {
        const key = this.keyOf(note.id);
        const early = this.early.get(note.id);
        this.early.delete(note.id);
        if (this.gone.has(note.id)) return;
        for (const state of [note, early]) {
            if (state && isNewer(state, this.known.get(key))) this.known.set(key, state);
        }
        this.report.change(key);
    }

    forget(id) {
        const key = this.keyOf(id);
        const note = this.view(key);
        this.gone.add(id);
        if (note?.isPending) this.report.lose(key, note, this.wishes.get(key).fields);
        this.known.delete(key);
        this.wishes.delete(key);
        this.queue.delete(key);
        this.report.change(key);
    }

    keyOf(id) {
        return this.keys.get(id) ?? id;
    }
}

/** Two messages each 50 ms, of which at most one about the same note: 40 a second in all, 20 about one. */
SharedNotes.INTERVAL_MS = 50;
SharedNotes.BATCH = 2;
/** So much waits when the server is slow; what is wanted meanwhile waits here and gets newer. */
SharedNotes.MAX_UNANSWERED = 8;
SharedNotes.PAUSE_MS = 3000;

/** Whether a note has these fields. */
function agrees(note, fields) {
    return Object.entries(fields).every(([name, value]) => note[name] === value);
}

/** Whether a state of a note is newer than another that we may have. */
function isNewer(note, old) {
    return !old || note.updatedAt > old.updatedAt;
}

function byUpdate(one, other) {
    return one.updatedAt < other.updatedAt ? -1 : 1;
}
