/**
 * Password fields: a button that shows what was typed, and a word about Caps Lock.
 *
 * <button data-reveals="ID" hidden> shows and hides the field with that id; it is hidden in the
 * page, since without this script it does nothing. <p data-caps-lock-of="ID"> is filled and emptied.
 */
(() => {
    'use strict';

    /** Show or hide what is in the field, and label the button with what it does next. */
    function reveal(field, button, shown) {
        field.type = shown ? 'text' : 'password';
        button.textContent = shown ? 'Hide' : 'Show';
        button.setAttribute('aria-label', shown ? 'Hide the password' : 'Show the password');
    }

    /** Make a button show and hide its field. */
    function setUpButton(button) {
        const field = document.getElementById(button.dataset.reveals);
        button.addEventListener('click', () => reveal(field, button, field.type === 'password'));
        // Browsers remember what was sent in a text field, and offer it to the next one who types.
        field.form.addEventListener('submit', () => reveal(field, button, false));
        reveal(field, button, false);
        button.hidden = false;
    }

    /** Say that Caps Lock is on; it can be asked only of an event. */
    function setUpHint(hint) {
        const field = document.getElementById(hint.dataset.capsLockOf);
        const show = (event) => {
            const on = event.getModifierState?.('CapsLock') ?? false;
            hint.textContent = on ? 'Caps Lock is on.' : '';
        };
        field.addEventListener('keydown', show);
        field.addEventListener('keyup', show);
        field.addEventListener('blur', () => { hint.textContent = ''; });
    }

    document.querySelectorAll('[data-reveals]').forEach(setUpButton);
    document.querySelectorAll('[data-caps-lock-of]').forEach(setUpHint);
})();
