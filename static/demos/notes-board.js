'use strict';

/**
 * One sticky note on the page. Texts and names come from other people: they are set as text, never
 * as markup. What is being typed is never overwritten.
 */
class StickyNote {
    /**
     * @param {HTMLTemplateElement} template see templates/demos/panels/notes.html
     * @param {string} key
     */
    constructor(template, key) {
        this.element = template.content.firstElementChild.cloneNode(true);
        this.element.dataset.key = key;
        const find = (selector) => this.element.querySelector(selector);
        this.key = key;
        this.field = find('textarea');
        this.author = find('.sticky-author');
        this.hint = find('.sticky-hint');
        this.colors = [...this.element.querySelectorAll('input')];
        for (const input of this.colors) {
            input.name = `notes-color-${key}`;
            input.parentElement.style.setProperty('--swatch', input.value);
        }
        /** What is drawn. */
        this.view = {};
        this.position = {x: 0, y: 0};
        /** True while the pointer has it: then it is where the pointer is. */
        this.isDragged = false;
        this.editorTimer = 0;
    }

    /** Draw a note. */
    draw(view) {
        this.view = view;
        if (!this.isDragged) this.place(view);
        this.drawText(view.text.replaceAll(/\r\n?/g, '\n'));
        this.drawColor(view.color);
        this.drawAuthor();
        this.element.classList.toggle('is-pending', view.isPending);
    }

    drawText(text) {
        const isStale = this.isEditing && this.field.value !== text;
        this.hint.hidden = !isStale;
        StickyNote.write(this.hint, isStale ? 'Changed by somebody else meanwhile. Typing replaces that.' : '');
        if (!this.isEditing && this.field.value !== text) this.field.value = text;
        const title = titleOf(text);
        this.element.setAttribute('aria-label', title ? `Note: ${title}` : 'Empty note');
    }

    drawColor(color) {
        if (this.color === color) return;
        this.color = color;
        this.element.style.setProperty('--paper', color);
        this.element.classList.toggle('is-dark', isDark(color));
        for (const input of this.colors) input.checked = input.value === color;
    }

    drawAuthor() {
        StickyNote.write(this.author, this.editorTimer ? this.editor : this.view.author);
        this.element.classList.toggle('is-edited', Boolean(this.editorTimer));
    }

    /** Say for a moment who else is at it. @returns {boolean} whether that is news */
    showEditor(text) {
        const isNews = !this.editorTimer || this.editor !== text;
        clearTimeout(this.editorTimer);
        this.editor = text;
        this.editorTimer = setTimeout(() => {
            this.editorTimer = 0;
            this.drawAuthor();
        }, StickyNote.EDITOR_MS);
        this.drawAuthor();
        return isNews;
    }

    /** Put it somewhere; x and y are percent of the room that it has. */
    place({x, y}) {
        this.position = {x: toHundredths(x), y: toHundredths(y)};
        this.element.style.setProperty('--x', this.position.x);
        this.element.style.setProperty('--y', this.position.y);
    }

    /** Put the cursor behind the text. */
    edit() {
        this.field.focus({preventScroll: true});
        this.field.setSelectionRange(this.field.value.length, this.field.value.length);
    }

    get isEditing() {
        return this.field === document.activeElement;
    }

    get hasFocus() {
        return this.element.contains(document.activeElement);
    }

    /** Unchanged text costs nothing. */
    static write(element, text) {
        if (element.textContent !== text) element.textContent = text;
    }
}

StickyNote.EDITOR_MS = 2500;

/**
 * A board with sticky notes: it draws, lets them be dragged, written on and coloured, and reports
 * what the user wants. It knows nothing of servers.
 *
 * A note is `{x, y, text, color, author, createdAt, updatedAt, isPending}`; x and y are percent of the
 * room that it has, so that no note leaves the board, however small the board is.
 */
class NoteBoard {
    /**
     * @param {HTMLElement} element focusable; gets the focus when nothing better is left
     * @param {HTMLTemplateElement} template of a note
     */
    constructor(element, template) {
        this.element = element;
        this.template = template;
        /** The notes by key. */
        this.notes = new Map();
        this.report = {};
        /** What the pointer has: `{note, pointerId, x, y, from, isMoved}`, else null. */
        this.grip = null;
        this.top = 0;
        /** True while the user's own wish is drawn: the focus then moves on by itself. */
        this.isOwnWish = false;
        this.listenToPointer();
        this.listenToKeys();
        this.listenToFields();
    }

    /**
     * @param {object} report `create(position)`, `move(key, position)`, `type(key, text)`, `leave(key)`,
     *     `recolour(key, color)`, `remove(key)`
     */
    onWish(report) {
        this.report = report;
    }

    /** Draw a note; what was changed last lies on top. */
    put(key, view) {
        let note = this.notes.get(key);
        if (!note) {
            note = new StickyNote(this.template, key);
            this.notes.set(key, note);
        }
        if (note.view.updatedAt !== view.updatedAt) note.element.style.zIndex = ++this.top;
        note.draw(view);
        // Placed before it is put in, so that a new note doesn't fly in from the corner.
        if (!note.element.isConnected) this.insert(note, view.createdAt);
    }

    /** The keyboard goes through the notes by their age. New ones are the youngest, so look from the end. */
    insert(note, createdAt) {
        note.createdAt = createdAt;
        let after = this.element.lastElementChild;
        while (after?.dataset.key && this.noteOf(after).createdAt > createdAt) after = after.previousElementSibling;
        after.after(note.element);
    }

    /** Take a note away; the focus in it goes to its neighbour, but only by the user's own wish. */
    remove(key) {
        const note = this.notes.get(key);
        if (!note) return;
        const next = this.isOwnWish ? this.neighbourOf(note) : this.element;
        if (this.grip?.note === note) this.grip = null;
        const hadFocus = note.hasFocus;
        this.notes.delete(key);
        note.element.remove();
        if (hadFocus) next.focus({preventScroll: true});
    }

    neighbourOf({element}) {
        const isNote = (each) => each?.dataset.key;
        return [element.nextElementSibling, element.previousElementSibling].find(isNote) ?? this.element;
    }

    /** Write on a note. */
    edit(key) {
        this.notes.get(key)?.edit();
    }

    isEditing(key) {
        return Boolean(this.notes.get(key)?.isEditing);
    }

    showEditor(key, text) {
        return Boolean(this.notes.get(key)?.showEditor(text));
    }

    noteOf(target) {
        return this.notes.get(target.closest('[data-key]')?.dataset.key);
    }

    // The pointer: a press and a move drag a note, a press alone opens it for writing.

    listenToPointer() {
        const on = (name, listener) => this.element.addEventListener(name, listener);
        on('pointerdown', (event) => this.press(event));
        on('pointermove', (event) => this.drag(event));
        on('pointerup', (event) => this.release(event, true));
        on('pointercancel', (event) => this.release(event, false));
        on('mousedown', (event) => {
            // The text is not selected by what drags the note.
            const note = this.noteOf(event.target);
            if (note && this.isHandle(note, event.target)) event.preventDefault();
        });
        on('dblclick', (event) => {
            if (event.target === this.element) this.report.create(this.positionOf(event));
        });
    }

    /** Whether pressing there takes hold of the note: all of it but its controls, and the text while it is written. */
    isHandle(note, target) {
        return !target.closest('.sticky-tools') && !(note.isEditing && target === note.field);
    }

    press(event) {
        const note = this.noteOf(event.target);
        if (!note || !event.isPrimary || event.button !== 0 || !this.isHandle(note, event.target)) return;
        note.element.focus({preventScroll: true});
        note.element.setPointerCapture(event.pointerId);
        const {clientX: x, clientY: y, pointerId} = event;
        this.grip = {note, pointerId, x, y, from: note.position, isMoved: false};
    }

    drag({pointerId, clientX, clientY}) {
        const {grip} = this;
        if (grip?.pointerId !== pointerId) return;
        const [dx, dy] = [clientX - grip.x, clientY - grip.y];
        grip.isMoved ||= Math.hypot(dx, dy) >= NoteBoard.THRESHOLD;
        if (!grip.isMoved) return;
        grip.note.isDragged = true;
        grip.note.element.classList.add('is-dragged');
        const {width, height} = this.roomFor(grip.note.element);
        this.move(grip.note, {x: grip.from.x + 100 * dx / width, y: grip.from.y + 100 * dy / height});
    }

    release({pointerId}, isWanted) {
        const {grip} = this;
        if (grip?.pointerId !== pointerId) return;
        this.grip = null;
        grip.note.isDragged = false;
        grip.note.element.classList.remove('is-dragged');
        // Others may have moved it while it was held.
        grip.note.draw(grip.note.view);
        if (isWanted && !grip.isMoved) grip.note.edit();
    }

    /** Move a note as the user wants it. */
    move(note, position) {
        note.place(position);
        this.report.move(note.key, note.position);
    }

    /** The pixels that a note can be moved by, at least one. */
    roomFor({offsetWidth, offsetHeight}) {
        return {
            width: Math.max(1, this.element.clientWidth - offsetWidth),
            height: Math.max(1, this.element.clientHeight - offsetHeight),
        };
    }

    /** Where a note has to be for its middle to be under the pointer. */
    positionOf({clientX, clientY}) {
        const probe = new StickyNote(this.template, '').element;
        this.element.append(probe);
        const box = this.element.getBoundingClientRect();
        const room = this.roomFor(probe);
        const x = clientX - box.left - probe.offsetWidth / 2;
        const y = clientY - box.top - probe.offsetHeight / 2;
        probe.remove();
        return {x: toHundredths(100 * x / room.width), y: toHundredths(100 * y / room.height)};
    }

    // The keyboard

    listenToKeys() {
        this.element.addEventListener('keydown', (event) => {
            const note = this.noteOf(event.target);
            if (!note || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
            const isDone = event.target === note.element ? this.obey(note, event) : this.leave(note, event);
            if (isDone) event.preventDefault();
        });
    }

    /** Do what a key means for a note that has the focus. */
    obey(note, {key, shiftKey}) {
        const direction = NoteBoard.KEYS[key];
        if (direction) {
            const step = shiftKey ? NoteBoard.BIG_STEP : NoteBoard.STEP;
            const {x, y} = note.position;
            this.move(note, {x: x + direction[0] * step, y: y + direction[1] * step});
        } else if (key === 'Enter') {
            note.edit();
        } else if (key === 'Delete') {
            this.wish('remove', note);
        } else {
            return false;
        }
        return true;
    }

    /** Escape leaves a note's text or controls for the note. */
    leave(note, {key}) {
        if (key === 'Escape') note.element.focus({preventScroll: true});
        return key === 'Escape';
    }

    listenToFields() {
        const on = (name, listener) => this.element.addEventListener(name, listener);
        on('input', ({target}) => {
            const note = this.noteOf(target);
            if (target === note.field) this.report.type(note.key, target.value);
        });
        on('change', ({target}) => {
            if (target.type === 'radio') this.report.recolour(this.noteOf(target).key, target.value);
        });
        on('focusout', ({target}) => {
            const note = this.noteOf(target);
            // When the whole window loses the focus, the field stays the active element.
            if (target !== note?.field || target === document.activeElement) return;
            target.scrollTop = 0;
            this.report.leave(note.key);
        });
        on('click', ({target}) => {
            if (target.closest('[data-action="remove"]')) this.wish('remove', this.noteOf(target));
        });
    }

    /** Report what the user wants of a note. */
    wish(kind, note) {
        this.isOwnWish = true;
        this.report[kind](note.key);
        this.isOwnWish = false;
    }
}

NoteBoard.STEP = 1;
NoteBoard.BIG_STEP = 5;
/** A hand that clicks trembles by some pixels. */
NoteBoard.THRESHOLD = 4;
NoteBoard.KEYS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

/** The beginning of a note's text, to name it by; '' for an empty one. */
function titleOf(text) {
    const characters = [...text.trim().replaceAll(/\s+/g, ' ')];
    return characters.length > 40 ? `${characters.slice(0, 40).join('')}…` : characters.join('');
}

/** A number as a percentage from 0 to 100, with two decimals. */
function toHundredths(value) {
    return Math.round(Math.min(100, Math.max(0, value)) * 100) / 100;
}

/** Whether a colour (#rrggbb) is so dark that light text is easier to read on it. */
function isDark(color) {
    const [red, green, blue] = [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
    return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}
