/**
 * Todo list: the page's side of the conversation. REST changes, the WebSocket tells.
 *
 * The server's side is handlers/demos/todos.py. Drawing is in todo-list.js, and the sign of
 * the connection in status.js.
 */
(() => {
    'use strict';

    const NAMESPACE = '/api/1/ws/hello-todo';
    const REST = '/api/1/todo';
    const MAX_TITLE = 200;
    const MAX_QUOTED = 60;
    const TOAST_MS = 10_000;
    /** Later than any date: what the server has not dated yet comes last. */
    const LAST = '~';

    const explanations = {
        connecting: '',
        connected: '',
        reconnecting: 'What others change is shown when the connection is back.',
        disconnected: 'What others change is not shown. Press “Connect” to catch up.',
    };

    const emptyTexts = {
        all: 'Nothing here yet. Add the first todo above.',
        open: 'Nothing open: all is done.',
        done: 'Nothing done yet.',
    };

    const element = (name) => document.getElementById(`todo-${name}`);
    const list = new TodoList(element('list'), {row: element('row'), editor: element('editor')}, element('box'));
    let me = '';

    // What the server said last, and what the user wants that it hasn't answered yet. The page
    // shows the one with the other on top. So a refusal takes back one wish and nothing
    // else, and what others changed meanwhile is still there.

    const known = new Map();
    const wishes = new Map();
    /** Ids that are gone for good, since a late message must not bring one back. */
    const gone = new Set();
    /** Changes of todos that we have not heard of: they are new, or gone. */
    const early = new Map();

    /** Show the present state of one todo. */
    function draw(id) {
        put(id);
        showState();
    }

    function put(id) {
        const wanted = wishes.get(id) ?? [];
        const todo = Object.assign({}, known.get(id), ...wanted);
        if (!known.has(id) || todo.isDeleted) list.remove(id);
        else list.put({...todo, author: `by ${nameOf(todo.username)}`, isPending: wanted.length > 0});
    }

    /**
     * Take over what the server says of a todo, unless we know something as new. Each change of a todo
     * has a later time than the one before it, so it doesn't matter in which order we hear of them.
     */
    function learn(todo) {
        const id = todo._id;
        for (const state of [todo, early.get(id)]) {
            if (state && isNewer(state, known.get(id)) && !gone.has(id)) known.set(id, state);
        }
        early.delete(id);
    }

    /** Whether a state of a todo is newer than another that we may have. */
    function isNewer(todo, old) {
        return !old || todo.updatedAt > old.updatedAt;
    }

    function forget(id) {
        gone.add(id);
        known.delete(id);
    }

    // Changes go to the server by REST.

    const turns = new Map();

    /** Send one todo's changes one after the other, so that the last one wins. jPulse.api never throws. */
    function inTurn(key, request) {
        const answer = (turns.get(key) ?? Promise.resolve()).then(request);
        turns.set(key, answer);
        answer.then(() => {
            if (turns.get(key) === answer) turns.delete(key);
        });
        return answer;
    }

    /**
     * Show a change at once and ask the server for it; what is refused is taken back, and told.
     * @param {object} wish the fields that change
     * @param {string} deed for the message about a failure, such as "deleted"
     */
    async function change(id, wish, deed, request) {
        const {title} = known.get(id);
        wishes.set(id, [...wishes.get(id) ?? [], wish]);
        draw(id);
        const answer = await inTurn(id, request);
        if (answer.success && wish.isDeleted) forget(id);
        else if (answer.success) learn(answer.data);
        else if (answer.code === 404) await load();         // somebody else was quicker
        dropWish(id, wish);
        draw(id);
        // What is gone need not be deleted.
        if (!answer.success && (!wish.isDeleted || known.has(id))) complain(quoted(title), deed, answer);
    }

    function dropWish(id, wish) {
        const rest = wishes.get(id).filter((each) => each !== wish);
        if (rest.length) wishes.set(id, rest);
        else wishes.delete(id);
    }

    const address = (id) => `${REST}/${encodeURIComponent(id)}`;

    function toggle(id, completed) {
        change(id, {completed}, completed ? 'completed' : 'reopened', () => jPulse.api.put(`${address(id)}/toggle`));
    }

    function rename(id, title) {
        if (gone.has(id) || !known.has(id)) add(title);     // deleted while it was being edited
        else change(id, {title}, `renamed to “${title}”`, () => jPulse.api.put(address(id), {title}));
    }

    function remove(id) {
        change(id, {isDeleted: true}, 'deleted', () => jPulse.api.delete(address(id)));
    }

    // A new todo has no id before the server's answer: until then a draft stands for it.

    const drafts = new Map();
    let draftNumber = 0;

    async function add(title) {
        const id = `draft-${++draftNumber}`;
        drafts.set(id, title);
        list.put({_id: id, title, completed: false, createdAt: LAST, author: '', isPending: true, isDraft: true});
        showState();
        const answer = await inTurn('add', () => jPulse.api.post(REST, {title}));
        dropDraft(id);
        if (answer.success) {
            createdSince.add(answer.data._id);
            learn(answer.data);
            put(answer.data._id);
        } else {
            complain(`“${title}”`, 'added', answer);
            element('title').value ||= title;
        }
        showState();
    }

    function dropDraft(id) {
        drafts.delete(id);
        list.remove(id);
    }

    /** Let a draft go when the broadcast comes before the answer, or the todo would be there twice. */
    function dropDraftOf(todo) {
        const [id] = [...drafts].find(([, title]) => title === todo.title) ?? [];
        if (id && todo.username === me) dropDraft(id);
    }

    /** Say what was taken back. Errors would stay until they are closed, and lie over the list. */
    function complain(what, deed, answer) {
        jPulse.UI.toast.show(`${what} could not be ${deed}. ${reasonOf(answer)}`, 'error', {duration: TOAST_MS});
    }

    /** A title that can be read in the list as well, cut to what is needed to find it there. */
    function quoted(title) {
        const characters = [...title];
        return `“${characters.length > MAX_QUOTED ? `${characters.slice(0, MAX_QUOTED).join('')}…` : title}”`;
    }

    function reasonOf({code, error}) {
        return code === 'NETWORK_ERROR' ? 'The server cannot be reached.' : error;
    }

    /** Tell what is wrong with a title; '' for nothing. Characters are counted as the server does. */
    function problemOf(title) {
        const length = [...title].length;
        if (!length) return 'A title is needed.';
        return length > MAX_TITLE ? `At most ${MAX_TITLE} characters; this has ${length}.` : '';
    }

    // The WebSocket tells what was changed, by us or by others.

    /** The todos as they were told last; the answers to our own changes don't count. */
    let told = new Map();

    /** One function per message type; types that a newer server may add are passed over. */
    const receive = {
        'connected': ({username}) => { me = username; },
        'welcome': () => load(),
        'todo-created': ({todo, username}) => {
            dropDraftOf(todo);
            createdSince.add(todo._id);
            hear(todo, username, `added ${quoted(todo.title)}`);
        },
        'todo-updated': ({todo, username}) => {
            if (known.has(todo._id)) hear(todo, username, differenceOf(told.get(todo._id), todo));
            else if (isNewer(todo, early.get(todo._id))) early.set(todo._id, todo);
        },
        'todo-deleted': ({todoId, username}) => {
            const title = known.get(todoId)?.title ?? told.get(todoId)?.title;
            // The answer to our own deletion may have come first.
            told.delete(todoId);
            forget(todoId);
            draw(todoId);
            if (title !== undefined) announce(username, `deleted ${quoted(title)}`);
        },
    };

    function hear(todo, username, deed) {
        if (gone.has(todo._id) || !isNewer(todo, told.get(todo._id))) return;
        learn(todo);
        told.set(todo._id, todo);
        draw(todo._id);
        if (deed) announce(username, deed);
    }

    /** Say what changed between two states; '' when nothing did. */
    function differenceOf(old, todo) {
        if (!old) return `changed ${quoted(todo.title)}`;
        const deeds = [];
        if (old.completed !== todo.completed) deeds.push(todo.completed ? 'completed' : 'reopened');
        if (old.title !== todo.title) deeds.push('renamed');
        if (!deeds.length) return '';
        const newTitle = old.title === todo.title ? '' : ` to ${quoted(todo.title)}`;
        return `${deeds.join(' and ')} ${quoted(old.title)}${newTitle}`;
    }

    function announce(username, deed) {
        const name = nameOf(username);
        // A user's name stays as it is written; our own words begin the sentence.
        const who = name === username ? name : name[0].toUpperCase() + name.slice(1);
        element('news').textContent = `${who} ${deed}`;
    }

    /** Guests have no name, so one is not told from another, nor from ourselves. */
    function nameOf(username) {
        if (!username) return 'a guest';
        return username === me ? 'you' : username;
    }

    // The list is loaded at every greeting: what was told before, while we or the server that we are
    // connected to could not hear it, is lost. What is told after it, the list may not know yet.

    let loads = 0;
    let isLoading = false;
    let isLoaded = false;
    let trouble = '';
    /** What was added while a list was on its way here: of that, the list may know nothing yet. */
    let createdSince = new Set();

    async function load() {
        const number = ++loads;
        isLoading = true;
        createdSince = new Set();
        early.clear();
        showState();
        const answer = await jPulse.api.get(REST);
        if (number !== loads) return;           // a later list is on its way
        isLoading = false;
        isLoaded ||= answer.success;
        trouble = answer.success ? '' : reasonOf(answer);
        if (answer.success) takeOver(answer.data);
        showState();
    }

    /** Take over the server's list, but keep what is newer. */
    function takeOver(todos) {
        const listed = new Set(todos.map(({_id}) => _id));
        for (const id of known.keys()) {
            if (!listed.has(id) && !createdSince.has(id)) forget(id);
        }
        for (const todo of todos) learn(todo);
        told = new Map(known);
        for (const id of [...list.rows.keys(), ...known.keys()]) {
            if (!drafts.has(id)) put(id);
        }
    }

    /** Show the counts, and in place of the list what there is to say when it is empty. */
    function showState() {
        const counts = list.counts();
        for (const [name, count] of Object.entries(counts)) write(`number-${name}`, isLoaded ? String(count) : '');
        write('count', isLoaded ? `${counts.open} open` : '');
        const text = stateText(counts[list.filter]);
        const hadFocus = element('retry') === document.activeElement;
        write('state-text', text);
        element('state').hidden = !text;
        element('retry').hidden = !trouble;
        if (hadFocus && !trouble) element('box').focus();
    }

    /** What is written anew is read out again, so write only what differs. */
    function write(name, text) {
        if (element(name).textContent !== text) element(name).textContent = text;
    }

    function stateText(count) {
        if (trouble && !isLoading) return `The list could not be ${isLoaded ? 'brought up to date' : 'loaded'}. ${trouble}`;
        if (trouble || !isLoaded) return 'Loading the list…';
        return count ? '' : emptyTexts[list.filter];
    }

    function setFilter(filter) {
        list.setFilter(filter);
        for (const button of element('filters').children) {
            button.setAttribute('aria-pressed', String(button.dataset.filter === filter));
        }
        showState();
    }

    function showStatus(status, oldStatus, reason) {
        element('link').textContent = reason ? `${reason.message}. ${explanations[status]}` : explanations[status];
        // The list can be read and changed without a connection, too; with one, the greeting comes first.
        if (status !== 'connected' && !isLoaded) load();
    }

    function submit(event) {
        event.preventDefault();
        const title = element('title').value.trim();
        const problem = problemOf(title);
        showProblem(problem);
        element('title').focus();
        if (problem) return;
        element('title').value = '';
        if (list.filter === 'done') setFilter('all');       // or the new one would be out of sight
        add(title);
        element('box').scrollTop = element('box').scrollHeight;
    }

    function showProblem(problem) {
        element('add-error').textContent = problem;
        element('title').setAttribute('aria-invalid', String(Boolean(problem)));
    }

    /** Connect when the panel is first shown: who never looks at it costs the server nothing. */
    function open() {
        const connection = jPulse.ws.connect(NAMESPACE, StatusBar.OPTIONS)
            .onMessage((envelope) => {
                if (envelope.success) receive[envelope.data.type]?.(envelope.data);
            })
            .onStatusChange(showStatus);
        new StatusBar('todo', connection);
    }

    list.onWish({toggle, rename, remove}, problemOf);
    element('add').addEventListener('submit', submit);
    element('title').addEventListener('input', () => showProblem(''));
    element('retry').addEventListener('click', load);
    element('filters').addEventListener('click', ({target}) => {
        const filter = target.closest('[data-filter]')?.dataset.filter;
        if (filter) setFilter(filter);
    });
    // The tabs may have shown the panel before this script ran.
    const panel = element('list').closest('.panel');
    if (panel.hidden) panel.addEventListener('tab-shown', open, {once: true});
    else open();
})();
