'use strict';

/**
 * One todo on the page: a checkbox, the title, who added it, and at times an editor in their place.
 * Titles and names come from other people: they are set as text, never as markup.
 */
class TodoRow {
    /** @param {HTMLTemplateElement} template see templates/demos/panels/todo.html */
    constructor(template) {
        this.element = TodoRow.copy(template);
        const find = (selector) => this.element.querySelector(selector);
        this.checkbox = find('input[type="checkbox"]');
        this.title = find('.todo-title');
        this.author = find('.todo-author');
        this.editButton = find('[data-action="edit"]');
        this.removeButton = find('[data-action="remove"]');
        /** The form while the title is edited, else null. */
        this.editor = null;
        /** What is drawn. */
        this.todo = {};
        /** True when the todo went away under the editor: the row stays until the editor closes. */
        this.isOrphan = false;
    }

    /** Draw a todo. What is being edited stays as it was typed. */
    draw(todo) {
        if (this.isEditing && todo.title !== this.todo.title) {
            this.warn(`Changed meanwhile to “${todo.title}”. Saving replaces that.`);
        }
        if (this.isOrphan) this.warn('');       // it is back
        this.todo = todo;
        this.isOrphan = false;
        TodoRow.write(this.title, todo.title);
        TodoRow.write(this.author, todo.author);
        this.checkbox.checked = todo.completed;
        this.checkbox.disabled = this.editButton.disabled = this.removeButton.disabled = Boolean(todo.isDraft);
        this.checkbox.setAttribute('aria-label', todo.title);
        this.editButton.setAttribute('aria-label', `Edit “${todo.title}”`);
        this.removeButton.setAttribute('aria-label', `Delete “${todo.title}”`);
        this.element.classList.toggle('is-done', todo.completed);
        this.element.classList.toggle('is-pending', todo.isPending);
    }

    get isEditing() {
        return this.editor !== null;
    }

    get field() {
        return this.editor.querySelector('input');
    }

    get hasFocus() {
        return this.element.contains(document.activeElement);
    }

    /** Whether the row belongs to a filter: all, open or done. */
    fits(filter) {
        return this.isEditing || filter === 'all' || this.todo.completed === (filter === 'done');
    }

    /** Open the editor, with the cursor behind the title. */
    edit(template) {
        this.editor = TodoRow.copy(template);
        this.element.append(this.editor);
        this.element.classList.add('is-editing');
        this.field.value = this.todo.title;
        this.field.focus();
    }

    closeEditor() {
        const editor = this.editor;
        // First, since removing it may be heard of as a loss of the focus.
        this.editor = null;
        editor.remove();
        this.element.classList.remove('is-editing');
    }

    /** Say something below the editor. */
    warn(text) {
        TodoRow.write(this.editor.querySelector('.field-error'), text);
    }

    static copy(template) {
        return template.content.firstElementChild.cloneNode(true);
    }

    /** Unchanged text costs nothing, and a selection in it stays. */
    static write(element, text) {
        if (element.textContent !== text) element.textContent = text;
    }
}

/**
 * A list of todos: it draws, filters, edits, keeps the focus where it makes sense, and reports
 * what the user wants. It knows nothing of servers.
 *
 * A todo is `{_id, title, completed, createdAt, author, isPending, isDraft}`: with `isPending` it is
 * shown as not yet confirmed, with `isDraft` it cannot be changed either.
 */
class TodoList {
    /**
     * @param {HTMLElement} element the list
     * @param {{row: HTMLTemplateElement, editor: HTMLTemplateElement}} templates
     * @param {HTMLElement} refuge focusable; gets the focus when nothing better is left
     */
    constructor(element, templates, refuge) {
        this.element = element;
        this.templates = templates;
        this.refuge = refuge;
        /** The rows by the todo's id. */
        this.rows = new Map();
        this.filter = 'all';
        this.validate = () => '';
        this.report = {};
        /** True while the user's own wish is drawn: the focus then moves on by itself. */
        this.isOwnWish = false;
        this.listenToWishes();
        this.listenToEditors();
    }

    /**
     * @param {object} report `toggle(id, completed)`, `rename(id, title)`, `remove(id)`
     * @param {(title: string) => string} validate tells what is wrong with a title, '' for nothing
     */
    onWish(report, validate) {
        this.report = report;
        this.validate = validate;
    }

    /** Draw a todo, oldest first; a known one stays where it is. */
    put(todo) {
        let row = this.rows.get(todo._id);
        if (!row) {
            row = new TodoRow(this.templates.row);
            row.element.dataset.id = todo._id;
            this.rows.set(todo._id, row);
            this.insert(row, todo.createdAt);
        }
        row.draw(todo);
        this.sift(row);
    }

    /** Take a todo away; one that is being edited stays until the editor closes. */
    remove(id) {
        const row = this.rows.get(id);
        if (!row) return;
        if (row.isEditing) {
            row.isOrphan = true;
            row.warn('Deleted meanwhile. Saving adds it again.');
            return;
        }
        this.keepFocus(row, () => {
            row.element.remove();
            this.rows.delete(id);
        });
    }

    /** Show all todos, or the open or the done ones only. */
    setFilter(filter) {
        this.filter = filter;
        for (const row of this.rows.values()) this.sift(row);
    }

    /** How many there are: `{all, open, done}`. */
    counts() {
        let done = 0;
        for (const {todo} of this.rows.values()) done += todo.completed ? 1 : 0;
        return {all: this.rows.size, open: this.rows.size - done, done};
    }

    /** Put a row behind those that are as old or older. New ones are the youngest, so look from the end. */
    insert(row, createdAt) {
        row.createdAt = createdAt;
        let after = this.element.lastElementChild;
        while (after && this.rowOf(after).createdAt > createdAt) after = after.previousElementSibling;
        if (after) after.after(row.element);
        else this.element.prepend(row.element);
    }

    /** Hide a row that the filter leaves out. */
    sift(row) {
        const hidden = !row.fits(this.filter);
        if (hidden !== row.element.hidden) this.keepFocus(row, () => { row.element.hidden = hidden; });
    }

    /**
     * Let a row vanish without losing the focus in it. After the user's own wish it goes to the
     * neighbour's checkbox. When others made the row vanish it goes to no control:
     * the key that was meant for the one would hit the other.
     */
    keepFocus(row, vanish) {
        const hadFocus = row.hasFocus;
        const neighbour = hadFocus && this.isOwnWish ? this.neighbourOf(row) : null;
        vanish();
        if (hadFocus && neighbour) neighbour.checkbox.focus();
        else if (hadFocus) this.refuge.focus({preventScroll: true});
    }

    /** The next row in sight, else the previous one, else null. */
    neighbourOf(row) {
        for (const direction of ['nextElementSibling', 'previousElementSibling']) {
            let element = row.element[direction];
            while (element?.hidden) element = element[direction];
            if (element) return this.rowOf(element);
        }
        return null;
    }

    rowOf(element) {
        return this.rows.get(element.closest('.todo').dataset.id);
    }

    /** Report what the user wants of a todo. */
    wish(kind, row, ...details) {
        this.isOwnWish = true;
        this.report[kind](row.todo._id, ...details);
        this.isOwnWish = false;
    }

    listenToWishes() {
        this.element.addEventListener('change', ({target}) => {
            if (target.type === 'checkbox') this.wish('toggle', this.rowOf(target), target.checked);
        });
        this.element.addEventListener('click', ({target}) => {
            const action = target.closest('[data-action]')?.dataset.action;
            if (action === 'edit') this.rowOf(target).edit(this.templates.editor);
            else if (action === 'cancel') this.close(this.rowOf(target));
            else if (action === 'remove') this.wish('remove', this.rowOf(target));
        });
        this.element.addEventListener('dblclick', ({target}) => {
            const row = target.closest('.todo-text') && this.rowOf(target);
            if (row && !row.todo.isDraft) row.edit(this.templates.editor);
        });
    }

    listenToEditors() {
        this.element.addEventListener('submit', (event) => {
            event.preventDefault();
            this.save(this.rowOf(event.target));
        });
        this.element.addEventListener('keydown', (event) => {
            // Escape may also end the composing of a character.
            if (event.key !== 'Escape' || event.isComposing || !event.target.closest('.todo-editor')) return;
            this.close(this.rowOf(event.target));
        });
        this.element.addEventListener('pointerdown', (event) => {
            // The editor's buttons leave the focus in the field, or pressing “Cancel” would save.
            if (event.target.closest('.todo-editor button')) event.preventDefault();
        });
        this.element.addEventListener('focusout', ({target, relatedTarget}) => {
            const editor = target.closest('.todo-editor');
            // When the whole window loses the focus, the field stays the active element.
            if (!editor || editor.contains(relatedTarget) || target === document.activeElement) return;
            this.leave(this.rowOf(target));
        });
    }

    /** Save what is in the editor; a title that is refused keeps the editor open. */
    save(row) {
        const title = row.field.value.trim();
        const problem = this.validate(title);
        row.warn(problem);
        row.field.setAttribute('aria-invalid', String(Boolean(problem)));
        if (problem) return;
        const isChanged = row.isOrphan || title !== row.todo.title;
        this.close(row);
        if (isChanged) this.wish('rename', row, title);
    }

    /** Save what is in an editor that lost the focus. A title that would be refused is dropped. */
    leave(row) {
        // Closing an editor takes the focus away as well.
        if (!row?.isEditing) return;
        const title = row.field.value.trim();
        const isChanged = title !== row.todo.title && !this.validate(title);
        this.close(row);
        if (isChanged) this.wish('rename', row, title);
    }

    /** Close the editor; the focus in it goes to the button that opens it again. */
    close(row) {
        const hadFocus = row.hasFocus;
        row.closeEditor();
        if (hadFocus) row.editButton.focus();
        if (row.isOrphan) this.remove(row.todo._id);
        else this.sift(row);
    }
}
