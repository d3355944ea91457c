/**
 * Asks before something is done. <button data-dialog="NAME"> opens the dialog with the id dialog-NAME
 * and hands over its other data: data-x goes into the field data-takes="x" and the text data-shows="x".
 */
(() => {
    'use strict';

    /** Fill a dialog in and open it. */
    function open({dialog: name, ...details}) {
        const dialog = document.getElementById(`dialog-${name}`);
        for (const element of dialog.querySelectorAll('[data-takes]')) element.value = details[element.dataset.takes] ?? '';
        for (const element of dialog.querySelectorAll('[data-shows]')) element.textContent = details[element.dataset.shows] ?? '';
        dialog.showModal();
    }

    /** What keeps a text from being sent as a message; '' for nothing. */
    function problemOf(text) {
        try {
            const value = JSON.parse(text);
            return value && typeof value === 'object' && !Array.isArray(value) ? '' : 'This is no JSON object, such as {"type": "notice"}.';
        } catch (error) {
            return `This is no JSON: ${error.message}`;
        }
    }

    /** Keep a form from being sent while its message is none. */
    function check(event) {
        const field = event.target.elements[event.target.dataset.checksJson];
        const problem = problemOf(field.value);
        document.getElementById(field.getAttribute('aria-describedby')).textContent = problem;
        field.setAttribute('aria-invalid', String(Boolean(problem)));
        if (!problem) return;
        event.preventDefault();
        field.focus();
    }

    document.addEventListener('click', ({target}) => {
        const opener = target.closest('[data-dialog]');
        if (opener) open(opener.dataset);
        else if (target.closest('[data-closes]')) target.closest('dialog').close();
    });
    for (const form of document.querySelectorAll('form[data-checks-json]')) form.addEventListener('submit', check);
})();
