'use strict';

/** A row of a table or an entry of a list: its parts are named by data-cell, and written only when they change. */
class Row {
    constructor(element) {
        this.element = element;
        this.parts = new Map();
        this.written = new Map();
        for (const part of element.querySelectorAll('[data-cell]')) this.parts.set(part.dataset.cell, part);
    }

    /** Make a row from a template. */
    static from(template) {
        return new Row(template.content.firstElementChild.cloneNode(true));
    }

    part(name) {
        return this.parts.get(name);
    }

    /** Write a text; never markup. */
    write(name, text) {
        if (this.written.get(name) === text) return;
        this.written.set(name, text);
        this.part(name).textContent = text;
    }

    /** Set an attribute of a part. */
    mark(name, attribute, value) {
        const key = `${name} ${attribute}`;
        if (this.written.get(key) === value) return;
        this.written.set(key, value);
        this.part(name).setAttribute(attribute, value);
    }

    /** Write a moment as a reader says it, with the exact one on hover. */
    writeTime(name, text, timestamp) {
        this.write(name, text);
        if (this.written.get(`${name} datetime`) === timestamp) return;
        this.mark(name, 'datetime', timestamp);
        this.mark(name, 'title', Format.moment(timestamp));
    }
}

/** Rows by key, beginning with those that the server has rendered. */
class KeyedRows {
    /**
     * @param {HTMLElement} body what the rows are in
     * @param {HTMLTemplateElement} template a new row
     */
    constructor(body, template) {
        this.body = body;
        this.template = template;
        this.rows = new Map();
        for (const element of body.children) this.rows.set(element.dataset.key, new Row(element));
    }

    /** The row of a key, made at the end if there is none. */
    row(key) {
        let row = this.rows.get(key);
        if (!row) {
            row = Row.from(this.template);
            row.element.dataset.key = key;
            this.rows.set(key, row);
            this.body.append(row.element);
        }
        return row;
    }

    /** Take away the rows whose keys are not in a set. */
    keep(keys) {
        for (const [key, row] of this.rows) {
            if (keys.has(key)) continue;
            row.element.remove();
            this.rows.delete(key);
        }
    }

    /** Bring the rows into an order, moving only those that stand elsewhere. */
    arrange(keys) {
        let next = this.body.firstElementChild;
        for (const key of keys) {
            const {element} = this.rows.get(key);
            if (element === next) next = next.nextElementSibling;
            else this.body.insertBefore(element, next);
        }
    }
}
