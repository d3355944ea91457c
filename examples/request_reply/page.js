'use strict';

const MAX_ROWS = 20;
const TIMEOUT_MS = 3000;
const element = (id) => document.getElementById(id);
const connection = jPulse.ws.connect('/api/1/ws/request-reply');
const requests = new Requests(connection);
showStatus(connection);

/** Ask, and show in a row of its own what becomes of it. */
async function ask(question, type, fields) {
    const row = newRow(question);
    try {
        const result = await requests.ask(type, fields, {timeoutMs: TIMEOUT_MS});
        show(row, 'answered', Array.isArray(result) ? result.join(' × ') : result);
    } catch (error) {
        show(row, 'failed', `${error.message} (${error.code})`);
    }
}

function newRow(question) {
    const row = element('row').content.firstElementChild.cloneNode(true);
    row.querySelector('.question').textContent = question;
    element('log').prepend(row);
    while (element('log').children.length > MAX_ROWS) element('log').lastElementChild.remove();
    element('empty').hidden = true;
    return row;
}

function show(row, state, text) {
    row.dataset.state = state;
    row.querySelector('.outcome').textContent = text;
}

/** What was typed, as a number if it is one; else the server says what is wrong. */
function typed(id) {
    const text = element(id).value.trim();
    return text && Number.isFinite(Number(text)) ? Number(text) : text;
}

element('factors').addEventListener('submit', (event) => {
    event.preventDefault();
    ask(`Factors of ${typed('number')}`, 'factors', {number: typed('number')});
});

element('report').addEventListener('submit', (event) => {
    event.preventDefault();
    ask(`Report that takes ${typed('seconds')} s`, 'report', {seconds: typed('seconds')});
});
