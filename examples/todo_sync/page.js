'use strict';

const REST = '/api/1/todo-sync';

/** What the server said last of each todo, by id. Deleted ones stay, so that a late message brings none back. */
const known = new Map();
/** What the visitor wants and the server has not answered yet, by id; it is shown on top. */
const wishes = new Map();
const rows = new Map();
const element = (id) => document.getElementById(id);

// The WebSocket tells: of changes by others, and of our own once more.

const connection = jPulse.ws.connect('/api/1/ws/todo-sync')
    .onMessage(({success, data}) => {
        if (!success) return;
        if (data.type === 'todo') learn(data.todo);
        // What was told while we were away is lost: read the whole list.
        if (data.type === 'connected' || data.type === 'reload') load();
    });
showStatus(connection);

/** Take over what the server says of a todo, unless we know something newer. */
function learn(todo) {
    if (todo.changed <= (known.get(todo.id)?.changed ?? 0)) return;
    known.set(todo.id, todo);
    draw(todo.id);
}

async function load() {
    const answer = await jPulse.api.get(REST);
    element('trouble').hidden = answer.success;
    if (!answer.success) return;
    const {todos, clock} = answer.data;
    const listed = new Set(todos.map(({id}) => id));
    for (const [id, {changed}] of known) {
        // Of what is newer than the list, the list knows nothing.
        if (!listed.has(id) && changed <= clock) learn({id, changed: clock + 0.5, gone: true});
    }
    todos.forEach(learn);
    showEmpty(true);
}

// REST changes. A wish is shown at once; what is refused is taken back, and told.

const turns = new Map();

/** Send one todo's changes one after the other, so that the last one wins. jPulse.api never throws. */
function inTurn(id, request) {
    const answer = (turns.get(id) ?? Promise.resolve()).then(request);
    turns.set(id, answer);
    return answer;
}

async function change(id, wish, request) {
    wishes.set(id, wish);
    draw(id);
    const answer = await inTurn(id, request);
    if (wishes.get(id) === wish) wishes.delete(id);
    if (answer.success) learn(answer.data);
    else if (answer.code === 404) load();
    else jPulse.UI.toast.show(`“${wish.title}”: ${answer.error}`, 'error', {duration: 10_000});
    draw(id);
    return answer.success;
}

async function add(title) {
    const id = Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join('-');
    const isAdded = await change(id, {id, title, done: false}, () => jPulse.api.post(REST, {id, title}));
    // What could not be added is not to be typed again.
    if (!isAdded && !element('title').value) element('title').value = title;
}

const toggle = (todo, done) => change(todo.id, {...todo, done}, () => jPulse.api.put(`${REST}/${todo.id}`, {done}));
const remove = (todo) => change(todo.id, {...todo, gone: true}, () => jPulse.api.delete(`${REST}/${todo.id}`));

// Drawing. A row stays the same element, so that the focus stays in it.

function draw(id) {
    const todo = wishes.get(id) ?? known.get(id);
    if (!todo || todo.gone) {
        rows.get(id)?.remove();
        rows.delete(id);
    } else {
        const row = rows.get(id) ?? newRow(id);
        row.classList.toggle('is-pending', wishes.has(id));
        row.querySelector('.title').textContent = todo.title;
        row.querySelector('input').checked = todo.done;
        row.querySelector('button').setAttribute('aria-label', `Delete “${todo.title}”`);
    }
    showEmpty(element('empty').dataset.loaded);
}

function newRow(id) {
    const row = element('row').content.firstElementChild.cloneNode(true);
    const shown = () => wishes.get(id) ?? known.get(id);
    row.querySelector('input').addEventListener('change', ({target}) => toggle(shown(), target.checked));
    row.querySelector('button').addEventListener('click', () => {
        const next = row.nextElementSibling ?? row.previousElementSibling;
        (next?.querySelector('button') ?? element('title')).focus();
        remove(shown());
    });
    rows.set(id, row);
    element('todos').append(row);
    return row;
}

function showEmpty(isLoaded) {
    if (isLoaded) element('empty').dataset.loaded = 'true';
    element('empty').textContent = isLoaded ? 'Nothing to do. Add something above.' : 'Loading the list…';
    element('empty').hidden = rows.size > 0;
}

element('add').addEventListener('submit', (event) => {
    event.preventDefault();
    const title = element('title').value.trim();
    element('title').value = '';
    element('title').focus();
    if (title) add(title);
});
element('retry').addEventListener('click', load);
