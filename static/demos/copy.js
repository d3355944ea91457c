/**
 * Copy buttons: <button data-copy="ID" hidden> copies the text of the element with that id.
 * They are hidden in the page, since without this script they do nothing.
 */
(() => {
    'use strict';

    const SHOWN_MS = 2000;

    /** Select an element's text, for a copy by hand or by the older command. */
    function select(element) {
        const range = document.createRange();
        range.selectNodeContents(element);
        const selection = getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
    }

    /** Copy an element's text. The clipboard API exists over HTTPS and on localhost only. */
    async function copy(element) {
        try {
            await navigator.clipboard.writeText(element.textContent);
            return true;
        } catch {
            select(element);
            return document.execCommand('copy');
        }
    }

    /** Make a button copy, and say for a moment whether it did. */
    function setUp(button) {
        const source = document.getElementById(button.dataset.copy);
        if (!source) return;
        const label = button.textContent;
        let timer = 0;
        button.setAttribute('aria-live', 'polite');
        button.hidden = false;
        button.addEventListener('click', async () => {
            button.textContent = await copy(source) ? 'Copied' : 'Selected: press Ctrl+C';
            clearTimeout(timer);
            timer = setTimeout(() => { button.textContent = label; }, SHOWN_MS);
        });
    }

    document.querySelectorAll('button[data-copy]').forEach(setUp);
})();
