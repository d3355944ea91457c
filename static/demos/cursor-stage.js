'use strict';

/**
 * A stage with cursors on it: it draws, and reports where the user's own cursor goes.
 * It knows nothing of servers.
 *
 * Positions are percent of the stage, 0 to 100. Cursors are moved by `transform` in
 * container units (see demos.css), so a move costs no layout and a resize no script.
 */
class CursorStage {
    /** @param {HTMLElement} element a focusable element that fills with cursors */
    constructor(element) {
        this.element = element;
        /** Where the user's own cursor is; null until it was moved. */
        this.position = null;
        this.emoji = '';
        this.own = null;
        this.others = new Map();
        this.report = () => {};
        this.listenToPointer();
        this.listenToKeys();
        setInterval(() => this.fadeStale(Date.now()), CursorStage.SWEEP_MS);
    }

    /** Call `report({x, y})` whenever the user's own cursor moves. */
    onMove(report) {
        this.report = report;
    }

    /** Change the emoji of the user's own cursor. */
    setOwnEmoji(emoji) {
        this.emoji = emoji;
        if (this.own) setEmojiOf(this.own, emoji);
    }

    /**
     * Draw somebody's cursor; it fades when it was not moved for `lifetimeMs`.
     * @param {string} key whose cursor it is
     */
    show(key, {emoji, label, x, y, lifetimeMs}) {
        let cursor = this.others.get(key);
        if (!cursor) {
            cursor = makeCursor();
            cursor.style.setProperty('--hue', hueOf(key));
            this.others.set(key, cursor);
        }
        setEmojiOf(cursor, emoji);
        setLabelOf(cursor, label);
        place(cursor, x, y);
        cursor.classList.remove('is-fading');
        cursor.fadesAt = Date.now() + lifetimeMs;
        // Placed before it is put in, so that a new cursor doesn't fly in from the corner.
        if (!cursor.isConnected) this.element.append(cursor);
    }

    /** Change the emoji of somebody whose cursor is drawn; nothing happens if none is. */
    setEmoji(key, emoji) {
        const cursor = this.others.get(key);
        if (cursor) setEmojiOf(cursor, emoji);
    }

    /** Take somebody's cursor away. */
    remove(key) {
        this.others.get(key)?.remove();
        this.others.delete(key);
    }

    /** Take away every cursor but the user's own. */
    clear() {
        for (const key of [...this.others.keys()]) this.remove(key);
    }

    /** Fade cursors that have not moved for their lifetime, and remove those that have faded. */
    fadeStale(now) {
        for (const [key, cursor] of this.others) {
            if (now < cursor.fadesAt) continue;
            cursor.classList.add('is-fading');
            if (now > cursor.fadesAt + CursorStage.FADE_MS) this.remove(key);
        }
    }

    listenToPointer() {
        const follow = (event) => {
            if (event.isPrimary) this.moveOwn(this.positionOf(event));
        };
        this.element.addEventListener('pointerdown', (event) => {
            // Keeps a finger or a pressed button ours when it slides over the edge.
            this.element.setPointerCapture(event.pointerId);
            follow(event);
        });
        this.element.addEventListener('pointermove', follow);
    }

    listenToKeys() {
        this.element.addEventListener('keydown', (event) => {
            const direction = CursorStage.KEYS[event.key];
            if (!direction || event.ctrlKey || event.altKey || event.metaKey) return;
            event.preventDefault();
            const step = event.shiftKey ? CursorStage.BIG_STEP : CursorStage.STEP;
            const from = this.position ?? {x: 50, y: 50};
            this.moveOwn({x: from.x + direction[0] * step, y: from.y + direction[1] * step});
        });
    }

    /** A pointer event's place on the stage. */
    positionOf(event) {
        const box = this.element.getBoundingClientRect();
        // The drawing area begins inside the border.
        const left = box.left + this.element.clientLeft;
        const top = box.top + this.element.clientTop;
        return {
            x: 100 * (event.clientX - left) / this.element.clientWidth,
            y: 100 * (event.clientY - top) / this.element.clientHeight,
        };
    }

    moveOwn({x, y}) {
        this.position = {x: toPercent(x), y: toPercent(y)};
        if (!this.own) {
            this.own = makeCursor();
            this.own.classList.add('is-own');
            setEmojiOf(this.own, this.emoji);
            this.element.append(this.own);
            this.element.classList.add('has-own');
        }
        place(this.own, this.position.x, this.position.y);
        this.report(this.position);
    }
}

CursorStage.STEP = 2;
CursorStage.BIG_STEP = 10;
CursorStage.SWEEP_MS = 500;
CursorStage.FADE_MS = 1000;
CursorStage.KEYS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

/** A number as a percentage from 0 to 100, with two decimals. */
function toPercent(value) {
    return Math.round(Math.min(100, Math.max(0, value)) * 100) / 100;
}

/** An empty cursor: an emoji with a label below. */
function makeCursor() {
    const cursor = document.createElement('div');
    cursor.className = 'cursor';
    // It moves all the time: who can't see it is told how many are here instead.
    cursor.setAttribute('aria-hidden', 'true');
    for (const part of ['cursor-emoji', 'cursor-label']) {
        const span = document.createElement('span');
        span.className = part;
        cursor.append(span);
    }
    return cursor;
}

/** Move a cursor. Near an edge its label goes to the other side, so that it can be read. */
function place(cursor, x, y) {
    cursor.style.transform = `translate(${x}cqw, ${y}cqh)`;
    cursor.classList.toggle('is-left', x < 14);
    cursor.classList.toggle('is-right', x > 86);
    cursor.classList.toggle('is-low', y > 84);
}

function setEmojiOf(cursor, emoji) {
    setText(cursor.firstChild, emoji);
}

function setLabelOf(cursor, label) {
    setText(cursor.lastChild, label);
}

/** Set text, never markup: names come from other people. Unchanged text costs nothing. */
function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

/** A colour for a key, the same in every window. */
function hueOf(key) {
    let hash = 0;
    for (const char of key) hash = (hash * 31 + char.codePointAt(0)) % 360;
    return hash;
}
