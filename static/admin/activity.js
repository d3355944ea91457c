'use strict';

/**
 * The log of the last five minutes, newest first: filtered, paused, and opened to the raw message.
 *
 * An entry that is opened pauses the log, so that it stays where it is while it is read. Only the
 * newest are drawn; who scrolls down gets more.
 */
class ActivityList {
    /** @param {(name: string) => HTMLElement} element gives what has the id `log…` */
    constructor(element, template) {
        this.list = element('');
        this.template = template;
        this.filters = element('-filters');
        this.text = element('-text');
        this.empty = element('-empty');
        this.button = element('-pause');
        this.cap = Number(this.list.dataset.cap);
        /** All that is known, newest first. */
        this.entries = [];
        /** Those that fit the filters, newest first; the first of them are drawn, in `elements`. */
        this.fitting = [];
        this.elements = [];
        this.limit = ActivityList.STEP;
        this.wanted = [];
        this.held = [];
        this.isPaused = false;
        this.leftOut = 0;
        /** Entries that came too fast for the page. */
        this.skipped = 0;
        this.listen();
    }

    listen() {
        this.filters.addEventListener('input', () => this.refilter());
        this.filters.addEventListener('submit', (event) => event.preventDefault());
        this.button.addEventListener('click', () => this.pause(!this.isPaused));
        this.list.addEventListener('scroll', () => this.drawMore());
        // This event does not bubble.
        this.list.addEventListener('toggle', ({target}) => {
            if (target.open) this.pause(true);
        }, true);
    }

    /** Take over a whole log. */
    replace({activityLog, activityLeftOut, activityCap}) {
        this.cap = activityCap ?? this.cap;
        this.leftOut = activityLeftOut;
        this.skipped = 0;
        if (this.isPaused) {
            // What is on the screen stays; what it lacks is there when the pause ends.
            this.held = activityLog;
            this.isReplaced = true;
            this.showText();
            return;
        }
        this.entries = activityLog;
        this.refilter();
    }

    /** Take over new entries, newest first. */
    update({activityLog, activityLeftOut, activitySkipped}) {
        this.leftOut = activityLeftOut;
        this.skipped += activitySkipped;
        if (this.isPaused) this.held = [...activityLog, ...this.held].slice(0, this.cap);
        else this.add(activityLog);
        this.showText();
    }

    pause(isPaused) {
        if (isPaused === this.isPaused) return;
        this.isPaused = isPaused;
        this.button.setAttribute('aria-pressed', String(isPaused));
        this.button.textContent = isPaused ? 'Resume' : 'Pause';
        if (!isPaused) this.catchUp();
        this.showText();
    }

    catchUp() {
        const {held} = this;
        this.held = [];
        for (const details of this.list.querySelectorAll('details[open]')) details.open = false;
        if (this.isReplaced) this.replace({activityLog: held, activityLeftOut: this.leftOut});
        else this.add(held);
        this.isReplaced = false;
    }

    /** Put entries where their time belongs: mostly at the top, those of other processes a little below. */
    add(entries) {
        for (const entry of [...entries].reverse()) {
            ActivityList.insert(this.entries, entry);
            if (!this.fits(entry)) continue;
            const place = ActivityList.insert(this.fitting, entry);
            if (place <= this.elements.length) this.show(entry, place);
        }
        this.forget();
        this.trim();
    }

    /** Put an entry into a list, newest first, and return its place. */
    static insert(entries, entry) {
        let place = 0;
        while (place < entries.length && entries[place].timestamp > entry.timestamp) place += 1;
        entries.splice(place, 0, entry);
        return place;
    }

    show(entry, place) {
        const element = this.draw(entry);
        this.list.insertBefore(element, this.elements[place] ?? null);
        this.elements.splice(place, 0, element);
    }

    /** Let go of what is beyond the cap, or older than five minutes. */
    forget() {
        const oldest = new Date(Date.now() - ActivityList.KEPT_MS).toISOString();
        while (this.entries.length > this.cap || this.entries.at(-1)?.timestamp < oldest) {
            if (this.entries.pop() === this.fitting.at(-1)) this.fitting.pop();
        }
    }

    /** Draw as many as there shall be, and no more. */
    trim() {
        const wanted = Math.min(this.limit, this.fitting.length);
        while (this.elements.length > wanted) this.elements.pop().remove();
        while (this.elements.length < wanted) this.show(this.fitting[this.elements.length], this.elements.length);
        this.empty.hidden = this.elements.length > 0;
    }

    /** Draw older ones for somebody who scrolls down; at the top again, fewer will do. */
    drawMore() {
        const {scrollTop, scrollHeight, clientHeight} = this.list;
        if (scrollTop + 2 * clientHeight > scrollHeight) this.limit = this.elements.length + ActivityList.STEP;
        else if (scrollTop === 0) this.limit = ActivityList.STEP;
        this.trim();
    }

    draw(entry) {
        const row = Row.from(this.template);
        row.writeTime('timestamp', Format.clock(entry.timestamp), entry.timestamp);
        row.write('direction', entry.direction);
        row.mark('direction', 'data-direction', entry.direction);
        row.write('namespace', entry.namespace.replace('/api/1/ws/', ''));
        row.write('username', entry.username || 'guest');
        row.write('type', entry.type);
        row.write('message', entry.message.slice(0, ActivityList.SHOWN));
        row.write('raw', entry.message);
        return row.element;
    }

    /** Draw everything anew, with the filters as they are now. */
    refilter() {
        this.wanted = [...new FormData(this.filters)]
            .map(([name, value]) => [name, value.trim().toLowerCase()])
            .filter(([, value]) => value);
        this.fitting = this.entries.filter((entry) => this.fits(entry));
        this.elements = [];
        this.list.replaceChildren();
        this.limit = ActivityList.STEP;
        this.trim();
        this.showText();
    }

    fits(entry) {
        return this.wanted.every(([name, value]) => {
            const text = name === 'username' ? entry.username || 'guest' : entry[name];
            return text.toLowerCase().includes(value);
        });
    }

    showText() {
        const parts = [`${Format.number(this.entries.length)} of the last five minutes`];
        if (this.wanted.length) {
            parts[0] = `${Format.number(this.fitting.length)} of ${Format.number(this.entries.length)} fit the filters`;
        }
        if (this.leftOut) parts.push(`${Format.number(this.leftOut)} older ones are left out, since the log keeps no more`);
        if (this.skipped) parts.push(`${Format.number(this.skipped)} came too fast to be shown`);
        if (this.isPaused) parts.push(`paused, ${Format.number(this.held.length)} new`);
        const text = `${parts.join('; ')}.`;
        if (this.text.textContent !== text) this.text.textContent = text;
        this.empty.textContent = this.entries.length ? 'Nothing fits the filters.' : 'Nothing was said in the last five minutes.';
    }
}

ActivityList.KEPT_MS = 300_000;
/** Characters of a message in its line. */
ActivityList.SHOWN = 200;
/** Entries that are drawn at first, and how many more when somebody scrolls down. */
ActivityList.STEP = 60;
